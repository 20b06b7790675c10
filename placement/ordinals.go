package placement

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// OrdinalBlock is how many ordinals a cluster has of a divided StatefulSet, and so
// the most replicas that it can be given: seats of a StatefulSet have at most that
// as Max.
const OrdinalBlock = 1000

// OrdinalPart is one cluster's part of a divided StatefulSet: the pods Start to
// Start+Replicas-1, by spec.ordinals.start.
type OrdinalPart struct {
	Cluster  string
	Start    int64 // a multiple of OrdinalBlock, no other cluster's
	Replicas int64
}

// Ordinals gives every part with replicas a block of ordinals of its own. A cluster
// in starts, the blocks given before, keeps its block even while it has no replicas,
// for its volumes are named by ordinals; a new one gets the lowest free block, in
// the order of names. So growth in one cluster changes no other one's ordinals, the
// first cluster counts from 0 as it would alone, and a name is never two clusters' at
// one time.
//
// A block once given is never taken back, and never given to another cluster: a pod's
// name is its identity, and its volume may still be there. So shares change only at the
// end of each cluster's range, as its StatefulSet grows and shrinks.
//
// The limits: OrdinalBlock replicas a cluster; ordinals have gaps, so software that
// counts its peers up to a number of replicas cannot be divided; and a replica that
// moves gets another name and an empty volume.
//
// The second result is starts with the new blocks, to be kept. Of two clusters with one
// block in starts the first by name keeps it.
func Ordinals(parts []Part, starts map[string]int64) ([]OrdinalPart, map[string]int64) {
	kept, taken := map[string]int64{}, map[int64]bool{}
	names := make([]string, 0, len(starts))
	for name := range starts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if s := starts[name]; s >= 0 && s%OrdinalBlock == 0 && s <= maxReplicas-OrdinalBlock && !taken[s] {
			kept[name], taken[s] = s, true
		}
	}
	parts = slices.SortedFunc(slices.Values(parts), func(a, b Part) int { return cmp.Compare(a.Cluster, b.Cluster) })
	var given []OrdinalPart
	var free int64
	for _, p := range parts {
		start, has := kept[p.Cluster]
		if !has && p.Replicas == 0 {
			continue
		}
		if !has {
			for taken[free] {
				free += OrdinalBlock
			}
			start = free
			kept[p.Cluster], taken[start] = start, true
		}
		given = append(given, OrdinalPart{Cluster: p.Cluster, Start: start, Replicas: min(p.Replicas, OrdinalBlock)})
	}
	return given, kept
}

// Begun are the blocks given before, and those of clusters that have the StatefulSet
// without having been given one: live says where their pods begin. Of two clusters with
// one block only the first by name has it; renamed are the others, whose pods would get
// other names by a division.
func Begun(starts, live map[string]int64) (begun map[string]int64, renamed []string) {
	_, begun = Ordinals(nil, starts)
	taken := map[int64]bool{}
	for _, s := range begun {
		taken[s] = true
	}
	for _, name := range sortedKeys(live) {
		s := live[name]
		switch _, has := begun[name]; {
		case has:
		case s < 0, s%OrdinalBlock != 0, s > maxReplicas-OrdinalBlock, taken[s]:
			renamed = append(renamed, name)
		default:
			begun[name], taken[s] = s, true
		}
	}
	return begun, renamed
}

// FirstOrdinal is where the pods of a StatefulSet begin; false: the object is none.
func FirstOrdinal(object *unstructured.Unstructured) (start int64, ok bool) {
	start, _ = countAt(object.Object, "spec", "ordinals", "start")
	return start, kindOf(object) == kindStatefulSet
}
