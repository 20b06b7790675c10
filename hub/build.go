package hub

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/health"
)

// builder turns the book into Snapshots. It keeps the last one, so that what did
// not change keeps its pointer; build is otherwise a function of the book and now.
type builder struct {
	rules health.Rules
	last  *fleet.Snapshot
	next  time.Time // when time alone may change a verdict; zero: never
	// Problems by the part of the build that found them.
	found    map[string][]fleet.Problem
	misfits  map[fleet.ServiceName][]fleet.Problem // backends of no described cluster, or with what theirs may not say
	dropped  map[fleet.FactName][]fleet.Problem    // versions of facts that do not hold and say otherwise
	policies ruleBook
}

func newBuilder(rules health.Rules) *builder {
	return &builder{
		rules: rules, last: fleet.EmptySnapshot(), found: map[string][]fleet.Problem{},
		misfits: map[fleet.ServiceName][]fleet.Problem{}, dropped: map[fleet.FactName][]fleet.Problem{},
	}
}

// build makes the next Snapshot out of what is dirty. It returns the last one
// again when nothing that anybody can see has changed.
func (b *builder) build(k *book, d *dirt, now time.Time) *fleet.Snapshot {
	next := *b.last
	if d.policies {
		b.policies = newRuleBook(ofKind[*fleet.PolicyRule](k, fleet.KindPolicy))
	}
	if d.world {
		w, problems, due := buildWorld(k, b.policies, b.rules, now)
		b.next = due
		if !reflect.DeepEqual(w, b.last.World) {
			next.World = w
		}
		b.found["world"] = problems
	}
	if len(d.services) > 0 || d.clusters || d.policies {
		next.Services = b.buildServices(k, d, next.World)
	}
	if d.secrets {
		next.Certificates = buildCertificates(k, b.last.Certificates)
	}
	if d.routes || d.secrets {
		routes, problems := buildRoutes(ofKind[*fleet.RouteSet](k, fleet.KindRoutes), next.Certificates)
		if !reflect.DeepEqual(routes, b.last.Routes) {
			next.Routes = routes
		}
		b.found["routes"] = problems
	}
	if d.zones {
		next.Zones = nil
		for _, z := range ofKind[*fleet.Zone](k, fleet.KindZone) {
			next.Zones = append(next.Zones, *z)
		}
		if reflect.DeepEqual(next.Zones, b.last.Zones) {
			next.Zones = b.last.Zones
		}
	}
	if d.load {
		next.Load = nil
		for _, t := range k.every(fleet.KindLoad) {
			if l, ok := t.value.(*fleet.LoadReport); ok && t.stale == "" {
				next.Load = append(next.Load, *l)
			}
		}
	}
	for n := range d.contended {
		b.compare(k, n)
	}
	next.Sources = sourceStates(k)
	next.Problems = b.problems(k, d, &next)
	if sameSnapshot(&next, b.last) {
		return b.last
	}
	next.Generation++
	b.last = &next
	return b.last
}

func sameSnapshot(a, b *fleet.Snapshot) bool {
	return a.World == b.World && a.Routes == b.Routes &&
		maps.Equal(a.Services, b.Services) &&
		maps.Equal(a.Certificates, b.Certificates) &&
		reflect.DeepEqual(a.Zones, b.Zones) &&
		reflect.DeepEqual(a.Load, b.Load) &&
		reflect.DeepEqual(a.Problems, b.Problems) &&
		slices.Equal(a.Sources, b.Sources)
}

func sourceStates(k *book) []fleet.SourceState {
	var list []fleet.SourceState
	for _, name := range slices.Sorted(maps.Keys(k.sources)) {
		s := k.sources[name]
		if s.ended && len(s.facts) == 0 {
			continue
		}
		state := fleet.SourceState{Name: name, Facts: len(s.facts), Stale: s.stale}
		if s.stale != "" {
			state.Heard = s.heard
		}
		list = append(list, state)
	}
	return list
}

// problems gathers the faults that sources told and those the build found.
func (b *builder) problems(k *book, d *dirt, s *fleet.Snapshot) []fleet.Problem {
	if s.Routes != b.last.Routes || !maps.Equal(s.Services, b.last.Services) || d.zones || d.routes || d.world || d.policies {
		b.found["whole"] = wholeProblems(s)
		b.found["policies"] = b.policies.problems(s.World)
	}
	if d.problems {
		b.found["told"] = nil
		for _, src := range slices.Sorted(maps.Keys(k.sources)) {
			for _, v := range k.sources[src].facts {
				if p, ok := v.(fleet.Problems); ok {
					b.found["told"] = append(b.found["told"], p...)
				}
			}
		}
	}
	var list []fleet.Problem
	for _, part := range b.misfits {
		list = append(list, part...)
	}
	for _, part := range b.dropped {
		list = append(list, part...)
	}
	for _, part := range b.found {
		list = append(list, part...)
	}
	slices.SortFunc(list, fleet.Problem.Compare)
	return slices.Compact(list)
}

// wholeProblems are faults that only the whole shows.
func wholeProblems(s *fleet.Snapshot) []fleet.Problem {
	var list []fleet.Problem
	if len(s.World.Edges) == 0 {
		list = append(list, fleet.Problem{
			About: installation, Reason: "NoRegions",
			Message: "no Cluster object is known, so there is no region to send anybody to; add one for every cluster",
		})
	}
	if len(s.Zones) == 0 {
		list = append(list, fleet.Problem{
			About: installation, Reason: "NoZone",
			Message: "no Zone object is known, so every DNS question is refused; add one for the domain of your hosts",
		})
	}
	for _, h := range s.Routes.Hosts {
		list = append(list, hostProblems(s, h)...)
	}
	return list
}

// installation is who is named when no object is at fault.
var installation = fleet.Origin{Kind: "Installation", Name: "meridian"}

func hostProblems(s *fleet.Snapshot, h fleet.Host) []fleet.Problem {
	var list []fleet.Problem
	inZone := h.Name == "" || slices.ContainsFunc(s.Zones, func(z fleet.Zone) bool {
		return z.Contains(strings.TrimPrefix(h.Name, "*.") + ".")
	})
	if !inZone && len(s.Zones) > 0 && len(h.Routes) > 0 {
		list = append(list, fleet.Problem{
			About: h.Routes[0].Origin, Reason: "HostOutsideZones",
			Message: fmt.Sprintf("host %q lies in no Zone, so DNS does not answer for it; add a Zone for its domain or delegate the host elsewhere", h.Name),
		})
	}
	for _, r := range h.Routes {
		for _, t := range r.To {
			svc, ok := s.Services[t.Service]
			if !ok {
				list = append(list, fleet.Problem{
					About: r.Origin, Reason: "ServiceNotFound",
					Message: fmt.Sprintf("no cluster has the service %s that %s %s of host %q names; requests get 503 until one does", t.Service, r.Match.Type, r.Match.Path, h.Name),
				})
			} else if !hasPort(svc, t.Port) {
				list = append(list, fleet.Problem{
					About: r.Origin, Reason: "PortNotFound",
					Message: fmt.Sprintf("service %s has no port %s; requests get 503 until it does", t.Service, portText(t.Port)),
				})
			}
		}
	}
	return list
}

func hasPort(s *fleet.Service, ref fleet.PortRef) bool {
	return slices.ContainsFunc(s.Backends, func(b fleet.BackendView) bool { _, ok := b.Port(ref); return ok })
}

func portText(ref fleet.PortRef) string {
	switch {
	case ref.Number != 0:
		return fmt.Sprint(ref.Number)
	case ref.Name != "":
		return fmt.Sprintf("%q", ref.Name)
	}
	return "that could be meant without naming it"
}
