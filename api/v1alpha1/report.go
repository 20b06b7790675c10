package v1alpha1

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// Report is how it stands with the workload by what its status says: all that one
// knows who has not decided it. Goals, and what has no place, are not known then.
func (o *FederatedObject) Report() placement.Report {
	s := &o.Status
	r := placement.Report{
		Namespace: o.Namespace, Name: o.Name, Generation: o.Generation, Observed: s.ObservedGeneration,
		Desired: s.Desired, Ready: s.Ready, Unschedulable: s.Unschedulable, Unplaced: -1, InClusters: s.InClusters,
	}
	var template unstructured.Unstructured
	if template.UnmarshalJSON(o.Spec.Template.Raw) == nil {
		r.APIVersion, r.Kind, r.Object = template.GetAPIVersion(), template.GetKind(), template.GetName()
	}
	counted := false
	if t, _ := o.Parse(fleet.Origin{}); t != nil {
		r.Mode = t.Spread.Mode
		_, counted = placement.CountOf(t.Object, o.Known().Scale)
	}
	for _, c := range s.Clusters {
		held := placement.Holding{
			Cluster: c.Cluster, Goal: -1, Told: c.Desired, Ready: c.Ready, Unschedulable: c.Unschedulable,
			State: string(c.State), Reason: c.Reason,
		}
		if !counted {
			held.Told = -1
		}
		if c.State == WorkloadApplied {
			held.Reasons = split(c.Message)
		} else {
			held.Message = c.Message
		}
		if c.Time != nil {
			held.Since = c.Time.UTC()
		}
		r.Clusters = append(r.Clusters, held)
	}
	slices.SortFunc(r.Clusters, func(a, b placement.Holding) int { return cmp.Compare(a.Cluster, b.Cluster) })
	r.State, r.Reason, r.Message = s.summary()
	return r
}

// split takes apart reasons that a message holds one after the other.
func split(message string) []string {
	if message == "" {
		return nil
	}
	return strings.Split(message, "; ")
}

// summary is the first of the conditions that says that something is wrong, in the
// order in which one would mend them.
func (s *WorkloadStatus) summary() (state, reason, message string) {
	for _, t := range []string{ConditionAccepted, ConditionConflict, ConditionPlaced, ConditionReady} {
		c := meta.FindStatusCondition(s.Conditions, t)
		bad := metav1.ConditionFalse
		if t == ConditionConflict {
			bad = metav1.ConditionTrue
		}
		switch {
		case c == nil && t == ConditionPlaced:
			return "Unknown", "NotLookedAt", "no daemon has looked at it yet; see whether one runs that watches the host cluster"
		case c == nil || c.Status != bad:
		case t == ConditionConflict:
			return "Conflict", c.Reason, c.Message
		default:
			return "Not" + t, c.Reason, c.Message
		}
	}
	c := meta.FindStatusCondition(s.Conditions, ConditionPlaced)
	return c.Type, c.Reason, c.Message
}
