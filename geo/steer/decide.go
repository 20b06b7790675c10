package steer

import (
	"cmp"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// ForService decides for one service. It reports false when nobody listed such
// a service.
func (p *Plan) ForService(a Asker, name fleet.ServiceName) (Decision, bool) {
	svc, ok := p.Services[name]
	if !ok {
		return Decision{}, false
	}
	return settle(candidates(p.World, a, svc), a, svc), true
}

// ForHost decides for all services of a host name at once, as DNS must: a region
// is chosen only if it may serve every one of them, unless that would leave
// none. The service behind "/" decides the strategy. It reports false when no
// route names the host.
func (p *Plan) ForHost(a Asker, host string) (Decision, bool) {
	h, ok := p.Routes.Host(host)
	if !ok {
		return Decision{}, false
	}
	services := p.servicesOf(h)
	if len(services) == 0 {
		return Decision{}, true
	}
	deciding := services[0]
	list := candidates(p.World, a, deciding)
	demandAll(p, a, list, services[1:])
	d := settle(list, a, deciding)
	for _, s := range services[1:] {
		d.Services = append(d.Services, s.Name)
		if s.Policy.Strategy == fleet.StrategyIsolated {
			d.Depends = max(d.Depends, OnPlace)
		}
	}
	return d, true
}

// servicesOf lists the services behind a host that somebody has: the one behind
// "/" first, then by name.
func (p *Plan) servicesOf(h fleet.Host) []*fleet.Service {
	var list []*fleet.Service
	add := func(r fleet.Route) {
		for _, t := range r.To {
			if s, ok := p.Services[t.Service]; ok && t.Weight > 0 && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	if r, ok := h.Route("/"); ok {
		add(r)
	}
	first := min(1, len(list))
	for _, r := range h.Routes {
		add(r)
	}
	slices.SortFunc(list[first:], func(a, b *fleet.Service) int { return a.Name.Compare(b.Name) })
	return list
}

// demandAll refuses regions that cannot serve the other services of a host too.
// A demand that nobody meets is dropped: half a site beats none.
func demandAll(p *Plan, a Asker, list []*contender, others []*fleet.Service) {
	for _, svc := range others {
		serves := map[fleet.Region]bool{}
		for _, c := range candidates(p.World, a, svc) {
			serves[c.Region] = c.eligible()
		}
		if !slices.ContainsFunc(list, func(c *contender) bool { return c.eligible() && serves[c.Region] }) {
			continue
		}
		for _, c := range list {
			if !serves[c.Region] {
				c.refuse(ReasonNotServed, "cannot serve %s, another service of this host", svc.Name)
			}
		}
	}
}

// settle makes the decision out of its candidates.
func settle(list []*contender, a Asker, svc *fleet.Service) Decision {
	d := Decision{
		Services: []fleet.ServiceName{svc.Name},
		Strategy: svc.Policy.Strategy,
		Prefix:   a.Prefix,
		TTL:      svc.Policy.TTL,
	}
	in, panicked := ladder(list)
	d.Panic = panicked
	for _, c := range order(in, a, svc) {
		if panicked {
			c.Reasons = append([]Reason{{ReasonPanic, "nobody is eligible, so the refused serve"}}, append(c.refusals, c.Reasons...)...)
		}
		d.Order = append(d.Order, c.Candidate)
	}
	for _, c := range list {
		if !slices.Contains(in, c) {
			c.Reasons = c.refusals
			d.Refused = append(d.Refused, c.Candidate)
		}
	}
	slices.SortStableFunc(d.Order, func(x, y Candidate) int { return cmp.Compare(x.Priority, y.Priority) })
	d.Depends = depends(d, list, svc.Policy)
	return d
}

// depends says what of the asker the first choice rested on.
func depends(d Decision, list []*contender, p *fleet.Policy) Dependence {
	firsts := 0
	for _, c := range d.Order {
		if c.Priority == 0 {
			firsts++
		}
	}
	allowed := 0
	for _, c := range list {
		if !c.refusedFor(ReasonResidency) {
			allowed++
		}
	}
	switch {
	case firsts > 1:
		return OnPrefix
	case p.Strategy == fleet.StrategyIsolated && allowed > 1:
		return OnPlace
	case len(d.Order) <= 1,
		p.Strategy == fleet.StrategyFailover && slices.Contains(p.Order, d.Order[0].Region),
		p.Strategy == fleet.StrategyWeighted && p.Weights[d.Order[0].Region] > 0:
		return OnNothing
	}
	return OnPlace
}
