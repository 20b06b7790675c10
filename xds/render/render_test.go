package render

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds/resource"
)

// Whatever happens, in whatever order: what a renderer has told adds up to what a
// new one would tell, byte for byte, and so do its problems.
func TestIncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		v.Network = rapid.SampledFrom([]fleet.Network{"n1", "n2", ""}).Draw(t, "network")
		r := NewRenderer(v, NewSegments())
		told := map[resource.Name]resource.Resource{}
		s := drawSnapshot(t)
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			plan := steer.New(s)
			d := r.Update(plan)
			apply(t, told, d)
			full := NewRenderer(v, NewSegments())
			want := full.Update(plan).Put
			if len(want) != len(told) {
				t.Fatalf("%d resources were told, %d are there: %v", len(told), len(want), slices.Collect(maps.Keys(told)))
			}
			for _, res := range want {
				if got := told[res.Key()]; got.Version != res.Version || string(got.Body.Value) != string(res.Body.Value) {
					t.Fatalf("%s %s was told as\n%v\nbut is\n%v", res.TypeURL, res.Name, decode(t, got), decode(t, res))
				}
			}
			if !slices.Equal(r.Problems(), full.Problems()) {
				t.Fatalf("problems are\n%v\nbut should be\n%v", r.Problems(), full.Problems())
			}
			if again := r.Update(plan); !again.Empty() {
				t.Fatalf("the same plan changed something: %v", again)
			}
			s = step(t, s)
		}
	})
}

// apply plays a delta and checks its promises.
func apply(t *rapid.T, told map[resource.Name]resource.Resource, d resource.Delta) {
	if !slices.IsSortedFunc(d.Put, func(a, b resource.Resource) int { return a.Key().Compare(b.Key()) }) || !slices.IsSortedFunc(d.Gone, resource.Name.Compare) {
		t.Fatalf("a delta is not sorted: %v", d)
	}
	for _, res := range d.Put {
		if told[res.Key()].Version == res.Version {
			t.Fatalf("%s %s is told again unchanged", res.TypeURL, res.Name)
		}
		if slices.Contains(d.Gone, res.Key()) {
			t.Fatalf("%s %s is both there and gone", res.TypeURL, res.Name)
		}
		told[res.Key()] = res
	}
	for _, n := range d.Gone {
		if _, ok := told[n]; !ok {
			t.Fatalf("%v is gone but never was there", n)
		}
		delete(told, n)
	}
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func decode(t fataler, r resource.Resource) proto.Message {
	t.Helper()
	if r.Body == nil {
		return nil
	}
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		t.Fatalf("decoding %s %s: %v", r.TypeURL, r.Name, err)
	}
	return m
}

// Every message, and every message inside it, obeys the rules that Envoy will
// check it by, and what Envoy checks beyond them.
func TestEverythingIsValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		if rapid.Bool().Draw(t, "ipv6") {
			v.Bind = netip.IPv6Unspecified()
		}
		for _, r := range All(v, steer.New(drawSnapshot(t))) {
			m := decode(t, r)
			validate(t, r.Name, m)
			if cla, ok := m.(*endpointv3.ClusterLoadAssignment); ok {
				checkAssignment(t, r.Name, cla)
			}
		}
	})
}

func validate(t fataler, name string, m proto.Message) {
	t.Helper()
	if c, ok := m.(interface{ ValidateAll() error }); ok {
		if err := c.ValidateAll(); err != nil {
			t.Fatalf("%s: %v\n%v", name, err, m)
		}
	}
	if a, ok := m.(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			t.Fatalf("%s: %s: %v", name, a.TypeUrl, err)
		}
		validate(t, name, inner)
		return
	}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					validate(t, name, v.Message().Interface())
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				validate(t, name, v.List().Get(i).Message().Interface())
			}
		default:
			validate(t, name, v.Message().Interface())
		}
		return true
	})
}

// checkAssignment checks what Envoy demands of an assignment: priorities without
// gaps, no locality twice in one, and weights whose sum fits into 32 bits.
func checkAssignment(t fataler, name string, cla *endpointv3.ClusterLoadAssignment) {
	t.Helper()
	if cla.ClusterName != name {
		t.Fatalf("the endpoints of %q call themselves %q", name, cla.ClusterName)
	}
	seen := map[string]bool{}
	priorities := map[uint32]uint64{}
	for _, l := range cla.Endpoints {
		key := fmt.Sprint(l.Priority, l.Locality)
		if seen[key] {
			t.Fatalf("%s: a locality twice: %s", name, key)
		}
		seen[key] = true
		priorities[l.Priority] += uint64(l.LoadBalancingWeight.GetValue())
		if len(l.LbEndpoints) == 0 {
			t.Fatalf("%s: a locality without endpoints: %s", name, key)
		}
	}
	for p, sum := range priorities {
		if int(p) >= len(priorities) || sum >= 1<<32 {
			t.Fatalf("%s: priority %d of %d weighs %d", name, p, len(priorities), sum)
		}
	}
}

// An endpoint's health, weight, coming or going touches its endpoints' resource
// and nothing else; so do the health of gateways and an operator's weights.
func TestEndpointChangeTouchesEndpointsOnly(t *testing.T) {
	w := twoRegions()
	p := fleet.DefaultPolicy()
	build := func(w *fleet.World, p fleet.Policy, near, far []fleet.Endpoint) *fleet.Snapshot {
		return snapshotOf(w, &fleet.Routes{Hosts: []fleet.Host{{Name: "shop.example", Routes: []fleet.Route{{
			Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: web, Port: fleet.PortRef{Number: 80}, Weight: 1}},
		}}}}}, serviceOf(web, p,
			backend(w, "c-far", web, fleet.Port{Number: 80, Endpoints: far}),
			backend(w, "c-near", web, fleet.Port{Number: 80, Endpoints: near}),
		))
	}
	one := []fleet.Endpoint{endpoint("10.0.0.1:80", "a")}
	far := []fleet.Endpoint{endpoint("10.9.0.1:80", "x")}
	unready := slices.Clone(one)
	unready[0].Ready = false
	weighted := p
	weighted.Strategy, weighted.Weights = fleet.StrategyWeighted, map[fleet.Region]uint32{"near": 1, "far": 3}
	failing := twoRegions()
	failing.Edges[0].Gateways[0].Health.State = fleet.Unhealthy
	drained := twoRegions()
	drained.Edges[1].Drain = "by order"
	for name, c := range map[string]struct {
		next  *fleet.Snapshot
		local bool // the relay's endpoints too
	}{
		"one more":              {build(w, p, append(slices.Clone(one), endpoint("10.0.0.2:80", "a")), far), true},
		"none left":             {build(w, p, nil, far), true},
		"unready":               {build(w, p, unready, far), true},
		"more in far region":    {build(w, p, one, append(slices.Clone(far), endpoint("10.9.0.2:80", "x"))), false},
		"operator's weights":    {build(w, weighted, nil, far), true},
		"gateways fail":         {build(failing, p, nil, far), true},
		"own region is drained": {build(drained, p, one, far), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRenderer(testView(), NewSegments())
			r.Update(steer.New(build(w, p, one, far)))
			d := r.Update(steer.New(c.next))
			want := []string{"shop/web/80"}
			if c.local {
				want = []string{"local|shop/web/80", "shop/web/80"}
			}
			var got []string
			for _, res := range d.Put {
				if res.TypeURL != resource.EndpointType {
					t.Errorf("%s %s changed", res.TypeURL, res.Name)
				}
				got = append(got, res.Name)
			}
			if !slices.Equal(got, want) || len(d.Gone) > 0 {
				t.Errorf("changed %v, gone %v; want %v", got, d.Gone, want)
			}
		})
	}
}

// An Envoy whose network is none of its region's reaches no pod there: that is said,
// and so is a region that nobody has described.
func TestStandingInTheWrongNetwork(t *testing.T) {
	for network, want := range map[fleet.Network]string{"n1": "", "n9": ReasonStanding, "": ReasonStanding} {
		v := testView()
		v.Network = network
		r := NewRenderer(v, NewSegments())
		r.Update(steer.New(snapshotOf(worldOf(site{cluster: "c1", region: "near", network: "n1", place: fleet.Place{Lat: 50, Lon: 8}}), nil)))
		got := ""
		for _, p := range r.Problems() {
			got += p.Reason
		}
		if got != want {
			t.Errorf("network %q: %q, want %q", network, got, want)
		}
		nowhere := snapshotOf(worldOf(site{cluster: "c1", region: "far", network: "n1", place: fleet.Place{Lat: 50, Lon: 8}}), nil)
		r.Update(steer.New(nowhere))
		if p := r.Problems(); len(p) != 1 || p[0].Reason != ReasonStanding || !strings.Contains(p[0].Message, "where no Cluster is") {
			t.Errorf("in no region: %v", p)
		}
	}
}

func twoRegions() *fleet.World {
	return worldOf(
		site{cluster: "c-near", region: "near", network: "n1", place: fleet.Place{Lat: 50, Lon: 8}, gateways: []fleet.GatewayView{gateway("192.0.2.1", fleet.Healthy)}},
		site{cluster: "c-far", region: "far", network: "n2", place: fleet.Place{Lat: 40, Lon: -74}, gateways: []fleet.GatewayView{gateway("192.0.2.2", fleet.Healthy)}},
	)
}

// A world that changed in what a service does not depend on sends nothing.
func TestUnrelatedWorldSendsNothing(t *testing.T) {
	build := func(w *fleet.World, svc *fleet.Service) *fleet.Snapshot { return snapshotOf(w, nil, svc) }
	w := twoRegions()
	svc := serviceOf(web, fleet.DefaultPolicy(), backend(w, "c-near", web, fleet.Port{Number: 80, Endpoints: []fleet.Endpoint{endpoint("10.0.0.1:80", "a")}}))
	r := NewRenderer(testView(), NewSegments())
	r.Update(steer.New(build(w, svc)))
	next := twoRegions()
	next.Edges[0].Gateways[0].Health.State = fleet.Unhealthy
	if d := r.Update(steer.New(build(next, svc))); !d.Empty() {
		t.Errorf("a gateway that nobody needs changed %v", d)
	}
	tainted := twoRegions()
	tainted.Edges[0].Gateways[0].Health.State = fleet.Unhealthy
	for _, e := range tainted.Edges {
		e.Clusters[0].Labels = []fleet.Label{{Key: "tier", Value: "gold"}}
		e.Clusters[0].Taints = []fleet.Taint{{Key: "kernel", Effect: fleet.NoExecute}}
	}
	if d := r.Update(steer.New(build(tainted, svc))); !d.Empty() {
		t.Errorf("labels and taints, which are for workloads, changed %v", d)
	}
}

// Views share encoded endpoints, and what is gone is forgotten.
func TestSegmentsAreShared(t *testing.T) {
	w := twoRegions()
	b := backend(w, "c-near", web, fleet.Port{Number: 80, Endpoints: []fleet.Endpoint{endpoint("10.0.0.1:80", "a")}})
	s := snapshotOf(w, nil, serviceOf(web, fleet.DefaultPolicy(), b))
	shared := NewSegments()
	NewRenderer(testView(), shared).Update(steer.New(s))
	first := shared.get(b.Backend, 80)
	other := testView()
	other.Region = "far"
	NewRenderer(other, shared).Update(steer.New(s))
	if again := shared.get(b.Backend, 80); len(first) != 1 || &first[0].bytes[0] != &again[0].bytes[0] {
		t.Error("a second view encoded the endpoints again")
	}
	NewRenderer(other, shared).Update(steer.New(snapshotOf(w, nil)))
	if len(shared.of) != 0 {
		t.Errorf("%d backends that are gone are kept", len(shared.of))
	}
}

// Clusters and listeners say what the product promises.
func TestNames(t *testing.T) {
	w := twoRegions()
	s := snapshotOf(w, nil,
		serviceOf(web, fleet.DefaultPolicy(), backend(w, "c-far", web, fleet.Port{Number: 80}), backend(w, "c-near", web, fleet.Port{Number: 443})),
		serviceOf(fleet.ServiceName{Namespace: "a/b", Name: "x"}, fleet.DefaultPolicy(), backend(w, "c-near", fleet.ServiceName{Namespace: "a/b", Name: "x"}, fleet.Port{Number: 1})),
	)
	r := NewRenderer(testView(), NewSegments())
	var got []string
	for _, res := range r.Update(steer.New(s)).Put {
		got = append(got, res.TypeURL[strings.LastIndexByte(res.TypeURL, '.')+1:]+" "+res.Name)
	}
	want := []string{
		"Cluster local|shop/web/443", "Cluster shop/web/443", "Cluster shop/web/80",
		"ClusterLoadAssignment local|shop/web/443", "ClusterLoadAssignment shop/web/443", "ClusterLoadAssignment shop/web/80",
		"Listener front", "Listener relay", "RouteConfiguration front", "RouteConfiguration relay",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if p := r.Problems(); len(p) != 1 || p[0].Reason != ReasonName {
		t.Errorf("problems: %v", p)
	}
}

func BenchmarkEndpointChange(b *testing.B) {
	w := twoRegions()
	build := func(n byte) *fleet.Snapshot {
		var list []fleet.Endpoint
		for i := range 500 {
			list = append(list, endpoint(fmt.Sprintf("10.%d.%d.%d:8080", n, i/250, i%250), string(rune('a'+i%3))))
		}
		return snapshotOf(w, nil, serviceOf(web, fleet.DefaultPolicy(), backend(w, "c-near", web, fleet.Port{Number: 80, Endpoints: list})))
	}
	plans := []*steer.Plan{steer.New(build(1)), steer.New(build(2))}
	shared := NewSegments()
	var views []*Renderer
	for i := range 5 {
		v := testView()
		v.Class = fmt.Sprint("class", i)
		views = append(views, NewRenderer(v, shared))
	}
	i := 0
	for b.Loop() {
		for _, r := range views {
			if d := r.Update(plans[i%2]); len(d.Put) == 0 {
				b.Fatal("nothing changed")
			}
		}
		i++
	}
}
