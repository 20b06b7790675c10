package admin

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

const (
	maxReason = 1024 // bytes
	maxBy     = 256  // bytes
	maxNamed  = 30   // names that an error lists
	// maxOrder is the highest number of an order. It is far away: a thousand
	// orders a second take 280,000 years.
	maxOrder = 1 << 53
)

// orders are those that this process has taken. A plan shows an order only a
// moment later, and one that was taken back not at all, so they are remembered.
type orders struct {
	mu      sync.Mutex
	highest uint64
	given   map[fleet.FactName]fleet.Drain
}

// order is what an operator asks for.
type order struct {
	scope  fleet.Scope
	name   string
	on     bool
	reason string
	by     string
	force  bool
}

func (o order) fact() fleet.FactName {
	return fleet.FactName{Kind: fleet.KindDrain, Name: fmt.Sprintf("%s/%s", o.scope, o.name)}
}

func (o order) String() string { return fmt.Sprintf("%s %s", o.scope, o.name) }

// Drain implements the Admin service.
func (s *Server) Drain(ctx context.Context, q *adminv1.DrainRequest) (*adminv1.DrainResponse, error) {
	o, err := parseOrder(q.GetScope(), q.GetName(), q.GetReason(), q.GetBy())
	if err != nil {
		return nil, err
	}
	o.on, o.force = true, q.GetForce()
	d, changed, generation, err := s.give(ctx, o)
	if err != nil {
		return nil, err
	}
	return &adminv1.DrainResponse{Drain: drainOut(d), Changed: changed, Generation: generation, Note: s.c.Volatile}, nil
}

// Undrain implements the Admin service.
func (s *Server) Undrain(ctx context.Context, q *adminv1.UndrainRequest) (*adminv1.UndrainResponse, error) {
	o, err := parseOrder(q.GetScope(), q.GetName(), q.GetReason(), q.GetBy())
	if err != nil {
		return nil, err
	}
	d, changed, generation, err := s.give(ctx, o)
	if err != nil {
		return nil, err
	}
	out := &adminv1.UndrainResponse{Changed: changed, Generation: generation}
	if changed {
		out.Drain = drainOut(d)
	}
	if p, err := s.plan(); err == nil {
		out.Note = stillDraining(p, o, changed)
	}
	return out, nil
}

func parseOrder(scope adminv1.Scope, name, reason, by string) (order, error) {
	o := order{name: name, reason: reason, by: by}
	switch scope {
	case adminv1.Scope_SCOPE_REGION:
		o.scope = fleet.ScopeRegion
	case adminv1.Scope_SCOPE_CLUSTER:
		o.scope = fleet.ScopeCluster
	default:
		return order{}, status.Error(codes.InvalidArgument, "the scope is missing; say region or cluster")
	}
	for _, f := range []struct {
		field, text string
		most        int
	}{{"name", name, 253}, {"reason", reason, maxReason}, {"by", by, maxBy}} {
		if len(f.text) > f.most || strings.ContainsFunc(f.text, unicode.IsControl) {
			return order{}, status.Errorf(codes.InvalidArgument, "%s has more than %d bytes or control characters; shorten it", f.field, f.most)
		}
	}
	return o, nil
}

// give checks an order against the newest plan and tells it. One order is given
// at a time, so two cannot drain the last two regions together.
func (s *Server) give(ctx context.Context, o order) (d fleet.Drain, changed bool, generation uint64, err error) {
	p, err := s.plan()
	if err != nil {
		return fleet.Drain{}, false, 0, err
	}
	who, from := caller(ctx)
	if who != "" {
		o.by = who
	}
	if o.by == "" {
		o.by = "an operator at " + from
	}
	s.orders.mu.Lock()
	defer s.orders.mu.Unlock()
	log := s.c.Log.With("scope", o.scope, "name", o.name, "drain", o.on, "reason", o.reason, "by", o.by, "from", from, "force", o.force, "generation", p.Generation)
	current, exists := s.orders.current(p, o)
	if err := s.check(p, o, current.On); err != nil {
		s.metrics.orders.WithLabelValues(string(o.scope), verb(o.on), "refused").Inc()
		log.Warn("an operator's order was refused", "why", err)
		return fleet.Drain{}, false, 0, err
	}
	if current.On == o.on && (!o.on || o.reason == "" || o.reason == current.Reason) {
		if !exists {
			current = fleet.Drain{Scope: o.scope, Name: o.name}
		}
		s.metrics.orders.WithLabelValues(string(o.scope), verb(o.on), "unchanged").Inc()
		return current, false, p.Generation, nil
	}
	d, err = s.orders.next(p, o)
	if err != nil {
		return fleet.Drain{}, false, 0, err
	}
	err = s.c.Order(ctx, fleet.Update{Source: s.c.Source, Put: []fleet.Fact{{Kind: fleet.KindDrain, Name: o.fact().Name, Value: &d}}})
	if err != nil && ctx.Err() == nil {
		return fleet.Drain{}, false, 0, status.Errorf(codes.Internal, "the order could not be saved, so a restart would forget it; look at the daemon's log and give it again: %v", err)
	}
	if err != nil {
		// Whether it was taken is not known; given again, it does no harm.
		return fleet.Drain{}, false, 0, status.Error(codes.DeadlineExceeded, "this daemon is too busy to take the order in time; give it again")
	}
	s.orders.given[o.fact()] = d
	s.metrics.orders.WithLabelValues(string(o.scope), verb(o.on), "given").Inc()
	log.Info("an operator gave an order", "order", d.Order)
	return d, true, p.Generation, nil
}

func verb(on bool) string {
	if on {
		return "drain"
	}
	return "undrain"
}

// current is the order about the same thing that holds: the plan's, or one of
// ours that no plan shows yet.
func (l *orders) current(p *steer.Plan, o order) (fleet.Drain, bool) {
	d, ok := inForce(p, o.scope, o.name)
	if g, mine := l.given[o.fact()]; mine && g.Order > p.World.DrainOrder {
		return g, true
	}
	return d, ok
}

// next numbers an order one above every other that is known of.
func (l *orders) next(p *steer.Plan, o order) (fleet.Drain, error) {
	highest := max(l.highest, p.World.DrainOrder)
	for _, d := range p.World.Drains {
		highest = max(highest, d.Order)
	}
	if highest >= maxOrder {
		return fleet.Drain{}, status.Errorf(codes.FailedPrecondition, "an order with the number %d is in the fleet, above which there is none; find who told it with \"meridian get sources\"", highest)
	}
	l.highest = highest + 1
	return fleet.Drain{
		Scope: o.scope, Name: o.name, On: o.on, Order: l.highest, Reason: o.reason, By: o.by, Since: time.Now().UTC().Truncate(time.Millisecond),
	}, nil
}

// check refuses orders about what does not exist, and such as would leave nobody
// to serve.
func (s *Server) check(p *steer.Plan, o order, drained bool) error {
	names := existing(p, o.scope)
	if !slices.Contains(names, o.name) && (o.on || !drained) {
		return status.Errorf(codes.NotFound, "there is no %s; there are: %s", o, listed(names))
	}
	if !o.on || o.force {
		return nil
	}
	before := serving(p, s.orders.given, nil)
	after := serving(p, s.orders.given, &o)
	if len(before) > 0 && len(after) == 0 {
		return status.Errorf(codes.FailedPrecondition,
			"draining %s would leave no region to serve, since %s is the last; undrain or repair another region first, or give the order with force", o, before[0])
	}
	return nil
}

func existing(p *steer.Plan, scope fleet.Scope) []string {
	var names []string
	for _, e := range p.World.Edges {
		if scope == fleet.ScopeRegion {
			names = append(names, string(e.Region))
			continue
		}
		for _, c := range e.Clusters {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

func listed(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none"
	case n > maxNamed:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), n-maxNamed)
	}
	return strings.Join(names, ", ")
}

// serving lists the regions that take requests: not known to be unhealthy, and
// with a cluster that does not drain. Orders that no plan shows yet, and one
// that is about to be given, count as carried out.
func serving(p *steer.Plan, given map[fleet.FactName]fleet.Drain, next *order) []fleet.Region {
	ordered := func(scope fleet.Scope, name string) bool {
		o := order{scope: scope, name: name}
		g, ok := given[o.fact()]
		return ok && g.On && g.Order > p.World.DrainOrder || next != nil && next.scope == scope && next.name == name
	}
	var list []fleet.Region
	for _, e := range p.World.Edges {
		if e.Drain != "" || e.Health.State == fleet.Unhealthy || ordered(fleet.ScopeRegion, string(e.Region)) {
			continue
		}
		if slices.ContainsFunc(e.Clusters, func(c *fleet.Cluster) bool { return !c.Draining && !ordered(fleet.ScopeCluster, c.Name) }) {
			list = append(list, e.Region)
		}
	}
	return list
}

func inForce(p *steer.Plan, scope fleet.Scope, name string) (fleet.Drain, bool) {
	for _, d := range p.World.Drains {
		if d.Scope == scope && d.Name == name && d.On {
			return d, true
		}
	}
	return fleet.Drain{}, false
}

// stillDraining says what keeps something drained after its order was taken back.
func stillDraining(p *steer.Plan, o order, changed bool) string {
	if o.scope != fleet.ScopeCluster {
		return ""
	}
	c, ok := p.World.Cluster(o.name)
	if !ok {
		return ""
	}
	if _, on := inForce(p, fleet.ScopeRegion, string(c.At.Region)); on {
		return fmt.Sprintf("region %s is drained as a whole; undrain it too", c.At.Region)
	}
	if c.Draining && !changed {
		return fmt.Sprintf("no order drains cluster %s, its own object does (%s); change it there", c.Name, c.Origin)
	}
	return ""
}

func hostOf(a net.Addr) string {
	if host, _, err := net.SplitHostPort(a.String()); err == nil {
		return host
	}
	return a.String()
}
