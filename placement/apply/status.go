package apply

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// view is what is seen of a workload in one cluster, and what is decided there.
type view struct {
	cluster  string
	silent   time.Time // since when the member does not answer; zero: it does
	why      string    // it does not
	report   report
	count    placement.Count
	counts   bool   // the workload has copies that can be counted
	wanted   bool   // the cluster is to have it
	desired  int64  // copies, if it has any
	problem  string // why it could not be rendered for this cluster; empty: it could
	leaving  string // what has to come first before it goes; empty: nothing
	divisive bool   // its copies are divided over clusters
}

// row is what a view says in the status; false: nothing.
func (v view) row(before []v1alpha1.ClusterWorkload, now time.Time) (v1alpha1.ClusterWorkload, bool) {
	i := slices.IndexFunc(before, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == v.cluster })
	var was v1alpha1.ClusterWorkload
	if i >= 0 {
		was = before[i]
	}
	row := v1alpha1.ClusterWorkload{Cluster: v.cluster, AppliedGeneration: max(was.AppliedGeneration, v.report.outcome.generation), Unschedulable: int64(len(v.report.pods))}
	if v.counts && v.report.live != nil {
		row.Ready = v.count.Ready
	}
	if v.wanted && v.counts {
		row.Desired = v.desired
	}
	o := v.report.outcome
	switch {
	case !v.silent.IsZero():
		row.State, row.Reason, row.Message = v1alpha1.WorkloadUnreachable, "Silent", "the cluster does not answer: "+v.why
		row.Ready = was.Ready
		if !v.wanted && i < 0 {
			return row, false
		}
	case v.problem != "":
		row.State, row.Reason, row.Message = v1alpha1.WorkloadRefused, "InvalidOverride", v.problem
	case v.wanted && o.state == "":
		row.State, row.Reason, row.Message = v1alpha1.WorkloadWaiting, "Pending", "it is still to be written"
	case v.wanted:
		row.State, row.Reason, row.Message = o.state, o.reason, o.message
	case v.report.left > 0:
		row.State, row.Reason, row.Message = v1alpha1.WorkloadLeaving, "Leaving", v.leaving
		if v.leaving == "" {
			row.Reason, row.Message = reasonTerminating, "the cluster deletes it"
			if o.state == v1alpha1.WorkloadRefused || o.state == v1alpha1.WorkloadWaiting {
				row.Reason, row.Message = o.reason, o.message
			}
		}
	case i >= 0 && !v.report.listed:
		return was, true // nobody can say
	default:
		return row, false
	}
	row.Message = cut(row.Message, v1alpha1.MaxWorkloadMessage)
	if was.State == row.State && was.Reason == row.Reason && was.Time != nil {
		row.Time = was.Time
	} else {
		at := metav1.NewTime(now.Truncate(time.Second).UTC())
		row.Time = &at
	}
	return row, true
}

// statusOf is what the author of a workload is told.
func statusOf(w *workload, views []view, unplaced int64, now time.Time) *v1alpha1.WorkloadStatus {
	before := w.object.Status
	out := &v1alpha1.WorkloadStatus{Memory: before.Memory}
	out.ObservedGeneration = w.object.Generation
	wanted, in, conflicts := 0, 0, []string(nil)
	faults := []string(nil)
	counts := false
	for _, v := range views {
		row, ok := v.row(before.Clusters, now)
		counts = counts || v.counts
		if v.wanted {
			wanted++
		}
		if !ok {
			continue
		}
		out.Clusters = append(out.Clusters, row)
		out.Ready += row.Ready
		out.Unschedulable += row.Unschedulable
		if v.wanted {
			out.Desired += row.Desired
			if row.State == v1alpha1.WorkloadApplied {
				in++
			}
		}
		switch {
		case row.State == v1alpha1.WorkloadConflict:
			conflicts = append(conflicts, row.Cluster+": "+row.Message)
			faults = append(faults, row.Cluster+": "+row.Message)
		case row.State != v1alpha1.WorkloadApplied:
			faults = append(faults, row.Cluster+": "+row.Message)
		}
	}
	if counts {
		out.Desired += unplaced
	} else {
		out.Desired, out.Ready = int64(wanted), int64(in)
	}
	out.InClusters = fmt.Sprintf("%d/%d", in, wanted)
	out.Conditions = conditions(before.Conditions, w.object.Generation, now,
		accepted(w), placed(out, wanted, unplaced, faults), ready(out), conflicting(conflicts))
	return out
}

func accepted(w *workload) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: "understood and in force"}
	if len(w.problems) > 0 {
		c.Message = texts(w.problems)
	}
	if w.bad {
		c.Status, c.Reason = metav1.ConditionFalse, "Invalid"
		if len(w.problems) > 0 && w.problems[0].Reason != "" {
			c.Reason = w.problems[0].Reason
		}
	}
	return c
}

func texts(problems []fleet.Problem) string {
	list := make([]string, 0, len(problems))
	for _, p := range problems {
		list = append(list, p.Message)
	}
	return several(list)
}

// several joins the first of some sentences.
func several(list []string) string {
	const most = 3
	text := strings.Join(list[:min(most, len(list))], "; ")
	if len(list) > most {
		text = fmt.Sprintf("%s (and %d more)", text, len(list)-most)
	}
	return cut(text, 2000)
}

func placed(s *v1alpha1.WorkloadStatus, wanted int, unplaced int64, faults []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionPlaced, Status: metav1.ConditionFalse}
	switch {
	case wanted == 0 && len(faults) == 0:
		c.Reason, c.Message = "NoCluster", "no cluster may have it; widen where or the spread's limits, or take the taint or drain from a cluster"
	case unplaced > 0:
		c.Reason, c.Message = "Unplaced", fmt.Sprintf("%d replicas find no place in %s; raise the limits, add room or clusters", unplaced, s.InClusters)
	case len(faults) > 0:
		c.Reason, c.Message = reasonOf(s.Clusters), several(faults)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Placed", fmt.Sprintf("%d clusters have it as it is wanted", wanted)
	}
	return c
}

// reasonOf is the worst state among some clusters, in the words of the status.
func reasonOf(rows []v1alpha1.ClusterWorkload) string {
	for _, state := range []v1alpha1.WorkloadState{v1alpha1.WorkloadConflict, v1alpha1.WorkloadRefused, v1alpha1.WorkloadUnreachable, v1alpha1.WorkloadWaiting, v1alpha1.WorkloadLeaving} {
		if slices.ContainsFunc(rows, func(r v1alpha1.ClusterWorkload) bool { return r.State == state }) {
			return string(state)
		}
	}
	return "Pending"
}

func ready(s *v1alpha1.WorkloadStatus) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready", Message: fmt.Sprintf("%d of %d are ready", s.Ready, s.Desired)}
	if s.Ready < s.Desired {
		c.Status, c.Reason = metav1.ConditionFalse, "NotReady"
	}
	return c
}

func conflicting(list []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionConflict, Status: metav1.ConditionFalse, Reason: "NoConflict", Message: "no cluster has an object of this name that is not ours"}
	if len(list) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Conflict", several(list)
	}
	return c
}

// conditions puts conditions among those that are there; one that stays keeps the
// time since when it is so.
func conditions(before []metav1.Condition, generation int64, now time.Time, list ...metav1.Condition) []metav1.Condition {
	out := slices.Clone(before)
	for _, c := range list {
		c.ObservedGeneration = generation
		c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second).UTC())
		meta.SetStatusCondition(&out, c)
	}
	return out
}
