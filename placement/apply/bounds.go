package apply

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

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
