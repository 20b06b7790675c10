package cluster

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/internal/lab"
)

// issuer names who signs the tokens of service accounts.
const issuer = "https://kubernetes.default.svc.cluster.local"

func (c *Cluster) etcdURL(port uint16) string {
	return "http://" + netip.AddrPortFrom(c.cfg.Addr, port).String()
}

func (c *Cluster) startEtcd() error {
	client, peer := c.etcdURL(c.cfg.EtcdPort), c.etcdURL(c.cfg.EtcdPeerPort)
	var err error
	c.etcd, err = c.group.Start(lab.Command{
		Name: "etcd " + c.cfg.Name, Path: c.cfg.Programs.Etcd, Log: c.file("etcd.log"),
		Args: []string{
			"--name=lab", "--data-dir=" + c.file(dataDir), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
		},
		Ready: lab.HTTPReady(client + "/readyz"), Grace: grace,
	})
	return err
}

func (c *Cluster) apiArgs() []string {
	args := []string{
		"--etcd-servers=" + c.etcdURL(c.cfg.EtcdPort),
		"--bind-address=" + c.cfg.Addr.String(), "--advertise-address=" + c.cfg.Addr.String(), fmt.Sprintf("--secure-port=%d", c.cfg.APIPort),
		"--service-cluster-ip-range=" + c.cfg.Services.Masked().String(),
		"--cert-dir=" + c.cfg.Dir, "--tls-cert-file=" + c.file("serving.crt"), "--tls-private-key-file=" + c.file("serving.key"),
		"--client-ca-file=" + c.file("ca.crt"), "--authorization-mode=RBAC",
		"--service-account-issuer=" + issuer,
		"--service-account-key-file=" + c.file("tokens.key"), "--service-account-signing-key-file=" + c.file("tokens.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged", "--profiling=false",
	}
	if c.cfg.Addr.IsLoopback() {
		// The Service "kubernetes" cannot have a loopback address as its endpoint.
		args = append(args, "--endpoint-reconciler-type=none")
	}
	return append(args, c.cfg.APIServerArgs...)
}

// apiReady asks the API server for its health as the admin, over its own TLS.
func (c *Cluster) apiReady() (func(context.Context) error, error) {
	cfg := rest.CopyConfig(c.rest)
	cfg.Timeout = 2 * time.Second
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.rest.Host+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", req.URL, resp.Status)
		}
		return nil
	}, nil
}

func (c *Cluster) startControllers() error {
	if c.cfg.NoControllers {
		return nil
	}
	args := slices.Concat([]string{
		// They have the admin's rights: a token of their own would not outlive Restore.
		"--kubeconfig=" + c.file(adminFile),
		"--bind-address=" + c.cfg.Addr.String(), fmt.Sprintf("--secure-port=%d", c.cfg.ControllerPort), "--cert-dir=" + c.cfg.Dir,
		"--root-ca-file=" + c.file("ca.crt"), "--service-account-private-key-file=" + c.file("tokens.key"),
		"--cluster-signing-cert-file=" + c.file("ca.crt"), "--cluster-signing-key-file=" + c.file("ca.key"),
		"--leader-elect=false", "--profiling=false",
		// The usual limits would make a thousand pods a matter of minutes.
		"--kube-api-qps=1000", "--kube-api-burst=2000",
	}, c.cfg.ControllerArgs)
	var err error
	c.controllers, err = c.group.Start(lab.Command{
		Name: "kube-controller-manager " + c.cfg.Name, Path: c.cfg.Programs.ControllerManager, Args: args,
		Log: c.file("kube-controller-manager.log"), Grace: grace,
	})
	return err
}
