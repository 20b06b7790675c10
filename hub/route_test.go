package hub

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// ingressOf is an Ingress made so many hours after midnight; 0: it does not say.
func ingressOf(namespace, name string, hour int) *fleet.RouteSet {
	s := &fleet.RouteSet{Origin: fleet.Origin{Cluster: "host", Kind: "Ingress", Namespace: namespace, Name: name}}
	if hour > 0 {
		s.Origin.Created = oClock(hour)
	}
	return s
}

func oClock(hour int) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(hour) * time.Hour)
}

// naming is the Ingress with one more host; hour 0: since the Ingress was made.
func naming(s *fleet.RouteSet, host string, hour int) *fleet.RouteSet {
	c := &fleet.RouteSet{Origin: s.Origin, Claimed: maps.Clone(s.Claimed)}
	c.Routes = append(slices.Clone(s.Routes), fleet.Route{Host: host, Match: fleet.Match{Path: "/"}, Origin: s.Origin,
		To: []fleet.Target{{Service: fleet.ServiceName{Namespace: s.Origin.Namespace, Name: "shop"}, Weight: 1}}})
	if hour > 0 {
		if c.Claimed == nil {
			c.Claimed = map[string]time.Time{}
		}
		c.Claimed[host] = oClock(hour)
	}
	return c
}

// held says which namespace has each host, and who is told that it has not.
func held(sets ...*fleet.RouteSet) (of map[string]string, problems []fleet.Problem) {
	table, problems := buildRoutes(sets, nil)
	of = map[string]string{}
	for _, h := range table.Hosts {
		of[h.Name] = h.Routes[0].Origin.Namespace
	}
	return of, problems
}

func TestAHostBelongsToTheFirstClaim(t *testing.T) {
	old, young := ingressOf("old", "a", 1), ingressOf("young", "a", 5)
	for name, c := range map[string]struct {
		sets  []*fleet.RouteSet
		owner string
		says  string
	}{
		"both since they were made": {[]*fleet.RouteSet{naming(old, "shop.test", 0), naming(young, "shop.test", 0)}, "old",
			`belongs to namespace "old" through Ingress old/a in host, which was first and has had it since 2026-01-01T01:00:00Z`},
		"an old object adds it": {[]*fleet.RouteSet{naming(old, "shop.test", 9), naming(young, "shop.test", 0)}, "young",
			`belongs to namespace "young" through Ingress young/a in host, which was first and has had it since 2026-01-01T05:00:00Z`},
		"a young object takes an older claim over": {[]*fleet.RouteSet{naming(old, "shop.test", 9), naming(ingressOf("young", "b", 20), "shop.test", 5)}, "young", ""},
		"nobody says when": {[]*fleet.RouteSet{naming(ingressOf("b", "a", 0), "shop.test", 0), naming(ingressOf("a", "a", 0), "shop.test", 0)}, "a",
			`which was first; use another host`},
		"one says when":                    {[]*fleet.RouteSet{naming(ingressOf("a", "a", 0), "shop.test", 0), naming(ingressOf("b", "a", 0), "shop.test", 30)}, "b", ""},
		"at one time, so the elder object": {[]*fleet.RouteSet{naming(young, "shop.test", 9), naming(old, "shop.test", 9)}, "old", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				of, problems := held(c.sets...)
				if of["shop.test"] != c.owner {
					t.Errorf("%q has it", of["shop.test"])
				}
				if len(problems) != 1 || problems[0].Reason != "HostConflict" || !strings.Contains(problems[0].Message, c.says) {
					t.Errorf("%+v", problems)
				}
				slices.Reverse(c.sets)
			}
		})
	}
}

// Whoever adds a host later, and however old his object is, moves no host that
// somebody has.
func TestAnAddedClaimMovesNoHost(t *testing.T) {
	hosts := []string{"", "a.test", "b.test", "*.test"}
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.SampledFrom(hosts)
		var sets []*fleet.RouteSet
		for n := range rapid.IntRange(1, 5).Draw(t, "objects") {
			s := ingressOf(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "namespace"), fmt.Sprint(n), rapid.IntRange(1, 10).Draw(t, "made"))
			for _, h := range rapid.SliceOfNDistinct(host, 0, len(hosts), rapid.ID).Draw(t, "hosts") {
				s = naming(s, h, rapid.IntRange(0, 20).Draw(t, "claimed"))
			}
			sets = append(sets, s)
		}
		before, _ := held(sets...)
		now := 21
		for range rapid.IntRange(1, 5).Draw(t, "additions") {
			i := rapid.IntRange(0, len(sets)-1).Draw(t, "object")
			h := host.Draw(t, "host")
			if slices.ContainsFunc(sets[i].Routes, func(r fleet.Route) bool { return r.Host == h }) {
				continue
			}
			sets[i] = naming(sets[i], h, now)
			now++
			after, _ := held(rapid.Permutation(sets).Draw(t, "order")...)
			for h, was := range before {
				if after[h] != was {
					t.Fatalf("%q went from %s to %s", h, was, after[h])
				}
			}
			before = after
		}
	})
}
