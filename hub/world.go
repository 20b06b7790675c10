package hub

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/health"
)

// buildWorld gathers clusters into regions, lets the quorum judge their
// gateways, and puts the operators' drains in force. It also says when time
// alone may change what it said; zero: never.
func buildWorld(k *book, policies ruleBook, rules health.Rules, now time.Time) (*fleet.World, []fleet.Problem, time.Time) {
	w := &fleet.World{Check: policies.check()}
	w.Drains, w.Lifted = drains(k)
	for _, d := range slices.Concat(w.Drains, w.Lifted) {
		w.DrainOrder = max(w.DrainOrder, d.Order)
	}
	clusters := ofKind[*fleet.Cluster](k, fleet.KindCluster)
	targets, problems := gatewayTargets(clusters, w.Check.Interval)
	var observations []*fleet.Observation
	for _, t := range k.every(fleet.KindObservation) {
		if o, ok := t.value.(*fleet.Observation); ok { // of stale sources too: the quorum looks at each one's age
			observations = append(observations, o)
		}
	}
	verdicts := health.Judge(observations, targets, now, rules)
	w.Latency = health.Latency(observations, targets, now, rules)
	for _, c := range clusters {
		w.Edges = addCluster(w.Edges, withDrain(c, w.Drains))
	}
	for _, e := range w.Edges {
		finishEdge(e, w.Drains, verdicts)
	}
	due, _ := health.NextChange(observations, targets, now, rules)
	return w, problems, due
}

// drains picks the latest order about each region and cluster.
func drains(k *book) (inForce, lifted []fleet.Drain) {
	for _, n := range k.names(fleet.KindDrain) {
		var latest *fleet.Drain
		for src := range k.tellers[n.Kind][n.Name] {
			d, ok := k.sources[src].facts[n].(*fleet.Drain)
			if ok && (latest == nil || d.Supersedes(*latest)) {
				latest = d
			}
		}
		switch {
		case latest == nil:
		case latest.On:
			inForce = append(inForce, *latest)
		default:
			lifted = append(lifted, *latest)
		}
	}
	return inForce, lifted
}

func ordered(drains []fleet.Drain, s fleet.Scope, name string) (fleet.Drain, bool) {
	for _, d := range drains {
		if d.Scope == s && d.Name == name {
			return d, true
		}
	}
	return fleet.Drain{}, false
}

func withDrain(c *fleet.Cluster, drains []fleet.Drain) *fleet.Cluster {
	if _, on := ordered(drains, fleet.ScopeCluster, c.Name); !on || c.Draining {
		return c
	}
	drained := *c
	drained.Draining = true
	return &drained
}

// gatewayTargets lists every gateway with its region. An address may belong to
// one cluster only; the first by name keeps it.
func gatewayTargets(clusters []*fleet.Cluster, interval time.Duration) ([]health.Target, []fleet.Problem) {
	var targets []health.Target
	var problems []fleet.Problem
	owner := map[netip.AddrPort]*fleet.Cluster{}
	for _, c := range clusters {
		for _, g := range c.Gateways {
			if first, taken := owner[g.Front()]; taken {
				problems = append(problems, fleet.Problem{
					About: c.Origin, Reason: "GatewayConflict",
					Message: fmt.Sprintf("gateway %s already belongs to cluster %s; give each cluster its own", g.Front(), first.Name),
				})
				continue
			}
			owner[g.Front()] = c
			targets = append(targets, health.Target{Addr: g.Front(), Region: c.At.Region, Interval: interval})
		}
	}
	return targets, problems
}

// addCluster puts a cluster into its region. Clusters come sorted by name.
func addCluster(edges []*fleet.Edge, c *fleet.Cluster) []*fleet.Edge {
	i, ok := slices.BinarySearchFunc(edges, c.At.Region, func(e *fleet.Edge, r fleet.Region) int { return cmp.Compare(e.Region, r) })
	if !ok {
		edges = slices.Insert(edges, i, &fleet.Edge{Region: c.At.Region, Place: c.At.Place})
	}
	edges[i].Clusters = append(edges[i].Clusters, c)
	return edges
}

// finishEdge fills in the front doors, their health and the region's drain.
func finishEdge(e *fleet.Edge, drains []fleet.Drain, verdicts map[netip.AddrPort]fleet.Verdict) {
	e.Drain = whyDraining(e, drains)
	var serving, all []fleet.Verdict
	for _, c := range e.Clusters {
		for _, g := range c.Gateways {
			v := verdicts[g.Front()]
			e.Gateways = append(e.Gateways, fleet.GatewayView{
				Gateway: g, Cluster: c.Name, Health: v, Draining: c.Draining || e.Drain != "",
			})
			all = append(all, v)
			if !c.Draining {
				serving = append(serving, v)
			}
		}
	}
	if len(serving) == 0 {
		serving = all
	}
	e.Health = health.RegionVerdict(serving)
	slices.SortFunc(e.Gateways, func(a, b fleet.GatewayView) int {
		return cmp.Or(a.Front().Compare(b.Front()), cmp.Compare(a.Cluster, b.Cluster))
	})
}

// maxDrained bounds how many clusters a region's drain names.
const maxDrained = 3

// whyDraining says why a region as a whole is draining: by an order about it, or
// because every one of its clusters drains; empty: it is not.
func whyDraining(e *fleet.Edge, drains []fleet.Drain) string {
	if d, on := ordered(drains, fleet.ScopeRegion, string(e.Region)); on {
		return drainText(d)
	}
	var list []string
	for _, c := range e.Clusters {
		if !c.Draining {
			return ""
		}
		why := "by its own object"
		if d, on := ordered(drains, fleet.ScopeCluster, c.Name); on {
			why = drainText(d)
		}
		list = append(list, c.Name+" "+why)
	}
	if more := len(list) - maxDrained; more > 0 {
		list = append(list[:maxDrained], fmt.Sprintf("and %d more", more))
	}
	return "cluster by cluster: " + strings.Join(list, ", ")
}

func drainText(d fleet.Drain) string {
	text := "by order of " + cmp.Or(d.By, "an operator")
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}
