package apply

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// tally is how a Job fares over all clusters.
type tally struct {
	placement.Job
	duplicate bool
	succeeded map[string]int64 // by cluster
	sum       int64
	broken    bool
	open      bool // some cluster has not done its part
}

// job decides for a Job.
func job(w *workload, choices []placement.Choice, views []view, before memory, now time.Time) outlook {
	t := w.template
	var sights []placement.JobSight
	for _, v := range views {
		sights = append(sights, v.jobSight())
	}
	step, after := placement.NextJob(*t, choices, sights, before.Job, now.UTC())
	o := outlook{orders: map[string]order{}, desired: -1, unplaced: step.Unplaced, again: step.Again, after: before, counts: true,
		fault: step.Problem, halt: step.Problem != ""}
	o.after.Job = after
	o.job = &tally{Job: placement.JobOf(t.Object), duplicate: t.Spread.Mode == placement.ModeDuplicate, sum: step.Succeeded, broken: step.Broken,
		succeeded: map[string]int64{}, open: step.Unplaced > 0}
	for name, m := range after {
		o.job.succeeded[name] = m.Past + m.Done
	}
	for _, so := range step.Orders {
		ord := order{give: so.Act == placement.ActApply, held: so.Held, goal: so.Parallelism, leaves: so.Leaves, bound: !so.Begin, over: so.Over, reasons: so.Reasons}
		if !so.Over && !o.job.Suspended && (ord.give || ord.held) {
			ord.desired = so.Parallelism
		}
		o.job.open = o.job.open || !so.Over && (ord.give || ord.held)
		if !so.Whole && ord.give {
			ord.given.Replicas = &so.Parallelism
			if so.Completions >= 0 {
				ord.given.Completions = &so.Completions
			}
		}
		o.orders[so.Cluster] = ord
	}
	return o
}

// jobSight is what placement is told of a Job in a cluster.
func (v view) jobSight() placement.JobSight {
	s := placement.JobSight{Cluster: v.name, Completions: -1}
	if !v.silent.IsZero() {
		s.Silent = v.silent.UTC()
		return s
	}
	if live := v.report.live; live != nil {
		j := placement.JobOf(live)
		s.UID = string(live.GetUID()) // cut, since it is remembered of every cluster
		s.UID = s.UID[:min(len(s.UID), 8)]
		s.Parallelism, s.Completions = j.Parallelism, j.Completions
		s.Succeeded, s.Over, s.Broken = v.count.Succeeded, v.count.Over, v.count.Broken
	}
	return s
}

// ready says how a Job fares. One that is done is ready for ever.
func (j *tally) ready(s *v1alpha1.WorkloadStatus) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	done := fmt.Sprintf("%d pods have succeeded", j.sum)
	if j.Completions >= 0 && !j.duplicate {
		done = fmt.Sprintf("%d of %d completions are done", j.sum, j.Completions)
	}
	switch {
	case j.broken:
		c.Reason, c.Message = "Failed", done+", and a part of the Job has failed; see its events in the cluster, and make a new Job of another name once it is mended"
	case !j.open && len(j.succeeded) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, "Complete", done
	case j.Suspended:
		c.Reason, c.Message = "Suspended", done+", and it is suspended; write suspend: false into its spec to go on"
	default:
		c.Reason, c.Message = "NotReady", fmt.Sprintf("%s, and %d of %d pods are ready", done, s.Ready, s.Desired)
		if s.Ready >= s.Desired && s.Desired > 0 {
			c.Status, c.Reason = metav1.ConditionTrue, "Ready"
		}
	}
	return c
}
