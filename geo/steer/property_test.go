package steer

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

var shop = fleet.ServiceName{Namespace: "default", Name: "shop"}

// aFleet draws a small world with every kind of trouble in it.
func aFleet(t *rapid.T) *fleet.Snapshot {
	regions := rapid.IntRange(1, 5).Draw(t, "regions")
	w := &fleet.World{Latency: fleet.Latency{}}
	svc := &fleet.Service{Name: shop}
	for i := range regions {
		e := &fleet.Edge{Region: region(i), Place: aPlace(t)}
		if rapid.IntRange(0, 5).Draw(t, "drain") == 0 {
			e.Drain = "by order of ops"
		}
		e.Health.State = rapid.SampledFrom([]fleet.State{fleet.Healthy, fleet.Unhealthy, fleet.Unknown}).Draw(t, "state")
		for j := range rapid.IntRange(1, 2).Draw(t, "clusters") {
			c := &fleet.Cluster{Name: fmt.Sprintf("c%d%d", i, j)}
			c.At = fleet.Vantage{Region: e.Region, Place: e.Place, Network: fleet.Network(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "network"))}
			c.Draining = rapid.IntRange(0, 5).Draw(t, "draining") == 0
			e.Clusters = append(e.Clusters, c)
			if rapid.IntRange(0, 5).Draw(t, "gateway") > 0 {
				g := fleet.Gateway{Addr: netip.AddrFrom4([4]byte{10, byte(i), byte(j), 1}), Port: 80, RelayPort: 15443}
				e.Gateways = append(e.Gateways, fleet.GatewayView{Gateway: g, Cluster: c.Name, Health: e.Health})
			}
			if rapid.IntRange(0, 4).Draw(t, "has service") > 0 {
				svc.Backends = append(svc.Backends, fleet.BackendView{Region: e.Region, Backend: aBackend(t, c.Name)})
			}
		}
		w.Edges = append(w.Edges, e)
		for k := range regions {
			if k != i && rapid.Bool().Draw(t, "measured") {
				w.Latency[fleet.PairOfRegions{From: region(i), To: region(k)}] = fleet.RTT{
					Time: time.Duration(rapid.IntRange(1, 300).Draw(t, "rtt")) * time.Millisecond, Samples: 8}
			}
		}
	}
	p := fleet.DefaultPolicy()
	p.Strategy = rapid.SampledFrom([]fleet.Strategy{fleet.StrategyLatency, fleet.StrategyGeo, fleet.StrategyWeighted,
		fleet.StrategyFailover, fleet.StrategyIsolated}).Draw(t, "strategy")
	some := rapid.SliceOfNDistinct(rapid.IntRange(0, regions-1), 0, regions, rapid.ID[int])
	for _, i := range some.Draw(t, "residency") {
		p.Regions = append(p.Regions, region(i))
	}
	for _, i := range some.Draw(t, "order") {
		p.Order = append(p.Order, region(i))
	}
	p.Weights = map[fleet.Region]uint32{}
	for _, i := range some.Draw(t, "weighted") {
		p.Weights[region(i)] = uint32(rapid.IntRange(0, 100).Draw(t, "weight"))
	}
	svc.Policy = &p
	s := fleet.EmptySnapshot()
	s.World = w
	if len(svc.Backends) > 0 {
		s.Services[shop] = svc
	}
	s.Routes = &fleet.Routes{Hosts: []fleet.Host{{Name: "shop.example.com", Routes: []fleet.Route{{
		Host: "shop.example.com", Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: shop, Weight: 1}}}}}}}
	return s
}

func region(i int) fleet.Region { return fleet.Region(fmt.Sprintf("r%d", i)) }

func aPlace(t *rapid.T) fleet.Place {
	return fleet.Place{Lat: rapid.Float64Range(-60, 60).Draw(t, "lat"), Lon: rapid.Float64Range(-180, 180).Draw(t, "lon")}
}

func aBackend(t *rapid.T, cluster string) *fleet.Backend {
	b := &fleet.Backend{Cluster: cluster, Service: shop, Ports: []fleet.Port{{Number: 80}}}
	for i := range rapid.IntRange(0, 3).Draw(t, "endpoints") {
		b.Ports[0].Endpoints = append(b.Ports[0].Endpoints, fleet.Endpoint{
			Addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 1, byte(i + 1)}), 8080),
			Ready: rapid.Bool().Draw(t, "ready")})
	}
	return b
}

func anAsker(t *rapid.T, s *fleet.Snapshot) Asker {
	if rapid.Bool().Draw(t, "is a client") {
		ip := rapid.Uint32().Draw(t, "client")
		p, _ := netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), 0}).Prefix(24)
		return Client(fleet.Location{Place: aPlace(t)}, p)
	}
	e := rapid.SampledFrom(s.World.Edges).Draw(t, "gateway in")
	c := rapid.SampledFrom(e.Clusters).Draw(t, "gateway of")
	return Asker{Vantage: c.At}
}

func TestDecisionKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aFleet(t)
		a := anAsker(t, s)
		d, listed := New(s).ForService(a, shop)
		svc := s.Services[shop]
		if listed != (svc != nil) {
			t.Fatalf("listed = %v for %v", listed, svc)
		}
		if !listed {
			return
		}
		mayServe := func(r fleet.Region) bool {
			return len(svc.Policy.Regions) == 0 || slices.Contains(svc.Policy.Regions, r)
		}
		for _, c := range d.Order {
			if !mayServe(c.Region) {
				t.Fatalf("residency broken: %s in the order %v", c.Region, d.Order)
			}
		}
		if len(d.Order) == 0 {
			for _, c := range d.Refused {
				if !slices.ContainsFunc(c.Reasons, func(r Reason) bool {
					return r.Code == ReasonResidency || r.Code == ReasonUnreachable || r.Code == ReasonIsolated
				}) {
					t.Fatalf("empty although %s might serve: %v", c.Region, c.Reasons)
				}
			}
		}
		seen := map[fleet.Region]bool{}
		for _, c := range slices.Concat(d.Order, d.Refused) {
			if seen[c.Region] || len(c.Reasons) == 0 {
				t.Fatalf("%s is twice there or has no reason: %+v", c.Region, c)
			}
			seen[c.Region] = true
		}
		checkPriorities(t, d)
		if !d.Panic {
			checkNoneIsRefusable(t, d)
		}
	})
}

// checkPriorities: contiguous from zero, shares add up to one in each.
func checkPriorities(t *rapid.T, d Decision) {
	sums := map[int]float64{}
	last := 0
	for _, c := range d.Order {
		if c.Priority < last || c.Priority > last+1 {
			t.Fatalf("priorities jump: %+v", d.Order)
		}
		last = c.Priority
		sums[c.Priority] += c.Share
	}
	for p := range last + 1 {
		if len(d.Order) > 0 && math.Abs(sums[p]-1) > 1e-9 {
			t.Fatalf("shares of priority %d add up to %v: %+v", p, sums[p], d.Order)
		}
	}
}

// checkNoneIsRefusable: outside Panic nobody unhealthy, draining or without
// endpoints is in the order, so nobody like that stands before a healthy one.
func checkNoneIsRefusable(t *rapid.T, d Decision) {
	for _, c := range d.Order {
		if c.State == fleet.Unhealthy && !c.Direct || c.Ready == 0 {
			t.Fatalf("%s is in the order without Panic: %+v", c.Region, c)
		}
	}
}

func TestUnknownStandsBehindHealthy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aFleet(t)
		d, ok := New(s).ForService(anAsker(t, s), shop)
		if !ok || d.Strategy == fleet.StrategyWeighted {
			return
		}
		doubted := false
		for _, c := range d.Order {
			doubt := !c.Direct && c.State != fleet.Healthy
			if doubted && !doubt {
				t.Fatalf("%s stands behind a region whose health is in doubt: %+v", c.Region, d.Order)
			}
			doubted = doubt
		}
	})
}

func TestPermutedInputsDecideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aFleet(t)
		a := anAsker(t, s)
		want, ok := New(s).ForService(a, shop)
		if !ok {
			return
		}
		for _, e := range s.World.Edges {
			e.Gateways = rapid.Permutation(e.Gateways).Draw(t, "gateways")
		}
		svc := *s.Services[shop]
		svc.Backends = rapid.Permutation(svc.Backends).Draw(t, "backends")
		for i, v := range svc.Backends {
			b := *v.Backend
			b.Ports = []fleet.Port{{Number: 80, Endpoints: rapid.Permutation(b.Ports[0].Endpoints).Draw(t, "endpoints")}}
			svc.Backends[i].Backend = &b
		}
		s.Services[shop] = &svc
		if got, _ := New(s).ForService(a, shop); !reflect.DeepEqual(got, want) {
			t.Fatalf("order of inputs matters:\n got %+v\nwant %+v", got, want)
		}
	})
}

// DNS asks by host and a client's place, a gateway by service and its own, a
// person as either: standing in the same spot they hear the same.
func TestDNSGatewayAndPersonHearTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aFleet(t)
		a := anAsker(t, s)
		p := New(s)
		byService, ok := p.ForService(a, shop)
		byHost, _ := p.ForHost(a, "Shop.Example.com.")
		if ok && !reflect.DeepEqual(byService, byHost) {
			t.Fatalf("host and service disagree:\n%+v\n%+v", byHost, byService)
		}
		if a.Region != "" || !ok {
			return
		}
		dns, found := byHost.Choice()
		if !found {
			return
		}
		if byHost.Strategy == fleet.StrategyWeighted && s.Services[shop].Policy.Weights[dns.Region] == 0 {
			return // a region without a door for clients may carry the weight, and gateways reach it
		}
		// The gateway that DNS names serves the request itself.
		e, _ := s.World.Edge(dns.Region)
		for _, c := range e.Clusters {
			if c.Draining || byHost.Panic || readyIn(s, c.Name) == 0 || byHost.Strategy == fleet.StrategyFailover {
				continue
			}
			l7, _ := p.ForService(Asker{Vantage: withNetwork(c).At}, shop)
			if l7.Order[0].Region != dns.Region && l7.Order[0].Priority == 0 {
				t.Fatalf("DNS names %s, whose gateway begins with %+v", dns.Region, l7.Order)
			}
		}
	})
}

// withNetwork makes sure that a gateway shares a network with its own cluster.
func withNetwork(c *fleet.Cluster) *fleet.Cluster {
	if c.At.Network == "" {
		c.At.Network = fleet.Network("of-" + c.Name)
	}
	return c
}

func readyIn(s *fleet.Snapshot, cluster string) int {
	for _, b := range s.Services[shop].Backends {
		if b.Cluster == cluster {
			return b.ReadyCount()
		}
	}
	return 0
}

// What Depends says is what DNS builds its scopes on.
func TestDependsIsHonest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aFleet(t)
		p := New(s)
		a := Client(fleet.Location{Place: aPlace(t)}, netip.MustParsePrefix("198.51.100.0/24"))
		da, ok := p.ForHost(a, "shop.example.com")
		if !ok || da.Depends == OnPrefix {
			return
		}
		b := Client(fleet.Location{Place: a.Place}, netip.MustParsePrefix("203.0.113.0/24"))
		if da.Depends == OnNothing {
			b.Place = aPlace(t)
		}
		db, _ := p.ForHost(b, "shop.example.com")
		ca, _ := da.Choice()
		cb, _ := db.Choice()
		if ca.Region != cb.Region {
			t.Fatalf("depends on %v, yet %s and %s differ", da.Depends, ca.Region, cb.Region)
		}
	})
}

func TestGrowingAShareMovesOnlyThatMuch(t *testing.T) {
	choose := func(weights ...float64) []fleet.Region {
		var picks []fleet.Region
		for i := range 20000 {
			d := Decision{Services: []fleet.ServiceName{shop}, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 0}), 24)}
			for j, w := range weights {
				d.Order = append(d.Order, Candidate{Region: region(j), Share: w})
			}
			c, _ := d.Choice()
			picks = append(picks, c.Region)
		}
		return picks
	}
	before, after := choose(0.5, 0.3, 0.2), choose(0.45, 0.27, 0.28)
	moved, to := 0, map[fleet.Region]int{}
	for i := range before {
		if before[i] != after[i] {
			moved++
			to[after[i]]++
		}
	}
	if share := float64(moved) / float64(len(before)); math.Abs(share-0.08) > 0.01 {
		t.Errorf("moved %.3f of the prefixes for a growth of 0.08", share)
	}
	if len(to) != 1 || to[region(2)] == 0 {
		t.Errorf("prefixes moved to %v, want only to the region that grew", to)
	}
}
