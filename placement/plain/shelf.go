package plain

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// shelf holds the objects of one kind. A watch that is made anew leaves what was known
// in force until it has a whole list.
type shelf struct {
	gvk     schema.GroupVersionKind
	gvr     schema.GroupVersionResource
	changed func(key) // hears of every object that came, went or became another; must not block
	end     context.CancelFunc

	mu    sync.Mutex
	store cache.Store // nil: no whole list has come yet
}

// fill fills the shelf until ctx ends. Whole hears of every whole list.
func (s *shelf) fill(ctx context.Context, client dynamic.Interface, whole func()) {
	quiet := klog.NewContext(ctx, logr.Discard())
	informer := dynamicinformer.NewFilteredDynamicInformer(client, s.gvr, "", 0, cache.Indexers{}, nil).Informer()
	_ = informer.SetTransform(strip)                                                                // fails only when it runs already
	_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}) // it goes on trying
	hear := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if u, ok := o.(*unstructured.Unstructured); ok {
			s.changed(keyOf(s.gvk, u))
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: hear, UpdateFunc: func(_, o any) { hear(o) }, DeleteFunc: hear})
	var listed sync.WaitGroup
	defer listed.Wait()
	listed.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			s.mu.Lock()
			s.store = informer.GetStore()
			s.mu.Unlock()
			whole()
		}
	})
	informer.RunWithContext(quiet)
}

// ready reports whether a whole list has ever come, so that what is not here is not there.
func (s *shelf) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store != nil
}

// get finds an object, which is not to be changed; nil: there is none.
func (s *shelf) get(name types.NamespacedName) *unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	path := name.Name
	if name.Namespace != "" {
		path = name.Namespace + "/" + name.Name
	}
	o, _, _ := s.store.GetByKey(path)
	u, _ := o.(*unstructured.Unstructured)
	return u
}

// list are all objects, in no order.
func (s *shelf) list() []*unstructured.Unstructured {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store == nil {
		return nil
	}
	var out []*unstructured.Unstructured
	for _, o := range s.store.List() {
		if u, ok := o.(*unstructured.Unstructured); ok {
			out = append(out, u)
		}
	}
	return out
}

// strip takes out what nobody reads here.
func strip(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return o, nil
}

func keyOf(gvk schema.GroupVersionKind, o *unstructured.Unstructured) key {
	return key{gvk, types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}}
}
