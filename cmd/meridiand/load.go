package main

import (
	"context"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meridian-lb/meridian/fleet"
)

const (
	loadEvery  = 2 * time.Second
	loadForget = 4 * loadEvery // an Envoy that has not reported for so long has gone
)

// loads adds up what the Envoys of this instance report.
type loads struct {
	at     fleet.Vantage
	source string
	tell   fleet.Tell

	mu   sync.Mutex
	last map[string]nodeLoad // by node
}

type nodeLoad struct {
	at      time.Time
	reports []fleet.LoadReport
}

func (l *loads) take(node *corev3.Node, reports []fleet.LoadReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[node.GetId()] = nodeLoad{time.Now(), reports}
}

// Run tells the sums until ctx ends.
func (l *loads) Run(ctx context.Context) error {
	tick := time.NewTicker(loadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			l.tell(ctx, fleet.Update{Source: l.source, Whole: true, Put: l.sum(now)})
		}
	}
}

type loadKey struct {
	service fleet.ServiceName
	to      fleet.Region
}

func (l *loads) sum(now time.Time) []fleet.Fact {
	l.mu.Lock()
	defer l.mu.Unlock()
	sums := map[loadKey]*fleet.LoadReport{}
	for node, n := range l.last {
		if now.Sub(n.at) > loadForget {
			delete(l.last, node)
			continue
		}
		for _, r := range n.reports {
			key := loadKey{r.Service, r.To}
			s := sums[key]
			if s == nil {
				s = &fleet.LoadReport{From: l.at, Service: r.Service, To: r.To}
				sums[key] = s
			}
			if rps := s.RPS + r.RPS; rps > 0 {
				s.ErrorRate = (s.ErrorRate*s.RPS + r.ErrorRate*r.RPS) / rps
			}
			s.RPS += r.RPS
			s.InFlight += r.InFlight
		}
	}
	facts := make([]fleet.Fact, 0, len(sums))
	for key, s := range sums {
		facts = append(facts, fleet.NewFact(string(l.at.Region)+"/"+key.service.String()+"/"+string(key.to), s))
	}
	return facts
}
