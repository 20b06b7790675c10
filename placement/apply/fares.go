package apply

import (
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
		if live == nil {
			continue
		}
		status, _, _ := unstructured.NestedFieldNoCopy(live.Object, "status")
		m, _ := status.(map[string]any)
		told = append(told, placement.Told{Cluster: v.name, Status: m})
	}
	d.a.cfg.Fares(w.object, told, current)
}

// observed reports whether an object's status is about the object as it is.
func observed(live *unstructured.Unstructured) bool {
	n, _, _ := unstructured.NestedInt64(live.Object, "status", "observedGeneration")
	return n >= live.GetGeneration()
}
