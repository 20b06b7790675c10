package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

// job decides for a divided Job. What has begun somewhere ends there: a Job does not
// move.
func job(w *workload, choices []placement.Choice, views []view, before memory) outlook {
	t := w.template
	j := placement.Job{Parallelism: 1, Completions: -1}
	if n, ok, _ := unstructured.NestedInt64(t.Object.Object, "spec", "parallelism"); ok {
		j.Parallelism = n
	}
	if n, ok, _ := unstructured.NestedInt64(t.Object.Object, "spec", "completions"); ok {
		j.Completions = n
	}
	mode, _, _ := unstructured.NestedString(t.Object.Object, "spec", "completionMode")
	j.Indexed = mode == "Indexed"
	parts, unplaced, problems := placement.DivideJob(t.Origin, w.String(), j, seats(w, choices, views), before.Completions)
	o := outlook{orders: map[string]order{}, desired: -1, unplaced: unplaced, after: before, counts: true}
	if len(problems) > 0 {
		o.fault = texts(problems)
		return o
	}
	o.after.Completions = maps.Clone(before.Completions)
	for _, p := range parts {
		if p.Parallelism == 0 && p.Completions == 0 {
			continue
		}
		ord := order{give: true, desired: p.Parallelism, goal: p.Parallelism, given: placement.Given{Replicas: &p.Parallelism}, reasons: []string{"its part of the Job"}}
		if p.Completions > 0 {
			ord.given.Completions = &p.Completions
			if o.after.Completions == nil {
				o.after.Completions = map[string]int64{}
			}
			o.after.Completions[p.Cluster] = p.Completions
		}
		o.orders[p.Cluster] = ord
	}
	return o
}

// scale decides for a divided autoscaler: its bounds are divided.
func scale(w *workload, choices []placement.Choice, views []view, before memory) outlook {
	t := w.template
	least, most := int64(1), int64(1)
	if n, ok, _ := unstructured.NestedInt64(t.Object.Object, "spec", "minReplicas"); ok {
		least = n
	}
	if n, ok, _ := unstructured.NestedInt64(t.Object.Object, "spec", "maxReplicas"); ok {
		most = n
	}
	o := outlook{orders: map[string]order{}, desired: -1, after: before}
	var at []placement.Seat
	for _, s := range seats(w, choices, views) {
		s.Running = 0
		if s.Max == 0 && w.template.Spread.LimitOf(s.Cluster).Max != 0 {
			continue // not open, and nothing of it is counted here
		}
		at = append(at, s)
	}
	parts, unplaced := placement.DivideScale(w.String(), least, most, true, at)
	o.unplaced = unplaced
	for _, p := range parts {
		if p.Max > 0 {
			o.orders[p.Cluster] = order{give: true, given: placement.Given{Min: &p.Min, Max: &p.Max}, reasons: []string{"its part of the bounds"}}
		}
	}
	return o
}
