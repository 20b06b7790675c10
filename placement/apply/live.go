package apply

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/meridian-lb/meridian/placement"
)

// live is an object as a member has it. It is never changed.
type live struct {
	object   *unstructured.Unstructured // without managedFields, and without what is away
	away     []byte                     // what pack took, as JSON
	fields   string                     // digest of the fields that are ours; empty: none is
	replicas bool                       // the wanted replicas are among them
}

// usualReplicas is where kinds of Kubernetes itself keep the replicas that are wanted.
var usualReplicas = []string{"spec", "replicas"}

// newLive reads an object of a member, whose wanted replicas are at this path. The object
// is ours from now on.
func newLive(o *unstructured.Unstructured, replicas []string) *live {
	l := &live{object: o}
	for _, m := range o.GetManagedFields() {
		if m.Manager == placement.Manager && m.Operation == metav1.ManagedFieldsOperationApply && m.Subresource == "" && m.FieldsV1 != nil {
			l.fields = digest(m.FieldsV1)
			l.replicas = ownsField(m.FieldsV1, replicas)
		}
	}
	o.SetManagedFields(nil)
	return l
}

// alike reports whether two states of an object are one to us: nothing differs that is
// ever looked at, but for what is kept when it is written again. Members say of their
// objects again and again what is known.
func alike(a, b *live, scale placement.Scale) bool {
	x, y := a.object, b.object
	if x.GetUID() != y.GetUID() || a.fields != b.fields || (x.GetDeletionTimestamp() == nil) != (y.GetDeletionTimestamp() == nil) ||
		!maps.Equal(x.GetAnnotations(), y.GetAnnotations()) || !maps.Equal(x.GetLabels(), y.GetLabels()) {
		return false
	}
	n, ok := placement.CountOf(x, scale)
	m, ok2 := placement.CountOf(y, scale)
	if n != m || ok != ok2 {
		return false
	}
	refused, since := forbidden(x, n)
	refused2, since2 := forbidden(y, m)
	at := []string{"spec", "selector"}
	if len(scale.Selector) > 0 {
		at = scale.Selector
	}
	before, _, _ := unstructured.NestedFieldNoCopy(x.Object, at...)
	after, _, _ := unstructured.NestedFieldNoCopy(y.Object, at...)
	return refused == refused2 && since.Equal(since2) && reflect.DeepEqual(before, after)
}

// tellAlike reports whether two states of an object add the same to what one big cluster
// would show.
func tellAlike(kind schema.GroupKind, a, b *live) bool {
	sum := func(l *live) map[string]any {
		status, _, _ := unstructured.NestedFieldNoCopy(l.object.Object, "status")
		m, _ := status.(map[string]any)
		return placement.Sum(kind, []placement.Told{{Status: m}})
	}
	return reflect.DeepEqual(sum(a), sum(b))
}

// stock holds the objects of one kind that are ours in one member. A reflector
// fills it; objects in it are never changed.
type stock struct {
	// changed hears of objects that came, went or became others, and of the first
	// whole list, which is told even when it showed nothing: a later one that shows
	// nothing new is no news. It must not block.
	changed func(list []change, first bool)

	packs    bool            // objects are packed
	replicas func() []string // where the kind keeps the replicas that are wanted; nil: where Kubernetes does

	mu      sync.Mutex
	objects map[types.NamespacedName]*live
	listed  bool
}

// change is what became of an object; before or after is nil when it came or went.
type change struct {
	name          types.NamespacedName
	before, after *live
}

var _ cache.ReflectorStore = (*stock)(nil)

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Add puts an object in.
func (s *stock) Add(o any) error { return s.Update(o) }

// Update puts an object in place of the one of its name.
func (s *stock) Update(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%T came where an object was watched", o)
	}
	s.put(s.live(u))
	return nil
}

// live reads an object of the stock's kind.
func (s *stock) live(o *unstructured.Unstructured) *live {
	return newLive(o, s.at())
}

// at is where the kind keeps the replicas that are wanted.
func (s *stock) at() []string {
	if s.replicas == nil {
		return usualReplicas
	}
	return s.replicas()
}

// put puts in what a write or a watch brought.
func (s *stock) put(l *live) {
	name := nameOf(l.object)
	if s.packs {
		l.pack()
	}
	s.mu.Lock()
	if s.objects == nil {
		s.objects = map[types.NamespacedName]*live{}
	}
	before := s.objects[name]
	if before != nil && older(l, before) {
		s.mu.Unlock()
		return // the answer to a write was quicker than the watch
	}
	s.objects[name] = l
	s.mu.Unlock()
	s.changed([]change{{name: name, before: before, after: l}}, false)
}

// older reports whether l is an earlier state of the same object than m.
func older(l, m *live) bool {
	a, err := strconv.ParseUint(l.object.GetResourceVersion(), 10, 64)
	b, err2 := strconv.ParseUint(m.object.GetResourceVersion(), 10, 64)
	return err == nil && err2 == nil && l.object.GetUID() == m.object.GetUID() && a < b
}

// Delete takes an object out.
func (s *stock) Delete(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%T went where an object was watched", o)
	}
	name := nameOf(u)
	s.mu.Lock()
	before := s.objects[name]
	delete(s.objects, name)
	s.mu.Unlock()
	if before != nil {
		s.changed([]change{{name: name, before: before}}, false)
	}
	return nil
}

// Replace fills the stock anew with a whole list.
func (s *stock) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]*live, len(list))
	for _, o := range list {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("%T came where a list of objects was asked for", o)
		}
		l := s.live(u)
		if s.packs {
			l.pack()
		}
		fresh[nameOf(u)] = l
	}
	var changes []change
	s.mu.Lock()
	for name, l := range fresh {
		before := s.objects[name]
		if before != nil && before.object.GetUID() == l.object.GetUID() && before.object.GetResourceVersion() == l.object.GetResourceVersion() {
			fresh[name] = before
			continue
		}
		changes = append(changes, change{name: name, before: before, after: l})
	}
	for name, before := range s.objects {
		if fresh[name] == nil {
			changes = append(changes, change{name: name, before: before})
		}
	}
	first := !s.listed
	s.objects, s.listed = fresh, true
	s.mu.Unlock()
	if first || len(changes) > 0 {
		s.changed(changes, first)
	}
	return nil
}

// Resync is nothing here: level comes from lists.
func (s *stock) Resync() error { return nil }

// get finds an object; nil: there is none.
func (s *stock) get(name types.NamespacedName) *live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[name]
}

// all lists every object, in no order.
func (s *stock) all() []*live {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.objects))
}

// ready reports whether a list has ever come, so that what is not here is not there.
func (s *stock) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}

// empty reports whether nothing is in it.
func (s *stock) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects) == 0
}
