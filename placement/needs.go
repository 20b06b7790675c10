package placement

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Amounts are resources by name ("cpu", "memory", "nvidia.com/gpu"): of cpu in
// thousandths, of all others in units. None is negative.
type Amounts map[string]int64

// Needs are what a pod asks of a node.
type Needs struct {
	Requests     Amounts // without "pods", of which every pod is one
	NodeSelector map[string]string
	Tolerations  []Toleration
}

// Toleration lets a pod onto nodes with a taint, in the words of Kubernetes.
type Toleration struct{ Key, Operator, Value, Effect string }

// Taint keeps pods away from a node, in the words of Kubernetes.
type Taint struct{ Key, Value, Effect string }

// tolerates reports whether a pod may be on a node despite a taint. Operators that
// are newer than this code tolerate nothing.
func (n Needs) tolerates(taint Taint) bool {
	return slices.ContainsFunc(n.Tolerations, func(t Toleration) bool {
		switch {
		case t.Effect != "" && t.Effect != taint.Effect, t.Key != "" && t.Key != taint.Key:
			return false
		case t.Operator == "Exists":
			return true
		case t.Operator == "" || t.Operator == "Equal":
			return t.Key != "" && t.Value == taint.Value
		}
		return false
	})
}

// NeedsOf reads what one pod of a workload asks of a node; false when the object
// has no pod template.
func NeedsOf(object *unstructured.Unstructured) (Needs, bool) {
	path, ok := ShapeOf(object, Scale{}).PodsAt()
	if !ok {
		return Needs{}, false
	}
	spec := mapAt(object.Object, mixed(path, "spec")...)
	if spec == nil {
		return Needs{}, false
	}
	return needsOf(spec), true
}

func needsOf(spec map[string]any) Needs {
	n := Needs{Requests: requestsOf(spec), NodeSelector: textsAt(spec, "nodeSelector")}
	for _, t := range listAt(spec, "tolerations") {
		if mapAt(t) != nil {
			n.Tolerations = append(n.Tolerations, Toleration{textAt(t, "key"), textAt(t, "operator"), textAt(t, "value"), textAt(t, "effect")})
		}
	}
	return n
}

// requestsOf is what the scheduler counts for a pod: the sum of its containers, or
// what its start needs if that is more, or what the pod asks for as a whole; and
// what its runtime class adds.
func requestsOf(spec map[string]any) Amounts {
	total, start := Amounts{}, Amounts{}
	for _, c := range listAt(spec, "containers") {
		total.add(requestsAt(c))
	}
	sidecars := Amounts{}
	for _, c := range listAt(spec, "initContainers") {
		r := requestsAt(c)
		if textAt(c, "restartPolicy") == "Always" { // stays, beside all that follows
			sidecars.add(r)
			start.raise(sidecars)
			continue
		}
		r.add(sidecars)
		start.raise(r)
	}
	total.add(sidecars)
	total.raise(start)
	maps.Copy(total, requestsAt(spec))
	total.add(amountsAt(spec, "overhead"))
	return total
}

// requestsAt is what a container, or a pod as a whole, asks for. What it has a limit
// for and no request, it asks for up to the limit, as API servers fill in.
func requestsAt(v any) Amounts {
	asked := amountsAt(v, "resources", "limits")
	maps.Copy(asked, amountsAt(v, "resources", "requests"))
	return asked
}

func amountsAt(v any, path ...string) Amounts {
	amounts := Amounts{}
	for name, v := range mapAt(v, path...) {
		q, ok := quantity(v)
		switch {
		case !ok:
		case name == "cpu":
			amounts[name] = thousandths(q)
		default:
			amounts[name] = units(q)
		}
	}
	return amounts
}

func (a Amounts) add(b Amounts) {
	for name, n := range b {
		a[name] = plus(a[name], n)
	}
}

func (a Amounts) raise(b Amounts) {
	for name, n := range b {
		a[name] = max(a[name], n)
	}
}

// Pod is a pod in a cluster, as far as placement looks at it.
type Pod struct {
	Namespace, Name string
	Node            string // empty: the scheduler has found none
	Over            bool   // it has succeeded or failed, and holds nothing
	Leaving         bool   // it is being deleted
	Needs           Needs
	Unschedulable   time.Time // since when the scheduler finds no node; zero: it does, or has not said
	Why             string    // in the scheduler's words, if it finds none
}

// PodOf reads a pod.
func PodOf(object *unstructured.Unstructured) Pod {
	phase := textAt(object.Object, "status", "phase")
	p := Pod{
		Namespace: object.GetNamespace(), Name: object.GetName(),
		Node:    textAt(object.Object, "spec", "nodeName"),
		Over:    phase == "Succeeded" || phase == "Failed",
		Leaving: textAt(object.Object, "metadata", "deletionTimestamp") != "",
		Needs:   needsOf(mapAt(object.Object, "spec")),
	}
	c := conditionOf(at(object.Object, "status"), "PodScheduled")
	if p.Node != "" || p.Over || textAt(c, "status") != "False" || textAt(c, "reason") != "Unschedulable" {
		return p
	}
	since := cmp.Or(textAt(c, "lastTransitionTime"), textAt(object.Object, "metadata", "creationTimestamp"))
	if at, err := time.Parse(time.RFC3339, since); err == nil {
		p.Unschedulable, p.Why = at, textAt(c, "message")
	}
	return p
}

// Unschedulable are the pods of a workload that no node of their cluster takes,
// the one that has waited longest first. One that is being deleted has ceased to wait.
func Unschedulable(pods []Pod) []Pod {
	var waiting []Pod
	for _, p := range pods {
		if !p.Unschedulable.IsZero() && !p.Leaving {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b Pod) int {
		return cmp.Or(a.Unschedulable.Compare(b.Unschedulable), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return waiting
}
