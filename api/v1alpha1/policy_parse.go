package v1alpha1

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	maxTargets = 64
	maxRegions = 64
	maxWeight  = 1_000_000
	maxPath    = 1024
)

// NoEffect is the reason of a problem with a field that changes nothing.
const NoEffect = "NoEffect"

// Parse makes the fleet's policy with what it holds for. Any fault makes it nil:
// half a policy would steer to places nobody asked for. Problems beside a policy
// name fields that have no effect.
func (p *TrafficPolicy) Parse(origin fleet.Origin) (*fleet.PolicyRule, []fleet.Problem) {
	f := &field.Faults{About: origin}
	if err := field.Label(p.Namespace); err != nil {
		f.Add("metadata.namespace", "%v", err)
	}
	if err := field.Subdomain(p.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	}
	s := &p.Spec
	policy := fleet.Policy{
		Strategy: choice(f, "spec.strategy", fleet.Strategy(s.Strategy), fleet.StrategyLatency, fleet.StrategyGeo,
			fleet.StrategyWeighted, fleet.StrategyFailover, fleet.StrategyIsolated),
		Regions: regions(f, "spec.regions", s.Regions),
		Order:   regions(f, "spec.order", s.Order),
		Weights: s.weights(f),
		TTL:     s.TTL.ttl(f, "spec.ttl", fleet.DefaultPolicy().TTL, time.Hour),
		Check:   s.Check.parse(f),
		Origin:  origin,
	}
	slices.Sort(policy.Regions)
	rule := &fleet.PolicyRule{Policy: policy, Targets: p.targets(f)}
	switch {
	case policy.Strategy == fleet.StrategyWeighted && !anyAbove0(policy.Weights):
		f.Add("spec.weights", "strategy weighted needs a weight above 0 for at least one region; write them as region: weight")
	case policy.Strategy == fleet.StrategyFailover && len(policy.Order) == 0:
		f.Add("spec.order", "strategy failover needs the regions in their order; list them, first choice first")
	}
	if f.Count() > 0 {
		return nil, f.Problems()
	}
	noEffect(f, policy)
	return rule, f.Problems()
}

// targets says what the policy holds for, sorted.
func (p *TrafficPolicy) targets(f *field.Faults) []fleet.PolicyTarget {
	if len(p.Spec.TargetRefs) == 0 {
		if p.Namespace == HostNamespace {
			return []fleet.PolicyTarget{{}}
		}
		return []fleet.PolicyTarget{{Namespace: p.Namespace}}
	}
	var list []fleet.PolicyTarget
	for i, ref := range bounded(f, "spec.targetRefs", p.Spec.TargetRefs, maxTargets) {
		path := field.Index("spec.targetRefs", i)
		choice(f, path+".kind", ref.Kind, "Service")
		if err := field.Label(ref.Name); err != nil {
			f.Add(path+".name", "%v", err)
			continue
		}
		list = append(list, fleet.PolicyTarget{Namespace: p.Namespace, Service: ref.Name})
	}
	slices.SortFunc(list, func(a, b fleet.PolicyTarget) int { return cmp.Compare(a.Service, b.Service) })
	return slices.Compact(list)
}

func (s *TrafficPolicySpec) weights(f *field.Faults) map[fleet.Region]uint32 {
	if len(s.Weights) == 0 {
		return nil
	}
	if len(s.Weights) > maxRegions {
		f.Add("spec.weights", "has %d entries and at most %d are taken; remove the rest", len(s.Weights), maxRegions)
		return nil
	}
	out := make(map[fleet.Region]uint32, len(s.Weights))
	for _, name := range slices.Sorted(maps.Keys(s.Weights)) {
		w := s.Weights[name]
		path := "spec.weights"
		if err := field.Label(name); err != nil {
			f.Add(path, "the region %v", err)
			continue
		}
		if w < 0 || w > maxWeight {
			f.Add(path+"."+name, "%d lies outside 0 to %d; write a weight in between", w, maxWeight)
			continue
		}
		out[fleet.Region(name)] = uint32(w)
	}
	return out
}

// parse fills in the defaults of a check; nil is the default check.
func (c *Check) parse(f *field.Faults) fleet.Check {
	def := fleet.DefaultCheck()
	if c == nil {
		return def
	}
	out := fleet.Check{
		Kind:     choice(f, "spec.check.kind", fleet.CheckKind(c.Kind), fleet.CheckHTTP, fleet.CheckHTTPS, fleet.CheckTCP, fleet.CheckGRPC),
		Host:     strings.ToLower(c.Host),
		Interval: c.Interval.length(f, "spec.check.interval", def.Interval, 500*time.Millisecond, 5*time.Minute),
		Rise:     count(f, "spec.check.rise", c.Rise, def.Rise, 1, 20),
		Fall:     count(f, "spec.check.fall", c.Fall, def.Fall, 1, 20),
	}
	out.Timeout = c.Timeout.length(f, "spec.check.timeout", min(def.Timeout, out.Interval), 10*time.Millisecond, 5*time.Minute)
	if out.Timeout > out.Interval {
		f.Add("spec.check.timeout", "%s is longer than the interval of %s, so probes would pile up; write a shorter one", out.Timeout, out.Interval)
	}
	if out.Host != "" {
		if err := field.Hostname(out.Host, false); err != nil {
			f.Add("spec.check.host", "%v", err)
		}
	}
	out.Path = c.path(f, out.Kind)
	return out
}

func (c *Check) path(f *field.Faults, kind fleet.CheckKind) string {
	switch bad := strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f }); {
	case len(c.Path) > maxPath:
		f.Add("spec.check.path", "has %d characters, at most %d are allowed", len(c.Path), maxPath)
	case bad:
		f.Add("spec.check.path", "%s has characters that a path cannot carry; percent-encode them", field.Quote(c.Path))
	case kind == fleet.CheckTCP && c.Path != "":
		f.Add("spec.check.path", "a tcp check only connects and has no path; remove it, or choose kind http")
	case kind == fleet.CheckGRPC && strings.HasPrefix(c.Path, "/"):
		f.Add("spec.check.path", "%s is a path; for grpc write the service's name as grpc.health.v1 knows it, or nothing", field.Quote(c.Path))
	case kind == fleet.CheckTCP, kind == fleet.CheckGRPC:
		return c.Path
	case c.Path == "":
		return fleet.GatewayHealthPath
	case c.Path[0] != '/':
		f.Add("spec.check.path", "%s does not begin with '/'; put one before it", field.Quote(c.Path))
	}
	return c.Path
}

// noEffect names fields that are right and change nothing.
func noEffect(f *field.Faults, p fleet.Policy) {
	if p.Strategy != fleet.StrategyWeighted && p.Weights != nil {
		f.AddReason(NoEffect, "spec.weights", "strategy %s takes no weights, so they change nothing; choose strategy weighted or remove them", p.Strategy)
	}
	if p.Strategy != fleet.StrategyFailover && p.Order != nil {
		f.AddReason(NoEffect, "spec.order", "strategy %s takes no order, so it changes nothing; choose strategy failover or remove it", p.Strategy)
	}
	if len(p.Regions) == 0 {
		return
	}
	for i, r := range p.Order {
		if !slices.Contains(p.Regions, r) {
			f.AddReason(NoEffect, field.Index("spec.order", i), "region %q never serves, since spec.regions leaves it out; add it there or remove it here", r)
		}
	}
	for _, r := range slices.Sorted(maps.Keys(p.Weights)) {
		if !slices.Contains(p.Regions, r) {
			f.AddReason(NoEffect, "spec.weights."+string(r), "region %q never serves, since spec.regions leaves it out; add it there or remove it here", r)
		}
	}
}

// regions reads a list of regions, in its order.
func regions(f *field.Faults, path string, names []RegionName) []fleet.Region {
	var list []fleet.Region
	for i, name := range bounded(f, path, names, maxRegions) {
		if err := field.Label(string(name)); err != nil {
			f.Add(field.Index(path, i), "%v", err)
		} else if slices.Contains(list, fleet.Region(name)) {
			f.Add(field.Index(path, i), "region %q is named twice; remove one of them", name)
		} else {
			list = append(list, fleet.Region(name))
		}
	}
	return list
}

func anyAbove0(weights map[fleet.Region]uint32) bool {
	for _, w := range weights {
		if w > 0 {
			return true
		}
	}
	return false
}
