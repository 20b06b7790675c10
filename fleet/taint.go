package fleet

import "cmp"

// Label is a word that an operator hung on a cluster.
type Label struct{ Key, Value string }

// Taint keeps workloads away from a cluster. Its traffic stays as it is.
type Taint struct {
	Key    string
	Value  string // may be empty
	Effect TaintEffect
}

// String is the taint as kubectl writes those of nodes.
func (t Taint) String() string {
	if t.Value == "" {
		return t.Key + ":" + string(t.Effect)
	}
	return t.Key + "=" + t.Value + ":" + string(t.Effect)
}

// Compare orders taints by key, of one key the harder first.
func (t Taint) Compare(u Taint) int {
	hard := func(t Taint) int {
		if t.Effect == NoExecute {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(t.Key, u.Key), cmp.Compare(hard(t), hard(u)), cmp.Compare(t.Value, u.Value))
}

// TaintEffect is what a taint does, in the words of Kubernetes' nodes.
type TaintEffect string

// The effects, the milder first.
const (
	NoSchedule TaintEffect = "NoSchedule" // nothing new goes there
	NoExecute  TaintEffect = "NoExecute"  // what is there moves away first
)
