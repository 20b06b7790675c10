package apply

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// memory is what lies in the status of a FederatedObject.
type memory struct{ placement.Record }

func (m memory) text() string {
	data, err := json.Marshal(m)
	if err != nil {
		return ""
	}
	return string(data)
}

// names are those of all members, sorted.
func (d *desk) names() []string { return slices.Sorted(maps.Keys(d.members)) }

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
		s := statusOf(w, nil, outlook{}, now)
		s.Clusters, s.InClusters = w.object.Status.Clusters, w.object.Status.InClusters
		d.a.scribe.write(w.object, s, false)
		return
	case !w.guarded():
		d.a.scribe.settle(w.object, append(slices.Clone(w.object.Finalizers), finalizer))
		return
	}
	views, settled := d.see(w, now)
	if !settled {
		w.due = now.Add(d.a.cfg.Pace.Timeout / 4)
		return
	}
	d.decide(w, views, now)
}

// see looks at all members. What has just begun is waited for: settled is false while a
// member may answer, or show what it has, within a moment.
func (d *desk) see(w *workload, now time.Time) (views []view, settled bool) {
	settled = d.a.plan.Load() != nil && d.staffed != nil && d.staffed == d.a.members.Load() // who is missing among the members has left
	moment := 2 * d.a.cfg.Pace.Timeout
	for _, name := range d.names() {
		m := d.members[name]
		v := view{name: name, report: m.report(w.object.UID, w.main(), w.kinds())}
		v.cluster, v.known = d.known[name]
		v.silent, v.why = m.pulse.silence()
		switch listed := v.report.listed && m.scalers.ready(); {
		case !v.silent.IsZero():
			settled = settled && now.Sub(v.silent) >= moment
			delete(w.unlisted, name)
		case listed:
			delete(w.unlisted, name)
		default:
			since, before := w.unlisted[name]
			if !before {
				since = now
				w.unlisted[name] = since
			}
			patience := moment
			if v.report.unread == "" {
				patience = listWithin // it may still be saying: lists of many objects take a while
			}
			settled = settled && now.Sub(since) >= patience
			v.silent, v.why = since, cmp.Or(v.report.unread, "it has not shown yet what it has")
			v.unread = true
		}
		v.free = -1
		if needs, ok := w.needs(); ok {
			var tried bool
			v.free, tried = m.survey.room(needs)
			settled = settled && (tried || !v.silent.IsZero()) // replicas that are once there stay there
		}
		views = append(views, v)
	}
	return views, settled
}

// decide decides where what is, by what is seen, and has it carried out. What is
// remembered is written down first: whoever takes over has to know what was ordered.
func (d *desk) decide(w *workload, views []view, now time.Time) {
	t := w.template
	var before memory
	if err := w.object.Status.Recall(&before); err != nil {
		d.a.log.Warn("the memory of a workload is begun anew", "workload", w.String(), "err", err)
		before = memory{}
	}
	choices, problems := choose(*t, views)
	w.strange = problems
	scale, unscaled := w.scaled(views, before.Scale)
	w.scale, before.Scale = scale, scale
	for i, v := range views {
		if v.report.live != nil {
			views[i].count, views[i].counts = placement.CountOf(v.report.live, scale)
		}
	}
	if t.Spread.Mode != placement.ModeDuplicate && !placement.Builtin(w.main().Group) && scale.IsZero() {
		w.strange = append(slices.Clone(w.strange), fleet.Problem{About: t.Origin, Reason: "NoScale",
			Message: fmt.Sprintf("%s has no scale subresource in any cluster that answers, so each is given all of it; add one to its definition, or write mode: duplicate", w.main().Kind)})
	}
	var o outlook
	switch shape := placement.ShapeOf(t.Object, scale); {
	case placement.IsJob(t.Object):
		o = job(w, choices, views, before, now)
	case t.Spread.Mode != placement.ModeDuplicate && shape.Scales:
		o = d.bounds(w, choices, views, before, now)
	default:
		o = replicas(w, choices, views, before, now)
	}
	if unscaled != "" {
		o.fault, o.halt, o.after = unscaled, true, before
	}
	if o.fault == "" {
		o.fault, o.forbids = w.missing, w.forbids
	}
	o.after.Along = d.leftAlong(w, views)
	status := statusOf(w, views, o, now)
	d.fares(w, views, o)
	remembered := o.after.text() == before.text()
	if !remembered {
		if err := status.Remember(o.after); err != nil {
			d.a.log.Warn("the memory of a workload is too large", "workload", w.String(), "err", err)
		}
	}
	if !o.again.IsZero() {
		w.due = o.again
	}
	d.a.thoughts.keep(w, o, now)
	d.a.scribe.write(w.object, status, !remembered)
	if remembered && !o.halt {
		d.order(w, views, o)
	}
}

// choose says where a workload may stand. A member of which nobody has said yet where
// it stands keeps what it has.
func choose(t placement.Template, views []view) ([]placement.Choice, []fleet.Problem) {
	var clusters []placement.Cluster
	for _, v := range views {
		if v.known {
			clusters = append(clusters, v.cluster)
		}
	}
	choices, problems := placement.Choose(t, clusters)
	for _, v := range views {
		if !v.known {
			choices = append(choices, placement.Choice{Cluster: v.name, Stand: placement.StandClosed, Why: "nobody has said yet where it stands"})
		}
	}
	slices.SortFunc(choices, func(a, b placement.Choice) int { return strings.Compare(a.Cluster, b.Cluster) })
	return choices, problems
}

// outlook is what is decided of a workload.
type outlook struct {
	orders   map[string]order // by cluster; one that is missing is to have nothing, but for a silent one, which is left alone
	desired  int64            // copies over all; negative: what the clusters' orders add up to
	unplaced int64
	again    time.Time
	after    memory
	counts   bool   // it has copies
	fault    string // why nothing can be ordered; empty: it can
	forbids  string // the fault in one word, if it is about rights
	halt     bool   // nothing is ordered: every cluster keeps what it has
	job      *tally // of a Job; nil: it is none
}

// order is what one cluster is to do.
type order struct {
	give    bool // it is to have the workload, as it is given
	held    bool // it is silent, and what it should have counts as being there
	given   placement.Given
	desired int64 // copies that are ordered or counted there
	goal    int64 // copies when all moves are done
	leaves  bool
	bound   bool // it is not made again when it is gone: a Job that has begun
	over    bool // a Job that has ended, and is left as it is
	reasons []string
}

// replicas decides for what has replicas, or goes everywhere as it is.
func replicas(w *workload, choices []placement.Choice, views []view, before memory, now time.Time) outlook {
	t := w.template
	total, counts := placement.CountOf(t.Object, w.scale)
	if placement.ShapeOf(t.Object, w.scale).PerNode {
		counts = false
	}
	wanted := total.Desired
	if !counts {
		wanted = -1
	}
	var sights []placement.Sight
	for _, v := range views {
		sights = append(sights, v.sight())
	}
	step, after := placement.Next(*t, wanted, choices, sights, before.Memory, now.UTC())
	o := outlook{orders: map[string]order{}, desired: wanted, unplaced: step.Unplaced, again: step.Again, after: before, counts: counts}
	o.after.Memory = after
	divided := t.Spread.Mode != placement.ModeDuplicate && counts
	if !divided {
		o.desired = -1
	}
	for _, so := range step.Orders {
		ord := order{reasons: so.Reasons, give: so.Act == placement.ActApply, desired: max(so.Replicas, 0), goal: so.Goal}
		i := slices.IndexFunc(choices, func(c placement.Choice) bool { return c.Cluster == so.Cluster })
		ord.leaves = i >= 0 && (choices[i].Stand == placement.StandLeaving || choices[i].Stand == placement.StandOutside)
		switch {
		case so.Act == placement.ActNone:
			ord.desired, ord.held = max(so.Goal, 0), so.Goal != 0
		case so.Replicas == placement.NotReplicas && counts:
			ord.given.Left = true
			ord.desired = so.Goal
		case divided:
			ord.given.Replicas = &so.Replicas
		}
		o.orders[so.Cluster] = ord
	}
	if _, numbered := placement.FirstOrdinal(t.Object); numbered {
		number(&o, views, before, divided)
	}
	return o
}

// number gives each cluster of a divided StatefulSet its ordinals. Those that it has it
// keeps, whatever becomes of the division: others would be other pods.
func number(o *outlook, views []view, before memory, divided bool) {
	live := map[string]int64{}
	for _, v := range views {
		if v.report.live != nil && divided {
			live[v.name], _ = placement.FirstOrdinal(v.report.live)
		}
	}
	begun, renamed := placement.Begun(before.Ordinals, live)
	if len(renamed) > 0 {
		o.fault = fmt.Sprintf("%s has it with ordinals that another cluster has too, and to divide it would give its pods other names; write where so that one cluster has it, wait until the others have let it go, and divide it then", strings.Join(renamed, ", "))
		o.halt = true
		return
	}
	var parts []placement.Part
	for _, name := range slices.Sorted(maps.Keys(o.orders)) {
		ord := o.orders[name]
		if _, has := begun[name]; ord.give && (divided || has) {
			parts = append(parts, placement.Part{Seat: placement.Seat{Cluster: name}, Replicas: max(ord.desired, 0)})
		}
	}
	given, after := placement.Ordinals(parts, begun)
	if len(after) > 0 {
		o.after.Ordinals = after
	}
	for _, g := range given {
		ord := o.orders[g.Cluster]
		ord.given.Ordinal = &g.Start
		o.orders[g.Cluster] = ord
	}
}

// needs are what one of its pods asks of a node, if it is divided by room.
func (w *workload) needs() (placement.Needs, bool) {
	if w.template.Spread.Mode != placement.ModeFree {
		return placement.Needs{}, false
	}
	return placement.NeedsOf(w.template.Object)
}

// sight is what placement is told of a cluster.
func (v view) sight() placement.Sight {
	s := placement.Sight{Cluster: v.name, Silent: v.silent.UTC(), Present: v.report.live != nil, Desired: v.count.Desired, Ready: v.count.Ready,
		Scaled: v.report.scaled, Free: v.free}
	if v.silent.IsZero() {
		s.Silent = time.Time{}
	}
	if pods := v.report.pods; len(pods) > 0 {
		s.Unschedulable, s.UnschedulableSince = int64(len(pods)), pods[0].Unschedulable
	} else if n, since := forbidden(v.report.live, v.count); n > 0 {
		s.Unschedulable, s.UnschedulableSince = n, since
	}
	return s
}

// seats are the places at which a Job or an autoscaler is divided: where it may be, and
// where it is.
func seats(w *workload, choices []placement.Choice, views []view) []placement.Seat {
	var list []placement.Seat
	for _, v := range views {
		i := slices.IndexFunc(choices, func(c placement.Choice) bool { return c.Cluster == v.name })
		open := i >= 0 && choices[i].Stand == placement.StandOpen && v.silent.IsZero()
		if open || v.report.live != nil {
			seat := placement.Seat{Cluster: v.name, Limit: w.template.Spread.LimitOf(v.name), Capacity: -1, Running: v.count.Desired}
			if !open {
				seat.Max = v.count.Desired
			}
			list = append(list, seat)
		}
	}
	return list
}

// fault keeps why nothing can be ordered; empty: it can. Forbids is that in one word, if
// it is about rights.
func (w *workload) fault(d *desk, forbids, text string) {
	if w.missing != text || w.forbids != forbids {
		w.missing, w.forbids = text, forbids
		d.touch(w.object.UID) // for the status
	}
}

// earlier is the earlier of two moments, of which the first may be zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// order has the members carry out what is decided.
func (d *desk) order(w *workload, views []view, o outlook) {
	var along []*unstructured.Unstructured
	if w.template.Follow {
		var err error
		along, err = d.followed.of(w.template.Object)
		switch {
		case errors.Is(err, errUnread):
			w.due = earlier(w.due, time.Now().Add(d.a.cfg.Pace.Timeout))
			return // as it was
		case err != nil:
			w.fault(d, "", err.Error())
			return // as it was
		}
	}
	as := w.account(d.a.cfg.Account)
	if !d.allowed(w, as, along) {
		return // as it was
	}
	w.fault(d, "", "")
	made := render{w: w, made: map[string]rendered{}}
	var versions []string
	for _, a := range along {
		versions = append(versions, digest(a.Object))
	}
	for _, v := range views {
		if !v.silent.IsZero() || !v.known {
			continue // as it was: whatever it has, it keeps
		}
		ord := o.orders[v.name]
		if ord.given.Scale = v.report.scale; ord.give && v.report.served && !slices.Equal(v.report.scale.Spec, w.scale.Spec) {
			text := "its definition keeps replicas elsewhere than that of other clusters; install the same definition everywhere"
			if w.faults[v.name] != text {
				w.faults[v.name] = text
				d.touch(w.object.UID) // for the status
			}
			continue // as it was
		}
		p := &plan{generation: w.generation, token: digest([]any{w.generation, v.cluster, ord.give, ord.given, ord.bound, ord.over, versions, as.namespace, as.name}), as: as}
		if w.faults[v.name] == "" && d.members[v.name].planned(w.object.UID) == p.token {
			continue // it knows
		}
		if ord.give {
			object, problems := made.of(v.cluster, ord.given)
			if object.object == nil {
				if text := texts(problems); w.faults[v.name] != text {
					w.faults[v.name] = text
					d.touch(w.object.UID) // for the status
				}
				continue // the last good one stays in force
			}
			for _, a := range along {
				given, problems := made.along(a, v.cluster)
				if given.object == nil {
					w.faults[v.name] = texts(problems)
					continue
				}
				p.parts = append(p.parts, part{rendered: given, adopt: w.template.Adopt})
			}
			p.parts = append(p.parts, part{rendered: object, adopt: w.template.Adopt, main: true, bound: ord.bound, over: ord.over})
		}
		if w.faults[v.name] != "" {
			delete(w.faults, v.name)
			d.touch(w.object.UID)
		}
		d.members[v.name].put(w.object.UID, p)
	}
}
