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
	var list []netip.Addr
	for _, g := range p.doors(r) {
		list = append(list, g.Addr)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// TLSPort is the one port at which every address of Addresses serves hosts over
// TLS; 0: there is none, or they do not agree on it. A resolver is told one port
// for all addresses.
func (p *Plan) TLSPort(r fleet.Region) uint16 {
	doors := p.doors(r)
	for _, g := range doors {
		if g.TLSPort != doors[0].TLSPort {
			return 0
		}
	}
	if len(doors) == 0 {
		return 0
	}
	return doors[0].TLSPort
}

// doors are the gateways behind Addresses.
func (p *Plan) doors(r fleet.Region) []fleet.GatewayView {
	e, ok := p.World.Edge(r)
	if !ok {
		return nil
	}
	var good []fleet.GatewayView
	for _, g := range e.Gateways {
		if g.Health.State != fleet.Unhealthy && !g.Draining {
			good = append(good, g)
		}
	}
	if len(good) == 0 {
		return e.Gateways
	}
	return good
}
