package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/placement"
)

// notOurs says that a member has an object of this name that nobody placed.
func notOurs(r ref, l *live) outcome {
	return conflict(reasonExists, "the cluster has a %s of this name since %s that was not placed by Meridian, and it stays as it is; delete or rename it there, or take it over with adopt: true",
		r.Kind, l.object.GetCreationTimestamp().UTC().Format("2006-01-02"))
}

// clashes says whether a placed object is there for somebody else. It is not taken
// from him, with adopt neither.
func (m *member) clashes(r ref, l *live, w wish) (outcome, bool) {
	if slices.ContainsFunc(neededBy(l.object), func(uid types.UID) bool { return slices.Contains(w.needing, uid) }) {
		return outcome{}, false
	}
	_, from, _ := placement.OwnerOf(l.object)
	return conflict(reasonAnother, "the cluster's %s belongs to %s, of this installation or another one, and stays as it is; delete that one, or if it is no more, remove the label %s from the %s in the cluster and write adopt: true",
		r.Kind, oneLine(from), placement.LabelPlaced, r.Kind), true
}
