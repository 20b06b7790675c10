package stage

import (
	"net/netip"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/node"
)

// Cluster starts a control plane. Its files lie in a folder of its name.
func (s *Stage) Cluster(name string, addr netip.Addr, change func(*cluster.Config)) (*cluster.Cluster, kubernetes.Interface, error) {
	dir, err := s.folder(name, "kube")
	if err != nil {
		return nil, nil, err
	}
	cfg := cluster.Config{Name: name, Addr: addr, Dir: dir, Programs: s.Programs}
	if change != nil {
		change(&cfg)
	}
	c, err := cluster.Start(s.Ctx, s.Group, cfg)
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(c.REST())
	return c, client, err
}

// Scheduler has the pods of a cluster bound to its nodes, until stop is called.
func (s *Stage) Scheduler(cfg *rest.Config) (stop func(), err error) {
	scheduler, err := node.NewScheduler(cfg, nil)
	if err != nil {
		return nil, err
	}
	return s.Background(scheduler.Run), nil
}

// Machine puts a machine into a cluster and switches it on. Its files lie in a folder of
// its name.
func (s *Stage) Machine(cfg node.Config) (n *node.Node, off func(), err error) {
	if cfg.Dir, err = s.folder("nodes", cfg.Name); err != nil {
		return nil, nil, err
	}
	if n, err = node.New(cfg); err != nil {
		return nil, nil, err
	}
	return n, s.Background(n.Run), nil
}

// Kubeconfig writes an operator's: a context for each cluster, the first being the
// current one. Commands find it.
func (s *Stage) Kubeconfig(clusters ...*cluster.Cluster) {
	s.t.Helper()
	all := clientcmdapi.NewConfig()
	for _, c := range clusters {
		one, err := clientcmd.Load(c.Kubeconfig())
		if err != nil {
			s.t.Fatal(err)
		}
		name, own := c.Name(), one.Contexts[one.CurrentContext]
		all.Clusters[name], all.AuthInfos[name] = one.Clusters[own.Cluster], one.AuthInfos[own.AuthInfo]
		all.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	}
	all.CurrentContext = clusters[0].Name()
	if err := clientcmd.WriteToFile(*all, s.kubeconfig()); err != nil {
		s.t.Fatal(err)
	}
}
