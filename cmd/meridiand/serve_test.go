package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/internal/lab"
)

const shopFiles = `apiVersion: meridian.dev/v1alpha1
kind: Cluster
metadata: {name: eu-1}
spec:
  region: europe-west1
  place: {lat: "50.45", lon: "3.82"}
  gateways: [{address: 192.0.2.20, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, namespace: default, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.20.0.1], conditions: {ready: true}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: default}
spec:
  ingressClassName: meridian
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}
---
apiVersion: meridian.dev/v1alpha1
kind: Zone
metadata: {name: example.com}
spec:
  nameservers: [{name: ns1.example.com, addresses: [192.0.2.53]}]
`

// freePort is a port that was free for UDP and TCP a moment ago, on a loopback
// address that nobody else is likely to look for one on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", netip.AddrPortFrom(lab.Loopback(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func aConfig(t *testing.T) config {
	t.Helper()
	return config{
		instance: "eu-0", region: "europe-west1", watch: t.TempDir(), state: t.TempDir(), logFormat: "text",
		xds: "127.0.0.1:0", admin: "127.0.0.1:0", debug: freePort(t), dns: []string{freePort(t)},
	}
}

func write(t *testing.T, c config, text string) {
	t.Helper()
	dir := filepath.Join(c.watch, "eu-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// serving runs a daemon while body runs, and waits for it to end in good order.
func serving(t *testing.T, c config, body func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c) }()
	eventually(t, func() error { return get(ctx, "http://"+c.debug+"/readyz") })
	body()
	stop()
	if err := <-done; err != nil {
		t.Fatalf("meridiand ended with: %v", err)
	}
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// eventually asks a real process until it has come round.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func lookup(c config) (string, error) {
	m := new(dns.Msg)
	m.SetQuestion("shop.example.com.", dns.TypeA)
	in, err := dns.Exchange(m, c.dns[0])
	if err != nil {
		return "", err
	}
	if len(in.Answer) != 1 {
		return dns.RcodeToString[in.Rcode], nil
	}
	return in.Answer[0].(*dns.A).A.String(), nil
}

func wantAnswer(t *testing.T, c config, want string) {
	t.Helper()
	eventually(t, func() error {
		if got, err := lookup(c); err != nil || got != want {
			return fmt.Errorf("DNS says %s, want %s (%w)", got, want, err)
		}
		return nil
	})
}

func TestEditsTakeEffectAndARestartRemembers(t *testing.T) {
	c := aConfig(t)
	write(t, c, shopFiles)
	serving(t, c, func() {
		wantAnswer(t, c, "192.0.2.20")
		write(t, c, strings.ReplaceAll(shopFiles, "192.0.2.20", "192.0.2.21"))
		wantAnswer(t, c, "192.0.2.21")
		write(t, c, "this: is: not: yaml")
		eventually(t, func() error { return metric(t, c, "meridian_hub_problems 1") })
		wantAnswer(t, c, "192.0.2.21")
	})
	// Restarted while the file is still broken.
	serving(t, c, func() {
		eventually(t, func() error { return metric(t, c, "meridian_hub_problems 1") })
		wantAnswer(t, c, "192.0.2.21")
	})
	// The directory is gone and nobody else is there: what was known is served.
	c.watch = ""
	serving(t, c, func() { wantAnswer(t, c, "192.0.2.21") })
}

// A directory that is mounted late is awaited, and what it said before is served.
func TestDirectoryThatIsNotThereYetIsAwaited(t *testing.T) {
	c := aConfig(t)
	c.watch = filepath.Join(c.watch, "not", "yet")
	write(t, c, shopFiles)
	serving(t, c, func() { wantAnswer(t, c, "192.0.2.20") })
	if err := os.RemoveAll(filepath.Dir(c.watch)); err != nil {
		t.Fatal(err)
	}
	serving(t, c, func() {
		eventually(t, func() error { return metric(t, c, "meridian_hub_stale_sources 1") })
		wantAnswer(t, c, "192.0.2.20")
		write(t, c, strings.ReplaceAll(shopFiles, "192.0.2.20", "192.0.2.21"))
		wantAnswer(t, c, "192.0.2.21")
	})
}

func TestClusterRemovedWhileNobodyWatchedIsGone(t *testing.T) {
	c := aConfig(t)
	write(t, c, shopFiles)
	other := filepath.Join(c.watch, "eu-2")
	if err := os.MkdirAll(other, 0o755); err != nil {
		t.Fatal(err)
	}
	second := strings.Split(strings.ReplaceAll(strings.ReplaceAll(shopFiles, "eu-1", "eu-2"), "192.0.2.20", "192.0.2.99"), "---")[0]
	if err := os.WriteFile(filepath.Join(other, "cluster.yaml"), []byte(second), 0o644); err != nil {
		t.Fatal(err)
	}
	serving(t, c, func() { eventually(t, func() error { return metric(t, c, `meridian_probe_targets 2`) }) })
	if err := os.RemoveAll(other); err != nil {
		t.Fatal(err)
	}
	serving(t, c, func() { eventually(t, func() error { return metric(t, c, `meridian_probe_targets 1`) }) })
}

// A daemon that keeps nothing on disk hears of its own orders from its peers.
func TestADrainOutlivesWhoeverWasGivenIt(t *testing.T) {
	a, b := aConfig(t), aConfig(t)
	b.instance, b.watch = "eu-1", a.watch
	for _, c := range []*config{&a, &b} {
		c.state, c.admin, c.peerListen = "", freePort(t), freePort(t)
	}
	a.peers, b.peers = []string{b.peerListen}, []string{a.peerListen}
	write(t, a, shopFiles)
	drained := func(c config, want bool) {
		t.Helper()
		eventually(t, func() error {
			got, err := adminOf(t, c).ListRegions(t.Context(), &adminv1.ListRegionsRequest{})
			if err != nil {
				return err
			}
			for _, r := range got.GetRegions() {
				if (r.GetDrain() != "") != want {
					return fmt.Errorf("%s: region %s drains: %q, want %v", c.instance, r.GetName(), r.GetDrain(), want)
				}
			}
			return nil
		})
	}
	serving(t, b, func() {
		serving(t, a, func() {
			got, err := adminOf(t, a).Drain(t.Context(), &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "europe-west1", Force: true})
			if err != nil || !strings.Contains(got.GetNote(), "--state") {
				t.Fatalf("%v, %v, want a note about --state", got, err)
			}
			drained(b, true)
		})
		serving(t, a, func() {
			drained(a, true)
			if got, err := adminOf(t, a).Undrain(t.Context(), &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "europe-west1"}); err != nil || !got.GetChanged() {
				t.Fatalf("undrain where it was given: %v, %v", got, err)
			}
			drained(b, false)
		})
		drained(b, false)
	})
}

func adminOf(t *testing.T, c config) adminv1.AdminClient {
	t.Helper()
	conn, err := grpc.NewClient(c.admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return adminv1.NewAdminClient(conn)
}

// Who lists the Envoys reads where each stands, where it connects from and
// which release it is.
func TestConnectedEnvoysSayWhereTheyStand(t *testing.T) {
	c := aConfig(t)
	c.xds, c.admin = freePort(t), freePort(t)
	write(t, c, shopFiles)
	serving(t, c, func() {
		conn, err := grpc.NewClient(c.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		envoy, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		node := &corev3.Node{
			Id: "envoy-7", Locality: &corev3.Locality{Region: "europe-west1", Zone: "europe-west1-b"}, UserAgentName: "envoy",
			UserAgentVersionType: &corev3.Node_UserAgentBuildVersion{UserAgentBuildVersion: &corev3.BuildVersion{Version: &typev3.SemanticVersion{MajorNumber: 1, MinorNumber: 39, Patch: 2}}},
		}
		if err := envoy.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"}); err != nil {
			t.Fatal(err)
		}
		asked, err := grpc.NewClient(c.admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer asked.Close()
		eventually(t, func() error {
			a, err := adminv1.NewAdminClient(asked).ListGateways(t.Context(), &adminv1.ListGatewaysRequest{})
			if err != nil {
				return err
			}
			if len(a.GetGateways()) != 1 {
				return fmt.Errorf("%d Envoys are listed, want 1", len(a.GetGateways()))
			}
			g := a.GetGateways()[0]
			from, err := netip.ParseAddrPort(g.GetAddress())
			if err != nil || !from.Addr().IsLoopback() || g.GetNode() != "envoy-7" || g.GetRegion() != "europe-west1" || g.GetZone() != "europe-west1-b" || g.GetVersion() != "1.39.2" {
				return fmt.Errorf("listed as %v (%w)", g, err)
			}
			return nil
		})
	})
}

// problems lists the reasons of all problems with the objects they are about.
func problems(t *testing.T, c config) (map[string]string, error) {
	t.Helper()
	conn, err := grpc.NewClient(c.admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	a, err := adminv1.NewAdminClient(conn).ListProblems(t.Context(), &adminv1.ListProblemsRequest{})
	found := map[string]string{}
	for _, p := range a.GetProblems() {
		found[p.GetReason()] = p.GetKind() + " " + p.GetName()
	}
	return found, err
}

// What DNS finds wrong reaches the authors, and is forgotten when it is mended,
// even while nobody was running.
func TestFaultsThatDNSFindsAreProblems(t *testing.T) {
	c := aConfig(t)
	c.admin = freePort(t)
	// The host has a fixed address too, and another one lies below a delegation.
	host := "  - host: shop.example.com\n    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}\n"
	faulty := strings.Replace(shopFiles, host, host+strings.ReplaceAll(host, "shop.example", "shop.child.example"), 1) +
		"  records:\n  - {name: shop, type: A, data: 203.0.113.7}\n  - {name: child, type: NS, data: ns.elsewhere.test}\n"
	write(t, c, faulty)
	want := map[string]string{"RecordBesideHost": "Zone example.com", "HostDelegated": "Ingress shop"}
	serving(t, c, func() {
		eventually(t, func() error {
			got, err := problems(t, c)
			for reason, about := range want {
				if got[reason] != about {
					return fmt.Errorf("problems are %v (%w), want %v", got, err, want)
				}
			}
			return nil
		})
		wantAnswer(t, c, "192.0.2.20")
	})
	write(t, c, shopFiles)
	serving(t, c, func() {
		eventually(t, func() error {
			if got, err := problems(t, c); err != nil || got["RecordBesideHost"] != "" || got["HostDelegated"] != "" {
				return fmt.Errorf("problems are %v (%w), want none of %v", got, err, want)
			}
			return nil
		})
	})
}

// metric wants a line among the metrics.
func metric(t *testing.T, c config, line string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.debug+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return err
	}
	if !strings.Contains(b.String(), "\n"+line) {
		name, _, _ := strings.Cut(line, " ")
		at := strings.Index(b.String(), "\n"+name)
		if at < 0 {
			return fmt.Errorf("no metric %s", name)
		}
		has, _, _ := strings.Cut(b.String()[at+1:], "\n")
		return fmt.Errorf("want %q, it says %q", line, has)
	}
	return nil
}

func TestAnUnknownFlagNamesTheHelp(t *testing.T) {
	cmd := newCommand()
	cmd.SetArgs([]string{"--config", "x"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "meridiand --help") {
		t.Errorf("%v", err)
	}
}

func TestStartErrorsNameTheRemedy(t *testing.T) {
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := netip.MustParseAddrPort(busy.Addr().String()).String()
	for name, c := range map[string]struct {
		change func(*config)
		want   string
	}{
		"xDS port in use":    {func(c *config) { c.xds = port }, "--xds"},
		"admin port in use":  {func(c *config) { c.admin = port }, "--admin"},
		"debug port in use":  {func(c *config) { c.debug = port }, "--debug"},
		"peer port in use":   {func(c *config) { c.peerListen = port }, "--peer-listen"},
		"DNS port in use":    {func(c *config) { c.dns = []string{port} }, port},
		"no such directory":  {func(c *config) { c.watch = "/nonexistent/clusters" }, "/nonexistent/clusters"},
		"source is no IP":    {func(c *config) { c.probeSource = "here" }, "--probe-source"},
		"state is a file":    {func(c *config) { c.state = filepath.Join(c.watch, "x"); _ = os.WriteFile(c.state, nil, 0o600) }, "--state"},
		"no region":          {func(c *config) { c.region = "" }, "--region"},
		"odd region":         {func(c *config) { c.region = "Bad Region!" }, "--region"},
		"peer without port":  {func(c *config) { c.peers = []string{"foo"} }, "--peer"},
		"peer of no port":    {func(c *config) { c.peers = []string{"127.0.0.1:99999"} }, "--peer"},
		"foreign source":     {func(c *config) { c.probeSource = "203.0.113.9" }, "--probe-source"},
		"instance has slash": {func(c *config) { c.instance = "a/b" }, "--instance"},
		"two hosts":          {func(c *config) { c.kube, c.kubeconfig = true, "x" }, "--kubeconfig"},
		"not in a pod":       {func(c *config) { c.kube = true }, "--kube"},
		"no kubeconfig":      {func(c *config) { c.kubeconfig = "/nonexistent/kubeconfig" }, "--kubeconfig /nonexistent"},
		"member of nobody":   {func(c *config) { c.member = "eu" }, "--member"},
		"odd member":         {func(c *config) { c.kubeconfig, c.member = "x", "Bad!" }, "--member"},
		"odd namespace":      {func(c *config) { c.namespace = "a/b" }, "--namespace"},
		"log format":         {func(c *config) { c.logFormat = "xml" }, "--log-format"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := aConfig(t)
			c.change(&cfg)
			err := serve(t.Context(), cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one sentence with %q", err, c.want)
			}
		})
	}
}

// A damaged geo database costs its precision, not the start.
func TestCorruptCityDatabaseIsSurvived(t *testing.T) {
	c := aConfig(t)
	c.city = filepath.Join(t.TempDir(), "city.mmdb")
	if err := os.WriteFile(c.city, []byte("not a database"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, c, shopFiles)
	serving(t, c, func() { wantAnswer(t, c, "192.0.2.20") })
}
