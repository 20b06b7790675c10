package kube

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
)

// Two Cluster objects may lead to one cluster, by a slip or while one takes the
// other's place. Its endpoints would be told under both names and draw twice their
// share, so one of the two is silent.
//
// The elder Cluster speaks (fleet.Origin.Compare): every replica comes to the same
// end, after a restart too, and nobody draws a cluster's traffic to another region by
// an object that is added later. The younger takes back what it told, although that
// was no error of its API server: nothing is lost by it, since the elder tells the
// same endpoints. That is why it waits until the elder has told everything once, or
// what it told before a restart is in force; an elder that has not been reached
// silences nobody, since nobody knows who it is, and one that falls silent later stays
// in force, stale, as any other. Deleting the elder, or
// leading it elsewhere, lets the younger speak again.

// uidOf is who has answered; empty before the first answer.
func (i *identity) uidOf() types.UID {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.uid
}

// twins are the members that are silent, each with the one that speaks for it.
func (ms *members) twins() map[string]string {
	out := map[string]string{}
	speaker := map[types.UID]string{}
	names := slices.SortedFunc(maps.Keys(ms.running), func(a, b string) int { return ms.about(a).Compare(ms.about(b)) })
	for _, name := range names {
		m := ms.running[name].member
		uid := m.identity.uidOf()
		if uid == "" {
			continue
		}
		if elder, there := speaker[uid]; there {
			out[name] = elder
		} else if m.remembered || m.told.Load() {
			speaker[uid] = name
		}
	}
	return out
}

// about is the Cluster object of a member.
func (ms *members) about(name string) fleet.Origin {
	if a := ms.running[name].newest; a != nil {
		return a.about
	}
	return fleet.Origin{Name: name}
}

// hush takes back what the member has told, since its elder tells the same.
func (m *member) hush(n news) {
	m.release("silenced")
	for name := range m.voice.facts {
		if name.Kind != fleet.KindProblems || name.Name != "watch" {
			n[name] = nil
		}
	}
}
