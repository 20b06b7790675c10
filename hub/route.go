package hub

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// buildRoutes makes the table of hosts. A host belongs to one namespace, over
// all clusters: to that of the first claim to it.
func buildRoutes(sets []*fleet.RouteSet, certificates map[fleet.CertificateName]*fleet.Certificate) (*fleet.Routes, []fleet.Problem) {
	sets = slices.Clone(sets)
	slices.SortStableFunc(sets, func(a, b *fleet.RouteSet) int { return a.Origin.Compare(b.Origin) })
	owner := owners(sets)
	routes := map[string][]fleet.Route{}
	var problems []fleet.Problem
	refused := map[[2]string]bool{}
	for _, set := range sets {
		for _, r := range set.Routes {
			if first := owner[r.Host]; first.By.Namespace != set.Origin.Namespace {
				if key := [2]string{set.Origin.String(), r.Host}; !refused[key] {
					refused[key] = true
					problems = append(problems, hostConflict(set.Origin, first, r.Host))
				}
				continue
			}
			var p []fleet.Problem
			routes[r.Host], p = addRoute(routes[r.Host], r)
			problems = append(problems, p...)
		}
	}
	table := &fleet.Routes{}
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		h := fleet.Host{Name: name, Routes: routes[name]}
		p := secure(&h, certificates)
		problems = append(problems, p...)
		slices.SortStableFunc(h.Routes, func(a, b fleet.Route) int {
			return cmp.Or(a.Match.Compare(b.Match), a.Origin.Compare(b.Origin))
		})
		table.Hosts = append(table.Hosts, h)
	}
	return table, problems
}

// owners are the first claims to all hosts.
func owners(sets []*fleet.RouteSet) map[string]fleet.Claim {
	first := map[string]fleet.Claim{}
	for _, set := range sets {
		for _, r := range set.Routes {
			c := set.Claim(r.Host)
			if held, ok := first[r.Host]; !ok || c.Compare(held) < 0 {
				first[r.Host] = c
			}
		}
	}
	return first
}

func hostConflict(about fleet.Origin, first fleet.Claim, host string) fleet.Problem {
	since := ""
	if !first.Since.IsZero() {
		since = " and has had it since " + first.Since.UTC().Format(time.RFC3339)
	}
	return fleet.Problem{
		About: about, Reason: "HostConflict",
		Message: fmt.Sprintf("%s belongs to namespace %q through %s, which was first%s; use another host or delete that one", hostText(host), first.By.Namespace, first.By, since),
	}
}

func hostText(host string) string {
	if host == "" {
		return "the default backend of every host"
	}
	return fmt.Sprintf("host %q", host)
}

// addRoute adds a route unless an elder one takes the same requests. The same
// object applied to several clusters says the same thing twice, which is no fault.
func addRoute(list []fleet.Route, r fleet.Route) ([]fleet.Route, []fleet.Problem) {
	for i, have := range list {
		if have.Match != r.Match {
			continue
		}
		list[i].Certificate = cmp.Or(have.Certificate, r.Certificate)
		if reflect.DeepEqual(have.To, r.To) {
			return list, nil
		}
		return list, []fleet.Problem{{
			About: r.Origin, Reason: "PathConflict",
			Message: fmt.Sprintf("%s already sends %s %s of host %q elsewhere; change or delete one of the two", have.Origin, r.Match.Type, r.Match.Path, r.Host),
		}}
	}
	return append(list, r), nil
}
