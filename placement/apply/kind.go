package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/meridian-lb/meridian/placement"
)

// kind is one kind of objects that are watched in one API server, and their stock.
type kind struct {
	gvk   schema.GroupVersionKind
	label string // selector; empty: all
	field string // selector; empty: all

	namespace string // empty: all
	store     cache.ReflectorStore

	mu         sync.Mutex
	resource   schema.GroupVersionResource // zero: the API server has not said yet
	namespaced bool
	scale      placement.Scale
	unscaled   error         // why scale could not be read; nil: it could, or there is none
	err        error         // of the last try; nil: it is watched
	again      chan struct{} // wakes follow
	cut        func()        // ends the try that runs
}

// errMissing says that an API server does not have a kind.
var errMissing = errors.New("it does not have this kind")

func newKind(gvk schema.GroupVersionKind, label string, store cache.ReflectorStore) *kind {
	return &kind{gvk: gvk, label: label, store: store, again: make(chan struct{}, 1), cut: func() {}}
}

// trouble says why the kind is not watched; nil: it is, or nobody tried yet.
func (k *kind) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// where is the kind's resource, once the API server has said.
func (k *kind) where() (gvr schema.GroupVersionResource, namespaced, known bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.resource, k.namespaced, k.resource.Resource != ""
}

// relist has a whole list taken anew, at once.
func (k *kind) relist() {
	k.mu.Lock()
	cut := k.cut
	k.mu.Unlock()
	cut()
	k.wake()
}

func (k *kind) wake() {
	select {
	case k.again <- struct{}{}:
	default: // it will try anyway
	}
}

// How long the next try is waited for. A pulse that comes back wakes all at once.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 8 * time.Second
)

// listWithin bounds one list and every write.
const listWithin = 30 * time.Second

// follow keeps the stock filled until ctx ends. Watches lose events, so a whole
// list is taken from time to time; changed hears when the trouble became another one.
func (k *kind) follow(ctx context.Context, c connection, audit time.Duration, changed func()) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := k.once(ctx, c, audit, changed)
		if ctx.Err() != nil {
			return
		}
		if err == nil || time.Since(began) > lastPause { // it worked for a while
			pause = firstPause
		}
		if k.note(err) {
			changed()
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		if err == nil && time.Since(began) > time.Second {
			wait.Reset(0)
		}
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

// note keeps what the last try said and reports whether that is news.
func (k *kind) note(err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.err
	k.err = err
	return (before == nil) != (err == nil) || err != nil && before.Error() != err.Error()
}

// connection is one way to one API server.
type connection struct {
	client    dynamic.Interface
	discovery discovery.DiscoveryInterface
}

// resolve asks for the resource of the kind, until the API server has it.
func (k *kind) resolve(ctx context.Context, c connection) error {
	if _, _, known := k.where(); known && placement.Builtin(k.gvk.Group) {
		return nil // of a kind that others define it is asked again, since they change it
	}
	list, err := c.discovery.ServerResourcesForGroupVersion(k.gvk.GroupVersion().String())
	switch {
	case apierrors.IsNotFound(err):
		return errMissing
	case err != nil:
		return err
	}
	for _, r := range list.APIResources {
		if r.Kind == k.gvk.Kind && !isSub(r.Name) {
			scale, unscaled, err := scaleOf(ctx, c, k.gvk, r.Name, list.APIResources)
			if err != nil {
				return err
			}
			k.mu.Lock()
			k.scale, k.unscaled = scale, unscaled
			k.resource, k.namespaced = k.gvk.GroupVersion().WithResource(r.Name), r.Namespaced
			k.mu.Unlock()
			return nil
		}
	}
	return errMissing
}

func isSub(resource string) bool {
	for _, r := range resource {
		if r == '/' {
			return true
		}
	}
	return false
}

// forget has the resource asked for again.
func (k *kind) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.resource = schema.GroupVersionResource{}
}

// once lists and watches until that is no longer possible, or an audit is due.
func (k *kind) once(ctx context.Context, c connection, audit time.Duration, changed func()) error {
	was, why := k.scaling()
	if err := k.resolve(ctx, c); err != nil {
		return err
	}
	if is, whyNot := k.scaling(); !reflect.DeepEqual(was, is) || (why == nil) != (whyNot == nil) {
		changed()
	}
	if _, why := k.scaling(); why != nil {
		audit = min(audit, time.Minute) // so that a right that was granted is noticed
	}
	ctx, cut := context.WithTimeout(ctx, audit*3/4+rand.N(audit/2))
	defer cut()
	k.mu.Lock()
	k.cut = cut
	k.mu.Unlock()
	resource, _, _ := k.where()
	lw := &listWatch{ctx: ctx, client: c.client.Resource(resource).Namespace(k.namespace), label: k.label, field: k.field, good: func() {
		if k.note(nil) {
			changed()
		}
	}}
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, k.store, cache.ReflectorOptions{
		Name: k.gvk.Kind, TypeDescription: k.gvk.String(), Logger: &quiet,
	})
	_ = r.ListAndWatchWithContext(klog.NewContext(ctx, quiet)) // listWatch has kept why
	err := lw.err
	if apierrors.IsNotFound(err) { // a kind that was there is gone
		k.forget()
		return errMissing
	}
	return err
}

// listWatch is what a reflector asks. It is used by one goroutine.
type listWatch struct {
	ctx    context.Context //nolint:containedctx // of the try
	client dynamic.ResourceInterface
	label  string
	field  string
	good   func() // hears of every answer
	err    error  // of the last question
}

// List is asked by nobody: reflectors prefer the other one.
func (l *listWatch) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(l.ctx, o)
}

// Watch is asked by nobody: reflectors prefer the other one.
func (l *listWatch) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(l.ctx, o)
}

// ListWithContext lists where the API server cannot stream a list. It is always the
// newest state that is asked for: an old one would bring back what has gone.
func (l *listWatch) ListWithContext(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(l.ctx, listWithin)
	defer cancel()
	o.ResourceVersion, o.ResourceVersionMatch, o.LabelSelector = "", "", l.label
	o.FieldSelector = l.field
	list, err := l.client.List(ctx, o) //nolint:contextcheck // that of the try, which ends lists too
	if err != nil {
		return nil, l.done(err)
	}
	return list, l.done(nil)
}

// WatchWithContext begins a watch, with a list streaming in before it or going on
// from where another one ended.
func (l *listWatch) WatchWithContext(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if o.SendInitialEvents != nil {
		o.ResourceVersion = ""
	}
	o.LabelSelector, o.FieldSelector = l.label, l.field
	w, err := l.client.Watch(l.ctx, o) //nolint:contextcheck // that of the try, which ends watches too
	if err != nil {
		return nil, l.done(err)
	}
	return w, l.done(nil)
}

func (l *listWatch) done(err error) error {
	if l.ctx.Err() != nil {
		return err
	}
	l.err = err
	if err != nil { // reflectors wait long for some errors; this one they pass on
		return fmt.Errorf("%s", err) //nolint:errorlint // on purpose not to be unwrapped
	}
	l.good()
	return nil
}
