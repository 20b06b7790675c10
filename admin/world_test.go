package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

var (
	frankfurt = fleet.Place{Lat: 50.11, Lon: 8.68}
	virginia  = fleet.Place{Lat: 39.04, Lon: -77.49}
	tokyo     = fleet.Place{Lat: 35.68, Lon: 139.77}
	berlin    = fleet.Place{Lat: 52.52, Lon: 13.40}

	shop   = fleet.ServiceName{Namespace: "shop", Name: "web"}
	basket = fleet.ServiceName{Namespace: "shop", Name: "basket"}
	ghost  = fleet.ServiceName{Namespace: "shop", Name: "ghost"}
)

// world is three regions with one cluster each, "ap-a", "eu-a" and "us-a"; the
// shop is everywhere and the basket in eu and us.
func world() *fleet.Snapshot {
	s := fleet.EmptySnapshot()
	s.Generation = 7
	for i, r := range []struct {
		name  fleet.Region
		place fleet.Place
	}{{"ap", tokyo}, {"eu", frankfurt}, {"us", virginia}} {
		gw := fleet.Gateway{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Port: 80, RelayPort: 8443}
		c := &fleet.Cluster{
			Name: string(r.name) + "-a", At: fleet.Vantage{Region: r.name, Place: r.place, Network: fleet.Network(r.name)},
			Gateways: []fleet.Gateway{gw}, Origin: fleet.Origin{Kind: "Cluster", Name: string(r.name) + "-a", File: "fleet.yaml", Line: i + 1},
		}
		up := fleet.Verdict{State: fleet.Healthy, Up: 3, Fresh: 3}
		s.World.Edges = append(s.World.Edges, &fleet.Edge{
			Region: r.name, Place: r.place, Clusters: []*fleet.Cluster{c}, Health: up,
			Gateways: []fleet.GatewayView{{Gateway: gw, Cluster: c.Name, Health: up}},
		})
		s.World.Latency[fleet.PairOfRegions{From: "eu", To: r.name}] = fleet.RTT{Time: time.Duration(1+i*50) * time.Millisecond, Samples: 8}
	}
	addService(s, shop, "ap", "eu", "us")
	addService(s, basket, "eu", "us")
	s.Routes = &fleet.Routes{Hosts: []fleet.Host{
		{Name: "old.example", Routes: []fleet.Route{{Host: "old.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: ghost, Weight: 1}}}}},
		{Name: "shop.example", Routes: []fleet.Route{
			{Host: "shop.example", Match: fleet.Match{Type: fleet.PathExact, Path: "/basket"}, To: []fleet.Target{{Service: basket, Weight: 3}, {Service: shop, Weight: 1}}},
			{Host: "shop.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: shop, Port: fleet.PortRef{Number: 80}, Weight: 1}}, Certificate: "default/shop"},
		}},
		{Name: "static.example", Routes: []fleet.Route{{Host: "static.example", Match: fleet.Match{Path: "/img"}, To: []fleet.Target{{Service: shop, Weight: 1}}}}},
	}}
	s.Load = []fleet.LoadReport{
		{Service: shop, To: "eu", RPS: 60}, {Service: shop, To: "us", RPS: 20}, {Service: basket, To: "us", RPS: 20},
	}
	s.Sources = []fleet.SourceState{{Name: "eu-1/file", Facts: 4, Heard: time.Now()}, {Name: "us-1/file", Facts: 2, Stale: "lost touch"}}
	s.Problems = []fleet.Problem{{About: fleet.Origin{Cluster: "eu-a", Kind: "Ingress", Namespace: "shop", Name: "web"}, Reason: "HostConflict", Message: "another object has the host"}}
	return s
}

func addService(s *fleet.Snapshot, name fleet.ServiceName, regions ...fleet.Region) {
	policy := fleet.DefaultPolicy()
	svc := &fleet.Service{Name: name, Policy: &policy}
	for i, r := range regions {
		b := &fleet.Backend{Cluster: string(r) + "-a", Service: name, Ports: []fleet.Port{{Name: "http", Number: 80, Endpoints: []fleet.Endpoint{
			{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 1}), 8080), Ready: true},
			{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 2}), 8080)},
		}}}}
		svc.Backends = append(svc.Backends, fleet.BackendView{Backend: b, Region: r})
	}
	s.Services[name] = svc
}

// locate puts clients of 198.51.100.0/24 in Berlin and the others in Virginia.
func locate(a netip.Addr) fleet.Location {
	if p := netip.MustParsePrefix("198.51.100.0/24"); p.Contains(a) {
		return fleet.Location{Place: berlin, Prefix: netip.MustParsePrefix("198.51.0.0/16"), Country: "DE", City: "Berlin", Layer: "city"}
	}
	return fleet.Location{Place: virginia, Prefix: netip.MustParsePrefix("2001:db8::/32"), Country: "US", Layer: "country"}
}

// keeper keeps orders as a hub does and makes plans with them.
type keeper struct {
	mu   sync.Mutex
	told []fleet.Update
}

func (k *keeper) Order(_ context.Context, u fleet.Update) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, u)
	return nil
}

func (k *keeper) orders() []fleet.Drain {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []fleet.Drain
	for _, u := range k.told {
		for _, f := range u.Put {
			list = append(list, *f.Value.(*fleet.Drain))
		}
	}
	return list
}

// plan is the world with the orders in force.
func (k *keeper) plan() *steer.Plan {
	s := world()
	latest := map[string]fleet.Drain{}
	for _, d := range k.orders() {
		s.World.DrainOrder = max(s.World.DrainOrder, d.Order)
		if key := string(d.Scope) + "/" + d.Name; d.Order > latest[key].Order {
			latest[key] = d
		}
	}
	for _, d := range latest {
		if !d.On {
			continue
		}
		s.World.Drains = append(s.World.Drains, d)
		for _, e := range s.World.Edges {
			if d.Scope == fleet.ScopeRegion && d.Name == string(e.Region) {
				e.Drain = "by order of " + d.By
			}
			for _, c := range e.Clusters {
				c.Draining = c.Draining || d.Scope == fleet.ScopeCluster && d.Name == c.Name
			}
		}
	}
	slices.SortFunc(s.World.Drains, func(a, b fleet.Drain) int {
		return strings.Compare(string(a.Scope)+a.Name, string(b.Scope)+b.Name)
	})
	return steer.New(s)
}

// lines is a log that can be read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// desk is a server with everything around it.
type desk struct {
	*Server
	client adminv1.AdminClient
	conn   *grpc.ClientConn
	keeper *keeper
	log    *lines
	stop   func()
	said   map[string]Resolution // by host: what DNS says of names that are not steered
}

// resolve is a name server of one zone, "example.", with the hosts of the routes in it.
func (d *desk) resolve(host string, client netip.Addr) Resolution {
	p := d.newest.Load().plan
	if r, ok := d.said[host]; ok {
		r.Plan = p
		return r
	}
	bits := 56
	if client.Is4() {
		bits = 24
	}
	r := Resolution{Plan: p, Code: "NXDOMAIN", Zone: "example."}
	r.Prefix, _ = client.Prefix(bits)
	r.Location = locate(r.Prefix.Addr())
	if h, ok := p.Routes.Host(host); !ok || h.Name == "" {
		return r
	}
	decided, _ := p.ForHost(steer.Client(r.Location, r.Prefix), host)
	r.Code, r.Host, r.TTL = "NOERROR", host, decided.TTL
	if c, ok := decided.Choice(); ok {
		r.Region, r.Addrs = c.Region, p.Addresses(c.Region)
	}
	return r
}

// open starts a server in eu, without a plan; change may alter its config.
func open(t *testing.T, change func(*Config)) *desk {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	d := &desk{keeper: &keeper{}, log: &lines{}}
	c := Config{
		Listener: lis, Instance: "eu-1", Region: "eu", Resolve: d.resolve, Order: d.keeper.Order, Source: "eu-1/admin",
		Log: slog.New(slog.NewTextHandler(d.log, nil)),
	}
	if change != nil {
		change(&c)
	}
	d.Server = New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	d.conn = dialTo(t, lis)
	d.client = adminv1.NewAdminClient(d.conn)
	t.Cleanup(func() { d.conn.Close(); d.stop() })
	return d
}

func dialTo(t *testing.T, lis *bufconn.Listener, more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
	}, more...)
	conn, err := grpc.NewClient("passthrough:///admin", opts...)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// manyServices is a world that no message can carry.
func manyServices() *steer.Plan {
	s := world()
	for i := range 40_000 {
		addService(s, fleet.ServiceName{Namespace: fmt.Sprintf("namespace-%05d", i), Name: "service"}, "ap", "eu", "us")
	}
	return steer.New(s)
}
