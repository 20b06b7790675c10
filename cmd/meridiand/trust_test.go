package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
	"github.com/meridian-lb/meridian/xds/resource"
)

func anAuthority(t *testing.T) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue writes an identity into a directory, which it names.
func issue(t *testing.T, dir string, a *trust.Authority, role trust.Role, region fleet.Region, name string) string {
	t.Helper()
	p, err := a.Issue(trust.Request{Identity: trust.Identity{Domain: a.Domain(), Role: role, Region: region, Name: name}, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.WritePEM(dir, p); err != nil {
		t.Fatal(err)
	}
	return dir
}

// dial connects with papers, or in plaintext without.
func dial(t *testing.T, addr string, p *trust.Papers) *grpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if p != nil {
		creds = trust.Credentials(trust.ClientTLS(p, trust.Only(trust.Control)), nil)
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func read(t *testing.T, dir string) *trust.Papers {
	t.Helper()
	p, err := trust.ReadPapers(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEverybodyShowsPapers(t *testing.T) {
	ca := anAuthority(t)
	eu, us := aConfig(t), aConfig(t)
	us.instance, us.region, us.watch = "us-0", "us-east1", ""
	for _, c := range []*config{&eu, &us} {
		c.identity = issue(t, t.TempDir(), ca, trust.Control, fleet.Region(c.region), c.instance)
		c.xds, c.admin, c.peerListen = freePort(t), freePort(t), freePort(t)
	}
	eu.peers, us.peers = []string{us.peerListen}, []string{eu.peerListen}
	write(t, eu, shopFiles)
	serving(t, eu, func() {
		serving(t, us, func() {
			// Facts cross; what the other region was told by nobody else, it answers.
			wantAnswer(t, us, "192.0.2.20")

			list := func(p *trust.Papers) error {
				_, err := adminv1.NewAdminClient(dial(t, eu.admin, p)).ListRegions(t.Context(), &adminv1.ListRegionsRequest{})
				return err
			}
			kim := read(t, issue(t, t.TempDir(), ca, trust.Viewer, "global", "kim"))
			if err := list(kim); err != nil {
				t.Error(err)
			}
			if err := list(nil); status.Code(err) != codes.Unavailable {
				t.Errorf("plaintext to the admin API: %v", err)
			}
			eventually(t, func() error { return metric(t, eu, `meridian_trust_handshakes_refused_total{server="admin"} `) })

			ask := func(p *trust.Papers, node *corev3.Node) (int, error) {
				str, err := discoveryv3.NewAggregatedDiscoveryServiceClient(dial(t, eu.xds, p)).DeltaAggregatedResources(t.Context())
				if err != nil {
					return 0, err
				}
				_ = str.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ListenerType})
				got, err := str.Recv()
				return len(got.GetResources()), err
			}
			envoy := read(t, issue(t, t.TempDir(), ca, trust.Gateway, "europe-west1", "gateway-0"))
			node := &corev3.Node{Id: "gateway-0", Locality: &corev3.Locality{Region: "europe-west1"}, Metadata: &structpb.Struct{
				Fields: map[string]*structpb.Value{"identity": structpb.NewStringValue("/etc/meridian/identity")}}}
			if n, err := ask(envoy, node); err != nil || n != 2 {
				t.Errorf("%d listeners %v", n, err)
			}
			if _, err := ask(kim, node); status.Code(err) != codes.PermissionDenied {
				t.Errorf("a viewer is sent configuration: %v", err)
			}
			node.Metadata = nil
			if _, err := ask(envoy, node); status.Code(err) != codes.NotFound || !strings.Contains(err.Error(), "node.metadata.identity") {
				t.Errorf("an Envoy whose relay would speak plaintext: %v", err)
			}

			// A renewal is taken over without a restart, rubbish is not.
			issue(t, eu.identity, ca, trust.Control, "europe-west1", "eu-0")
			eventually(t, func() error { return metric(t, eu, "meridian_trust_renewals_total 1") })
			if err := os.WriteFile(filepath.Join(eu.identity, "..data", "tls.key"), []byte("rubbish"), 0o600); err != nil {
				t.Fatal(err)
			}
			issue(t, us.identity, ca, trust.Control, "us-east1", "us-0")
			eventually(t, func() error { return metric(t, us, "meridian_trust_renewals_total 1") })
			if err := list(kim); err != nil {
				t.Errorf("after a renewal that went wrong: %v", err)
			}
		})
	})
}

// A daemon whose papers are another authority's hears nothing and is told nothing.
func TestStrangersShareNoFacts(t *testing.T) {
	eu, us := aConfig(t), aConfig(t)
	us.instance, us.region, us.watch = "us-0", "us-east1", ""
	eu.identity = issue(t, t.TempDir(), anAuthority(t), trust.Control, "europe-west1", "eu-0")
	us.identity = issue(t, t.TempDir(), anAuthority(t), trust.Control, "us-east1", "us-0")
	eu.peerListen = freePort(t)
	us.peers = []string{eu.peerListen}
	write(t, eu, shopFiles)
	serving(t, eu, func() {
		// The stranger knows no region and so is never ready; its refusals tell.
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- serve(ctx, us) }()
		refused := `meridian_trust_handshakes_refused_total{server="peer"} `
		eventually(t, func() error {
			if err := metric(t, eu, refused); err != nil {
				return err
			}
			if metric(t, eu, refused+"0\n") == nil {
				return errors.New("nobody was refused yet")
			}
			return metric(t, us, `meridian_peer_connected{peer="`+eu.peerListen+`"} 0`)
		})
		if err := metric(t, eu, "meridian_peer_followers 0"); err != nil {
			t.Error(err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestPapersOfSomebodyElse(t *testing.T) {
	ca := anAuthority(t)
	for name, c := range map[string]struct {
		identity string
		want     string
	}{
		"no files":         {t.TempDir(), "tls.crt, tls.key and ca.crt"},
		"a gateway's":      {issue(t, t.TempDir(), ca, trust.Gateway, "europe-west1", "eu-0"), "needs the role control"},
		"another daemon's": {issue(t, t.TempDir(), ca, trust.Control, "europe-west1", "eu-9"), "--instance"},
		"another region's": {issue(t, t.TempDir(), ca, trust.Control, "us-east1", "eu-0"), "--region"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := aConfig(t)
			cfg.identity = c.identity
			err := serve(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), "--identity") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one sentence with %q", err, c.want)
			}
		})
	}
}
