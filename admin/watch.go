package admin

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// maxStale bounds how many stale sources a summary names.
const maxStale = 100

// published is a plan and the means to learn of the one after it: whoever waits
// on next and then looks at the newest skips what came between.
type published struct {
	plan    *steer.Plan // nil before the first
	next    chan struct{}
	last    bool // the server stops
	once    sync.Once
	summary *adminv1.PlanSummary
}

// Update takes a new plan. It never blocks.
func (s *Server) Update(p *steer.Plan) {
	if s.publish(&published{plan: p, next: make(chan struct{})}) {
		s.setHealth("", true)
		s.setHealth(HealthServing, true)
	}
}

// publish reports whether this is the first plan.
func (s *Server) publish(p *published) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.newest.Load()
	if old.last {
		return false
	}
	s.newest.Store(p)
	close(old.next)
	return old.plan == nil
}

func (s *Server) stopWatchers() {
	s.publish(&published{plan: s.newest.Load().plan, next: make(chan struct{}), last: true})
}

// WatchPlan implements the Admin service.
func (s *Server) WatchPlan(_ *adminv1.WatchPlanRequest, stream grpc.ServerStreamingServer[adminv1.PlanSummary]) error {
	s.metrics.watchers.Inc()
	defer s.metrics.watchers.Dec()
	for {
		p := s.newest.Load()
		if p.last {
			return status.Error(codes.Unavailable, "this daemon stops; ask another one")
		}
		if p.plan != nil {
			p.once.Do(func() { p.summary = s.summarize(p.plan) })
			if err := stream.Send(p.summary); err != nil {
				return err
			}
		}
		select {
		case <-p.next:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *Server) summarize(p *steer.Plan) *adminv1.PlanSummary {
	out := &adminv1.PlanSummary{
		Generation: p.Generation,
		Instance:   s.c.Instance,
		From:       string(s.c.Region),
		Services:   int32(len(p.Services)),
		Hosts:      int32(len(p.Routes.Hosts)),
		Problems:   int32(len(p.Problems)),
	}
	out.Regions, _ = fit(s.regions(p))
	for _, d := range p.World.Drains {
		out.Drains = append(out.Drains, drainOut(d))
	}
	out.Drains, _ = fit(out.Drains)
	for _, l := range p.Load {
		out.Rps += l.RPS
	}
	for _, src := range p.Sources {
		if src.Stale != "" && len(out.StaleSources) < maxStale {
			out.StaleSources = append(out.StaleSources, src.Name)
		}
	}
	return out
}

// rates adds up the requests per second that reach each region.
func rates(load []fleet.LoadReport) (to map[fleet.Region]float64, all float64) {
	to = map[fleet.Region]float64{}
	for _, l := range load {
		to[l.To] += l.RPS
		all += l.RPS
	}
	return to, all
}
