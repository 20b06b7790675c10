package main

import (
	"context"
	"log/slog"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds"
	"github.com/meridian-lb/meridian/xds/render"
)

// gateways renders the plan for every view that an Envoy has asked for.
type gateways struct {
	server    *xds.Server
	segments  *render.Segments
	renderers map[string]*render.Renderer
	faults    *faults
	domain    string // of our identity; empty with plaintext
	log       *slog.Logger

	mu      sync.Mutex
	refused []fleet.Problem // by Envoys
}

func (g *gateways) viewOf(n *corev3.Node) (string, error) {
	v, err := render.ViewOf(n, g.domain)
	if err != nil {
		return "", err
	}
	return v.Key(), nil
}

// work renders what changed for each view and publishes it.
func (g *gateways) work(ctx context.Context, p *steer.Plan) error {
	var problems []fleet.Problem
	for _, key := range g.server.Views() {
		r := g.renderers[key]
		if r == nil {
			v, err := render.ParseKey(key)
			if err != nil {
				g.log.Error("a view cannot be rendered", "view", key, "err", err)
				continue
			}
			r = render.NewRenderer(v, g.segments)
			g.renderers[key] = r
		}
		if err := g.server.Publish(key, r.Update(p)); err != nil {
			g.log.Error("a view could not be published", "view", key, "err", err)
		}
		problems = append(problems, r.Problems()...)
	}
	g.mu.Lock()
	problems = append(problems, g.refused...)
	g.mu.Unlock()
	g.faults.say(ctx, problems)
	return nil
}

// refuse keeps what Envoys refuse, for the next telling.
func (g *gateways) refuse(problems []fleet.Problem) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = problems
}
