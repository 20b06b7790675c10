package kube

import (
	"cmp"
	"fmt"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/meridian-lb/meridian/fleet"
)

// shelf holds the objects of one kind of one API server. A reflector fills it;
// whoever owns the facts reads it. Objects on it are never changed.
type shelf[T metav1.Object] struct {
	// strip takes away what nobody here reads, before the object is put up.
	strip func(T)
	// writers keeps the names of those who wrote an object's status.
	writers bool
	// group says which service an object belongs to, for of; may be nil.
	group func(T) (fleet.ServiceName, bool)
	// changed hears of objects that came, went or became others, and whether a
	// whole list showed it, which is told even when it showed nothing new. It must
	// not block.
	changed func(list []change[T], whole bool)

	mu      sync.Mutex
	objects map[types.NamespacedName]T
	groups  map[fleet.ServiceName]map[types.NamespacedName]T
	lists   int // that have come
}

// change is what became of an object: one of the two is missing when it came or went.
type change[T metav1.Object] struct {
	name          types.NamespacedName
	before, after T
	came, went    bool
}

var _ cache.TransformingStore = (*shelf[*metav1.PartialObjectMetadata])(nil)

func nameOf(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

// Transformer strips objects while a list still streams in.
func (s *shelf[T]) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		v, err := s.own(o)
		return v, err
	}
}

func (s *shelf[T]) own(o any) (T, error) {
	v, ok := o.(T)
	if !ok {
		return v, fmt.Errorf("%T came where %T was asked for", o, v)
	}
	var writers []metav1.ManagedFieldsEntry
	if s.writers {
		writers = statusWriters(v.GetManagedFields())
	}
	v.SetManagedFields(writers)
	if s.strip != nil {
		s.strip(v)
	}
	return v, nil
}

// Add puts an object up.
func (s *shelf[T]) Add(o any) error { return s.Update(o) }

// Update puts an object up in place of the one of its name.
func (s *shelf[T]) Update(o any) error {
	v, err := s.own(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before, there := s.put(nameOf(v), v)
	s.mu.Unlock()
	s.changed([]change[T]{{name: nameOf(v), before: before, after: v, came: !there}}, false)
	return nil
}

// Delete takes an object away.
func (s *shelf[T]) Delete(o any) error {
	v, ok := o.(T)
	if !ok {
		return fmt.Errorf("%T went where %T was watched", o, v)
	}
	s.mu.Lock()
	before, there := s.take(nameOf(v))
	s.mu.Unlock()
	if there {
		s.changed([]change[T]{{name: nameOf(v), before: before, went: true}}, false)
	}
	return nil
}

// Replace fills the shelf anew with a whole list.
func (s *shelf[T]) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]T, len(list))
	for _, o := range list {
		v, err := s.own(o)
		if err != nil {
			return err
		}
		fresh[nameOf(v)] = v
	}
	var changes []change[T]
	s.mu.Lock()
	for name, v := range fresh {
		before, there := s.objects[name]
		if there && before.GetUID() == v.GetUID() && before.GetResourceVersion() == v.GetResourceVersion() {
			continue
		}
		s.put(name, v)
		changes = append(changes, change[T]{name: name, before: before, after: v, came: !there})
	}
	for name := range s.objects {
		if _, there := fresh[name]; !there {
			before, _ := s.take(name)
			changes = append(changes, change[T]{name: name, before: before, went: true})
		}
	}
	s.lists++
	s.mu.Unlock()
	s.changed(changes, true)
	return nil
}

// Resync is nothing here: level comes from lists.
func (s *shelf[T]) Resync() error { return nil }

func (s *shelf[T]) put(name types.NamespacedName, v T) (T, bool) {
	before, there := s.take(name)
	if s.objects == nil {
		s.objects, s.groups = map[types.NamespacedName]T{}, map[fleet.ServiceName]map[types.NamespacedName]T{}
	}
	s.objects[name] = v
	if of, ok := s.groupOf(v); ok {
		if s.groups[of] == nil {
			s.groups[of] = map[types.NamespacedName]T{}
		}
		s.groups[of][name] = v
	}
	return before, there
}

func (s *shelf[T]) take(name types.NamespacedName) (T, bool) {
	before, there := s.objects[name]
	if there {
		delete(s.objects, name)
		if of, ok := s.groupOf(before); ok {
			delete(s.groups[of], name)
			if len(s.groups[of]) == 0 {
				delete(s.groups, of)
			}
		}
	}
	return before, there
}

func (s *shelf[T]) groupOf(v T) (fleet.ServiceName, bool) {
	if s.group == nil {
		return fleet.ServiceName{}, false
	}
	return s.group(v)
}

// get finds an object.
func (s *shelf[T]) get(namespace, name string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.objects[types.NamespacedName{Namespace: namespace, Name: name}]
	return v, ok
}

// of lists the objects of a service, sorted by name.
func (s *shelf[T]) of(name fleet.ServiceName) []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.groups[name])
}

// all lists every object, sorted by name.
func (s *shelf[T]) all() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.objects)
}

func sorted[T metav1.Object](m map[types.NamespacedName]T) []T {
	list := make([]T, 0, len(m))
	for _, v := range m {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return list
}

// ready reports whether a list has ever come.
func (s *shelf[T]) ready() bool { return s.listed() > 0 }

// listed is how many lists have come.
func (s *shelf[T]) listed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists
}

// edition tells one state of an object from every other.
type edition struct {
	uid     types.UID
	version string
}

// editions are those of all objects.
func (s *shelf[T]) editions() map[types.NamespacedName]edition {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[types.NamespacedName]edition, len(s.objects))
	for name, v := range s.objects {
		out[name] = edition{v.GetUID(), v.GetResourceVersion()}
	}
	return out
}
