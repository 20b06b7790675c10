package hub

import (
	"fmt"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// everything is the default policy; one value, so that its pointer is stable.
var everything = fleet.DefaultPolicy()

// ruleBook finds the policy of a service: one that names it, else its
// namespace's, else the installation's. Of equals the elder holds.
type ruleBook struct {
	byTarget map[fleet.PolicyTarget]*fleet.PolicyRule
	beaten   []fleet.Problem
	rules    []*fleet.PolicyRule
}

func newRuleBook(rules []*fleet.PolicyRule) ruleBook {
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b *fleet.PolicyRule) int { return a.Policy.Origin.Compare(b.Policy.Origin) })
	rb := ruleBook{byTarget: map[fleet.PolicyTarget]*fleet.PolicyRule{}, rules: rules}
	for _, r := range rules {
		for _, t := range r.Targets {
			if first, taken := rb.byTarget[t]; taken && first != r {
				rb.beaten = append(rb.beaten, fleet.Problem{
					About: r.Policy.Origin, Reason: "PolicyConflict",
					Message: fmt.Sprintf("%s already holds for %s, so this one does not; delete one of them", first.Policy.Origin, targetText(t)),
				})
				continue
			}
			rb.byTarget[t] = r
		}
	}
	return rb
}

func targetText(t fleet.PolicyTarget) string {
	switch {
	case t.Service != "":
		return "service " + t.Namespace + "/" + t.Service
	case t.Namespace != "":
		return "namespace " + t.Namespace
	}
	return "everything"
}

// of is the policy that holds for a service.
func (rb ruleBook) of(n fleet.ServiceName) *fleet.Policy {
	for _, t := range []fleet.PolicyTarget{{Namespace: n.Namespace, Service: n.Name}, {Namespace: n.Namespace}, {}} {
		if r, ok := rb.byTarget[t]; ok {
			return &r.Policy
		}
	}
	return &everything
}

// check is how gateways are probed: they carry every service, so only the
// installation's policy says it.
func (rb ruleBook) check() fleet.Check {
	if r, ok := rb.byTarget[fleet.PolicyTarget{}]; ok {
		return r.Policy.Check
	}
	return everything.Check
}

// problems are the faults of policies that only the fleet shows.
func (rb ruleBook) problems(w *fleet.World) []fleet.Problem {
	list := slices.Clone(rb.beaten)
	for _, r := range rb.rules {
		p := r.Policy
		for _, region := range slices.Concat(p.Regions, p.Order, weighted(p)) {
			if _, ok := w.Edge(region); !ok {
				list = append(list, fleet.Problem{
					About: p.Origin, Reason: "UnknownRegion",
					Message: fmt.Sprintf("no cluster stands in region %q; correct the name or add a Cluster there", region),
				})
			}
		}
		if !slices.Contains(r.Targets, fleet.PolicyTarget{}) && p.Check != everything.Check && p.Check != (fleet.Check{}) {
			list = append(list, fleet.Problem{
				About: p.Origin, Reason: "CheckIgnored",
				Message: "gateways are shared by all services, so only the policy that holds for everything says how they are probed; move spec.check there",
			})
		}
	}
	return list
}

func weighted(p fleet.Policy) []fleet.Region {
	var list []fleet.Region
	for r := range p.Weights {
		list = append(list, r)
	}
	slices.Sort(list)
	return list
}
