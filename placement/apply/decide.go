package apply

import (
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// names are those of all members, sorted.
func (d *desk) names() []string {
	var list []string
	for name := range d.members {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// clusters are the members of which it is known where they stand.
func (d *desk) clusters() map[string]placement.Cluster {
	out := map[string]placement.Cluster{}
	p := d.a.plan.Load()
	if p == nil {
		return out
	}
	for name := range d.members {
		if c, ok := p.World.Cluster(name); ok {
			out[name] = placement.ClusterOf(c, drainOf(p.World, c))
		}
	}
	return out
}

// drainOf is the order by which a cluster drains; empty: there is none.
func drainOf(w *fleet.World, c *fleet.Cluster) string {
	for _, d := range w.Drains {
		if d.Scope == fleet.ScopeCluster && d.Name == c.Name || d.Scope == fleet.ScopeRegion && d.Name == string(c.At.Region) {
			text := "by order"
			if d.By != "" {
				text += " of " + d.By
			}
			if d.Reason != "" {
				text += ": " + d.Reason
			}
			return text
		}
	}
	return ""
}

// think decides what the members are to have of a workload, has them carry it out, and
// tells its author.
func (d *desk) think(w *workload, now time.Time) {
	switch {
	case w.object.DeletionTimestamp != nil:
		d.end(w, now)
		return
	case w.template == nil:
		s := statusOf(w, nil, 0, now)
		s.Clusters, s.InClusters = w.object.Status.Clusters, ""
		d.a.scribe.write(w.object, s)
		return
	case !w.guarded():
		d.a.scribe.settle(w.object, append(slices.Clone(w.object.Finalizers), finalizer))
		return
	}
	views, unplaced := d.decide(w, now)
	d.a.scribe.write(w.object, statusOf(w, views, unplaced, now))
}

// decide decides.
func (d *desk) decide(w *workload, now time.Time) ([]view, int64) {
	t := w.template
	known := d.clusters()
	var list []placement.Cluster
	for _, c := range known {
		list = append(list, c)
	}
	choices, _ := placement.Choose(*t, list)
	var views []view
	var seats []placement.Seat
	total, counts := placement.CountOf(t.Object, placement.Scale{})
	for _, name := range d.names() {
		m := d.members[name]
		v := view{cluster: name, report: m.report(w.object.UID, w.main(), w.kinds())}
		v.silent, v.why = m.pulse.silence()
		if v.report.live != nil {
			v.count, _ = placement.CountOf(v.report.live, placement.Scale{})
		}
		v.counts = counts
		for _, c := range choices {
			if c.Cluster == name && c.Stand == placement.StandOpen {
				v.wanted = true
				seats = append(seats, placement.Seat{Cluster: name, Limit: t.Spread.LimitOf(name), Capacity: -1, Running: v.count.Desired})
			}
		}
		views = append(views, v)
	}
	parts := map[string]int64{}
	unplaced := int64(0)
	if t.Spread.Mode != placement.ModeDuplicate {
		div := placement.Divide(w.String(), total.Desired, t.Spread.Rebalance, seats)
		unplaced = div.Unplaced
		for _, p := range div.Parts {
			parts[p.Cluster] = p.Replicas
		}
	}
	for i := range views {
		v := &views[i]
		p := &plan{generation: w.object.Generation}
		if v.wanted {
			var given placement.Given
			v.desired = total.Desired
			if n, ok := parts[v.cluster]; ok {
				given.Replicas, v.desired = &n, n
			}
			o, problems := placement.Render(*t, known[v.cluster], given, w.owner())
			if o == nil {
				v.problem = texts(problems)
				continue
			}
			p.parts = []part{{object: o, adopt: t.Adopt, main: true}}
		}
		d.members[v.cluster].put(w.object.UID, p)
	}
	return views, unplaced
}
