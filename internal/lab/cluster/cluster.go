// Package cluster runs one real Kubernetes control plane on this machine: etcd, an API server and the controllers.
//
// It has everything but a kubelet and a scheduler, which package node imitates.
// Each cluster listens on an address of its own, at the usual ports, so that
// many live side by side in one network made by package netns. On loopback
// everything works but EndpointSlices, whose addresses may not be loopback.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
)

// Config says where a cluster lives.
type Config struct {
	Name     string           // "eu-1": of processes, of the kubeconfig; required
	Addr     netip.Addr       // where everything listens; required, and not shared with another cluster unless all ports differ
	Dir      string           // keeps data, certificates and logs; it exists and is empty; required
	Programs kubebin.Programs // required

	APIPort        uint16       // 0 means 6443
	EtcdPort       uint16       // 0 means 2379
	EtcdPeerPort   uint16       // 0 means 2380; nobody comes, but etcd insists
	ControllerPort uint16       // 0 means 10257
	Services       netip.Prefix // cluster IPs; zero means 10.96.0.0/16. They are given out, but nobody routes them

	NoControllers  bool     // only etcd and the API server
	APIServerArgs  []string // added, so they win
	ControllerArgs []string // added, so they win
}

// Cluster is a running control plane. Its processes belong to the group that it
// was started with and end with it. Its methods are called from one goroutine.
type Cluster struct {
	cfg   Config
	group *lab.Group
	ca    *authority
	rest  *rest.Config
	admin []byte // kubeconfig

	etcd, api, controllers *lab.Process // nil when stopped
}

const (
	readyWithin = time.Minute
	grace       = 10 * time.Second // from SIGTERM to SIGKILL
	// An API server that is told to stop waits for its watchers to go. Nothing is
	// lost by not waiting for it: what it has answered is in etcd.
	apiGrace = 500 * time.Millisecond
)

// Start starts a cluster and waits until pods can be created in its default
// namespace. The processes become part of the group.
func Start(ctx context.Context, group *lab.Group, cfg Config) (*Cluster, error) {
	c, err := prepare(group, cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing cluster %s: %w", cfg.Name, err)
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func prepare(group *lab.Group, cfg Config) (*Cluster, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("it has no name")
	case !cfg.Addr.IsValid() || cfg.Addr.IsUnspecified():
		return nil, errors.New("it needs an address of its own")
	case cfg.Dir == "":
		return nil, errors.New("it needs a folder of its own")
	case !cfg.NoControllers && cfg.Programs.ControllerManager == "":
		return nil, fmt.Errorf("the folder that $%s names has no kube-controller-manager: unset it and run \"make kube\", or do without controllers", kubebin.Env)
	}
	for port, usual := range map[*uint16]uint16{&cfg.APIPort: 6443, &cfg.EtcdPort: 2379, &cfg.EtcdPeerPort: 2380, &cfg.ControllerPort: 10257} {
		if *port == 0 {
			*port = usual
		}
	}
	if !cfg.Services.IsValid() {
		cfg.Services = netip.MustParsePrefix("10.96.0.0/16")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	ca, err := newAuthority(cfg.Name)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, group: group, ca: ca}
	serving, err := ca.server("kube-apiserver", []netip.Addr{cfg.Addr, cfg.Services.Masked().Addr().Next()},
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	if err != nil {
		return nil, err
	}
	if err := ca.keep(cfg.Dir, serving); err != nil {
		return nil, err
	}
	if c.admin, err = c.KubeconfigFor("admin", "system:masters"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(c.file(adminFile), c.admin, 0o600); err != nil {
		return nil, err
	}
	if c.rest, err = restFrom(c.admin); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	if err := c.startEtcd(); err != nil {
		return err
	}
	if err := c.StartAPI(ctx); err != nil {
		return err
	}
	if err := c.startControllers(); err != nil {
		return err
	}
	return c.waitUsable(ctx)
}

// waitUsable waits for the service account without which no pod is admitted; the
// controllers make it, right after the namespace.
func (c *Cluster) waitUsable(ctx context.Context) error {
	if c.cfg.NoControllers {
		return nil
	}
	client, err := kubernetes.NewForConfig(c.rest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("waiting for the default service account of %s: %w", c.cfg.Name, err)
		}
		select {
		case <-c.controllers.Done():
			return c.controllers.Err()
		case <-ctx.Done():
			return fmt.Errorf("waiting for the default service account of %s: %w; the controllers' last words:\n%s", c.cfg.Name, ctx.Err(), c.controllers.Log())
		case <-poll.C:
		}
	}
}

// Name is the name that the cluster was given.
func (c *Cluster) Name() string { return c.cfg.Name }

// Addr is where the API server listens.
func (c *Cluster) Addr() netip.AddrPort { return netip.AddrPortFrom(c.cfg.Addr, c.cfg.APIPort) }

// Stop stops what runs of the cluster, in the order that hurts least. The group's
// Stop does it as well.
func (c *Cluster) Stop() error {
	return errors.Join(c.stop(&c.controllers), c.stop(&c.api), c.stop(&c.etcd))
}

// Restart starts a cluster that was stopped, or stops it first. It has all that it had.
func (c *Cluster) Restart(ctx context.Context) error {
	if err := c.Stop(); err != nil {
		return fmt.Errorf("restarting %s: %w", c.cfg.Name, err)
	}
	return c.start(ctx)
}

// StopAPI stops the API server, so that connections to it are refused. The
// controllers lose it like everybody else.
func (c *Cluster) StopAPI() error { return c.stop(&c.api) }

// StartAPI starts the API server again and waits until it is ready.
func (c *Cluster) StartAPI(ctx context.Context) error {
	if c.api != nil {
		return fmt.Errorf("starting the API server of %s: it runs already", c.cfg.Name)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ready, err := c.apiReady()
	if err != nil {
		return err
	}
	c.api, err = c.group.Start(lab.Command{
		Name: "kube-apiserver " + c.cfg.Name, Path: c.cfg.Programs.APIServer, Args: c.apiArgs(), Log: c.file("kube-apiserver.log"),
		Ready: ready, ReadyTimeout: readyWithin, Grace: apiGrace,
	})
	return err
}

// PauseAPI makes the API server stand still: connections are accepted, by the
// kernel, and nothing is answered.
func (c *Cluster) PauseAPI() error {
	if c.api == nil {
		return fmt.Errorf("pausing the API server of %s: it is stopped", c.cfg.Name)
	}
	return c.api.Pause()
}

// ResumeAPI lets a paused API server go on.
func (c *Cluster) ResumeAPI() error {
	if c.api == nil {
		return fmt.Errorf("resuming the API server of %s: it is stopped", c.cfg.Name)
	}
	return c.api.Resume()
}

// PIDs are the processes that run now, by the names of their programs.
func (c *Cluster) PIDs() map[string]int {
	pids := map[string]int{}
	for name, p := range map[string]*lab.Process{"etcd": c.etcd, "kube-apiserver": c.api, "kube-controller-manager": c.controllers} {
		if p != nil {
			pids[name] = p.PID()
		}
	}
	return pids
}

func (c *Cluster) stop(p **lab.Process) error {
	running := *p
	*p = nil
	if running == nil {
		return nil
	}
	return running.Stop()
}

func (c *Cluster) file(name string) string { return filepath.Join(c.cfg.Dir, name) }
