package install

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// callTimeout bounds every single request.
const callTimeout = 20 * time.Second

// Reach is an API server, with the rights of whoever runs the command.
type Reach struct {
	Name   string // of its context, for people
	Config *rest.Config

	kube    kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// Open finds an API server in the user's own kubeconfig, as kubectl does; empty
// words mean kubectl's defaults, which in a pod are the pod's own. It does not connect yet.
func Open(kubeconfig, kubeContext string) (*Reach, error) {
	load := loadKubeconfig(kubeconfig, kubeContext)
	raw, err := load.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if kubeContext != "" && raw.Contexts[kubeContext] == nil {
		return nil, fmt.Errorf("the kubeconfig has no context %q; it has %s", kubeContext, orNone(ContextNames(kubeconfig)))
	}
	cfg, err := load.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("no cluster is chosen: name one with --context, or its file with --kubeconfig: %w", err)
	}
	// In a pod without a kubeconfig it is the cluster around it, by the pod's account.
	return NewReach(cmp.Or(kubeContext, raw.CurrentContext, "this cluster"), cfg)
}

// NewReach reaches an API server that is known already.
func NewReach(name string, cfg *rest.Config) (*Reach, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent, cfg.Timeout = "meridian", callTimeout
	cfg.QPS, cfg.Burst = 50, 100
	cfg.WarningHandler = rest.NoWarnings{}
	r := &Reach{Name: name, Config: cfg}
	var err error
	if r.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("context %s: %w", name, err)
	}
	if r.dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("context %s: %w", name, err)
	}
	r.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(r.kube.Discovery()))
	return r, nil
}

// ContextNames lists the contexts of the user's kubeconfig, sorted.
func ContextNames(kubeconfig string) []string {
	raw, err := loadKubeconfig(kubeconfig, "").RawConfig()
	if err != nil {
		return nil
	}
	var names []string
	for name := range raw.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Clusters are the Cluster objects that a host has, sorted by name.
func (r *Reach) Clusters(ctx context.Context) ([]*unstructured.Unstructured, error) {
	list, err := r.dynamic.Resource(clustersResource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%s knows no Clusters, so it is no host cluster; name the one that \"meridian init\" was run for with --context", r.Name)
	}
	if err != nil {
		return nil, r.explain("listing Clusters", err)
	}
	clusters := make([]*unstructured.Unstructured, 0, len(list.Items))
	for i := range list.Items {
		clusters = append(clusters, &list.Items[i])
	}
	slices.SortFunc(clusters, func(a, b *unstructured.Unstructured) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return clusters, nil
}

// Members lists the names of the Clusters that a host knows, sorted.
func (r *Reach) Members(ctx context.Context) ([]string, error) {
	clusters, err := r.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(clusters))
	for _, c := range clusters {
		names = append(names, c.GetName())
	}
	return names, nil
}

func loadKubeconfig(file, kubeContext string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubeContext})
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// authority is the certificate that the API server is trusted by, in PEM; empty
// when it is one that the whole world trusts.
func (r *Reach) authority() ([]byte, error) {
	switch {
	case r.Config.Insecure:
		return nil, fmt.Errorf("context %s does not check who its API server is (insecure-skip-tls-verify), and the host would not either; give its certificate-authority-data", r.Name)
	case len(r.Config.CAData) > 0:
		return r.Config.CAData, nil
	case r.Config.CAFile != "":
		return os.ReadFile(r.Config.CAFile)
	}
	return nil, nil
}

// explain turns an error of an API server into a sentence with its remedy. what
// is that which was tried: "creating Secret a/b".
func (r *Reach) explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var network net.Error
	var stranger *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s in %s was interrupted: %w", what, r.Name, err)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Errorf("%s in %s: its namespace is being deleted; wait until it is gone, and run this again: %w", what, r.Name, err)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s in %s: you may not; let somebody grant it, or use a context that may: %w", what, r.Name, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s in %s: its API server does not know you any more; renew the credentials of that context: %w", what, r.Name, err)
	case errors.As(err, &stranger):
		return fmt.Errorf("%s in %s: who answers at %s has a certificate that the context does not trust; see whether its server and certificate-authority-data belong together, and fetch the context again if the cluster was made anew: %w", what, r.Name, r.Config.Host, err)
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s in %s: %s cannot be reached; see whether it runs and whether a network or VPN lies between: %w", what, r.Name, r.Config.Host, err)
	}
	return fmt.Errorf("%s in %s: %w", what, r.Name, err)
}
