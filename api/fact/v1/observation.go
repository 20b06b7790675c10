package factv1

import (
	"net/netip"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

func observationOut(o *fleet.Observation, now time.Time) *Observation {
	return &Observation{
		From: vantageOut(o.From), By: valid(o.By),
		Target: addrOut(o.Target.Addr()), Port: uint32(o.Target.Port()),
		Ok: o.OK, SinceAgo: agoOut(now, o.Since), Rtt: durationOut(o.RTT), Samples: countOut(o.Samples),
		Error: clean(o.Error), AtAgo: agoOut(now, o.At),
	}
}

func (d *door) observation(x *Observation) *fleet.Observation {
	return &fleet.Observation{
		From:    d.vantage(x.GetFrom()),
		By:      d.word("prober", x.GetBy()),
		Target:  netip.AddrPortFrom(d.addr("target", x.GetTarget()), d.port("target's port", x.GetPort())),
		OK:      x.GetOk(),
		Since:   d.ago("since_ago", x.GetSinceAgo()),
		RTT:     d.duration("rtt", x.GetRtt(), time.Hour),
		Samples: d.count("samples", x.GetSamples()),
		Error:   d.text("error", x.GetError()),
		At:      d.ago("at_ago", x.GetAtAgo()),
	}
}

func loadOut(l *fleet.LoadReport) *LoadReport {
	return &LoadReport{
		From: vantageOut(l.From), Service: serviceOut(l.Service), To: valid(string(l.To)),
		Rps: l.RPS, InFlight: l.InFlight, ErrorRate: l.ErrorRate,
	}
}

func (d *door) load(x *LoadReport) *fleet.LoadReport {
	l := &fleet.LoadReport{
		From:      d.vantage(x.GetFrom()),
		Service:   d.service(x.GetService()),
		To:        d.region(x.GetTo()),
		RPS:       d.amount("rps", x.GetRps()),
		InFlight:  d.amount("in_flight", x.GetInFlight()),
		ErrorRate: d.amount("error_rate", x.GetErrorRate()),
	}
	if l.ErrorRate > 1 {
		d.refuse("error rate is %v, which is more than all", l.ErrorRate)
	}
	return l
}

func drainOut(x *fleet.Drain) *Drain {
	return &Drain{
		Scope: valid(string(x.Scope)), Name: valid(x.Name), On: x.On, Order: x.Order,
		Reason: clean(x.Reason), By: clean(x.By), Since: momentOut(x.Since),
	}
}

// drain reads an order. Its number is bounded well below the highest possible
// one, so that there is always room for a next order above it.
func (d *door) drain(x *Drain) *fleet.Drain {
	if x.GetOrder() > maxOrder {
		d.refuse("order is %d, at most %d is taken", x.GetOrder(), uint64(maxOrder))
	}
	return &fleet.Drain{
		Scope:  oneOf(d, "scope", x.GetScope(), fleet.ScopeRegion, fleet.ScopeCluster),
		Name:   d.word("name", x.GetName()),
		On:     x.GetOn(),
		Order:  x.GetOrder(),
		Reason: d.text("reason", x.GetReason()),
		By:     d.text("by", x.GetBy()),
		Since:  d.moment("since", x.GetSince()),
	}
}

func problemOut(p fleet.Problem) *Problem {
	return &Problem{About: originOut(p.About), Reason: clean(p.Reason), Message: clean(p.Message)}
}

func (d *door) problem(x *Problem) fleet.Problem {
	return fleet.Problem{About: d.origin(x.GetAbout()), Reason: d.text("reason", x.GetReason()), Message: d.text("message", x.GetMessage())}
}
