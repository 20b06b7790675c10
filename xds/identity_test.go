package xds

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
	"github.com/meridian-lb/meridian/xds/resource"
)

// papers of who is of one authority and trusts another one.
func papers(t *testing.T, a, trusts *trust.Authority, r trust.Role, region fleet.Region, name string, lifetime time.Duration) *trust.Papers {
	t.Helper()
	p, err := a.Issue(trust.Request{Identity: trust.Identity{Domain: a.Domain(), Role: r, Region: region, Name: name}, Lifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	p.Bundle = append(p.Bundle, trusts.Bundle()...)
	got, err := trust.ParsePapers(p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func authority(t *testing.T) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Who does not prove to be the gateway that it says it is gets not one byte of
// configuration, on no kind of stream.
func TestNoConfigurationForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := authority(t), authority(t)
		bundle, err := trust.ParseBundle(ca.Bundle())
		if err != nil {
			t.Fatal(err)
		}
		lis := bufconn.Listen(1 << 20)
		s := newServer(t, func(c *Config) {
			c.Listener = lis
			c.Creds = trust.Credentials(trust.ServerTLS(papers(t, ca, ca, trust.Control, "eu", "eu-1", 0), nil), nil)
			c.Load = func(*corev3.Node, []fleet.LoadReport) { t.Error("a load report was taken") }
			c.ServiceOf = func(string) (fleet.ServiceName, bool) { return fleet.ServiceName{Namespace: "a", Name: "b"}, true }
		})
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "secret", 0)}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		in := func(region, id string) *corev3.Node {
			return &corev3.Node{Id: id, Locality: &corev3.Locality{Region: region}}
		}
		good := papers(t, ca, ca, trust.Gateway, "eu", "in-v", 24*time.Hour)
		brief := papers(t, ca, ca, trust.Gateway, "eu", "in-v", time.Minute)
		time.Sleep(time.Hour)
		tls := func(p *trust.Papers) credentials.TransportCredentials {
			return trust.Credentials(trust.ClientTLS(p, trust.Only(trust.Control)), nil)
		}
		for name, c := range map[string]struct {
			creds credentials.TransportCredentials
			node  *corev3.Node
			code  codes.Code
			says  string
		}{
			"in order":             {tls(good), in("eu", "in-v"), codes.OK, ""},
			"plaintext":            {insecure.NewCredentials(), in("eu", "in-v"), codes.Unavailable, ""},
			"no certificate":       {tls(bundle), in("eu", "in-v"), codes.Unavailable, ""},
			"of another authority": {tls(papers(t, other, ca, trust.Gateway, "eu", "in-v", 0)), in("eu", "in-v"), codes.Unavailable, ""},
			"expired":              {tls(brief), in("eu", "in-v"), codes.Unavailable, ""},
			"an operator":          {tls(papers(t, ca, ca, trust.Operator, "eu", "in-v", 0)), in("eu", "in-v"), codes.PermissionDenied, "gateway only"},
			"a daemon":             {tls(papers(t, ca, ca, trust.Control, "eu", "in-v", 0)), in("eu", "in-v"), codes.PermissionDenied, "gateway only"},
			"of another region":    {tls(papers(t, ca, ca, trust.Gateway, "us", "in-v", 0)), in("eu", "in-v"), codes.PermissionDenied, "node.locality.region"},
			"node of no region":    {tls(good), in("", "in-v"), codes.PermissionDenied, "node.locality.region"},
			"by another's name":    {tls(papers(t, ca, ca, trust.Gateway, "eu", "in-w", 0)), in("eu", "in-v"), codes.PermissionDenied, "node.id"},
		} {
			conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(c.creds),
				grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return lis.Dial() }))
			if err != nil {
				t.Fatal(err)
			}
			for kind, ask := range map[string]func(context.Context) (int, error){
				"delta": func(ctx context.Context) (int, error) {
					str, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
					if err != nil {
						return 0, err
					}
					_ = str.Send(&discoveryv3.DeltaDiscoveryRequest{Node: c.node, TypeUrl: resource.ClusterType})
					got, err := str.Recv()
					return len(got.GetResources()), err
				},
				"state of the world": func(ctx context.Context) (int, error) {
					str, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
					if err != nil {
						return 0, err
					}
					_ = str.Send(&discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: resource.ClusterType})
					got, err := str.Recv()
					return len(got.GetResources()), err
				},
				"load": func(ctx context.Context) (int, error) {
					str, err := loadstatsv3.NewLoadReportingServiceClient(conn).StreamLoadStats(ctx)
					if err != nil {
						return 0, err
					}
					_ = str.Send(&loadstatsv3.LoadStatsRequest{Node: c.node})
					if _, err = str.Recv(); err != nil {
						return 0, err
					}
					return 1, nil
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				got, err := ask(ctx)
				cancel()
				if status.Code(err) != c.code || (got > 0) != (c.code == codes.OK) || err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%s, %s: %d resources, %v; want %v with %q", name, kind, got, err, c.code, c.says)
				}
			}
			_ = conn.Close()
		}
		for reason, want := range map[string]float64{refusedRole: 6, refusedRegion: 6, refusedName: 3} {
			if got := testutil.ToFloat64(s.metrics.turnedAway.WithLabelValues(reason)); got != want {
				t.Errorf("%v refusals for %s, want %v", got, reason, want)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// One Envoy that cannot read its own files takes nothing from the others.
func TestARefusedLocalResourceStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		local := resource.FromBytes(resource.SecretType, "identity", []byte("\n\x08identity"))
		local.Local = true
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{local}})
		v, _, err := s.store.view("v")
		if err != nil {
			t.Fatal(err)
		}
		rev := v.current(resource.SecretType, "identity")
		if v.refuse(rev, "unable to read file") || v.current(resource.SecretType, "identity") != rev {
			t.Error("it was withdrawn")
		}
		if p := s.Problems(); len(p) != 0 {
			t.Logf("reported: %v", p)
		}
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{local}})
		if v.current(resource.SecretType, "identity") != rev {
			t.Error("it was withdrawn when it was published again")
		}
		v.accept(rev)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{local}})
		if p := s.Problems(); len(p) != 0 {
			t.Errorf("still reported: %v", p)
		}
	})
}

// Pods that share a certificate have names of their own under its name, and
// nobody else's.
func TestAnswersTo(t *testing.T) {
	for id, want := range map[string]bool{
		"gateways": true, "gateways.meridian-gateway-7d4-x2x": true,
		"gateways-2": false, "gatewaysx": false, "gateway": false, "": false, ".gateways": false, "other.gateways": false,
	} {
		if got := answersTo(id, "gateways"); got != want {
			t.Errorf("%q answers to the certificate of gateways: %v", id, got)
		}
	}
}
