package apply

import (
	"errors"
	"fmt"
	"sync"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/meridian-lb/meridian/placement"
)

// scalers are the autoscalers of a member, whoever wrote them: what they scale has
// the number of replicas that they say.
type scalers struct {
	kind    *kind
	changed func(target ref) // hears that an object is scaled now, or no more; must not block

	mu      sync.Mutex
	targets map[types.NamespacedName]ref // by the autoscaler's own name
	listed  bool
}

var _ cache.ReflectorStore = (*scalers)(nil)

func newScalers(changed func(target ref)) *scalers {
	s := &scalers{changed: changed, targets: map[types.NamespacedName]ref{}}
	s.kind = newKind(autoscalingv2.SchemeGroupVersion.WithKind("HorizontalPodAutoscaler"), "", s)
	return s
}

// scales reports whether an autoscaler says how many replicas an object has.
func (s *scalers) scales(target ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.targets {
		if t == target {
			return true
		}
	}
	return false
}

// ready reports whether it is known which there are, or cannot be known because the
// member has none or does not show them.
func (s *scalers) ready() bool {
	err := s.kind.trouble()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed || errors.Is(err, errMissing) || apierrors.IsForbidden(err)
}

func targetOf(o any) (types.NamespacedName, ref, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return types.NamespacedName{}, ref{}, fmt.Errorf("%T came where an autoscaler was watched", o)
	}
	kind, name, _ := placement.Target(u)
	return nameOf(u), ref{kind, types.NamespacedName{Namespace: u.GetNamespace(), Name: name}}, nil
}

// Add puts an autoscaler in.
func (s *scalers) Add(o any) error { return s.Update(o) }

// Update puts an autoscaler in place of the one of its name.
func (s *scalers) Update(o any) error {
	name, target, err := targetOf(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.targets[name]
	s.targets[name] = target
	s.mu.Unlock()
	s.tell(before, target)
	return nil
}

// Delete takes an autoscaler out.
func (s *scalers) Delete(o any) error {
	name, _, err := targetOf(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	before := s.targets[name]
	delete(s.targets, name)
	s.mu.Unlock()
	s.tell(before, ref{})
	return nil
}

// Replace fills it anew with a whole list.
func (s *scalers) Replace(list []any, _ string) error {
	fresh := make(map[types.NamespacedName]ref, len(list))
	for _, o := range list {
		name, target, err := targetOf(o)
		if err != nil {
			return err
		}
		fresh[name] = target
	}
	s.mu.Lock()
	before := s.targets
	s.targets, s.listed = fresh, true
	s.mu.Unlock()
	for name, target := range fresh {
		s.tell(before[name], target)
	}
	for name, target := range before {
		if _, there := fresh[name]; !there {
			s.tell(target, ref{})
		}
	}
	return nil
}

func (s *scalers) tell(before, after ref) {
	if before == after {
		return
	}
	for _, r := range []ref{before, after} {
		if r.Name != "" {
			s.changed(r)
		}
	}
}

// Resync is nothing here: level comes from lists.
func (s *scalers) Resync() error { return nil }
