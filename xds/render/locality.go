package render

import (
	"cmp"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// locality is one Envoy locality on its way to becoming bytes.
type locality struct {
	priority      uint32
	region        fleet.Region
	zone, subZone string
	share         float64 // of the region within its priority
	count
	segments [][]byte
}

func (l *locality) compare(m *locality) int {
	return cmp.Or(cmp.Compare(l.priority, m.priority), cmp.Compare(l.region, m.region),
		cmp.Compare(l.zone, m.zone), cmp.Compare(l.subZone, m.subZone))
}

// world answers what one view sees of one snapshot.
type world struct {
	view     View
	segments *Segments
	*fleet.World
}

// asker is the view as the decision knows it.
func (w world) asker() steer.Asker {
	a := steer.Asker{Vantage: fleet.Vantage{Region: w.view.Region, Network: w.view.Network}}
	if e, ok := w.Edge(w.view.Region); ok {
		a.Place = e.Place
	}
	return a
}

// direct reports whether the view reaches a cluster's endpoints without its
// gateways: in the same network, or, where an installation names no networks, in
// the same region.
func (w world) direct(c *fleet.Cluster) bool {
	return c.At.Network == w.view.Network && (w.view.Network != "" || c.At.Region == w.view.Region)
}

// localities are those of a service's port, sorted, with contiguous priorities.
//
// The decision is about the service; where only some of its clusters have the
// port, regions without it are passed over. When that leaves nothing, regions that
// were refused for anything but residency, isolation or reach are asked, and gateways even
// without known endpoints: an answer from there may be bad, from nowhere it is.
func (w world) localities(svc *fleet.Service, port uint16, d steer.Decision) []*locality {
	list := w.ordered(svc, port, d.Order, false)
	if len(list) == 0 {
		list = w.ordered(svc, port, lastResort(d), true)
	}
	return list
}

func lastResort(d steer.Decision) []steer.Candidate {
	list := slices.Clone(d.Order)
	last := -1
	for _, c := range list {
		last = max(last, c.Priority)
	}
	var refused []steer.Candidate
	for _, c := range d.Refused {
		if !slices.ContainsFunc(c.Reasons, final) {
			refused = append(refused, c)
		}
	}
	slices.SortFunc(refused, func(a, b steer.Candidate) int {
		return cmp.Or(cmp.Compare(a.Cost.RTT, b.Cost.RTT), cmp.Compare(a.Region, b.Region))
	})
	for _, c := range refused {
		last++
		c.Priority, c.Share = last, 1
		list = append(list, c)
	}
	return list
}

func final(r steer.Reason) bool {
	return r.Code == steer.ReasonResidency || r.Code == steer.ReasonIsolated || r.Code == steer.ReasonUnreachable
}

// ordered renders candidates, which come sorted by priority.
func (w world) ordered(svc *fleet.Service, port uint16, candidates []steer.Candidate, desperate bool) []*locality {
	var list []*locality
	var priority uint32
	from := -1 // the decision's priority behind ours
	for _, c := range candidates {
		here := w.region(svc, port, c.Region, desperate)
		if len(here) == 0 {
			continue
		}
		if from >= 0 && c.Priority != from {
			priority++
		}
		from = c.Priority
		for _, l := range here {
			l.priority, l.share = priority, c.Share
		}
		list = append(list, here...)
	}
	slices.SortFunc(list, (*locality).compare)
	return list
}

// region is one region's part: the pods of clusters that are reached directly, by
// zone, and the gateways of the others.
func (w world) region(svc *fleet.Service, port uint16, r fleet.Region, desperate bool) []*locality {
	edge, ok := w.Edge(r)
	if !ok {
		return nil
	}
	pods := map[string]*locality{}
	behind := map[string]*locality{}
	for _, b := range serving(edge, svc, port) {
		cl, ok := clusterOf(edge, b.Cluster)
		if !ok {
			continue
		}
		if w.direct(cl) {
			w.gather(pods, r, b.Backend, port)
			continue
		}
		name := entrance(cl)
		l := behind[name]
		if l == nil {
			l = &locality{region: r, subZone: name}
			behind[name] = l
		}
		for _, s := range w.segments.get(b.Backend, port) {
			l.add(s.count)
		}
	}
	var list []*locality
	for _, l := range pods {
		list = append(list, l)
	}
	for name, l := range behind {
		if l.total == 0 && !desperate {
			continue
		}
		if g := relays(edge, name); len(g) > 0 {
			l.segments = [][]byte{relaySegment(g, r, ClusterName(svc.Name, port))}
			list = append(list, l)
		}
	}
	slices.SortFunc(list, (*locality).compare)
	return list
}

// gather adds a backend's endpoints to the localities of their zones.
func (w world) gather(zones map[string]*locality, r fleet.Region, b *fleet.Backend, port uint16) {
	for _, s := range w.segments.get(b, port) {
		l := zones[s.zone]
		if l == nil {
			l = &locality{region: r, zone: s.zone}
			zones[s.zone] = l
		}
		l.add(s.count)
		l.segments = append(l.segments, s.bytes)
	}
}

// local is the localities of a service's port that the view reaches in its own
// region, for requests that another region has sent.
func (w world) local(svc *fleet.Service, port uint16) []*locality {
	edge, ok := w.Edge(w.view.Region)
	if !ok {
		return nil
	}
	zones := map[string]*locality{}
	for _, b := range serving(edge, svc, port) {
		if cl, ok := clusterOf(edge, b.Cluster); ok && w.direct(cl) {
			w.gather(zones, edge.Region, b.Backend, port)
		}
	}
	list := make([]*locality, 0, len(zones))
	for _, l := range zones {
		l.share = 1
		list = append(list, l)
	}
	slices.SortFunc(list, (*locality).compare)
	return list
}

// serving is a region's backends that have a port, without those of draining
// clusters while another one serves: the decision's own rule.
func serving(edge *fleet.Edge, svc *fleet.Service, port uint16) []fleet.BackendView {
	var active, drained []fleet.BackendView
	for _, b := range svc.Backends {
		if b.Region != edge.Region {
			continue
		}
		if _, ok := b.Port(fleet.PortRef{Number: port}); !ok {
			continue
		}
		if cl, ok := clusterOf(edge, b.Cluster); ok && cl.Draining {
			drained = append(drained, b)
		} else {
			active = append(active, b)
		}
	}
	if len(active) == 0 {
		return drained
	}
	return active
}

func clusterOf(e *fleet.Edge, name string) (*fleet.Cluster, bool) {
	for _, c := range e.Clusters {
		if c.Name == name {
			return c, true
		}
	}
	return nil, false
}

// entrance names the clusters of a region that are entered by the same gateways:
// those of one network, since any of its gateways reaches all of its endpoints. A
// cluster whose network has no name stands alone.
func entrance(c *fleet.Cluster) string {
	if c.At.Network != "" {
		return "network:" + string(c.At.Network)
	}
	return "cluster:" + c.Name
}

// relays are the gateways to enter by: those neither draining nor known to be
// unhealthy; all of them when none is left. Sorted, without duplicates.
func relays(edge *fleet.Edge, name string) []fleet.Gateway {
	var good, all []fleet.Gateway
	for _, g := range edge.Gateways {
		cl, ok := clusterOf(edge, g.Cluster)
		if !ok || entrance(cl) != name || g.RelayPort == 0 {
			continue
		}
		all = append(all, g.Gateway)
		if !g.Draining && g.Health.State != fleet.Unhealthy {
			good = append(good, g.Gateway)
		}
	}
	if len(good) == 0 {
		good = all
	}
	slices.SortFunc(good, func(a, b fleet.Gateway) int { return a.Relay().Compare(b.Relay()) })
	return slices.CompactFunc(good, func(a, b fleet.Gateway) bool { return a.Relay() == b.Relay() })
}
