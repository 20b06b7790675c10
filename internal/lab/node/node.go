// Package node puts machines into a cluster of package cluster: each registers as a Node and runs the pods that are bound to it, as processes of this machine.
//
// It speaks to the API server as a kubelet does, so that Deployments,
// DaemonSets, StatefulSets, Jobs, Services and EndpointSlices work as they do
// elsewhere. What it does differently:
//
//   - An image is a Go function that says which program to start; see Image. There
//     is no isolation: a process sees this machine's files, and finds what is
//     mounted into its container below a folder of its own; see Container.Local.
//   - Only readiness probes by httpGet and tcpSocket are made, often until the
//     first success. Liveness and startup probes, init containers, exec, port
//     forwarding and resource limits are not there.
//   - What a pod claims to keep is a folder of this machine, which is there again for
//     the pod that claims it next, on this node.
//   - All pods share one network, in which each has its address. A program that
//     believes to be alone in its network needs an Image that knows better; see Server.
//   - Times are short: heartbeats every 5 s, a container that died starts again
//     after 100 ms, then after twice as long each time, at most 10 s.
//
// A Scheduler, one per cluster, binds pods to nodes.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Config says what a machine is.
type Config struct {
	Name   string            // of the Node; required
	REST   *rest.Config      // an admin of the cluster; required
	Addr   netip.Addr        // its own address, which it shares with no other node; required
	Pods   netip.Prefix      // pods get addresses out of it; no other node of the network has them; required
	Region string            // label topology.kubernetes.io/region
	Zone   string            // label topology.kubernetes.io/zone
	Labels map[string]string // more labels
	Images map[string]Image  // by name, "whereami"; registry and tag of a container's image do not matter
	Dir    string            // keeps mounted files and logs; it exists; required
	Most   int               // how many pods it takes; 0 means 500
	Names  netip.Addr        // of the cluster's name server, which pods then ask, and "localhost" is their own address; zero: they look names up as this machine does. Needs a mount namespace of package netns
	Log    *slog.Logger      // nil means silent
}

// Node is one machine.
type Node struct {
	cfg     Config
	log     *slog.Logger
	client  kubernetes.Interface
	line    *line
	addrs   *addresses
	maps    corelisters.ConfigMapLister
	secrets corelisters.SecretLister

	mu      sync.Mutex // also of maps and secrets
	pods    map[types.UID]*pod
	running sync.WaitGroup // the goroutines of pods
}

const usualMost = 500

// New makes a machine that is switched off.
func New(cfg Config) (*Node, error) {
	if cfg.Most == 0 {
		cfg.Most = usualMost
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case cfg.Name == "":
		return nil, errors.New("a node needs a name")
	case !cfg.Addr.IsValid():
		return nil, fmt.Errorf("node %s needs an address", cfg.Name)
	case cfg.Dir == "":
		return nil, fmt.Errorf("node %s needs a folder", cfg.Name)
	}
	addrs, err := newAddresses(cfg.Pods)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, err
	}
	client, line, err := dial(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", cfg.Name, err)
	}
	return &Node{cfg: cfg, log: cfg.Log.With("node", cfg.Name), client: client, line: line, addrs: addrs, pods: map[types.UID]*pod{}}, nil
}

// Name is that of its Node.
func (n *Node) Name() string { return n.cfg.Name }

// quiet keeps client-go from printing: what it has to say while an API server is
// down on purpose is not news.
func quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }

// Run is the machine's life. When ctx ends it is as if its power failed: its
// processes are gone when Run returns, and the cluster finds out by itself. Run
// again and it comes back.
func (n *Node) Run(ctx context.Context) error {
	logs, err := n.listen(ctx)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	group, ctx := errgroup.WithContext(quiet(ctx))
	group.Go(func() error { return n.serveLogs(ctx, logs) })
	group.Go(func() error { return n.beat(ctx) })
	group.Go(func() error { return n.live(ctx) })
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("node %s: %w", n.cfg.Name, err)
	}
	return nil
}

// live runs the pods that are bound to this node, until ctx ends.
func (n *Node) live(ctx context.Context) error {
	defer n.running.Wait()
	return n.line.anew(ctx, func(watching context.Context) error { return n.watch(ctx, watching) })
}

// watch keeps the pods in line with what the cluster says, until watching ends; they
// live on until ctx ends.
func (n *Node) watch(ctx, watching context.Context) error {
	mine := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", n.cfg.Name).String()
	}))
	all := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTransform(withoutManagedFields))
	maps, secrets, pods := all.Core().V1().ConfigMaps(), all.Core().V1().Secrets(), mine.Core().V1().Pods()
	for kind, informer := range map[string]cache.SharedIndexInformer{"ConfigMap": maps.Informer(), "Secret": secrets.Informer()} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { n.wake(kind, o) },
			UpdateFunc: func(_, o any) { n.wake(kind, o) },
		}); err != nil {
			return err
		}
	}
	if _, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { n.offer(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { n.offer(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			n.remove(o.(*corev1.Pod).UID)
		},
	}); err != nil {
		return err
	}
	defer mine.Shutdown()
	defer all.Shutdown()
	all.StartWithContext(watching)
	all.WaitForCacheSyncWithContext(watching)
	if watching.Err() != nil {
		return nil
	}
	n.mu.Lock()
	n.maps, n.secrets = maps.Lister(), secrets.Lister()
	n.mu.Unlock()
	mine.StartWithContext(watching)
	mine.WaitForCacheSyncWithContext(watching)
	if watching.Err() != nil {
		return nil
	}
	if err := n.forget(pods.Lister()); err != nil {
		return err
	}
	<-watching.Done()
	return nil
}

// forget ends the pods that the cluster has forgotten while nobody watched.
func (n *Node) forget(known corelisters.PodLister) error {
	pods, err := known.List(labels.Everything())
	if err != nil {
		return err
	}
	uids := map[types.UID]bool{}
	for _, p := range pods {
		uids[p.UID] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for uid, p := range n.pods {
		if !uids[uid] && !p.isGone() {
			close(p.gone)
		}
	}
	return nil
}

// listers are where ConfigMaps and Secrets are looked up now.
func (n *Node) listers() (corelisters.ConfigMapLister, corelisters.SecretLister) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.maps, n.secrets
}

// withoutManagedFields keeps what nobody here reads out of memory.
func withoutManagedFields(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return o, nil
}

// offer hands the newest form of a pod to its goroutine, and starts one for a pod
// that is new here.
func (n *Node) offer(ctx context.Context, object *corev1.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.pods[object.UID]
	if p == nil || p.isGone() {
		if finished(object) && object.DeletionTimestamp == nil {
			return // of an earlier life of this node
		}
		p = newPod(n, object, p)
		n.pods[object.UID] = p
		n.running.Go(func() {
			p.run(ctx)
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.pods[object.UID] == p {
				delete(n.pods, object.UID)
			}
		})
	}
	p.offer(object)
}

// remove tells a pod that the cluster knows it no more.
func (n *Node) remove(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.pods[uid]; p != nil && !p.isGone() {
		close(p.gone)
	}
}

// wake tells the pods that use this ConfigMap or Secret to look at it again.
func (n *Node) wake(kind string, o any) {
	object, ok := o.(metav1.Object)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pods {
		if p.uses[source{kind, object.GetNamespace(), object.GetName()}] {
			p.nudge()
		}
	}
}

// find looks up a pod by its name.
func (n *Node) find(namespace, name string) *pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	var found *pod
	for _, p := range n.pods {
		if p.namespace == namespace && p.name == name && (found == nil || !p.isGone()) {
			found = p
		}
	}
	return found
}

// Kill ends all processes of a pod at once, as a kernel does that has no memory left. Its
// containers start again, as their policy says.
func (n *Node) Kill(namespace, name string) error {
	p := n.find(namespace, name)
	if p == nil {
		return fmt.Errorf("node %s runs no pod %s/%s", n.cfg.Name, namespace, name)
	}
	p.mu.Lock()
	containers := p.containers
	p.mu.Unlock()
	killed := 0
	for _, c := range containers {
		if c.kill() {
			killed++
		}
	}
	if killed == 0 {
		return fmt.Errorf("pod %s/%s on node %s has no process", namespace, name, n.cfg.Name)
	}
	return nil
}

// folder is where a pod keeps its files.
func (n *Node) folder(object *corev1.Pod) string {
	return filepath.Join(n.cfg.Dir, object.Namespace+"_"+object.Name+"_"+string(object.UID))
}

func (n *Node) removeFolder(object *corev1.Pod) {
	if err := os.RemoveAll(n.folder(object)); err != nil {
		n.log.Warn("removing the files of a pod", "pod", object.Name, "error", err)
	}
}
