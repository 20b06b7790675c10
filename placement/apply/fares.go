package apply

import (
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// Fares hears how a workload fares in the clusters that answer, whenever that was
// looked at. Current says that all of them that are to have it speak of it as it is
// now. What is told is never to be changed. It must not block.
type Fares func(o *v1alpha1.FederatedObject, told []placement.Told, current bool)

// fares tells how a workload fares by what was seen of it and is ordered.
func (d *desk) fares(w *workload, views []view, o outlook) {
	if d.a.cfg.Fares == nil {
		return
	}
	var told []placement.Told
	current := true
	for _, v := range views {
		if !v.silent.IsZero() {
			continue
		}
		live := v.report.live
		if o.orders[v.name].give {
			current = current && live != nil && v.report.outcome.state == applied && v.report.outcome.generation == w.object.Generation && observed(live)
		}
		m := o.job.told(v)
		if m == nil {
			continue
		}
		told = append(told, placement.Told{Cluster: v.name, Status: m})
	}
	d.a.cfg.Fares(w.object, told, current)
}

// observed reports whether an object's status is about the object as it is.
func observed(live *unstructured.Unstructured) bool {
	if placement.IsJob(live) {
		return true // Jobs do not say
	}
	n, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	return n >= live.GetGeneration()
}

// told is the status of an object in a cluster; nil: there is none. What Jobs have done
// that are gone from it is counted.
func (j *tally) told(v view) map[string]any {
	var status map[string]any
	if v.report.live != nil {
		m, _, _ := unstructured.NestedFieldNoCopy(v.report.live.Object, "status")
		status, _ = m.(map[string]any)
	}
	if j == nil || j.succeeded[v.name] <= v.count.Succeeded {
		if v.report.live != nil && status == nil {
			status = map[string]any{}
		}
		return status
	}
	status = maps.Clone(status)
	if status == nil {
		status = map[string]any{"conditions": []any{map[string]any{"type": "Complete", "status": "True"}}}
	}
	status["succeeded"] = j.succeeded[v.name]
	return status
}
