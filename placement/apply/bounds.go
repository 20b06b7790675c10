package apply

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

// bounds decides for a divided autoscaler: its bounds are divided.
func (d *desk) bounds(w *workload, choices []placement.Choice, views []view, before memory, now time.Time) outlook {
	t := w.template
	least, most := boundsOf(t.Object)
	o := outlook{orders: map[string]order{}, desired: -1, after: before}
	o.after.Carry = 0
	for _, v := range views {
		if ord, stays := d.lingers(w, choices, v); stays {
			o.orders[v.name] = ord
			o.again = now.Add(time.Second) // nobody tells it when its target is gone
			o.after.Carry = before.Carry
		}
	}
	if len(o.orders) > 0 && o.after.Carry == 0 {
		for _, v := range views {
			if v.report.live != nil && v.silent.IsZero() {
				n, _, _ := unstructured.NestedInt64(v.report.live.Object, "status", "currentReplicas")
				o.after.Carry += n
			}
		}
	}
	least = max(least, min(o.after.Carry, most))
	var at []placement.Seat
	for _, s := range seats(w, choices, views) {
		s.Running = 0
		if _, stays := o.orders[s.Cluster]; stays {
			continue
		}
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

// lingers reports whether an autoscaler stays for now in a cluster that is left, and as
// what. Its target leaves there too, and is left to it until as much is ready elsewhere;
// meanwhile its siblings are not to go below what there was in all.
func (d *desk) lingers(w *workload, choices []placement.Choice, v view) (order, bool) {
	i := slices.IndexFunc(choices, func(c placement.Choice) bool { return c.Cluster == v.name })
	if v.report.live == nil || !v.silent.IsZero() || !v.known || i < 0 || choices[i].Stand == placement.StandOpen || choices[i].Stand == placement.StandClosed {
		return order{}, false
	}
	kind, name, ok := placement.Target(w.template.Object)
	target := ref{kind, nameOf(w.template.Object)}
	target.Name = name
	if !ok || !d.members[v.name].has(target) {
		return order{}, false
	}
	for _, other := range d.workloads {
		if other.template == nil || other.main() != target {
			continue
		}
		theirs, _ := placement.Choose(*other.template, []placement.Cluster{v.cluster})
		if theirs[0].Stand == placement.StandOpen || theirs[0].Stand == placement.StandClosed {
			return order{}, false // it stays, without an autoscaler
		}
		least, most := boundsOf(v.report.live)
		return order{give: true, leaves: true, given: placement.Given{Min: &least, Max: &most},
			reasons: []string{choices[i].Why, "stays as long as what it scales"}}, true
	}
	return order{}, false
}

// boundsOf are those of an autoscaler.
func boundsOf(o *unstructured.Unstructured) (least, most int64) {
	least, most = 1, 1
	if n, ok, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicas"); ok {
		least = n
	}
	if n, ok, _ := unstructured.NestedInt64(o.Object, "spec", "maxReplicas"); ok {
		most = n
	}
	return least, most
}

// has reports whether the member has an object that was placed there.
func (m *member) has(r ref) bool {
	m.mu.Lock()
	w := m.kinds[r.GroupKind]
	m.mu.Unlock()
	return w != nil && w.stock.get(r.NamespacedName) != nil
}
