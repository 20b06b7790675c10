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

// view is what is seen of a workload in one member.
type view struct {
	name    string
	cluster placement.Cluster
	known   bool      // where it stands
	silent  time.Time // since when it does not answer, or what it has cannot be read; zero: it does
	why     string    // it does not
	unread  bool      // it answers, and what it has cannot be read
	report  report
	count   placement.Count
	free    int64 // more of its pods that would find a node; negative: not known
	counts  bool  // the workload there has copies
}

// row is what is told of a cluster; false: nothing.
func (v view) row(w *workload, ord order, counts bool, now time.Time) (v1alpha1.ClusterWorkload, bool) {
	before := w.object.Status.Clusters
	i := slices.IndexFunc(before, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == v.name })
	var was v1alpha1.ClusterWorkload
	if i >= 0 {
		was = before[i]
	}
	o := v.report.outcome
	row := v1alpha1.ClusterWorkload{Cluster: v.name, AppliedGeneration: max(was.AppliedGeneration, o.generation), Unschedulable: v.sight().Unschedulable}
	if counts {
		row.Ready, row.Desired = v.count.Ready, ord.desired
	}
	if ord.over {
		row.Ready = 0 // its pods have ended, or end
	}
	say := func(state v1alpha1.WorkloadState, reason, message string) {
		row.State, row.Reason, row.Message = state, reason, message
	}
	reasons := strings.Join(ord.reasons, "; ")
	switch fault := w.faults[v.name]; {
	case !v.silent.IsZero():
		if i < 0 && reasons == "" && v.report.left == 0 {
			return row, false
		}
		say(v1alpha1.WorkloadUnreachable, "Silent", strings.TrimSuffix("it does not answer: "+v.why+"; "+reasons, "; "))
		if v.unread {
			row.Reason, row.Message = "Unreadable", strings.TrimSuffix(v.why+"; "+reasons, "; ")
		}
		row.Ready, row.Unschedulable = 0, 0
	case fault != "" && ord.give:
		say(v1alpha1.WorkloadRefused, "InvalidOverride", fault)
	case ord.leaves && v.report.left > 0:
		say(v1alpha1.WorkloadLeaving, "Leaving", reasons)
		if !ord.give && o.message != "" {
			say(v1alpha1.WorkloadLeaving, o.reason, o.message)
		}
	case ord.over:
		row.AppliedGeneration = w.object.Generation
		say(applied, "Finished", reasons)
	case ord.give && o.state == "" && v.report.live != nil && was.State == applied:
		say(was.State, was.Reason, was.Message) // as it was, until somebody has looked
	case ord.give && o.state == "" && w.forbids != "":
		say(v1alpha1.WorkloadWaiting, w.forbids, w.missing)
	case ord.give && o.state == "":
		say(v1alpha1.WorkloadWaiting, "Pending", "it is still to be written")
	case ord.give && o.state == applied:
		say(o.state, o.reason, reasons)
	case ord.give:
		say(o.state, o.reason, o.message)
	case v.report.left > 0:
		say(v1alpha1.WorkloadLeaving, reasonTerminating, "the cluster deletes it")
		if o.message != "" {
			say(v1alpha1.WorkloadLeaving, o.reason, o.message)
		}
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
func statusOf(w *workload, views []view, o outlook, now time.Time) *v1alpha1.WorkloadStatus {
	before := w.object.Status
	out := &v1alpha1.WorkloadStatus{Memory: before.Memory}
	out.ObservedGeneration = w.object.Generation
	wanted, in := 0, 0
	var conflicts, faults []string
	if o.fault != "" {
		faults = append(faults, o.fault)
	}
	for _, v := range views {
		ord := o.orders[v.name]
		row, ok := v.row(w, ord, o.counts, now)
		if (ord.give || ord.held || ord.over) && !ord.leaves {
			wanted++
		}
		if o.job != nil {
			row.Succeeded = o.job.succeeded[v.name]
		}
		if !ok {
			continue
		}
		out.Clusters = append(out.Clusters, row)
		out.Ready += row.Ready
		out.Unschedulable += row.Unschedulable
		out.Desired += row.Desired
		if (ord.give || ord.over) && !ord.leaves && row.State == applied && row.AppliedGeneration == w.object.Generation {
			in++
		}
		if row.State == v1alpha1.WorkloadConflict {
			conflicts = append(conflicts, row.Cluster+": "+row.Message)
		}
		if row.State != applied {
			faults = append(faults, row.Cluster+": "+row.Message)
		}
	}
	switch {
	case !o.counts:
		out.Desired, out.Ready = int64(wanted), int64(in)
	case o.desired >= 0:
		out.Desired = o.desired
	}
	out.InClusters = fmt.Sprintf("%d/%d", in, wanted)
	if o.forbids != "" {
		faults = []string{o.fault} // all clusters wait for that
	}
	isPlaced, isReady := placed(out, wanted, in, o, faults), ready(out)
	if o.job != nil {
		out.Succeeded = o.job.sum
		isReady = o.job.ready(out)
	}
	if w.template == nil { // it was never understood here, so nothing can be said of clusters
		isPlaced = metav1.Condition{Type: v1alpha1.ConditionPlaced, Status: metav1.ConditionFalse, Reason: "NotAccepted", Message: "it is not understood as it is now, so clusters keep what they have; see condition Accepted"}
		isReady = isPlaced
		isReady.Type = v1alpha1.ConditionReady
	}
	out.Conditions = conditions(before.Conditions, w.object.Generation, now, accepted(w), isPlaced, isReady, conflicting(conflicts))
	return out
}

func accepted(w *workload) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Accepted", Message: "understood and in force"}
	if problems := append(slices.Clone(w.problems), w.strange...); len(problems) > 0 {
		c.Message = texts(problems)
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

func placed(s *v1alpha1.WorkloadStatus, wanted, in int, o outlook, faults []string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionPlaced, Status: metav1.ConditionFalse}
	switch {
	case o.forbids != "":
		c.Reason, c.Message = o.forbids, several(faults)
	case wanted == 0 && len(faults) == 0:
		c.Reason, c.Message = "NoCluster", "no cluster may have it; widen where or the spread's limits, or take the taint or drain from a cluster"
	case o.unplaced > 0:
		c.Reason, c.Message = "Unplaced", fmt.Sprintf("%d replicas find no place; raise the limits, add room or clusters", o.unplaced)
		if len(faults) > 0 {
			c.Message += "; " + several(faults)
		}
	case len(faults) > 0:
		c.Reason, c.Message = reasonOf(s.Clusters), several(faults)
	case in < wanted:
		c.Reason, c.Message = "Pending", fmt.Sprintf("%d clusters are still to be given what is wanted now", wanted-in)
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
