package steer

import (
	"net/netip"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// Addresses are the front doors that a resolver is told for a region: those not
// known to be unhealthy and not draining; all of them when none is left. Sorted,
// without duplicates, IPv4 and IPv6 mixed.
func (p *Plan) Addresses(r fleet.Region) []netip.Addr {
	e, ok := p.World.Edge(r)
	if !ok {
		return nil
	}
	var good, all []netip.Addr
	for _, g := range e.Gateways {
		all = append(all, g.Addr)
		if g.Health.State != fleet.Unhealthy && !g.Draining {
			good = append(good, g.Addr)
		}
	}
	if len(good) == 0 {
		good = all
	}
	slices.SortFunc(good, netip.Addr.Compare)
	return slices.Compact(good)
}
