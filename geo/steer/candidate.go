package steer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// contender is a candidate on its way through the steps.
type contender struct {
	Candidate
	edge     *fleet.Edge
	refusals []Reason // empty: eligible
	clusters []string // that serve
	drained  bool     // only because every cluster that has the service drains
	stale    string
}

func (c *contender) refuse(code ReasonCode, format string, args ...any) {
	c.refusals = append(c.refusals, Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

func (c *contender) eligible() bool { return len(c.refusals) == 0 }

// candidates lists every region that has the service, sorted by region, with
// what counts against it. Step one of the decision.
func candidates(w *fleet.World, a Asker, svc *fleet.Service) []*contender {
	var list []*contender
	for _, e := range w.Edges {
		c := contend(e, a, svc)
		if c == nil {
			continue
		}
		c.Cost = cost(w, a, e, svc.Policy.Strategy)
		list = append(list, c)
	}
	for _, c := range list {
		judge(c, a, svc.Policy)
	}
	if svc.Policy.Strategy == fleet.StrategyIsolated {
		isolate(list, svc)
	}
	return list
}

// contend gathers one region's backends; nil when it has none. Of several
// clusters in a region those that drain are left out while another one serves.
func contend(e *fleet.Edge, a Asker, svc *fleet.Service) *contender {
	var active, drained []fleet.BackendView
	for _, b := range svc.Backends {
		if b.Region != e.Region {
			continue
		}
		if cl, ok := clusterOf(e, b.Cluster); ok && cl.Draining {
			drained = append(drained, b)
		} else {
			active = append(active, b)
		}
	}
	if len(active)+len(drained) == 0 {
		return nil
	}
	c := &contender{Candidate: Candidate{Region: e.Region}, edge: e}
	if len(active) == 0 {
		active, c.drained = drained, true
	}
	for _, b := range active {
		c.clusters = append(c.clusters, b.Cluster)
		c.Ready += b.ReadyCount()
		c.Total += b.Size()
		if cl, ok := clusterOf(e, b.Cluster); ok && direct(a, e, cl) {
			c.Direct = c.Direct || b.Size() > 0
		}
		if b.Stale {
			c.stale = b.Cluster
		}
	}
	return c
}

// direct: a gateway reaches the endpoints of its own network without passing
// other gateways. Where neither names one, the region is the network.
func direct(a Asker, e *fleet.Edge, c *fleet.Cluster) bool {
	if a.Region == "" || a.Network != c.At.Network {
		return false
	}
	return a.Network != "" || a.Region == e.Region
}

func clusterOf(e *fleet.Edge, name string) (*fleet.Cluster, bool) {
	i, ok := slices.BinarySearchFunc(e.Clusters, name, func(c *fleet.Cluster, name string) int { return cmp.Compare(c.Name, name) })
	if !ok {
		return nil, false
	}
	return e.Clusters[i], true
}

// judge writes down everything that speaks against a region. Step two.
func judge(c *contender, a Asker, p *fleet.Policy) {
	if len(p.Regions) > 0 && !slices.Contains(p.Regions, c.Region) {
		c.refuse(ReasonResidency, "residency: the policy keeps this service in %v", p.Regions)
	}
	switch {
	case c.edge.Drain != "":
		c.refuse(ReasonDraining, "draining: %s", c.edge.Drain)
	case c.drained:
		c.refuse(ReasonDraining, "draining: every cluster here that has the service is")
	}
	if !reachable(c, a) {
		c.refuse(ReasonUnreachable, "no gateway to enter the region by")
	}
	var health fleet.Verdict
	c.State, health = c.stateFor(a)
	if c.State == fleet.Unhealthy && !c.Direct {
		c.refuse(ReasonUnhealthy, "unhealthy: %s", health.Detail)
	}
	if c.Ready == 0 {
		c.refuse(ReasonNoEndpoints, "no ready endpoints (0 of %d)", c.Total)
	}
}

// reachable: a client enters by a region's front doors, another region's gateway
// by the relay of a cluster that serves, unless both share a network.
func reachable(c *contender, a Asker) bool {
	if c.Direct || a.Region == c.Region {
		return true
	}
	for _, g := range c.edge.Gateways {
		if a.Region == "" {
			return true
		}
		if g.RelayPort != 0 && slices.Contains(c.clusters, g.Cluster) {
			return true
		}
	}
	return false
}

// stateFor is the health of the doors that the asker would use: any of the
// region's for a client, those of the serving clusters for a gateway.
func (c *contender) stateFor(a Asker) (fleet.State, fleet.Verdict) {
	if a.Region == "" {
		return c.edge.Health.State, c.edge.Health
	}
	worst := fleet.Verdict{State: fleet.Unknown}
	seen := false
	for _, g := range c.edge.Gateways {
		if !slices.Contains(c.clusters, g.Cluster) {
			continue
		}
		switch {
		case g.Health.State == fleet.Healthy:
			return fleet.Healthy, g.Health
		case !seen || g.Health.State == fleet.Unknown:
			worst, seen = g.Health, true
		}
	}
	return worst.State, worst
}

// isolate refuses all but the nearest region that has the service, whatever its
// health: isolation is a promise that a failure stays where it is.
func isolate(list []*contender, svc *fleet.Service) {
	var nearest *contender
	for _, c := range list {
		if c.refusedFor(ReasonResidency) || c.refusedFor(ReasonUnreachable) {
			continue
		}
		if nearest == nil || byCost(svc.Name)(c, nearest) < 0 {
			nearest = c
		}
	}
	for _, c := range list {
		if c != nearest && nearest != nil {
			c.refuse(ReasonIsolated, "isolated: this asker belongs to %s", nearest.Region)
		}
	}
}

func (c *contender) refusedFor(code ReasonCode) bool {
	return slices.ContainsFunc(c.refusals, func(r Reason) bool { return r.Code == code })
}
