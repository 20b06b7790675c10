package factv1

import (
	"cmp"
	"maps"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

func policyOut(r *fleet.PolicyRule) *PolicyRule {
	p := r.Policy
	return &PolicyRule{
		Policy: &Policy{
			Strategy: valid(string(p.Strategy)),
			Regions:  mapped(p.Regions, regionOut),
			Order:    mapped(p.Order, regionOut),
			Weights: mapped(slices.Sorted(maps.Keys(p.Weights)), func(r fleet.Region) *RegionWeight {
				return &RegionWeight{Region: valid(string(r)), Weight: p.Weights[r]}
			}),
			Ttl: durationOut(p.TTL), Check: checkOut(p.Check), Origin: originOut(p.Origin),
		},
		Targets: mapped(r.Targets, func(t fleet.PolicyTarget) *PolicyTarget {
			return &PolicyTarget{Namespace: valid(t.Namespace), Service: valid(t.Service)}
		}),
	}
}

func regionOut(r fleet.Region) string { return valid(string(r)) }

func (d *door) region(s string) fleet.Region { return fleet.Region(d.word("region", s)) }

func (d *door) policyRule(x *PolicyRule) *fleet.PolicyRule {
	r := &fleet.PolicyRule{
		Policy: d.policy(x.GetPolicy()),
		Targets: list(d, "targets", x.GetTargets(), maxLarge, func(t *PolicyTarget) fleet.PolicyTarget {
			return fleet.PolicyTarget{Namespace: d.maybeWord("namespace", t.GetNamespace()), Service: d.maybeWord("service", t.GetService())}
		}),
	}
	if len(r.Targets) == 0 {
		d.refuse("the policy holds for nothing")
	}
	return r
}

func (d *door) policy(x *Policy) fleet.Policy {
	p := fleet.Policy{
		Strategy: oneOf(d, "strategy", x.GetStrategy(), fleet.StrategyLatency, fleet.StrategyGeo,
			fleet.StrategyWeighted, fleet.StrategyFailover, fleet.StrategyIsolated),
		Regions: sorted(list(d, "regions", x.GetRegions(), maxSmall, d.region), cmp.Compare[fleet.Region]),
		Order:   list(d, "order", x.GetOrder(), maxSmall, d.region),
		TTL:     d.seconds("ttl", x.GetTtl()),
		Check:   d.check(x.GetCheck()),
		Origin:  d.origin(x.GetOrigin()),
	}
	if w := x.GetWeights(); len(w) > maxSmall {
		d.refuse("weights hold %d entries, at most %d are taken", len(w), maxSmall)
	} else if len(w) > 0 {
		p.Weights = make(map[fleet.Region]uint32, len(w))
		for _, rw := range w {
			p.Weights[d.region(rw.GetRegion())] = rw.GetWeight()
		}
	}
	return p
}

func checkOut(c fleet.Check) *Check {
	return &Check{
		Kind: valid(string(c.Kind)), Host: valid(c.Host), Path: valid(c.Path),
		Interval: durationOut(c.Interval), Timeout: durationOut(c.Timeout),
		Rise: countOut(c.Rise), Fall: countOut(c.Fall),
	}
}

// check reads a check. One without a kind is the zero check, "as by default".
func (d *door) check(x *Check) fleet.Check {
	return fleet.Check{
		Kind:     oneOf(d, "check's kind", x.GetKind(), "", fleet.CheckHTTP, fleet.CheckHTTPS, fleet.CheckTCP, fleet.CheckGRPC),
		Host:     d.maybeWord("check's host", x.GetHost()),
		Path:     d.sentence("check's path", x.GetPath(), maxPath),
		Interval: d.duration("check's interval", x.GetInterval(), maxInterval),
		Timeout:  d.duration("check's timeout", x.GetTimeout(), maxInterval),
		Rise:     d.count("rise", x.GetRise()),
		Fall:     d.count("fall", x.GetFall()),
	}
}
