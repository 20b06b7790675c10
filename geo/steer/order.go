package steer

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// ladder picks who may stand in the order. Normally the eligible; when there are
// none, in Panic, those refused only for their health, then those without ready
// endpoints, then those draining. Residency, isolation and reachability hold on
// every rung.
func ladder(list []*contender) (in []*contender, panicked bool) {
	rungs := [][]ReasonCode{
		{},
		{ReasonUnhealthy},
		{ReasonUnhealthy, ReasonNoEndpoints},
		{ReasonUnhealthy, ReasonNoEndpoints, ReasonDraining},
	}
	for i, forgiven := range rungs {
		for _, c := range list {
			if c.forgivable(forgiven) {
				in = append(in, c)
			}
		}
		if len(in) > 0 {
			return in, i > 0
		}
	}
	return nil, false
}

func (c *contender) forgivable(codes []ReasonCode) bool {
	for _, r := range c.refusals {
		if !slices.Contains(codes, r.Code) {
			return false
		}
	}
	return true
}

// byCost orders by cost; equal costs by a hash of service and region, so that
// services with the same tie do not all land on the same region.
func byCost(svc fleet.ServiceName) func(a, b *contender) int {
	return func(a, b *contender) int {
		return cmp.Or(
			cmp.Compare(a.Cost.RTT, b.Cost.RTT),
			cmp.Compare(tieBreak(svc, a.Region), tieBreak(svc, b.Region)),
			cmp.Compare(a.Region, b.Region))
	}
}

// byState puts regions whose health is unknown behind the others, but for those
// reached without their gateways, whose health is not asked for.
func byState(a, b *contender) int { return cmp.Compare(a.doubt(), b.doubt()) }

func (c *contender) doubt() int {
	switch {
	case c.Direct || c.State == fleet.Healthy:
		return 0
	case c.State == fleet.Unknown:
		return 1
	}
	return 2
}

// order gives those who are in their priorities and shares. Step three.
func order(in []*contender, a Asker, svc *fleet.Service) []*contender {
	cheapest := byCost(svc.Name)
	switch p := svc.Policy; p.Strategy {
	case fleet.StrategyFailover:
		rank := func(c *contender) int {
			if i := slices.Index(p.Order, c.Region); i >= 0 {
				return i
			}
			return len(p.Order)
		}
		slices.SortFunc(in, func(x, y *contender) int {
			return cmp.Or(byState(x, y), cmp.Compare(rank(x), rank(y)), cheapest(x, y))
		})
		oneEach(in, 0)
		for _, c := range in {
			if r := rank(c); r < len(p.Order) {
				c.note(ReasonOperator, "number %d in the operator's order", r+1)
			} else {
				c.note(ReasonOperator, "not in the operator's order: after it, by latency")
			}
		}
	case fleet.StrategyWeighted:
		in = divide(in, a, svc)
	default:
		slices.SortFunc(in, func(x, y *contender) int { return cmp.Or(byState(x, y), cheapest(x, y)) })
		oneEach(in, 0)
	}
	explain(in)
	return in
}

// oneEach gives each its own priority, beginning with first.
func oneEach(in []*contender, first int) {
	for i, c := range in {
		c.Priority, c.Share = first+i, 1
	}
}

// divide splits one priority over the weighted regions. A gateway that stands in
// one of them serves there: its clients came by an answer that was divided
// already, and dividing twice would send them across the sea for nothing.
func divide(in []*contender, a Asker, svc *fleet.Service) []*contender {
	var own, weighted, rest []*contender
	sum := 0.0
	for _, c := range in {
		switch w := svc.Policy.Weights[c.Region]; {
		case w == 0:
			rest = append(rest, c)
		case c.Region == a.Region && a.Region != "":
			own = append(own, c)
		default:
			weighted = append(weighted, c)
			sum += float64(w)
		}
	}
	next := 0
	for _, c := range own {
		c.Priority, c.Share = 0, 1
		c.note(ReasonWeight, "weight %d; clients are divided before they come here", svc.Policy.Weights[c.Region])
		next = 1
	}
	slices.SortFunc(weighted, func(x, y *contender) int { return cmp.Compare(x.Region, y.Region) })
	for _, c := range weighted {
		w := svc.Policy.Weights[c.Region]
		c.Priority, c.Share = next, float64(w)/sum
		c.note(ReasonWeight, "weight %d of %.0f", w, sum)
	}
	if len(weighted) > 0 {
		next++
	}
	cheapest := byCost(svc.Name)
	slices.SortFunc(rest, func(x, y *contender) int { return cmp.Or(byState(x, y), cheapest(x, y)) })
	oneEach(rest, next)
	for _, c := range rest {
		c.note(ReasonWeight, "weight 0: serves when no weighted region can")
	}
	return slices.Concat(own, weighted, rest)
}

func (c *contender) note(code ReasonCode, format string, args ...any) {
	c.Reasons = append(c.Reasons, Reason{Code: code, Text: fmt.Sprintf(format, args...)})
}

// explain adds to each region of an order why it stands there.
func explain(in []*contender) {
	for i, c := range in {
		switch c.Cost.Source {
		case CostOwn:
			c.note(ReasonLocal, "own region")
		case CostMeasured:
			c.note(ReasonMeasured, "%s measured, %.0f km", ms(c.Cost.RTT), c.Cost.Km)
		case CostDistance:
			c.note(ReasonDistance, "%.0f km, %s estimated", c.Cost.Km, ms(c.Cost.RTT))
		case CostUnknown:
			c.note(ReasonDistance, "distance unknown")
		}
		if i > 0 && in[i-1].Cost.RTT == c.Cost.RTT && in[i-1].Priority != c.Priority {
			c.note(ReasonTie, "as far as %s; decided by a hash of the names", in[i-1].Region)
		}
		if c.State == fleet.Unknown && !c.Direct {
			c.note(ReasonUnknown, "no fresh probe says whether it is up")
		}
		if c.stale != "" {
			c.note(ReasonStale, "endpoints of %s are the last ones told; its source has lost touch", c.stale)
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
