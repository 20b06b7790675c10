package xds

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// running is a server behind real gRPC, in memory.
type running struct {
	*Server
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, change func(*Config)) *running {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	s := newServer(t, func(c *Config) {
		c.Listener = listener
		if change != nil {
			change(c)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Server: s, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	var err error
	r.conn, err = grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return listener.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = r.conn.Close()
		if err := <-r.done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return r
}

// Delta and state of the world, ADS and a service per type, through real gRPC.
func TestServices(t *testing.T) {
	r := run(t, nil)
	all := map[string]resource.Resource{
		resource.ClusterType:  cluster(t, "a", 0),
		resource.EndpointType: endpoints(t, "a", 0),
		resource.ListenerType: listener(t, "a", 0),
		resource.RouteType:    route(t, "a", "a"),
		resource.SecretType:   resource.FromBytes(resource.SecretType, "a", []byte("\n\x01a")),
	}
	var d resource.Delta
	for _, res := range all {
		d.Put = append(d.Put, res)
	}
	mustPublish(t, r.Server, "v", d)
	type deltaStream interface {
		Send(*discoveryv3.DeltaDiscoveryRequest) error
		Recv() (*discoveryv3.DeltaDiscoveryResponse, error)
	}
	type worldStream interface {
		Send(*discoveryv3.DiscoveryRequest) error
		Recv() (*discoveryv3.DiscoveryResponse, error)
	}
	ctx := t.Context()
	deltas := map[string]func() (deltaStream, error){
		resource.ClusterType: func() (deltaStream, error) {
			return clusterservicev3.NewClusterDiscoveryServiceClient(r.conn).DeltaClusters(ctx)
		},
		resource.EndpointType: func() (deltaStream, error) {
			return endpointservicev3.NewEndpointDiscoveryServiceClient(r.conn).DeltaEndpoints(ctx)
		},
		resource.ListenerType: func() (deltaStream, error) {
			return listenerservicev3.NewListenerDiscoveryServiceClient(r.conn).DeltaListeners(ctx)
		},
		resource.RouteType: func() (deltaStream, error) {
			return routeservicev3.NewRouteDiscoveryServiceClient(r.conn).DeltaRoutes(ctx)
		},
		resource.SecretType: func() (deltaStream, error) {
			return secretservicev3.NewSecretDiscoveryServiceClient(r.conn).DeltaSecrets(ctx)
		},
	}
	worlds := map[string]func() (worldStream, error){
		resource.ClusterType: func() (worldStream, error) {
			return clusterservicev3.NewClusterDiscoveryServiceClient(r.conn).StreamClusters(ctx)
		},
		resource.EndpointType: func() (worldStream, error) {
			return endpointservicev3.NewEndpointDiscoveryServiceClient(r.conn).StreamEndpoints(ctx)
		},
		resource.ListenerType: func() (worldStream, error) {
			return listenerservicev3.NewListenerDiscoveryServiceClient(r.conn).StreamListeners(ctx)
		},
		resource.RouteType: func() (worldStream, error) {
			return routeservicev3.NewRouteDiscoveryServiceClient(r.conn).StreamRoutes(ctx)
		},
		resource.SecretType: func() (worldStream, error) {
			return secretservicev3.NewSecretDiscoveryServiceClient(r.conn).StreamSecrets(ctx)
		},
	}
	ads := discoveryv3.NewAggregatedDiscoveryServiceClient(r.conn)
	for typeURL, res := range all {
		for name, open := range map[string]func() (deltaStream, error){"own": deltas[typeURL],
			"ADS": func() (deltaStream, error) { return ads.DeltaAggregatedResources(ctx) }} {
			str, err := open()
			if err != nil {
				t.Fatal(err)
			}
			req := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "in-v"}, ResourceNamesSubscribe: []string{"a"}}
			if name == "ADS" {
				req.TypeUrl = typeURL
			}
			if err := str.Send(req); err != nil {
				t.Fatal(err)
			}
			m, err := str.Recv()
			if err != nil {
				t.Fatalf("%s, delta, %s: %v", shortType(typeURL), name, err)
			}
			if len(m.GetResources()) != 1 || m.GetResources()[0].GetVersion() != res.Version || m.GetTypeUrl() != typeURL || m.GetNonce() == "" {
				t.Errorf("%s, delta, %s: got %v", shortType(typeURL), name, m)
			}
		}
		for name, open := range map[string]func() (worldStream, error){"own": worlds[typeURL],
			"ADS": func() (worldStream, error) { return ads.StreamAggregatedResources(ctx) }} {
			str, err := open()
			if err != nil {
				t.Fatal(err)
			}
			req := &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "in-v"}, ResourceNames: []string{"a"}}
			if name == "ADS" {
				req.TypeUrl = typeURL
			}
			if err := str.Send(req); err != nil {
				t.Fatal(err)
			}
			m, err := str.Recv()
			if err != nil {
				t.Fatalf("%s, state of the world, %s: %v", shortType(typeURL), name, err)
			}
			if len(m.GetResources()) != 1 || string(m.GetResources()[0].GetValue()) != string(res.Body.GetValue()) || m.GetVersionInfo() == "" {
				t.Errorf("%s, state of the world, %s: got %v", shortType(typeURL), name, m)
			}
		}
	}
	if n := len(r.Connected()); n != 4*len(all) {
		t.Errorf("%d streams are connected, want %d", n, 4*len(all))
	}
	if _, err := clusterservicev3.NewClusterDiscoveryServiceClient(r.conn).FetchClusters(ctx, &discoveryv3.DiscoveryRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("polling answers %v", err)
	}
}

// When the server stops, open streams end at once and cleanly, so that Envoys go
// to another replica.
func TestStopEndsStreams(t *testing.T) {
	r := run(t, func(c *Config) {
		c.Load = func(*corev3.Node, []fleet.LoadReport) {}
		c.ServiceOf = func(string) (fleet.ServiceName, bool) { return fleet.ServiceName{}, false }
	})
	mustPublish(t, r.Server, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0)}})
	ads, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.conn).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := ads.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "in-v"}, TypeUrl: resource.ClusterType}); err != nil {
		t.Fatal(err)
	}
	if _, err := ads.Recv(); err != nil {
		t.Fatal(err)
	}
	load, err := loadstatsv3.NewLoadReportingServiceClient(r.conn).StreamLoadStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := load.Send(&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "in-v"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := load.Recv(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r.stop()
	if _, err := ads.Recv(); err == nil {
		t.Error("the stream goes on after the stop")
	}
	if _, err := load.Recv(); err == nil {
		t.Error("the load report stream goes on after the stop")
	}
	if took := time.Since(began); took > stopPatience/2 {
		t.Errorf("stopping took %v, as if streams had to be broken off", took)
	}
}

func TestLoadReports(t *testing.T) {
	type told struct {
		node    string
		reports []fleet.LoadReport
	}
	got := make(chan told, 4)
	r := run(t, func(c *Config) {
		c.ReportEvery = 5 * time.Second
		c.Load = func(n *corev3.Node, reports []fleet.LoadReport) { got <- told{n.GetId(), reports} }
		c.ServiceOf = func(cluster string) (fleet.ServiceName, bool) {
			ns, name, ok := strings.Cut(cluster, "/")
			return fleet.ServiceName{Namespace: ns, Name: name}, ok
		}
	})
	str, err := loadstatsv3.NewLoadReportingServiceClient(r.conn).StreamLoadStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := &corev3.Node{Id: "in-v", Locality: &corev3.Locality{Region: "eu", Zone: "eu-a"}}
	if err := str.Send(&loadstatsv3.LoadStatsRequest{Node: node}); err != nil {
		t.Fatal(err)
	}
	ask, err := str.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if !ask.GetSendAllClusters() || ask.GetLoadReportingInterval().AsDuration() != 5*time.Second {
		t.Errorf("the Envoy was asked for %v", ask)
	}
	locality := func(region, zone string, issued, good, bad, open uint64) *endpointv3.UpstreamLocalityStats {
		return &endpointv3.UpstreamLocalityStats{Locality: &corev3.Locality{Region: region, Zone: zone},
			TotalIssuedRequests: issued, TotalSuccessfulRequests: good, TotalErrorRequests: bad, TotalRequestsInProgress: open}
	}
	if err := str.Send(&loadstatsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{
		{ClusterName: "shop/web", LoadReportInterval: durationpb.New(2 * time.Second), UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			locality("us", "us-a", 10, 10, 0, 1), locality("eu", "eu-a", 100, 60, 20, 3), locality("eu", "eu-b", 100, 80, 0, 4)}},
		{ClusterName: "shop/api", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{locality("eu", "eu-a", 50, 0, 0, 0)}},
		{ClusterName: "meridian-internal", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{locality("eu", "eu-a", 7, 7, 0, 0)}},
	}}); err != nil {
		t.Fatal(err)
	}
	reports := <-got
	from := fleet.Vantage{Region: "eu", Zone: "eu-a"}
	want := []fleet.LoadReport{
		{From: from, Service: fleet.ServiceName{Namespace: "shop", Name: "api"}, To: "eu", RPS: 10}, // no interval of its own
		{From: from, Service: fleet.ServiceName{Namespace: "shop", Name: "web"}, To: "eu", RPS: 100, InFlight: 7, ErrorRate: 0.125},
		{From: from, Service: fleet.ServiceName{Namespace: "shop", Name: "web"}, To: "us", RPS: 5, InFlight: 1},
	}
	if reports.node != "in-v" || len(reports.reports) != len(want) {
		t.Fatalf("got %+v", reports)
	}
	for i := range want {
		if reports.reports[i] != want[i] {
			t.Errorf("got %+v, want %+v", reports.reports[i], want[i])
		}
	}
	stranger, err := loadstatsv3.NewLoadReportingServiceClient(r.conn).StreamLoadStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Send(&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "stranger"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("a stranger's load is answered with %v", err)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := newServer(t, func(c *Config) { c.Registerer = registry })
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), cluster(t, "b", 0)}, Gone: gone(cluster(t, "b", 0))})
	s.metrics.of(resource.ClusterType).pushed(2, 100)
	s.metrics.of("type.googleapis.com/made.up.Type").nacks.Inc()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			got[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for key, want := range map[string]float64{
		"meridian_xds_resources Cluster v":          1,
		"meridian_xds_refused_resources Cluster v":  0,
		"meridian_xds_bytes_sent_total Cluster":     100,
		"meridian_xds_resources_sent_total Cluster": 2,
		"meridian_xds_pushes_total Cluster":         1,
		"meridian_xds_nacks_total other":            1,
		"meridian_xds_load_reports_total":           0,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", key, value, ok, want)
		}
	}
	if _, err := New(Config{Listener: s.config.Listener, ViewOf: s.config.ViewOf, Registerer: registry}); err == nil {
		t.Error("metrics that are registered twice are no error")
	}
}

func TestConfig(t *testing.T) {
	listener := bufconn.Listen(1)
	viewOf := func(*corev3.Node) (string, error) { return "", nil }
	for _, c := range []struct {
		says string
		Config
	}{
		{"listener", Config{ViewOf: viewOf}},
		{"view", Config{Listener: listener}},
		{"service", Config{Listener: listener, ViewOf: viewOf, Load: func(*corev3.Node, []fleet.LoadReport) {}}},
	} {
		if _, err := New(c.Config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("got %v, want something about the %s", err, c.says)
		}
	}
	// A listener that fails ends Run with its error.
	broken := bufconn.Listen(1)
	_ = broken.Close()
	s, err := New(Config{Listener: broken, ViewOf: viewOf})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if err := s.Run(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a broken listener ends Run with %v", err)
	}
}

// A view is born when it is asked for, and their number is bounded.
func TestViewsAreBounded(t *testing.T) {
	s := newServer(t, nil)
	for i := range maxViews {
		if _, _, err := s.store.view(strings.Repeat("x", i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Publish("one more", resource.Delta{}); !errors.Is(err, errTooManyViews) {
		t.Errorf("one view too many answers %v", err)
	}
	if _, err := s.enter(&corev3.Node{Id: "in-y"}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a node of one view too many is told %v", err)
	}
}
