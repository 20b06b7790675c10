package hub

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/health"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func cluster(name string, r fleet.Region) *fleet.Cluster {
	return &fleet.Cluster{
		Name:     name,
		At:       fleet.Vantage{Region: r, Place: fleet.Place{Lat: 1, Lon: 1}, Network: fleet.Network(name)},
		Gateways: []fleet.Gateway{{Addr: netip.AddrFrom4([4]byte{192, 0, 2, name[len(name)-1]}), Port: 80, RelayPort: 15443}},
	}
}

func backend(cluster, service string, ready int) *fleet.Backend {
	b := &fleet.Backend{Cluster: cluster, Service: fleet.ServiceName{Namespace: "default", Name: service}, Ports: []fleet.Port{{Number: 80}}}
	for i := range ready {
		b.Ports[0].Endpoints = append(b.Ports[0].Endpoints, fleet.Endpoint{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 8080), Ready: true})
	}
	return b
}

func backendFact(b *fleet.Backend) fleet.Fact {
	return fleet.NewFact(b.Cluster+"/"+b.Service.String(), b)
}

func clusterFact(c *fleet.Cluster) fleet.Fact { return fleet.NewFact(c.Name, c) }

func TestStaleSourceKeepsItsFacts(t *testing.T) {
	l := NewLedger(health.Rules{})
	l.Tell(fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 2))}}, noon)
	l.Snapshot(noon)
	l.Tell(fleet.Update{Source: "i/file/a", Stale: "directory cannot be read", Whole: true}, noon.Add(time.Minute))
	s := l.Snapshot(noon.Add(time.Minute))
	svc := s.Services[fleet.ServiceName{Namespace: "default", Name: "shop"}]
	if svc == nil || svc.Backends[0].ReadyCount() != 2 {
		t.Fatalf("a stale source lost its endpoints: %+v", svc)
	}
	if !svc.Backends[0].Stale || !svc.Backends[0].Seen.Equal(noon) {
		t.Errorf("the view does not say that it is stale since %v: %+v", noon, svc.Backends[0])
	}
	l.Tell(fleet.Update{Source: "i/file/a"}, noon.Add(2*time.Minute))
	if b := l.Snapshot(noon.Add(2 * time.Minute)).Services[svc.Name].Backends[0]; b.Stale {
		t.Errorf("still stale after the source spoke: %+v", b)
	}
}

func TestFreshTellerSilencesStaleOneOfTheSameSubject(t *testing.T) {
	l := NewLedger(health.Rules{})
	both := []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 1)), backendFact(backend("a", "old", 1))}
	l.Tell(fleet.Update{Source: "i1/file/a", Whole: true, Put: both}, noon)
	l.Tell(fleet.Update{Source: "i2/file/a", Whole: true, Put: both[:2]}, noon)
	old := fleet.ServiceName{Namespace: "default", Name: "old"}
	if l.Snapshot(noon).Services[old] == nil {
		t.Fatal("two fresh tellers: what one of them lists is there")
	}
	l.Tell(fleet.Update{Source: "i1/file/a", Stale: "gone away"}, noon)
	if l.Snapshot(noon).Services[old] != nil {
		t.Error("a stale teller keeps alive what a fresh one no longer lists")
	}
	l.Tell(fleet.Update{Source: "i2/file/a", Stale: "gone away too"}, noon)
	if l.Snapshot(noon).Services[old] == nil {
		t.Error("with no fresh teller left, the last facts stay in force")
	}
}

func TestLatestDrainHoldsWhoeverTookIt(t *testing.T) {
	l := NewLedger(health.Rules{})
	l.Tell(fleet.Update{Source: "i/file/a", Put: []fleet.Fact{clusterFact(cluster("a", "eu"))}}, noon)
	order := func(src string, on bool, n uint64) {
		l.Tell(fleet.Update{Source: src, Put: []fleet.Fact{fleet.NewFact("region/eu",
			&fleet.Drain{Scope: fleet.ScopeRegion, Name: "eu", On: on, Order: n, By: "ops"})}}, noon)
	}
	drained := func() bool { e, _ := l.Snapshot(noon).World.Edge("eu"); return e.Drain != "" }
	order("i1/operator", true, 1)
	if !drained() {
		t.Fatal("not drained")
	}
	order("i2/operator", false, 2)
	if drained() {
		t.Error("the later order, given at another replica, does not hold")
	}
	order("i1/operator", true, 1)
	if drained() || l.Snapshot(noon).World.DrainOrder != 2 {
		t.Error("an older order holds again")
	}
}

func TestOneChangedEndpointMovesOneService(t *testing.T) {
	l := NewLedger(health.Rules{})
	l.Tell(fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{
		clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 2)), backendFact(backend("a", "cart", 2))}}, noon)
	before := l.Snapshot(noon)
	l.Tell(fleet.Update{Source: "i/file/a", Put: []fleet.Fact{backendFact(backend("a", "shop", 3)), backendFact(backend("a", "cart", 2))}}, noon)
	after := l.Snapshot(noon)
	if before.World != after.World || before.Routes != after.Routes {
		t.Error("world or routes were rebuilt")
	}
	for name, svc := range after.Services {
		if same := svc == before.Services[name]; same != (name.Name == "cart") {
			t.Errorf("%s: same pointer %v", name, same)
		}
	}
	l.Tell(fleet.Update{Source: "i/file/a", Put: []fleet.Fact{backendFact(backend("a", "shop", 3))}}, noon)
	if l.Snapshot(noon) != after {
		t.Error("the same fact told again made a new snapshot")
	}
}

// Whatever the order of tellings, what was built step by step equals what is
// built at once.
func TestStepByStepEqualsAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := NewLedger(health.Rules{})
		now := noon
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			l.Tell(anUpdate(t, now), now)
			l.Snapshot(now)
		}
		got, want := *l.Snapshot(now), *l.Rebuild(now)
		got.Generation, want.Generation = 0, 0
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("step by step:\n%+v\nat once:\n%+v", got, want)
		}
	})
}

func anUpdate(t *rapid.T, now time.Time) fleet.Update {
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	u := fleet.Update{
		Source: rapid.SampledFrom([]string{"i/file/x", "i/file/y", "j/file/x", "i/kube/x"}).Draw(t, "source"),
		Whole:  rapid.Bool().Draw(t, "whole"),
	}
	if rapid.IntRange(0, 4).Draw(t, "stale") == 0 {
		u.Stale = "lost touch"
	}
	for range rapid.IntRange(0, 4).Draw(t, "facts") {
		c := names.Draw(t, "cluster")
		switch rapid.IntRange(0, 8).Draw(t, "kind") {
		case 0:
			u.Put = append(u.Put, clusterFact(cluster(c, fleet.Region(rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region")))))
		case 1:
			u.Put = append(u.Put, backendFact(backend(c, names.Draw(t, "service"), rapid.IntRange(0, 3).Draw(t, "ready"))))
		case 2:
			u.Gone = append(u.Gone, fleet.FactName{Kind: fleet.KindBackend, Name: c + "/default/" + names.Draw(t, "service")})
		case 3:
			o := fleet.Origin{Kind: "Ingress", Namespace: names.Draw(t, "namespace"), Name: c}
			host := names.Draw(t, "host") + ".example.com"
			set := &fleet.RouteSet{Origin: o, Routes: []fleet.Route{{
				Host: host, Match: fleet.Match{Path: "/"}, Origin: o,
				To: []fleet.Target{{Service: fleet.ServiceName{Namespace: o.Namespace, Name: c}, Weight: 1}}}}}
			if since := rapid.IntRange(0, 3).Draw(t, "claimed"); since > 0 {
				set.Claimed = map[string]time.Time{host: oClock(since)}
			}
			u.Put = append(u.Put, fleet.NewFact("ingress/"+o.Namespace+"/"+c, set))
		case 4:
			g := cluster(c, "eu").Gateways[0].Front()
			by := names.Draw(t, "by")
			u.Put = append(u.Put, fleet.NewFact(by+"/"+g.String(), &fleet.Observation{By: by, From: fleet.Vantage{Region: "us"},
				Target: g, OK: rapid.Bool().Draw(t, "ok"), Since: now, At: now, RTT: 10 * time.Millisecond, Samples: 1}))
		case 5:
			p := fleet.DefaultPolicy()
			p.Strategy, p.Origin = fleet.StrategyGeo, fleet.Origin{Kind: "TrafficPolicy", Name: fmt.Sprint(u.Source, c)}
			u.Put = append(u.Put, fleet.NewFact("policy/"+c, &fleet.PolicyRule{Policy: p, Targets: []fleet.PolicyTarget{{Namespace: "default", Service: c}}}))
		case 6:
			u.Put = append(u.Put, policyFrom(u.Source, rapid.IntRange(0, 2).Draw(t, "hour"), rapid.SampledFrom([]fleet.Region{"eu", "us"}).Draw(t, "region")))
		case 7:
			u.Put = append(u.Put, zoneFrom(u.Source, names.Draw(t, "server")+"."))
		case 8:
			u.Gone = append(u.Gone, fleet.FactName{Kind: fleet.KindZone, Name: "shop.test."}, fleet.FactName{Kind: fleet.KindPolicy, Name: "default/cart"})
		}
	}
	return u
}

// sourcesOf names the sources that people are shown.
func sourcesOf(s *fleet.Snapshot) []string {
	var list []string
	for _, src := range s.Sources {
		list = append(list, src.Name)
	}
	return list
}

// A member leaves for good: it is no longer listed, and what a replica that has gone
// remembers of it does not come back.
func TestASourceThatEndedIsNotListedAndKeepsOldMemoriesOut(t *testing.T) {
	l := NewLedger(health.Rules{})
	shop := fleet.ServiceName{Namespace: "default", Name: "shop"}
	facts := []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 1))}
	l.Tell(fleet.Update{Source: "here/kube/a", Whole: true, Put: facts}, noon)
	l.Tell(fleet.Update{Source: "gone/kube/a", Whole: true, Put: facts}, noon)
	l.Tell(fleet.Update{Source: "gone/kube/a", Stale: "lost touch with the peer"}, noon)
	l.Snapshot(noon)

	l.Tell(fleet.Update{Source: "here/kube/a", Whole: true, Ended: true}, noon)
	s := l.Snapshot(noon)
	if got := sourcesOf(s); !slices.Equal(got, []string{"gone/kube/a"}) {
		t.Errorf("listed: %q", got)
	}
	if s.Services[shop] != nil {
		t.Error("the memory of a replica that has gone came back")
	}
	l.Tell(fleet.Update{Source: "here/kube/a", Ended: true, Stale: "its peer is away"}, noon)
	if got := sourcesOf(l.Snapshot(noon)); !slices.Equal(got, []string{"gone/kube/a"}) {
		t.Errorf("out of touch with whoever said that it has ended, it is listed: %q", got)
	}
	l.Tell(fleet.Update{Source: "here/kube/a", Stale: "its API server is not watched yet"}, noon)
	if got := sourcesOf(l.Snapshot(noon)); !slices.Equal(got, []string{"gone/kube/a", "here/kube/a"}) {
		t.Errorf("joined again, listed: %q", got)
	}
	l.Tell(fleet.Update{Source: "here/kube/a", Whole: true, Ended: true, Put: facts}, noon)
	if got := sourcesOf(l.Snapshot(noon)); len(got) != 2 {
		t.Errorf("one that says something is hidden: %q", got)
	}
	l.Tell(fleet.Update{Source: "here/kube/b", Whole: true}, noon)
	if got := sourcesOf(l.Snapshot(noon)); len(got) != 3 {
		t.Errorf("one that lives and has nothing to say is not listed: %q", got)
	}
}
