package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/dns"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health"
	"github.com/meridian-lb/meridian/hub"
)

// aDaemon serves the admin API over a small fleet and takes orders into it.
func aDaemon(t *testing.T) (addr string) {
	t.Helper()
	return aDaemonWith(t, func(*admin.Config) {})
}

// aDaemonWith is aDaemon with another configuration.
func aDaemonWith(t *testing.T, change func(*admin.Config)) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ledger := hub.NewLedger(health.Rules{})
	var server *admin.Server
	names, err := dns.New(dns.Config{Listen: []string{"127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tell := func(_ context.Context, u fleet.Update) error {
		ledger.Tell(u, time.Now())
		p := steer.New(ledger.Snapshot(time.Now()))
		names.Update(p)
		server.Update(p)
		return nil
	}
	config := admin.Config{Listener: l, Instance: "eu-0", Region: "europe-west1", Order: tell, Source: "eu-0/operator",
		Resolve: func(host string, client netip.Addr) admin.Resolution {
			return admin.Resolution(names.Resolve(host, client))
		},
	}
	change(&config)
	server = admin.New(config)
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
	route := func(host, path string, to fleet.ServiceName) fleet.Route {
		return fleet.Route{Host: host, Match: fleet.Match{Path: path}, To: []fleet.Target{{Service: to, Weight: 1}}, Origin: origin}
	}
	u.Put = append(u.Put,
		fleet.NewFact("ingress/default/shop", &fleet.RouteSet{Origin: origin, Routes: []fleet.Route{
			route("shop.example.com", "/", shop), route("outside.test", "/", shop), route("img.example.com", "/img", shop),
			route("ghost.example.com", "/", fleet.ServiceName{Namespace: "default", Name: "ghost"}),
		}}),
		fleet.NewFact("example.com.", &fleet.Zone{
			Name: "example.com.", TTL: time.Hour, NegativeTTL: time.Minute, Nameservers: []fleet.Nameserver{{Name: "ns1.example.com.", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}},
			Records: []fleet.Record{{Name: "child.example.com.", Type: "NS", TTL: time.Hour, Data: "ns.elsewhere.test."}, {Name: "alias.example.com.", Type: "CNAME", TTL: time.Hour, Data: "shop.example.com."}},
		}))
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
		"problems": "HostOutsideZones", "sources": "eu-0/file/all", "gateways": "NODE",
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

// What is printed says the same as the answer: what DNS says where it names no
// region, and what a gateway answers itself.
func TestExplainIsPrintedWhole(t *testing.T) {
	server := aDaemon(t)
	for url, want := range map[string][]string{
		"shop.example.com/a?b":                          {"DNS       europe-west1: 192.0.2.2, TTL 30s, ECS scope /", "HTTP      at the gateway in europe-west1, Prefix / from Ingress default/shop", "DNS and HTTP agree."},
		"alias.example.com":                             {"DNS       europe-west1: 192.0.2.2 by shop.example.com., TTL 30s", "HTTP      404: no route of alias.example.com takes /, so the gateway in europe-west1 answers 404", "DNS and HTTP do not agree:"},
		"outside.test":                                  {"DNS       REFUSED: the name lies in no Zone of ours\n", "HTTP      at a gateway, if one were asked, Prefix / from", "DNS and HTTP do not agree: the name lies in no Zone of ours, so nobody is sent to the gateways, which would serve the request."},
		"child.example.com":                             {"DNS       NOERROR: zone example.com. delegates the name to ns.elsewhere.test., TTL 1h0m0s", "HTTP      404:", "do not agree"},
		"ns1.example.com":                               {"DNS       192.0.2.53: the addresses are fixed records of zone example.com., TTL 1h0m0s", "HTTP      404:"},
		"ghost.example.com":                             {"DNS       NOERROR: no region may serve the host, TTL", "HTTP      503: nobody has the service default/ghost", "do not agree: no region may serve the host; nobody has the service default/ghost"},
		"img.example.com/css":                           {"HTTP      404: no route of img.example.com takes /css"},
		"img.example.com/%69mg/%2e/x":                   {"Path      /img/x\n", "HTTP      at the gateway in europe-west1, Prefix /img", "DNS and HTTP agree."},
		`http://img.example.com:8080/x\..\img?q=%2f#no`: {"Path      /img\n", "DNS and HTTP agree."},
		"img.example.com/img%2fx":                       {"HTTP      307: the path has an encoded slash, so the gateway in europe-west1 redirects to /img/x", "Prefix /img", "DNS and HTTP agree."},
		"img.example.com/img%00":                        {"HTTP      400:", "do not agree"},
	} {
		out, err := meridian(t, "explain", url, "--client", "198.51.100.7", "--server", server)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		for _, line := range want {
			if !strings.Contains(out, line) {
				t.Errorf("%s: want %q in:\n%s", url, line, out)
			}
		}
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
		"no such flag":   {[]string{"get", "regions", "--nope"}, "meridian get regions --help"},
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
