package apply

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/meridian-lb/meridian/placement"
)

// maxWaiting bounds how many waiting pods of one member are kept.
const maxWaiting = 20000

// pods are those of a member that have no node. Only these are watched: in a steady
// state there are none.
type pods struct {
	kind    *kind
	changed func(namespace string) // hears that pods which no node takes came or went there, empty: anywhere; must not block

	mu   sync.Mutex
	pods map[string]map[string]waitingPod // by namespace and name
	n    int
}

// waitingPod is a pod without a node.
type waitingPod struct {
	placement.Pod
	labels labels.Set
}

var _ cache.ReflectorStore = (*pods)(nil)

func newPods(changed func(namespace string)) *pods {
	p := &pods{changed: changed, pods: map[string]map[string]waitingPod{}}
	p.kind = newKind(corev1.SchemeGroupVersion.WithKind("Pod"), "", p)
	p.kind.field = "spec.nodeName="
	return p
}

// of are the waiting pods that a workload's selector means.
func (p *pods) of(workload *unstructured.Unstructured, scale placement.Scale) []placement.Pod {
	if p.none(workload.GetNamespace()) {
		return nil // as nearly always
	}
	selector, ok := selectorOf(workload, scale)
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []placement.Pod
	for _, pod := range p.pods[workload.GetNamespace()] {
		if !pod.Unschedulable.IsZero() && selector.Matches(pod.labels) {
			list = append(list, pod.Pod)
		}
	}
	return placement.Unschedulable(list)
}

func (p *pods) none(namespace string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pods[namespace]) == 0
}

// selectorOf is how a workload knows its pods; false: it does not say, or has none.
func selectorOf(workload *unstructured.Unstructured, scale placement.Scale) (labels.Selector, bool) {
	if len(scale.Selector) > 0 {
		text, _, _ := unstructured.NestedString(workload.Object, scale.Selector...)
		selector, err := labels.Parse(text)
		return selector, err == nil && text != ""
	}
	m, found, err := unstructured.NestedMap(workload.Object, "spec", "selector")
	if !found || err != nil || len(m) == 0 {
		return nil, false
	}
	var s metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &s); err != nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		return nil, false
	}
	selector, err := metav1.LabelSelectorAsSelector(&s)
	return selector, err == nil
}

func (p *pods) put(u *unstructured.Unstructured) (changed bool) {
	pod := waitingPod{Pod: placement.PodOf(u), labels: u.GetLabels()}
	of := p.pods[pod.Namespace]
	before, there := of[pod.Name]
	if !there && p.n >= maxWaiting {
		return false
	}
	if of == nil {
		of = map[string]waitingPod{}
		p.pods[pod.Namespace] = of
	}
	if !there {
		p.n++
	}
	of[pod.Name] = pod
	return before.Unschedulable.IsZero() != pod.Unschedulable.IsZero()
}

// Add puts a pod in.
func (p *pods) Add(o any) error { return p.Update(o) }

// Update puts a pod in place of the one of its name.
func (p *pods) Update(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%T came where a pod was watched", o)
	}
	p.mu.Lock()
	changed := p.put(u)
	p.mu.Unlock()
	if changed {
		p.changed(u.GetNamespace())
	}
	return nil
}

// Delete takes out a pod that has a node now, or is no more.
func (p *pods) Delete(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("%T went where a pod was watched", o)
	}
	p.mu.Lock()
	of := p.pods[u.GetNamespace()]
	before, there := of[u.GetName()]
	if there {
		delete(of, u.GetName())
		p.n--
		if len(of) == 0 {
			delete(p.pods, u.GetNamespace())
		}
	}
	p.mu.Unlock()
	if there && !before.Unschedulable.IsZero() {
		p.changed(u.GetNamespace())
	}
	return nil
}

// Replace fills it anew with a whole list.
func (p *pods) Replace(list []any, _ string) error {
	p.mu.Lock()
	news := p.n > 0 || len(list) > 0
	p.pods, p.n = map[string]map[string]waitingPod{}, 0
	for _, o := range list {
		if u, ok := o.(*unstructured.Unstructured); ok {
			p.put(u)
		}
	}
	p.mu.Unlock()
	if news {
		p.changed("")
	}
	return nil
}

// Resync is nothing here: level comes from lists.
func (p *pods) Resync() error { return nil }
