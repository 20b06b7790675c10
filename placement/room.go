package placement

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Node is a node of a cluster, as far as placement looks at it.
type Node struct {
	Name          string
	Labels        map[string]string
	Allocatable   Amounts // with "pods"
	Taints        []Taint
	Unschedulable bool // cordoned
	Ready         bool
}

// NodeOf reads a node.
func NodeOf(object *unstructured.Unstructured) Node {
	n := Node{
		Name: object.GetName(), Labels: textsAt(object.Object, "metadata", "labels"),
		Allocatable:   amountsAt(object.Object, "status", "allocatable"),
		Unschedulable: flagAt(object.Object, "spec", "unschedulable"),
		Ready:         textAt(conditionOf(at(object.Object, "status"), "Ready"), "status") == "True",
	}
	for _, t := range listAt(object.Object, "spec", "taints") {
		n.Taints = append(n.Taints, Taint{textAt(t, "key"), textAt(t, "value"), textAt(t, "effect")})
	}
	return n
}

// takes reports whether pods with such needs may be on the node, were it empty.
func (n Node) takes(needs Needs) bool {
	if n.Unschedulable || !n.Ready {
		return false
	}
	for key, value := range needs.NodeSelector {
		if has, ok := n.Labels[key]; !ok || has != value {
			return false
		}
	}
	return !slices.ContainsFunc(n.Taints, func(t Taint) bool {
		return (t.Effect == "NoSchedule" || t.Effect == "NoExecute") && !needs.tolerates(t)
	})
}

// Room estimates how many more pods with such needs a cluster could run: node by
// node what its scarcest resource leaves, summed up, less what pods without a node
// will take of it.
//
// It is an estimate. It knows nothing of affinity, topology spread, quotas, volumes
// that only some nodes reach, priorities, and nodes that an autoscaler could add;
// and waiting pods are counted as if all of them wanted the nodes that these pods
// may go to. What it promises too much shows as unschedulable pods. A waiting
// pod that no node of the cluster could hold, were it empty, counts for nothing.
func Room(nodes []Node, pods []Pod, needs Needs) int64 {
	held := make(map[string]Amounts, len(nodes))
	for _, n := range nodes {
		held[n.Name] = Amounts{}
	}
	largest := Amounts{}
	for _, n := range nodes {
		if n.Ready && !n.Unschedulable {
			largest.raise(n.Allocatable)
		}
	}
	waiting := Amounts{}
	for _, p := range pods {
		switch {
		case p.Over:
		case p.Node == "" && !p.Leaving && largest.times(p.Needs.asked()) > 0:
			waiting.add(p.Needs.asked())
		case held[p.Node] != nil:
			held[p.Node].add(p.Needs.asked())
		}
	}
	asked := needs.asked()
	room := int64(0)
	seen := make(map[string]bool, len(nodes)) // a node that is given twice is one node
	for _, n := range nodes {
		if !seen[n.Name] && n.takes(needs) {
			room = plus(room, n.Allocatable.less(held[n.Name]).times(asked))
		}
		seen[n.Name] = true
	}
	taken := int64(0)
	for name, amount := range asked {
		if amount > 0 {
			taken = max(taken, waiting[name]/amount+min(1, waiting[name]%amount))
		}
	}
	return max(0, room-taken)
}

// asked is what a pod takes of a node.
func (n Needs) asked() Amounts {
	asked := Amounts{"pods": 1}
	for name, amount := range n.Requests {
		if name != "pods" {
			asked[name] = amount
		}
	}
	return asked
}

// less is what remains of a when b is taken away.
func (a Amounts) less(b Amounts) Amounts {
	left := make(Amounts, len(a))
	for name, n := range a {
		left[name] = max(0, n-b[name])
	}
	return left
}

// times is how often b fits into a.
func (a Amounts) times(b Amounts) int64 {
	times := int64(most)
	for name, n := range b {
		if n > 0 {
			times = min(times, a[name]/n)
		}
	}
	return times
}
