package render

import (
	"fmt"
	"net/netip"
	"slices"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

func testView() View {
	return View{
		Region: "near", Network: "n1", Class: DefaultClass,
		Bind: netip.MustParseAddr("0.0.0.0"), HTTPPort: 8080, RelayPort: 15443,
	}
}

// secureView is testView with an identity.
func secureView() View {
	v := testView()
	v.Domain, v.Identity = "mesh.example", "/etc/meridian/identity"
	return v
}

// drawView is one of both.
func drawView(t *rapid.T) View {
	if rapid.Bool().Draw(t, "identity") {
		return secureView()
	}
	return testView()
}

// site is one cluster of a test world.
type site struct {
	cluster  string
	region   fleet.Region
	network  fleet.Network
	place    fleet.Place
	gateways []fleet.GatewayView
	draining bool
}

func gateway(addr string, state fleet.State) fleet.GatewayView {
	return fleet.GatewayView{
		Gateway: fleet.Gateway{Addr: netip.MustParseAddr(addr), Port: 80, RelayPort: 15443},
		Health:  fleet.Verdict{State: state},
	}
}

func worldOf(sites ...site) *fleet.World {
	w := &fleet.World{Latency: fleet.Latency{}}
	slices.SortFunc(sites, func(a, b site) int { return compareStrings(string(a.region)+a.cluster, string(b.region)+b.cluster) })
	for _, s := range sites {
		c := &fleet.Cluster{Name: s.cluster, At: fleet.Vantage{Region: s.region, Network: s.network, Place: s.place}, Draining: s.draining}
		if n := len(w.Edges); n == 0 || w.Edges[n-1].Region != s.region {
			w.Edges = append(w.Edges, &fleet.Edge{Region: s.region, Place: s.place, Health: fleet.Verdict{State: fleet.Healthy}})
		}
		e := w.Edges[len(w.Edges)-1]
		for _, g := range s.gateways {
			g.Cluster, g.Draining = s.cluster, s.draining
			c.Gateways = append(c.Gateways, g.Gateway)
			e.Gateways = append(e.Gateways, g)
		}
		e.Clusters = append(e.Clusters, c)
		slices.SortFunc(e.Gateways, func(a, b fleet.GatewayView) int { return a.Front().Compare(b.Front()) })
	}
	return w
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func endpoint(addr, zone string) fleet.Endpoint {
	return fleet.Endpoint{Addr: netip.MustParseAddrPort(addr), Zone: zone, Ready: true}
}

func backend(w *fleet.World, cluster string, name fleet.ServiceName, ports ...fleet.Port) fleet.BackendView {
	c, ok := w.Cluster(cluster)
	if !ok {
		panic("the test's world has no cluster " + cluster)
	}
	return fleet.BackendView{Region: c.At.Region, Backend: &fleet.Backend{
		Cluster: cluster, Service: name, Ports: ports, Origin: fleet.Origin{Cluster: cluster, Kind: "Service", Namespace: name.Namespace, Name: name.Name},
	}}
}

var web = fleet.ServiceName{Namespace: "shop", Name: "web"}

func serviceOf(name fleet.ServiceName, p fleet.Policy, backends ...fleet.BackendView) *fleet.Service {
	return &fleet.Service{Name: name, Policy: &p, Backends: backends}
}

func snapshotOf(w *fleet.World, routes *fleet.Routes, services ...*fleet.Service) *fleet.Snapshot {
	s := fleet.EmptySnapshot()
	s.World = w
	if routes != nil {
		s.Routes = routes
	}
	for _, svc := range services {
		s.Services[svc.Name] = svc
	}
	return s
}

// Generators of whole fleets. Everything is drawn from small pools, so that
// names meet.

func drawWorld(t *rapid.T) *fleet.World {
	var sites []site
	for i := range rapid.IntRange(1, 5).Draw(t, "clusters") {
		s := site{
			cluster:  fmt.Sprintf("c%d", i),
			region:   rapid.SampledFrom([]fleet.Region{"near", "far", "other"}).Draw(t, "region"),
			network:  rapid.SampledFrom([]fleet.Network{"n1", "n2", ""}).Draw(t, "network"),
			draining: rapid.IntRange(0, 5).Draw(t, "draining") == 0,
		}
		s.place = map[fleet.Region]fleet.Place{"near": {Lat: 50, Lon: 8}, "far": {Lat: 40, Lon: -74}, "other": {Lat: 1, Lon: 103}}[s.region]
		for j := range rapid.IntRange(0, 2).Draw(t, "gateways") {
			g := gateway(fmt.Sprintf("192.0.2.%d", 10*i+j+1), rapid.SampledFrom([]fleet.State{fleet.Healthy, fleet.Unknown, fleet.Unhealthy}).Draw(t, "state"))
			if rapid.IntRange(0, 4).Draw(t, "relay") == 0 {
				g.RelayPort = 0
			}
			s.gateways = append(s.gateways, g)
		}
		sites = append(sites, s)
	}
	return worldOf(sites...)
}

func drawService(t *rapid.T, w *fleet.World, name fleet.ServiceName) *fleet.Service {
	p := fleet.DefaultPolicy()
	p.Strategy = rapid.SampledFrom([]fleet.Strategy{fleet.StrategyLatency, fleet.StrategyWeighted, fleet.StrategyFailover, fleet.StrategyIsolated}).Draw(t, "strategy")
	if p.Strategy == fleet.StrategyWeighted {
		p.Weights = map[fleet.Region]uint32{"far": 1, "other": uint32(rapid.IntRange(0, 3).Draw(t, "weight"))}
	}
	if rapid.IntRange(0, 3).Draw(t, "residency") == 0 {
		p.Regions = []fleet.Region{"far", "near"}
	}
	svc := serviceOf(name, p)
	for _, e := range w.Edges {
		for _, c := range e.Clusters {
			if rapid.IntRange(0, 2).Draw(t, "has") > 0 {
				svc.Backends = append(svc.Backends, backend(w, c.Name, name, drawPorts(t, c.Name)...))
			}
		}
	}
	if len(svc.Backends) == 0 {
		svc.Backends = append(svc.Backends, backend(w, w.Edges[0].Clusters[0].Name, name, drawPorts(t, "c")...))
	}
	slices.SortFunc(svc.Backends, func(a, b fleet.BackendView) int { return compareStrings(a.Cluster, b.Cluster) })
	return svc
}

func drawPorts(t *rapid.T, cluster string) []fleet.Port {
	var list []fleet.Port
	for _, n := range []uint16{80, 443} {
		if rapid.IntRange(0, 3).Draw(t, "port") == 0 {
			continue
		}
		p := fleet.Port{Number: n, Name: fmt.Sprintf("p%d", n), AppProtocol: rapid.SampledFrom([]string{"", "kubernetes.io/h2c", "https"}).Draw(t, "protocol")}
		for i := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
			p.Endpoints = append(p.Endpoints, fleet.Endpoint{
				Addr:        netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, cluster[len(cluster)-1], byte(n), byte(i)}), 8080),
				Zone:        rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone"),
				Ready:       rapid.Bool().Draw(t, "ready"),
				Terminating: rapid.IntRange(0, 4).Draw(t, "terminating") == 0,
				Weight:      rapid.SampledFrom([]uint32{0, 1, 7, 1 << 31}).Draw(t, "weight"),
			})
		}
		list = append(list, p)
	}
	return list
}

var pool = []fleet.ServiceName{web, {Namespace: "shop", Name: "api"}, {Namespace: "bank", Name: "web"}}

func drawRoutes(t *rapid.T) *fleet.Routes {
	r := &fleet.Routes{}
	for _, host := range []string{"", "*.b.example", "*.example", "a.b.example", "b.example", "bad host", "b.example:80"} {
		if rapid.Bool().Draw(t, "host") {
			continue
		}
		h := fleet.Host{Name: host}
		for _, m := range []fleet.Match{
			{Type: fleet.PathExact, Path: "/a"}, {Type: fleet.PathExact, Path: "/"},
			{Path: "/a/b"}, {Path: "/a"}, {Path: "/"}, {Path: "/bad?query"},
		} {
			if rapid.Bool().Draw(t, "match") {
				continue
			}
			route := fleet.Route{Host: host, Match: m, Origin: fleet.Origin{Kind: "Ingress", Name: host + m.Path}}
			for range rapid.IntRange(1, 3).Draw(t, "targets") {
				route.To = append(route.To, fleet.Target{
					Service: rapid.SampledFrom(pool).Draw(t, "service"),
					Port:    rapid.SampledFrom([]fleet.PortRef{{Number: 80}, {Name: "p443"}, {Number: 1}, {}}).Draw(t, "port"),
					Weight:  rapid.SampledFrom([]uint32{0, 1, 5, 1<<32 - 1}).Draw(t, "weight"),
				})
			}
			h.Routes = append(h.Routes, route)
		}
		if len(h.Routes) > 0 {
			r.Hosts = append(r.Hosts, h)
		}
	}
	return r
}

func drawSnapshot(t *rapid.T) *fleet.Snapshot {
	w := drawWorld(t)
	s := snapshotOf(w, drawRoutes(t))
	for _, name := range pool {
		if rapid.IntRange(0, 3).Draw(t, "service") > 0 {
			s.Services[name] = drawService(t, w, name)
		}
	}
	return s
}

// step changes a snapshot in one way, as the hub does: what is not touched keeps
// its pointer.
func step(t *rapid.T, last *fleet.Snapshot) *fleet.Snapshot {
	next := *last
	next.Generation++
	next.Services = map[fleet.ServiceName]*fleet.Service{}
	for n, s := range last.Services {
		next.Services[n] = s
	}
	switch rapid.SampledFrom([]string{"nothing", "service", "gone", "routes", "health", "everything"}).Draw(t, "step") {
	case "service":
		n := rapid.SampledFrom(pool).Draw(t, "changed")
		next.Services[n] = drawService(t, last.World, n)
	case "gone":
		delete(next.Services, rapid.SampledFrom(pool).Draw(t, "gone"))
	case "routes":
		next.Routes = drawRoutes(t)
	case "health":
		next.World = withHealth(t, last.World)
	case "everything":
		return drawSnapshot(t)
	}
	return &next
}

// withHealth is a world in which gateways feel differently.
func withHealth(t *rapid.T, w *fleet.World) *fleet.World {
	next := *w
	next.Edges = nil
	for _, e := range w.Edges {
		edge := *e
		edge.Gateways = slices.Clone(e.Gateways)
		for i := range edge.Gateways {
			edge.Gateways[i].Health.State = rapid.SampledFrom([]fleet.State{fleet.Healthy, fleet.Unknown, fleet.Unhealthy}).Draw(t, "state")
		}
		if rapid.IntRange(0, 3).Draw(t, "drain") == 0 {
			edge.Drain = "by order"
		}
		next.Edges = append(next.Edges, &edge)
	}
	return &next
}
