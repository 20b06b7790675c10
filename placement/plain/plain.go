// Package plain makes federated workloads of plain objects: whoever writes a Deployment into a dedicated API has it run in all clusters.
//
// Every object gets a FederatedObject of its own, which package apply carries out, and
// is told what its clusters show of it, added up, in its own status. The API server
// that they lie in runs no controllers, so what is left of those' work is done here:
// namespaces that are deleted are emptied and finished. What is read is never changed,
// and a failure to read is never a deletion.
package plain

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Config is what a Federator needs.
type Config struct {
	Instance  string       // unique over all replicas
	API       *rest.Config // where the objects lie: an API server of their own, without controllers
	Namespace string       // of the installation, which is left alone; empty means meridian-system
	// Writing is the context of the term in which this replica writes; nil while another
	// one does.
	Writing func() context.Context
	Pace    Pace

	Log        *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Pace is how often things are done. The zero Pace means the defaults.
type Pace struct {
	Audit  time.Duration // after which a watch is made anew with a whole list, more or less; 0 means 10 min
	Status time.Duration // that news of an object wait for more of them; 0 means 500 ms
	Look   time.Duration // between two looks at the term, at kinds that are awaited and at namespaces that end; 0 means 1 s
}

func (p Pace) filled() Pace {
	for field, def := range map[*time.Duration]time.Duration{&p.Audit: 10 * time.Minute, &p.Status: 500 * time.Millisecond, &p.Look: time.Second} {
		if *field <= 0 {
			*field = def
		}
	}
	return p
}

// Federator makes FederatedObjects of plain objects.
type Federator struct {
	cfg       Config
	log       *slog.Logger
	meter     *metrics
	client    dynamic.Interface
	discovery discovery.DiscoveryInterface
	queue     workqueue.TypedRateLimitingInterface[key]
	wake      chan struct{} // the kinds may be others now
	work      sync.WaitGroup

	federated  *shelf // FederatedObjects
	placements *shelf
	namespaces *shelf

	open atomic.Bool // this replica writes, and no controllers do
	why  atomic.Value

	mu      sync.Mutex
	shelves map[schema.GroupKind]*shelf // of what is federated
	fares   map[types.UID]fare          // by FederatedObject
	rules   rules
	events  map[string]time.Time // that were written lately, by name
}

// key names an object that is to be looked at.
type key struct {
	schema.GroupVersionKind
	types.NamespacedName
}

// String is the object as people are told of it.
func (k key) String() string { return k.Kind + " " + k.NamespacedName.String() }

var (
	federatedObject = v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindFederatedObject)
	placementKind   = v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindPlacement)
	namespaceKind   = corev1.SchemeGroupVersion.WithKind("Namespace")
	leases          = coordinationv1.SchemeGroupVersion.WithResource("leases")
)

// New prepares to work. It asks nobody yet, so a dead API server is no error.
func New(cfg Config) (*Federator, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = v1alpha1.HostNamespace
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	cfg.Pace = cfg.Pace.filled()
	api := rest.CopyConfig(cfg.API)
	api.WarningHandler = rest.NoWarnings{}
	api.QPS, api.Burst = requestsPerSecond, 2*requestsPerSecond
	client, err := rest.HTTPClientFor(api)
	if err != nil {
		return nil, err
	}
	f := &Federator{cfg: cfg, log: cfg.Log, meter: newMetrics(cfg.Registerer), wake: make(chan struct{}, 1), shelves: map[schema.GroupKind]*shelf{}, fares: map[types.UID]fare{}, events: map[string]time.Time{}}
	if f.client, err = dynamic.NewForConfigAndClient(api, client); err != nil {
		return nil, err
	}
	if f.discovery, err = discovery.NewDiscoveryClientForConfigAndClient(api, client); err != nil {
		return nil, err
	}
	f.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[key](250*time.Millisecond, 30*time.Second))
	f.why.Store("")
	f.federated = &shelf{gvk: federatedObject, gvr: v1alpha1.SchemeGroupVersion.WithResource("federatedobjects"), changed: f.federatedChanged}
	f.placements = &shelf{gvk: placementKind, gvr: v1alpha1.SchemeGroupVersion.WithResource("placements"), changed: func(key) { f.placementsChanged() }}
	f.namespaces = &shelf{gvk: namespaceKind, gvr: corev1.SchemeGroupVersion.WithResource("namespaces"), changed: f.queue.Add}
	return f, nil
}

// requestsPerSecond bounds what is asked of an API server that serves nobody but its
// writers and us.
const requestsPerSecond = 200

// workers look at objects at one time.
const workers = 4

// Run works until ctx ends.
func (f *Federator) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range []*shelf{f.federated, f.placements, f.namespaces} {
		g.Go(func() error { f.follow(ctx, s); return nil })
	}
	for range workers {
		g.Go(func() error { f.attendAll(ctx); return nil })
	}
	g.Go(func() error { return f.look(ctx) })
	g.Go(func() error { <-ctx.Done(); f.queue.ShutDown(); return nil })
	err := g.Wait()
	f.work.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// look has just the kinds watched that are federated now, and everything looked at when
// a term begins. Its select waits for:
//   - news of Placements or FederatedObjects, which may be about other kinds;
//   - the time to look at the term, and for kinds that are not there yet.
func (f *Federator) look(ctx context.Context) error {
	tick := time.NewTicker(f.cfg.Pace.Look)
	defer tick.Stop()
	var term context.Context
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
		case <-tick.C:
		}
		f.staff(ctx)
		if now := f.cfg.Writing(); now != term || now != nil && !f.open.Load() {
			f.open.Store(now != nil && f.alone(ctx))
			term = now
			f.all()
		}
	}
}

func (f *Federator) poke() {
	select {
	case f.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// follow keeps a shelf filled until ctx ends. Watches lose events, so a whole list is
// taken from time to time.
func (f *Federator) follow(ctx context.Context, s *shelf) {
	for ctx.Err() == nil {
		turn, cancel := context.WithTimeout(ctx, f.cfg.Pace.Audit*3/4+rand.N(f.cfg.Pace.Audit/2))
		s.fill(turn, f.client, f.all)
		cancel()
	}
}

// all has everything looked at.
func (f *Federator) all() {
	f.mu.Lock()
	shelves := []*shelf{f.namespaces}
	for _, s := range f.shelves {
		shelves = append(shelves, s)
	}
	f.mu.Unlock()
	for _, s := range shelves {
		for _, o := range s.list() {
			f.queue.Add(keyOf(s.gvk, o))
		}
	}
	there := map[types.UID]bool{}
	for _, o := range f.federated.list() {
		there[o.GetUID()] = true
		f.federatedChanged(keyOf(federatedObject, o))
	}
	f.mu.Lock()
	maps.DeleteFunc(f.fares, func(uid types.UID, _ fare) bool { return f.federated.ready() && !there[uid] })
	f.mu.Unlock()
	f.placementsChanged()
}

// federatedChanged has the object looked at that a FederatedObject was made of.
func (f *Federator) federatedChanged(k key) {
	f.judgeSoon()
	if o := f.federated.get(k.NamespacedName); o != nil {
		if source, ok := sourceOf(o); ok {
			f.queue.Add(source)
			if f.shelf(source.GroupVersionKind) == nil {
				f.poke()
			}
		}
		return
	}
	for _, s := range f.watched() { // it is gone, and its name says of what it was made
		for _, o := range s.list() {
			if o.GetNamespace() == k.Namespace && v1alpha1.FederatedName(o.GetKind(), o.GetName()) == k.Name {
				f.queue.Add(keyOf(s.gvk, o))
			}
		}
	}
}

func (f *Federator) placementsChanged() {
	f.queue.Add(key{GroupVersionKind: placementKind})
	f.poke()
}

// judgeSoon has Placements told what they do, which may be something else now.
func (f *Federator) judgeSoon() {
	f.queue.AddAfter(key{placementKind, types.NamespacedName{Name: "*"}}, 2*f.cfg.Pace.Look)
}

// attendAll looks at one object after the other until the queue ends.
func (f *Federator) attendAll(ctx context.Context) {
	for {
		k, over := f.queue.Get()
		if over {
			return
		}
		err := f.attend(ctx, k)
		switch {
		case err == nil || ctx.Err() != nil:
			f.queue.Forget(k)
		case errors.Is(err, errLater):
			f.queue.AddAfter(k, f.cfg.Pace.Look)
		default:
			f.log.Warn("an object could not be federated, and it is tried again", "object", k.String(), "err", err)
			f.queue.AddRateLimited(k)
		}
		f.queue.Done(k)
	}
}

// errLater says that something else has to come first.
var errLater = errors.New("it is waited for something else")

// attend looks at what one key names.
func (f *Federator) attend(ctx context.Context, k key) error {
	term := f.cfg.Writing()
	if term == nil || !f.open.Load() {
		return nil // looked at again when our term begins
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(term, cancel)() //nolint:contextcheck // the term ends what is written in it
	var err error
	switch k.GroupVersionKind {
	case placementKind:
		if k.Name == "" {
			f.govern()
		} else {
			err = f.judge(ctx)
		}
	case namespaceKind:
		err = f.finish(ctx, k.Name)
	default:
		err = f.federate(ctx, k)
	}
	if term.Err() != nil {
		return nil // another replica writes now
	}
	return err
}

// within bounds everything that is done for one object at a time.
const within = 30 * time.Second

// alone reports whether the API server has no controllers. Together with them
// everything would run twice, so then nothing is done at all.
func (f *Federator) alone(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, f.cfg.Pace.Look*5)
	defer cancel()
	lease, err := f.client.Resource(leases).Namespace("kube-system").Get(within, "kube-controller-manager", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true
	}
	if err == nil {
		text, _, _ := unstructured.NestedString(lease.Object, "spec", "renewTime")
		at, bad := time.Parse(time.RFC3339Nano, text)
		if bad == nil && time.Since(at) > time.Minute {
			return true // they ended
		}
		err = errors.New("controllers run in it, and would run what is to run in its members; let --plain-objects watch an API server of its own, as \"meridian init --dedicated-api\" makes it")
	}
	if text := err.Error(); ctx.Err() == nil && f.why.Swap(text) != text {
		f.log.Error("plain objects are not federated", "api", f.cfg.API.Host, "err", text)
	}
	return false
}
