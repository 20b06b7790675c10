package main

import (
	"context"
	"log/slog"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/geoip"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health/probe"
)

// surroundings follows what the plan says about the world: which gateways there
// are to be probed, and which client networks stand beside which cluster.
type surroundings struct {
	prober  *probe.Prober
	locator *geoip.Locator
	log     *slog.Logger
	world   *fleet.World
}

func (s *surroundings) work(_ context.Context, p *steer.Plan) error {
	if p.World == s.world {
		return nil
	}
	s.world = p.World
	var targets []probe.Target
	var networks []geoip.Network
	for _, e := range p.World.Edges {
		for _, g := range e.Gateways {
			targets = append(targets, probe.Target{Addr: g.Front(), Region: e.Region, Cluster: g.Cluster, Check: p.World.Check})
		}
		for _, c := range e.Clusters {
			for _, prefix := range c.ClientNetworks {
				networks = append(networks, geoip.Network{Prefix: prefix, Place: c.At.Place, Name: c.Name})
			}
		}
	}
	s.prober.Update(targets)
	if err := s.locator.SetNetworks(networks); err != nil {
		s.log.Warn("some client networks do not hold", "err", err)
	}
	return nil
}
