package main

import (
	"context"
	"log/slog"
	"reflect"
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
	tell      fleet.Tell
	source    string
	domain    string // of our identity; empty with plaintext
	log       *slog.Logger

	mu       sync.Mutex
	refused  []fleet.Problem // by Envoys
	told     []fleet.Problem
	toldOnce bool
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
	g.tellProblems(ctx, problems)
	return nil
}

// refuse keeps what Envoys refuse, for the next telling.
func (g *gateways) refuse(problems []fleet.Problem) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = problems
}

func (g *gateways) tellProblems(ctx context.Context, problems []fleet.Problem) {
	if g.toldOnce && reflect.DeepEqual(problems, g.told) {
		return
	}
	g.told, g.toldOnce = problems, true
	u := fleet.Update{Source: g.source, Whole: true}
	if len(problems) > 0 {
		u.Put = []fleet.Fact{fleet.NewFact("xds", fleet.Problems(problems))}
	}
	g.tell(ctx, u)
}
