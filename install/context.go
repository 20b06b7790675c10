package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/trust"
)

// contextName is what kubeconfigs call a dedicated API.
const contextName = "meridian"

// addressWithin is how long a load balancer may take to give an address.
const addressWithin = 3 * time.Minute

// CheckContext refuses, before anything is done, a kubeconfig whose context "meridian"
// cannot be that of a dedicated API. An empty name means the file that kubectl finds.
func CheckContext(kubeconfig string) error {
	cfg, err := contextFile(kubeconfig).GetStartingConfig()
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	c, cluster := cfg.Clusters[contextName]
	if !cluster && cfg.Contexts[contextName] == nil && cfg.AuthInfos[contextName] == nil || cluster && strings.HasPrefix(c.TLSServerName, apiName+".") {
		return nil
	}
	return errTaken
}

// errTaken says that the name is somebody else's.
var errTaken = fmt.Errorf("your kubeconfig has a context, cluster or user %q already, which leads elsewhere and is not written over; rename it (kubectl config rename-context), name another file with --kubeconfig, or do without with --no-context", contextName)

// WriteContext adds to a kubeconfig the context "meridian", which leads to the dedicated
// API that runs in a cluster. Server is its URL; empty: the address of its Service, which
// is waited for. The current context stays as it is.
func WriteContext(ctx context.Context, reach *Reach, namespace, kubeconfig, server string, p Progress) error {
	namespace = cmp.Or(namespace, Namespace)
	s, err := reach.apiAdmin(ctx, namespace)
	if err != nil {
		return err
	}
	if err := CheckContext(kubeconfig); err != nil {
		return err
	}
	if server == "" {
		if server, err = reach.apiAddress(ctx, namespace, p); err != nil {
			return err
		}
	}
	if err := CheckAPIServer(server); err != nil {
		return err
	}
	options := contextFile(kubeconfig)
	cfg, err := options.GetStartingConfig()
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if c := cfg.Clusters[contextName]; c != nil && !bytes.Equal(bytes.TrimSpace(c.CertificateAuthorityData), bytes.TrimSpace(s.Data[trust.BundleFile])) {
		return errTaken
	}
	cfg.Clusters[contextName] = &clientcmdapi.Cluster{Server: server, TLSServerName: apiServerName(namespace), CertificateAuthorityData: s.Data[trust.BundleFile]}
	cfg.AuthInfos[contextName] = &clientcmdapi.AuthInfo{ClientCertificateData: s.Data[trust.CertificateFile], ClientKeyData: s.Data[trust.KeyFile]}
	cfg.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	if err := clientcmd.ModifyConfig(options, *cfg, false); err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}

func contextFile(kubeconfig string) *clientcmd.PathOptions {
	options := clientcmd.NewDefaultPathOptions()
	options.LoadingRules.ExplicitPath = kubeconfig
	return options
}

// CheckAPIServer refuses what is no URL of an API server.
func CheckAPIServer(server string) error {
	if u, err := url.Parse(server); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("--api-server %.80q: write https://host:port, as you reach the dedicated API", server)
	}
	return nil
}

// apiAddress is the URL that a load balancer gives to the dedicated API.
func (r *Reach) apiAddress(ctx context.Context, namespace string, p Progress) (string, error) {
	defer p.during("waiting for an address of Service %s", apiName)()
	ctx, cancel := context.WithTimeout(ctx, addressWithin)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		svc, err := r.kube.CoreV1().Services(namespace).Get(ctx, apiName, metav1.GetOptions{})
		switch {
		case err == nil && svc.Spec.Type != "LoadBalancer":
			return "", fmt.Errorf("Service %s/%s is of type %s, so nobody knows how you reach it; say it with --api-server, after \"kubectl --context %s -n %s port-forward service/%s %d\" for example https://localhost:%d", namespace, apiName, svc.Spec.Type, r.Name, namespace, apiName, apiPort, apiPort) //nolint:staticcheck // a kind
		case err == nil:
			for _, in := range svc.Status.LoadBalancer.Ingress {
				if host := cmp.Or(in.IP, in.Hostname); host != "" {
					return "https://" + net.JoinHostPort(host, strconv.Itoa(apiPort)), nil
				}
			}
		case ctx.Err() == nil:
			return "", r.explain("reading Service "+namespace+"/"+apiName, err)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return "", fmt.Errorf("no load balancer has given Service %s/%s an address; everything is installed: run this again when it has one, or say with --api-server how you reach it", namespace, apiName)
			}
			return "", ctx.Err()
		case <-tick.C:
		}
	}
}
