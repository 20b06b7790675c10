package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// kind is one kind of objects that is watched at an API server. It outlives
// connections: a server that replaces another goes on filling the same shelf.
type kind struct {
	resource schema.GroupVersionResource
	object   runtime.Object // an empty one
	// metadata asks for names and labels only.
	metadata bool
	// optional kinds may be missing from the API server, come later, and be
	// denied to us: then there are none of them.
	optional bool
	// single kinds are one object, whose trouble is told of that object and does not
	// make anything else old.
	single    bool
	namespace string // that is watched alone; empty: all
	field     string // selector
	shelf     filler

	mu     sync.Mutex
	err    error     // of the last try; nil while a watch lasts
	since  time.Time // of the first error in a row
	losses uint64
	cut    func()
	again  chan struct{}

	due int // of the server's lock: see overdue
}

// filler is a shelf, whatever it holds.
type filler interface {
	cache.ReflectorStore
	ready() bool
	editions() map[types.NamespacedName]edition
}

// name is how people call the kind: "endpointslices.discovery.k8s.io".
func (k *kind) name() string { return k.resource.GroupResource().String() }

// settled reports whether the kind keeps nobody waiting: its objects are here,
// or there are none to be had.
func (k *kind) settled() bool {
	return k.shelf.ready() || k.optional && k.missing()
}

// missing reports whether the API server knows no such kind, or denies it.
func (k *kind) missing() bool {
	err := k.trouble()
	return apierrors.IsNotFound(err) || apierrors.IsForbidden(err)
}

// trouble is what keeps the kind from being watched; nil: nothing.
func (k *kind) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// lasting reports whether the trouble has lasted that long.
func (k *kind) lasting(d time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err != nil && time.Since(k.since) >= d
}

// note keeps the outcome of a try and reports whether it is news.
func (k *kind) note(err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := (k.err == nil) != (err == nil) || err != nil && err.Error() != k.err.Error()
	if err == nil {
		k.since = time.Time{}
	} else if k.since.IsZero() {
		k.since = time.Now()
	}
	k.err = err
	return news
}

// relist ends the watch, if there is one, and begins with a list.
func (k *kind) relist() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cut != nil {
		k.cut()
	}
	k.wake()
}

func (k *kind) wake() {
	select {
	case k.again <- struct{}{}:
	default:
	}
}

// How long the next try is waited for. A pulse that comes back wakes all at once.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 8 * time.Second
	absent     = 4 * time.Second // until a missing kind is asked for again
)

// follow keeps the shelf filled until ctx ends.
func (s *server) follow(ctx context.Context, k *kind) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		s.once(ctx, k)
		switch {
		case k.optional && k.missing():
			pause = absent
		case time.Since(began) > lastPause: // it worked for a while
			pause = firstPause
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
		case <-k.again:
			pause = firstPause
		case <-wait.C:
			pause = min(2*pause, lastPause)
		}
		wait.Stop()
	}
}

// once lists and watches until the watch can no longer be gone on with.
func (s *server) once(ctx context.Context, k *kind) {
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	k.mu.Lock()
	k.cut = cut
	k.mu.Unlock()
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(&listWatch{ctx, s, k}, k.object, k.shelf, cache.ReflectorOptions{
		Name: s.name, TypeDescription: k.name(), Logger: &quiet,
	})
	_ = r.ListAndWatchWithContext(klog.NewContext(ctx, quiet)) // listWatch has noted why
}

// listWatch is what a reflector asks. Nothing is listed or watched before the
// API server has said who it is.
type listWatch struct {
	ctx context.Context
	s   *server
	k   *kind
}

// List is asked by nobody: reflectors prefer the other one.
func (l *listWatch) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(l.ctx, o)
}

// Watch is asked by nobody: reflectors prefer the other one.
func (l *listWatch) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(l.ctx, o)
}

// ListWithContext lists where the API server cannot stream a list. It is always
// the newest state that is asked for: an old one would bring back what has gone.
func (l *listWatch) ListWithContext(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	b, err := l.s.pulse.feel(l.ctx, false) //nolint:contextcheck // that of the kind, which ends lists too
	if err != nil {
		return nil, l.done(err)
	}
	l.k.mark(b.losses)
	o.ResourceVersion, o.ResourceVersionMatch = "", ""
	o.FieldSelector = l.k.field
	list, err := l.s.list(l.ctx, l.k, o) //nolint:contextcheck // that of the kind, which ends lists too
	return list, l.done(err)
}

// WatchWithContext begins a watch, with a list streaming in before it or going
// on from where another one ended. After a loss nobody can go on: a list is due.
func (l *listWatch) WatchWithContext(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	goesOn := o.SendInitialEvents == nil
	b, err := l.s.pulse.feel(l.ctx, goesOn) //nolint:contextcheck // that of the kind, which ends lists too
	if err != nil {
		return nil, l.done(err)
	}
	if !goesOn {
		l.k.mark(b.losses)
		o.ResourceVersion = ""
	} else if at, err := strconv.ParseUint(o.ResourceVersion, 10, 64); err != nil || l.k.marked() != b.losses || b.revision > 0 && at > b.revision {
		return nil, errors.New("the watch cannot go on, a list is due")
	}
	o.FieldSelector = l.k.field
	w, err := l.s.watch(l.ctx, l.k, o) //nolint:contextcheck // that of the kind, which ends lists too
	return w, l.done(err)
}

func (l *listWatch) done(err error) error {
	if l.ctx.Err() != nil {
		return err
	}
	if l.k.note(err) {
		l.s.changed()
	}
	if err != nil { // reflectors wait long for some errors; this one they pass on
		return fmt.Errorf("%s: %s", l.k.name(), err) //nolint:errorlint // on purpose not to be unwrapped
	}
	return nil
}

func (k *kind) mark(losses uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.losses = losses
}

func (k *kind) marked() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.losses
}
