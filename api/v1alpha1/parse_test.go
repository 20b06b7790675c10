package v1alpha1

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

var same = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func read[T any](t testing.TB, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatalf("reading\n%s: %v", text, err)
	}
	return v
}

// said are the faults' messages; a want in the tables below is a path and words
// that its message must hold.
func checkSaid(t *testing.T, problems []fleet.Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		got = append(got, p.Message)
		if p.About.Name != "me" || p.Reason == "" {
			t.Errorf("problem %+v is not about its object or gives no reason", p)
		}
		if remedy := strings.ContainsAny(p.Message, ",;"); !remedy {
			t.Errorf("message %q names no remedy", p.Message)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i, w := range want {
		path, words, _ := strings.Cut(w, ": ")
		if field.Path(got[i]) != path || !strings.Contains(got[i], words) {
			t.Errorf("problem %d is %q, want path %q and words %q", i, got[i], path, words)
		}
	}
}

var me = fleet.Origin{Kind: "Test", Name: "me", File: "a.yaml", Line: 3}

func TestClusterWithEverything(t *testing.T) {
	c := read[Cluster](t, `
apiVersion: meridian.dev/v1alpha1
kind: Cluster
metadata: {name: eu-1}
spec:
  region: eu-west
  zone: eu-west-1a
  place: {lat: "50.45", lon: -3.5}
  network: blue
  gateways:
  - {address: "2001:db8::1"}
  - {address: 203.0.113.9, port: 8080, relayPort: 0, tlsPort: 0}
  - {address: "::ffff:203.0.113.7", relayPort: 9443}
  capacity: 2k
  draining: true
  clientNetworks: [10.9.0.0/16, 10.1.0.0/16, "2001:db8::/48"]
  endpointNetworks: ["2001:db8:1::/64", 10.244.0.0/16]
  namespaces: [shop, cart]
  credentialsRef: {name: eu-1}
`)
	got, problems := c.Parse(me)
	checkSaid(t, problems)
	want := &fleet.Cluster{
		Name:     "eu-1",
		At:       fleet.Vantage{Region: "eu-west", Zone: "eu-west-1a", Place: fleet.Place{Lat: 50.45, Lon: -3.5}, Network: "blue"},
		Capacity: 2000,
		Draining: true,
		Gateways: []fleet.Gateway{
			{Addr: netip.MustParseAddr("203.0.113.7"), Port: 80, TLSPort: 443, RelayPort: 9443},
			{Addr: netip.MustParseAddr("203.0.113.9"), Port: 8080},
			{Addr: netip.MustParseAddr("2001:db8::1"), Port: 80, TLSPort: 443, RelayPort: 15443},
		},
		EndpointNetworks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("2001:db8:1::/64")},
		Namespaces:       []string{"cart", "shop"},
		ClientNetworks: []netip.Prefix{
			netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("2001:db8::/48"),
		},
		Origin: me,
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestClusterDefaults(t *testing.T) {
	c := read[Cluster](t, `{metadata: {name: eu-1}, spec: {region: eu, place: {lat: 1, lon: 2}}}`)
	got, problems := c.Parse(me)
	checkSaid(t, problems)
	want := &fleet.Cluster{Name: "eu-1", Origin: me,
		At: fleet.Vantage{Region: "eu", Place: fleet.Place{Lat: 1, Lon: 2}, Network: "eu-1"}}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestClusterFaults(t *testing.T) {
	const place = "region: eu, place: {lat: 1, lon: 2}"
	for name, c := range map[string]struct {
		text string
		nil  bool
		want []string
	}{
		"nothing": {"{}", true, []string{"metadata.name: empty", "spec.region: empty", "spec.place.lat: missing", "spec.place.lon: missing"}},
		"reserved name": {"{metadata: {name: host}, spec: {" + place + "}}", true,
			[]string{"metadata.name: installation"}},
		"names": {"{metadata: {name: A}, spec: {region: eu/west, zone: a/b, network: a.b, place: {lat: 1, lon: 2}}}", true,
			[]string{"metadata.name: DNS label", "spec.region: DNS label", "spec.zone: zone name", "spec.network: DNS label"}},
		"off the earth": {"{metadata: {name: a}, spec: {region: eu, place: {lat: 90.01, lon: NaN}}}", true,
			[]string{"spec.place.lat: between -90 and 90", "spec.place.lon: between -180 and 180"}},
		"Atlantic": {"{metadata: {name: a}, spec: {region: eu, place: {lat: 0, lon: '0.0'}}}", true,
			[]string{"spec.place: Atlantic"}},
		"capacity": {"{metadata: {name: a}, spec: {capacity: 0, " + place + "}}", true,
			[]string{"spec.capacity: draining"}},
		"one bad gateway of two": {"{metadata: {name: a}, spec: {gateways: [{address: 169.254.169.254}, {address: 127.0.0.1}], " + place + "}}", false,
			[]string{"spec.gateways[0].address: link-local"}},
		"only bad gateways": {"{metadata: {name: a}, spec: {gateways: [{address: x.example.com}, {address: 1.2.3.4, port: 0, relayPort: 70000}], " + place + "}}", true,
			[]string{"spec.gateways[0].address: not an IP", "spec.gateways[1].port: 1 to 65535", "spec.gateways[1].relayPort: 1 to 65535"}},
		"same gateway twice": {"{metadata: {name: a}, spec: {gateways: [{address: 1.2.3.4}, {address: '::ffff:1.2.3.4'}], " + place + "}}", false,
			[]string{"spec.gateways[1]: like spec.gateways[0]"}},
		"relay on the front port": {"{metadata: {name: a}, spec: {gateways: [{address: 1.2.3.4, port: 15443}], " + place + "}}", true,
			[]string{"spec.gateways[0].relayPort: front port"}},
		"client networks": {"{metadata: {name: a}, spec: {clientNetworks: [10.0.0.1/8, x, 0.0.0.0/0, 10.0.0.0/8, 10.0.0.0/8, '::ffff:1.2.3.0/120'], " + place + "}}", false,
			[]string{"spec.clientNetworks[0]: write 10.0.0.0/8", "spec.clientNetworks[1]: not an address prefix",
				"spec.clientNetworks[2]: every client", "spec.clientNetworks[4]: twice", "spec.clientNetworks[5]: IPv4 in IPv6"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := read[Cluster](t, c.text).Parse(me)
			if (got == nil) != c.nil {
				t.Errorf("cluster is %+v, want nil: %v", got, c.nil)
			}
			checkSaid(t, problems, c.want...)
		})
	}
}

func TestClusterIsBounded(t *testing.T) {
	c := read[Cluster](t, "{metadata: {name: a}, spec: {region: eu, place: {lat: 1, lon: 2}}}")
	for i := range 100 {
		c.Spec.Gateways = append(c.Spec.Gateways, Gateway{Address: Address(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}).String())})
	}
	got, problems := c.Parse(me)
	checkSaid(t, problems, "spec.gateways: at most 64")
	if got == nil || len(got.Gateways) != maxGateways {
		t.Errorf("cluster %+v, want %d gateways", got, maxGateways)
	}
}

func TestPolicyWithEverything(t *testing.T) {
	p := read[TrafficPolicy](t, `
metadata: {namespace: shop, name: web}
spec:
  targetRefs: [{kind: Service, name: web}, {name: api}]
  strategy: weighted
  regions: [us, eu]
  weights: {eu: 3, us: 1}
  ttl: 1m
  check: {kind: https, host: Shop.example.com, path: /up, interval: 5s, timeout: 900ms, rise: 1, fall: 5}
`)
	got, problems := p.Parse(me)
	checkSaid(t, problems)
	want := &fleet.PolicyRule{
		Targets: []fleet.PolicyTarget{{Namespace: "shop", Service: "api"}, {Namespace: "shop", Service: "web"}},
		Policy: fleet.Policy{
			Strategy: fleet.StrategyWeighted, Regions: []fleet.Region{"eu", "us"},
			Weights: map[fleet.Region]uint32{"eu": 3, "us": 1}, TTL: time.Minute, Origin: me,
			Check: fleet.Check{Kind: fleet.CheckHTTPS, Host: "shop.example.com", Path: "/up",
				Interval: 5 * time.Second, Timeout: 900 * time.Millisecond, Rise: 1, Fall: 5},
		},
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestPolicyDefaultsAndScopes(t *testing.T) {
	for ns, want := range map[string]fleet.PolicyTarget{
		"shop":        {Namespace: "shop"},
		HostNamespace: {},
	} {
		p := &TrafficPolicy{}
		p.Namespace, p.Name = ns, "default"
		got, problems := p.Parse(me)
		checkSaid(t, problems)
		def := fleet.DefaultPolicy()
		def.Origin = me
		if d := cmp.Diff(&fleet.PolicyRule{Policy: def, Targets: []fleet.PolicyTarget{want}}, got, same); d != "" {
			t.Errorf("namespace %s (-want +got)\n%s", ns, d)
		}
	}
}

func TestPolicyFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spec string
		nil  bool
		want []string
	}{
		"unknown strategy":  {"strategy: nearest", true, []string{"spec.strategy: choose one of [latency geo weighted failover isolated]"}},
		"weighted, nothing": {"strategy: weighted", true, []string{"spec.weights: above 0"}},
		"weighted, zeros":   {"{strategy: weighted, weights: {eu: 0}}", true, []string{"spec.weights: above 0"}},
		"weights out of bounds": {"{strategy: weighted, weights: {a: -1, b: 1000001, c: 1, D: 4}}", true,
			[]string{"spec.weights: DNS label", "spec.weights.a: outside 0 to 1000000", "spec.weights.b: outside"}},
		"failover, nothing": {"strategy: failover", true, []string{"spec.order: first choice first"}},
		"regions":           {"{regions: [eu, eu, EU]}", true, []string{"spec.regions[1]: twice", "spec.regions[2]: DNS label"}},
		"ttl long":          {"ttl: 61m", true, []string{"spec.ttl: outside 1s to 1h"}},
		"ttl half":          {"ttl: 1500ms", true, []string{"spec.ttl: whole number"}},
		"ttl unit":          {"ttl: '30'", true, []string{`spec.ttl: like "30s"`}},
		"target":            {"targetRefs: [{kind: Gateway, name: x}, {name: X}]", true, []string{"spec.targetRefs[0].kind: Service", "spec.targetRefs[1].name: DNS label"}},
		"check": {"check: {kind: icmp, host: 'a b', path: up, interval: 1ms, timeout: 6m, rise: 0, fall: 21}", true,
			[]string{"spec.check.kind: http", "spec.check.interval: outside 500ms to 5m", "spec.check.rise: outside 1 to 20",
				"spec.check.fall: outside 1 to 20", "spec.check.timeout: outside 10ms to 5m", "spec.check.host: host name", "spec.check.path: begin with"}},
		"timeout over interval": {"check: {interval: 1s, timeout: 2s}", true, []string{"spec.check.timeout: longer than the interval"}},
		"tcp path":              {"check: {kind: tcp, path: /x}", true, []string{"spec.check.path: no path"}},
		"grpc path":             {"check: {kind: grpc, path: /x}", true, []string{"spec.check.path: service's name"}},
		"header smuggling":      {`check: {path: "/a\r\nHost: b"}`, true, []string{"spec.check.path: cannot carry"}},
		"no effect": {"{regions: [eu], order: [us, eu], weights: {eu: 1}}", false,
			[]string{"spec.weights: change nothing", "spec.order: changes nothing", "spec.order[0]: never serves"}},
		"short interval": {"check: {interval: 500ms}", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := &TrafficPolicy{Spec: *read[TrafficPolicySpec](t, c.spec)}
			p.Namespace, p.Name = "shop", "web"
			got, problems := p.Parse(me)
			if (got == nil) != c.nil {
				t.Errorf("rule is %+v, want nil: %v", got, c.nil)
			}
			checkSaid(t, problems, c.want...)
			if got != nil && got.Policy.Check.Timeout > got.Policy.Check.Interval {
				t.Errorf("timeout %v is longer than interval %v", got.Policy.Check.Timeout, got.Policy.Check.Interval)
			}
		})
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Second: "1m30s", 5 * time.Minute: "5m", 30 * time.Second: "30s",
		time.Hour + time.Second: "1h0m1s", 500 * time.Millisecond: "500ms", 168 * time.Hour: "168h", 10 * time.Minute: "10m",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}
