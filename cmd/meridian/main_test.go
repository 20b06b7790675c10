package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health"
	"github.com/meridian-lb/meridian/hub"
)

// aDaemon serves the admin API over a small fleet and takes orders into it.
func aDaemon(t *testing.T) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ledger := hub.NewLedger(health.Rules{})
	var server *admin.Server
	tell := func(_ context.Context, u fleet.Update) error {
		ledger.Tell(u, time.Now())
		server.Update(steer.New(ledger.Snapshot(time.Now())))
		return nil
	}
	server = admin.New(admin.Config{Listener: l, Instance: "eu-0", Region: "europe-west1", Order: tell, Source: "eu-0/operator"})
	shop := fleet.ServiceName{Namespace: "default", Name: "shop"}
	u := fleet.Update{Source: "eu-0/file/all", Whole: true}
	for i, r := range []fleet.Region{"asia-east1", "europe-west1"} {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		at := fleet.Vantage{Region: r, Network: fleet.Network(r), Place: fleet.Place{Lat: 20 + 30*float64(i), Lon: 120 - 115*float64(i)}}
		u.Put = append(u.Put,
			fleet.NewFact(string(r), &fleet.Cluster{Name: string(r), At: at, Gateways: []fleet.Gateway{{Addr: addr, Port: 80, RelayPort: 15443}}}),
			fleet.NewFact(string(r)+"/default/shop", &fleet.Backend{Cluster: string(r), Service: shop, Ports: []fleet.Port{{Number: 80, Endpoints: []fleet.Endpoint{
				{Addr: netip.MustParseAddrPort("10.0.0.1:8080"), Ready: true}}}}}))
	}
	origin := fleet.Origin{Kind: "Ingress", Namespace: "default", Name: "shop"}
	u.Put = append(u.Put, fleet.NewFact("ingress/default/shop", &fleet.RouteSet{Origin: origin, Routes: []fleet.Route{{
		Host: "shop.example.com", Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: shop, Weight: 1}}, Origin: origin}}}))
	if err := tell(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// meridian runs a command line and returns what it printed.
func meridian(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestEveryNounInEveryFormat(t *testing.T) {
	server := aDaemon(t)
	for noun, want := range map[string]string{
		"regions": "europe-west1", "clusters": "192.0.2.2:80", "services": "default/shop", "routes": "shop.example.com",
		"problems": "NoZone", "sources": "eu-0/file/all", "gateways": "NODE",
	} {
		out, err := meridian(t, "get", noun, "--server", server)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("get %s: %v, want %q in:\n%s", noun, err, want, out)
		}
		out, err = meridian(t, "get", noun, "-o", "json", "--server", server)
		if err != nil || !json.Valid([]byte(out)) {
			t.Errorf("get %s -o json: %v\n%s", noun, err, out)
		}
		var any map[string]any
		if out, err = meridian(t, "get", noun, "-o", "yaml", "--server", server); err != nil || yaml.Unmarshal([]byte(out), &any) != nil {
			t.Errorf("get %s -o yaml: %v\n%s", noun, err, out)
		}
	}
}

func TestDrainExplainUndrain(t *testing.T) {
	server := aDaemon(t)
	explain := func() string {
		out, err := meridian(t, "explain", "http://shop.example.com/", "--client", "198.51.100.7", "--server", server)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := explain(); !strings.Contains(out, "DNS and HTTP agree") {
		t.Errorf("explain:\n%s", out)
	}
	out, err := meridian(t, "drain", "region", "asia-east1", "--reason", "upgrade", "--server", server)
	if err != nil || !strings.Contains(out, "meridian undrain region asia-east1") {
		t.Errorf("drain: %v\n%s", err, out)
	}
	if out := explain(); !strings.Contains(out, "europe-west1: 192.0.2.2") || !strings.Contains(out, "upgrade") {
		t.Errorf("explain while drained does not say where and why:\n%s", out)
	}
	if _, err := meridian(t, "drain", "region", "europe-west1", "--server", server); err == nil || !strings.Contains(sentence(err), "force") {
		t.Errorf("draining the last region: %v", err)
	}
	if out, err := meridian(t, "undrain", "region", "asia-east1", "--server", server); err != nil || !strings.Contains(out, "serves again") {
		t.Errorf("undrain: %v\n%s", err, out)
	}
	if strings.Contains(explain(), "upgrade") {
		t.Error("still drained")
	}
}

// A region whose clusters were drained one by one serves nobody, so it is not
// listed as healthy, and the note says who drained it.
func TestRegionDrainedClusterByCluster(t *testing.T) {
	server := aDaemon(t)
	if _, err := meridian(t, "drain", "cluster", "asia-east1", "--reason", "new kernel", "--server", server); err != nil {
		t.Fatal(err)
	}
	out, err := meridian(t, "get", "regions", "--server", server)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "asia-east1") && (strings.Fields(line)[1] != "draining" || !strings.Contains(line, "new kernel")) {
			t.Errorf("the region is listed as: %s", line)
		}
		if strings.HasPrefix(line, "europe-west1") && strings.Contains(line, "draining") {
			t.Errorf("a region that nobody drained is listed as: %s", line)
		}
	}
}

func TestErrorsNameTheRemedy(t *testing.T) {
	server := aDaemon(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody there":   {[]string{"get", "regions", "--server", "127.0.0.1:1", "--timeout", "2s"}, "--server"},
		"no such region": {[]string{"drain", "region", "mars", "--server", server}, "europe-west1"},
		"no port":        {[]string{"get", "regions", "--server", "nohost", "--timeout", "2s"}, "host:port"},
		"no route":       {[]string{"explain", "nobody.example", "--client", "192.0.2.1", "--server", server}, "nobody.example"},
		"no client":      {[]string{"explain", "shop.example.com", "--server", server}, "client"},
		"bad client":     {[]string{"explain", "shop.example.com", "--client", "nobody", "--server", server}, "address"},
		"bad format":     {[]string{"get", "regions", "-o", "xml"}, "table, json or yaml"},
		"no host":        {[]string{"explain", "/cart", "--client", "192.0.2.1", "--server", server}, "HOST"},
	} {
		_, err := meridian(t, c.args...)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if s := sentence(err); !strings.Contains(s, c.want) || strings.Contains(s, "\n") || strings.Contains(s, "rpc error") {
			t.Errorf("%s: %q does not name the remedy (%q)", name, s, c.want)
		}
	}
}

func TestCompletionKnowsTheRegions(t *testing.T) {
	server := aDaemon(t)
	out, err := meridian(t, "__complete", "--server", server, "drain", "region", "")
	if err != nil || !strings.Contains(out, "asia-east1\neurope-west1") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVersionNamesTheData(t *testing.T) {
	out, err := meridian(t, "version")
	if err != nil || !strings.Contains(out, "IP2Location") {
		t.Errorf("%v\n%s", err, out)
	}
}
