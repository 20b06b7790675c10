package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/internal/lab"
)

// retry is when something that failed is tried again.
const retry = 500 * time.Millisecond

// pod is one pod on this node. Its goroutine, run, owns what has no other note.
type pod struct {
	node            *Node
	namespace, name string
	uid             types.UID
	uses            map[source]bool // never changes
	previous        *pod            // the same pod of before the cluster forgot it, still ending; or nil
	gone            chan struct{}   // closed under the node's lock when the cluster knows it no more
	done            chan struct{}   // closed when run has returned
	news            chan struct{}   // something to look at; holds one

	mu         sync.Mutex
	newest     *corev1.Pod  // guarded by mu
	containers []*container // guarded by mu; empty until it has begun

	volumes volumes
	addr    netip.Addr
	own     bool // the address was taken from the node's
	began   bool
	light   bool // none of its containers has a process
	mounted map[string]string
	trouble string // why it has not begun
	ending  bool
	deleted bool
}

func newPod(n *Node, object *corev1.Pod, previous *pod) *pod {
	return &pod{
		node: n, namespace: object.Namespace, name: object.Name, uid: object.UID, uses: uses(object), previous: previous,
		gone: make(chan struct{}), done: make(chan struct{}), news: make(chan struct{}, 1),
		newest: object, volumes: volumes{node: n, dir: n.folder(object), tokens: map[string]token{}},
	}
}

func (p *pod) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// nudge makes the pod look around.
func (p *pod) nudge() {
	select {
	case p.news <- struct{}{}:
	default: // it will look anyway
	}
}

func (p *pod) offer(object *corev1.Pod) {
	p.mu.Lock()
	p.newest = object
	p.mu.Unlock()
	p.nudge()
}

func (p *pod) latest() *corev1.Pod {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest
}

// run is the pod's life. It ends when the cluster knows the pod no more or ctx
// ends; either kills what still runs.
func (p *pod) run(ctx context.Context) {
	defer close(p.done)
	if p.previous != nil {
		<-p.previous.done
		p.previous = nil
	}
	defer func() {
		if p.own {
			p.node.addrs.give(p.addr)
		}
		if p.isGone() {
			p.node.removeFolder(p.latest())
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for {
		again := p.step(ctx, &running)
		var timer <-chan time.Time
		if again > 0 {
			timer = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.gone:
			return
		case <-p.news:
		case <-timer:
		}
	}
}

// step does what is to be done now and says when to look again at the latest; zero
// means that there will be news.
func (p *pod) step(ctx context.Context, running *sync.WaitGroup) (again time.Duration) {
	object := p.latest()
	leaving := object.DeletionTimestamp != nil
	switch {
	case !p.began && !leaving:
		p.trouble = ""
		if err := p.begin(ctx, object, running); err != nil {
			p.trouble, again = err.Error(), retry
		}
	case p.began && !leaving && !p.light:
		again = p.refresh(ctx, object)
	}
	if leaving && !p.ending {
		p.ending = true
		for _, c := range p.containers {
			c.end(graceOf(object))
		}
	}
	over := p.ending && !slices.ContainsFunc(p.containers, func(c *container) bool { return !c.read().over })
	if !over || !p.light && p.began {
		if err := p.report(ctx, object); err != nil {
			p.node.log.Warn("reporting the status of a pod", "pod", p.name, "error", err)
			return retry
		}
	}
	if over && !p.deleted {
		if err := p.delete(ctx); err != nil {
			p.node.log.Warn("deleting a pod that has ended", "pod", p.name, "error", err)
			return retry
		}
		p.deleted = true
	}
	return again
}

func graceOf(object *corev1.Pod) time.Duration {
	if s := object.DeletionGracePeriodSeconds; s != nil {
		return time.Duration(*s) * time.Second
	}
	return 0
}

// begin starts the containers, or says what keeps them from it.
func (p *pod) begin(ctx context.Context, object *corev1.Pod, running *sync.WaitGroup) error {
	images, err := p.images(object)
	if err != nil {
		return err
	}
	p.light = !slices.ContainsFunc(images, func(i Image) bool { return i != nil })
	if err := p.takeAddress(object); err != nil {
		return err
	}
	p.volumes.addr = p.addr
	if !p.light {
		if p.mounted, _, err = p.volumes.mount(ctx, object); err != nil {
			return err
		}
	}
	var containers []*container
	for i := range object.Spec.Containers {
		spec := object.Spec.Containers[i]
		c := &container{spec: spec, policy: object.Spec.RestartPolicy, changed: p.nudge, ending: make(chan time.Duration, 1)}
		starts := 0
		c.command = func() (lab.Command, error) {
			starts++
			return p.command(object, spec, images[i], starts)
		}
		c.ready = func(ctx context.Context, tell func(bool)) { watchReadiness(ctx, &spec, p.addr, tell) }
		c.state.restarts = restartsOf(object, spec.Name)
		containers = append(containers, c)
	}
	p.mu.Lock()
	p.containers = containers
	p.mu.Unlock()
	p.began = true
	for _, c := range containers {
		running.Go(func() { c.run(ctx) })
	}
	return nil
}

// images finds the images and refuses what this node cannot run.
func (p *pod) images(object *corev1.Pod) ([]Image, error) {
	if len(object.Spec.InitContainers) > 0 {
		return nil, errors.New("this node runs no init containers")
	}
	var images []Image
	for _, c := range object.Spec.Containers {
		image, err := p.node.image(c.Image)
		if err == nil {
			err = checkProbe(c.ReadinessProbe)
		}
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", c.Name, err)
		}
		images = append(images, image)
	}
	return images, nil
}

func (p *pod) takeAddress(object *corev1.Pod) error {
	if p.addr.IsValid() {
		return nil
	}
	if object.Spec.HostNetwork {
		p.addr = p.node.cfg.Addr
		return nil
	}
	wanted, _ := netip.ParseAddr(object.Status.PodIP) // of an earlier life of this node; mostly empty
	addr, err := p.node.addrs.take(wanted)
	if err != nil {
		return err
	}
	p.addr, p.own = addr, true
	return nil
}

// restartsOf counts the end of an earlier life of this node as one restart.
func restartsOf(object *corev1.Pod, name string) int32 {
	for _, s := range object.Status.ContainerStatuses {
		if s.Name == name && s.ContainerID != "" {
			return s.RestartCount + 1
		}
	}
	return 0
}

// refresh brings mounted files up to date. What cannot be had stays as it was.
func (p *pod) refresh(ctx context.Context, object *corev1.Pod) (again time.Duration) {
	_, renew, err := p.volumes.mount(ctx, object)
	switch {
	case err != nil:
		p.node.log.Warn("refreshing the files of a pod", "pod", p.name, "error", err)
		return 0
	case renew.IsZero():
		return 0
	default:
		return max(retry, time.Until(renew))
	}
}

// command says how to start a container, for the nth time.
func (p *pod) command(object *corev1.Pod, spec corev1.Container, image Image, nth int) (lab.Command, error) {
	if image == nil {
		return lab.Command{}, nil
	}
	mounts, err := mountsOf(&spec, p.mounted)
	if err != nil {
		return lab.Command{}, err
	}
	env, err := p.node.environment(object, &spec, p.addr)
	if err != nil {
		return lab.Command{}, err
	}
	cfg := &p.node.cfg
	c := Container{Pod: object, Spec: spec, Addr: p.addr, Node: cfg.Name, Region: cfg.Region, Zone: cfg.Zone, mounts: mounts}
	if len(spec.Command) > 1 {
		c.Args = slices.Clone(spec.Command[1:])
	}
	c.Args = append(c.Args, spec.Args...)
	for i := range c.Args {
		c.Args[i] = c.localize(expand(c.Args[i], env))
	}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		c.Env = append(c.Env, key+"="+c.localize(env[key]))
	}
	command, err := image(c)
	if err != nil || command.Path == "" {
		return command, err
	}
	logs := filepath.Join(p.volumes.dir, "logs", spec.Name)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return lab.Command{}, err
	}
	command.Name = fmt.Sprintf("%s/%s %s", p.namespace, p.name, spec.Name)
	command.Env = append(command.Env, c.Env...)
	if cfg.Names.IsValid() {
		if command, err = p.named(object, command); err != nil {
			return lab.Command{}, err
		}
	}
	command.Log = filepath.Join(logs, fmt.Sprintf("%d.log", nth))
	return command, nil
}

// report tells the cluster how the pod is, if it does not know yet.
func (p *pod) report(ctx context.Context, object *corev1.Pod) error {
	view := view{addr: p.addr, host: p.node.cfg.Addr, trouble: p.trouble, now: time.Now()}
	for _, c := range p.containers {
		view.states = append(view.states, c.read())
	}
	patch, err := patchFor(object, statusOf(object, view))
	if err != nil || patch == nil {
		return err
	}
	known, err := p.node.client.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		if isNews(err) && ctx.Err() == nil {
			return err
		}
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.newest == object {
		p.newest = known
	}
	return nil
}

// delete takes the pod out of the cluster's books.
func (p *pod) delete(ctx context.Context) error {
	err := p.node.client.CoreV1().Pods(p.namespace).Delete(ctx, p.name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64),
		Preconditions:      &metav1.Preconditions{UID: &p.uid},
	})
	if isNews(err) && ctx.Err() == nil {
		return err
	}
	return nil
}

// isNews is about a request for one pod. That it is gone, or that another one has
// its name, comes to this node by itself.
func isNews(err error) bool {
	return err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err)
}

// container finds a container that has begun, by its name.
func (p *pod) container(name string) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.containers {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}
