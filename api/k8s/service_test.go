package k8s

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

var same = cmp.Options{
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

var me = fleet.Origin{Cluster: "eu-1", Kind: "Test", Name: "me"}

func read[T any](t testing.TB, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatalf("reading\n%s: %v", text, err)
	}
	return v
}

// checkSaid compares problems with what they must say: "path: some words".
func checkSaid(t *testing.T, problems []fleet.Problem, want ...string) {
	t.Helper()
	var got []string
	for _, p := range problems {
		got = append(got, p.Message)
		if p.About != me || p.Reason == "" {
			t.Errorf("problem %+v is not about its object or gives no reason", p)
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

func slices4(t *testing.T, texts ...string) []*discoveryv1.EndpointSlice {
	var list []*discoveryv1.EndpointSlice
	for _, text := range texts {
		list = append(list, read[discoveryv1.EndpointSlice](t, text))
	}
	return list
}

func ep(addr, zone string, ready, terminating bool) fleet.Endpoint {
	return fleet.Endpoint{Addr: netip.MustParseAddrPort(addr), Zone: zone, Ready: ready, Terminating: terminating}
}

const webService = `
metadata: {namespace: shop, name: web, labels: {meridian.dev/federate: "true"}}
spec:
  ports:
  - {name: metrics, port: 9090}
  - {name: http, port: 80, targetPort: http, protocol: TCP, appProtocol: kubernetes.io/h2c}
  - {name: dns, port: 53, protocol: UDP}
`

func TestBackendOverSlices(t *testing.T) {
	svc := read[corev1.Service](t, webService)
	list := slices4(t, `
metadata: {namespace: shop, name: web-4b, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8081}]
endpoints: [{addresses: [10.0.0.9]}]
`, `
metadata: {namespace: shop, name: web-4a, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: metrics, port: 9100}, {name: dns, port: 53, protocol: UDP}, {name: any}]
endpoints:
- {addresses: [10.0.0.10], zone: b, conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.0.0.9], zone: a, conditions: {ready: true}}
- {addresses: [10.0.0.11], conditions: {ready: false}}
- {addresses: [10.0.0.12], conditions: {serving: false}}
- {addresses: [10.0.0.13], conditions: {terminating: true}}
`, `
metadata: {namespace: shop, name: web-6, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["2001:db8::9"], zone: a}]
`, `
metadata: {namespace: shop, name: api-1, labels: {kubernetes.io/service-name: api}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.99]}]
`, `
metadata: {namespace: other, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.98]}]
`)
	got, problems := Backend("eu-1", svc, list, me)
	checkSaid(t, problems)
	want := &fleet.Backend{
		Cluster: "eu-1", Service: fleet.ServiceName{Namespace: "shop", Name: "web"}, Origin: me,
		Ports: []fleet.Port{
			{Name: "http", Number: 80, AppProtocol: "kubernetes.io/h2c", Endpoints: []fleet.Endpoint{
				ep("10.0.0.9:8080", "a", true, false),
				ep("10.0.0.9:8081", "", true, false),
				ep("10.0.0.10:8080", "b", false, true),
				ep("10.0.0.11:8080", "", false, false),
				ep("10.0.0.12:8080", "", false, false),
				ep("10.0.0.13:8080", "", true, true),
			}},
			{Name: "metrics", Number: 9090, Endpoints: []fleet.Endpoint{
				ep("10.0.0.9:9100", "a", true, false),
				ep("10.0.0.10:9100", "b", false, true),
				ep("10.0.0.11:9100", "", false, false),
				ep("10.0.0.12:9100", "", false, false),
				ep("10.0.0.13:9100", "", true, true),
			}},
		},
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// A pod of two families is one endpoint, of the family that the Service has first.
func TestAPodOfTwoFamiliesIsOneEndpoint(t *testing.T) {
	const head = "{metadata: {namespace: shop, name: web-%s, labels: {kubernetes.io/service-name: web}}, addressType: %s, ports: [%s], endpoints: [%s]}"
	both := slices4(t,
		fmt.Sprintf(head, "4", "IPv4", "{name: http, port: 8080}", "{addresses: [10.0.0.1]}, {addresses: [10.0.0.2], conditions: {ready: false}}"),
		fmt.Sprintf(head, "6", "IPv6", "{name: http, port: 8080}, {name: six, port: 8086}", "{addresses: ['2001:db8::1']}, {addresses: ['2001:db8::2'], conditions: {ready: false}}"))
	four := []fleet.Endpoint{ep("10.0.0.1:8080", "", true, false), ep("10.0.0.2:8080", "", false, false)}
	six := []fleet.Endpoint{ep("[2001:db8::1]:8080", "", true, false), ep("[2001:db8::2]:8080", "", false, false)}
	for families, want := range map[string][]fleet.Endpoint{
		"[]": four, "[IPv4]": four, "[IPv4, IPv6]": four, "[IPv6, IPv4]": six, "[IPv6]": six, "[IPv9]": four,
	} {
		svc := read[corev1.Service](t, "{metadata: {namespace: shop, name: web}, spec: {ipFamilies: "+families+", ports: [{name: http, port: 80}, {name: six, port: 86}]}}")
		got, problems := Backend("eu-1", svc, both, me)
		checkSaid(t, problems)
		if d := cmp.Diff(want, got.Ports[0].Endpoints, same); d != "" {
			t.Errorf("%s (-want +got)\n%s", families, d)
		}
		if p := got.Ports[1]; len(p.Endpoints) != 2 || !p.Endpoints[0].Addr.Addr().Is6() {
			t.Errorf("%s: where one family has nothing, the other counts; got %+v", families, p)
		}
	}
}

func TestDuplicateAddressesBecomeOne(t *testing.T) {
	svc := read[corev1.Service](t, `{metadata: {namespace: shop, name: web}, spec: {ports: [{port: 80}]}}`)
	const head = "{metadata: {namespace: shop, name: web-%d, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}], endpoints: "
	list := slices4(t,
		fmt.Sprintf(head, 1)+"[{addresses: [10.0.0.1], conditions: {ready: false, terminating: true}}, {addresses: [10.0.0.2], conditions: {ready: false, terminating: true}}]}",
		fmt.Sprintf(head, 2)+"[{addresses: [10.0.0.1], zone: a}, {addresses: [10.0.0.2], conditions: {ready: false, terminating: true}}]}")
	got, problems := Backend("eu-1", svc, list, me)
	checkSaid(t, problems)
	want := []fleet.Endpoint{ep("10.0.0.1:80", "a", true, false), ep("10.0.0.2:80", "", false, true)}
	if d := cmp.Diff(want, got.Ports[0].Endpoints, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestBackendFaults(t *testing.T) {
	slice := func(rest string) string {
		return "{metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, ports: [{port: 80}], " + rest + "}"
	}
	const good = "{metadata: {namespace: shop, name: web}, spec: {ports: [{port: 80}]}}"
	for name, c := range map[string]struct {
		svc, slice string
		nil        bool
		want       []string
	}{
		"nothing":       {"{}", "", true, []string{"metadata.namespace: empty", "metadata.name: empty"}},
		"external name": {"{metadata: {namespace: shop, name: web}, spec: {type: ExternalName, externalName: 169.254.169.254}}", "", true, []string{"spec.type: outside the cluster"}},
		"UDP only":      {"{metadata: {namespace: shop, name: web}, spec: {ports: [{port: 53, protocol: UDP}]}}", "", true, []string{"spec.ports: no usable TCP port"}},
		"ports": {"{metadata: {namespace: shop, name: web}, spec: {ports: [{name: a, port: 80}, {name: b, port: 80}, {name: a, port: 81}, {name: c, port: 0}, {name: D, port: 82}, {name: e, port: 83, appProtocol: 'a b'}]}}", "", false,
			[]string{"spec.ports[1]: number or name", "spec.ports[2]: number or name", "spec.ports[3].port: 1 to 65535", "spec.ports[4].name: DNS label", "spec.ports[5].appProtocol: HTTP/1.1"}},
		"names instead of addresses": {good, slice("addressType: FQDN, endpoints: [{addresses: [a.example.com]}]"), false, []string{"EndpointSlice/web-1.addressType: resolves names"}},
		"endpoints": {good, slice("addressType: IPv4, endpoints: [{addresses: []}, {addresses: [169.254.169.254]}, {addresses: ['2001:db8::1']}, {addresses: [10.0.0.1, 10.0.0.2], zone: a/b}]"), false,
			[]string{"EndpointSlice/web-1.endpoints[0].addresses: empty", "EndpointSlice/web-1.endpoints[1].addresses[0]: link-local",
				"EndpointSlice/web-1.endpoints[2].addresses[0]: addressType IPv4", "EndpointSlice/web-1.endpoints[3].addresses: only the first", "EndpointSlice/web-1.endpoints[3].zone: zone name"}},
	} {
		t.Run(name, func(t *testing.T) {
			var list []*discoveryv1.EndpointSlice
			if c.slice != "" {
				list = slices4(t, c.slice)
			}
			got, problems := Backend("eu-1", read[corev1.Service](t, c.svc), list, me)
			if (got == nil) != c.nil {
				t.Errorf("backend is %+v, want nil: %v", got, c.nil)
			}
			checkSaid(t, problems, c.want...)
		})
	}
}

func TestEndpointsAreBounded(t *testing.T) {
	svc := read[corev1.Service](t, `{metadata: {namespace: shop, name: web}, spec: {ports: [{port: 80}]}}`)
	s := read[discoveryv1.EndpointSlice](t, "{metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 80}]}")
	for i := range MaxEndpoints + 5 {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()}})
	}
	got, problems := Backend("eu-1", svc, []*discoveryv1.EndpointSlice{s}, me)
	checkSaid(t, problems, "endpoints: has 10005 and at most 10000")
	if n := len(got.Ports[0].Endpoints); n != MaxEndpoints {
		t.Errorf("%d endpoints, want %d", n, MaxEndpoints)
	}
}

// Whatever the order of slices, endpoints and ports, the backend is the same, and
// what was handed over is as it was.
func TestBackendIsAFunctionOfWhatIsSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		svc := &corev1.Service{}
		svc.Namespace, svc.Name = "shop", "web"
		svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "admin", Port: 81}}
		flag := rapid.SampledFrom([]*bool{nil, new(true), new(false)})
		var list []*discoveryv1.EndpointSlice
		for i := range rapid.IntRange(0, 4).Draw(t, "slices") {
			s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
			s.Namespace, s.Name = "shop", fmt.Sprint("web-", i)
			s.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
			s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}, {Name: new("admin"), Port: new(int32(8081))}}
			for range rapid.IntRange(0, 5).Draw(t, "endpoints") {
				s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
					Addresses:  []string{fmt.Sprintf("10.0.0.%d", rapid.IntRange(1, 6).Draw(t, "address"))},
					Zone:       new(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")),
					Conditions: discoveryv1.EndpointConditions{Ready: flag.Draw(t, "ready"), Serving: flag.Draw(t, "serving"), Terminating: flag.Draw(t, "terminating")},
				})
			}
			list = append(list, s)
		}
		first, _ := Backend("eu-1", svc, list, me)
		var turned []*discoveryv1.EndpointSlice
		for _, i := range rapid.Permutation(indices(len(list))).Draw(t, "order") {
			s := list[i].DeepCopy()
			s.Endpoints = rapid.Permutation(s.Endpoints).Draw(t, "endpoints' order")
			turned = append(turned, s)
		}
		before := make([]*discoveryv1.EndpointSlice, len(turned))
		for i := range turned {
			before[i] = turned[i].DeepCopy()
		}
		second, _ := Backend("eu-1", svc, turned, me)
		if d := cmp.Diff(first, second, same); d != "" {
			t.Fatalf("order matters\n%s", d)
		}
		if d := cmp.Diff(before, turned, same); d != "" {
			t.Fatalf("the slices were changed\n%s", d)
		}
		for _, p := range second.Ports {
			for i := 1; i < len(p.Endpoints); i++ {
				if p.Endpoints[i-1].Addr.Compare(p.Endpoints[i].Addr) >= 0 {
					t.Fatalf("not sorted, or twice: %v", p.Endpoints)
				}
			}
		}
	})
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func TestFederation(t *testing.T) {
	for label, want := range map[string][2]bool{"": {}, "true": {true, false}, "false": {false, true}, "True": {}} {
		svc := &corev1.Service{}
		svc.Labels = map[string]string{FederateLabel: label}
		if got := [2]bool{Federated(svc), Withheld(svc)}; got != want {
			t.Errorf("label %q: federated, withheld %v, want %v", label, got, want)
		}
	}
}

func FuzzBackend(f *testing.F) {
	f.Add([]byte(webService), []byte("{metadata: {namespace: shop, name: w, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{name: http, port: 8081}, {}], endpoints: [{addresses: [10.0.0.9]}, {}]}"))
	f.Add([]byte("{spec: {ports: [{port: -1}, {port: 70000}]}}"), []byte("{addressType: IPv6, endpoints: [{addresses: ['::1%eth0']}]}"))
	f.Fuzz(func(t *testing.T, svcText, sliceText []byte) {
		svc, s := &corev1.Service{}, &discoveryv1.EndpointSlice{}
		if yaml.Unmarshal(svcText, svc) != nil || yaml.Unmarshal(sliceText, s) != nil {
			return
		}
		b, problems := Backend("eu-1", svc, []*discoveryv1.EndpointSlice{s}, me)
		if b == nil && len(problems) == 0 {
			t.Fatal("nothing, and nobody is told why")
		}
		if b == nil {
			return
		}
		for _, p := range b.Ports {
			for _, e := range p.Endpoints {
				if _, err := field.Addr(e.Addr.Addr().String()); err != nil || e.Addr.Port() == 0 {
					t.Fatalf("endpoint %v was taken: %v", e, err)
				}
			}
		}
	})
}

func FuzzRoutes(f *testing.F) {
	f.Add([]byte(everyIngress))
	f.Add([]byte("{metadata: {namespace: a, name: b}, spec: {rules: [{host: '*.', http: {paths: [{path: '/%2E%2e/', backend: {}}]}}, {}], tls: [{}]}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ing := &networkingv1.Ingress{}
		if yaml.Unmarshal(text, ing) != nil {
			return
		}
		set, problems := Routes(ing, me)
		if set == nil {
			if len(problems) == 0 {
				t.Fatal("nothing, and nobody is told why")
			}
			return
		}
		seen := map[place]bool{}
		for _, r := range set.Routes {
			host := strings.TrimPrefix(r.Host, "*.")
			if r.Host != "" && field.Subdomain(host) != nil || len(r.To) != 1 || !strings.HasPrefix(r.Match.Path, "/") || seen[place{r.Host, r.Match}] {
				t.Fatalf("route %+v was taken", r)
			}
			if r.Match.Type == fleet.PathPrefix && r.Match.Path != "/" && strings.HasSuffix(r.Match.Path, "/") {
				t.Fatalf("prefix %q ends with a slash", r.Match.Path)
			}
			if !r.Match.Normal() {
				t.Fatalf("%q was taken, which no gateway ever compares with", r.Match.Path)
			}
			seen[place{r.Host, r.Match}] = true
		}
	})
}
