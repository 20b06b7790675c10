package k8s

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/fleet"
)

// of reads an object as somebody would write it.
func of[T any](t testing.TB, text string) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), v); err != nil {
		t.Fatal(err)
	}
	return v
}

const aGateway = `{metadata: {namespace: infra, name: edge}, spec: {gatewayClassName: meridian, listeners: [
{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}},
{name: tls, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: wild}]}, allowedRoutes: {namespaces: {from: All}}},
{name: own, port: 8080, protocol: HTTP, hostname: own.example.com}]}}`

func aRoute(spec string) string {
	return "{metadata: {namespace: shop, name: r}, spec: {parentRefs: [{namespace: infra, name: edge}], " + spec + "}}"
}

func lines(set *fleet.RouteSet, problems []fleet.Problem) []string {
	var out []string
	if set != nil {
		for _, r := range set.Routes {
			line := fmt.Sprintf("%s %s %s", r.Host, r.Match.Type, r.Match.Path)
			for _, to := range r.To {
				line += fmt.Sprintf(" %s:%d*%d", to.Service, to.Port.Number, to.Weight)
			}
			if r.Certificate != "" {
				line += " " + string(r.Certificate)
			}
			out = append(out, line)
		}
	}
	for _, p := range problems {
		out = append(out, p.Reason+" "+strings.SplitN(p.Message, ": ", 2)[0])
	}
	return out
}

func TestHTTPRoute(t *testing.T) {
	grant := `{metadata: {namespace: other}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: "", kind: Service, name: pay}]}}`
	imports := `{metadata: {namespace: granted}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: multicluster.x-k8s.io, kind: ServiceImport}]}}`
	for name, c := range map[string]struct {
		route string
		want  []string
	}{
		"host, paths and weights": {aRoute(`hostnames: [shop.example.com], rules: [
{matches: [{path: {type: Exact, value: /%61}}, {path: {value: /b/}}], backendRefs: [{name: blue, port: 80, weight: 9}, {name: green, port: 81}]},
{backendRefs: [{name: blue, port: 80}]}]`), []string{
			"shop.example.com Exact /a shop/blue:80*9 shop/green:81*1 infra/wild",
			"shop.example.com Prefix /b shop/blue:80*9 shop/green:81*1 infra/wild",
			"shop.example.com Prefix / shop/blue:80*1 infra/wild"}},
		"every host": {aRoute(`rules: [{backendRefs: [{name: a, port: 80}]}]`), []string{" Prefix / shop/a:80*1", "*.example.com Prefix / shop/a:80*1 infra/wild"}},
		"a listener of another namespace": {"{metadata: {namespace: shop, name: r}, spec: {parentRefs: [{namespace: infra, name: edge, sectionName: own}], rules: [{backendRefs: [{name: a, port: 80}]}]}}",
			[]string{"NotAllowedByListeners spec.parentRefs[0]"}},
		"no such listener": {"{metadata: {namespace: shop, name: r}, spec: {parentRefs: [{namespace: infra, name: edge, sectionName: x}], rules: [{backendRefs: [{name: a, port: 80}]}]}}",
			[]string{"NoMatchingParent spec.parentRefs[0]"}},
		"grants": {aRoute(`hostnames: [a.test], rules: [{backendRefs: [{name: pay, namespace: other, port: 80}, {name: secret, namespace: other, port: 80}]}]`),
			[]string{"a.test Prefix / other/pay:80*1", "RefNotPermitted spec.rules[0].backendRefs[1].namespace"}},
		"grants of imports": {aRoute(`hostnames: [a.test], rules: [{backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: pay, namespace: granted, port: 80},
{group: multicluster.x-k8s.io, kind: ServiceImport, name: pay, namespace: other, port: 80}, {name: pay, namespace: granted, port: 80}]}]`),
			[]string{"a.test Prefix / granted/pay:80*1", "RefNotPermitted spec.rules[0].backendRefs[1].namespace", "RefNotPermitted spec.rules[0].backendRefs[2].namespace"}},
		"what is not carried is left out": {aRoute(`hostnames: [a.test], rules: [
{matches: [{headers: [{name: x, value: y}]}, {method: GET}, {queryParams: [{name: x, value: y}]}, {path: {type: RegularExpression, value: /.*}}, {path: {value: /ok}}], backendRefs: [{name: a, port: 80}]},
{filters: [{type: RequestMirror}], backendRefs: [{name: a, port: 80}]},
{timeouts: {request: 1s}, backendRefs: [{name: a, port: 80}]}]`), []string{
			"a.test Prefix /ok shop/a:80*1", "a.test Prefix / shop/a:80*1",
			"NotCarried spec.rules[0].matches[0].headers", "NotCarried spec.rules[0].matches[1].method", "NotCarried spec.rules[0].matches[2].queryParams",
			"NotCarried spec.rules[0].matches[3].path.type", "NotCarried spec.rules[1].filters", "NotCarried spec.rules[2].timeouts"}},
		"backends": {aRoute(`hostnames: [a.test], rules: [{backendRefs: [{kind: Pod, name: a, port: 80}, {name: a}, {group: multicluster.x-k8s.io, kind: ServiceImport, name: b, port: 80}]}, {backendRefs: [{name: a, port: 80, weight: 0}]}]`),
			[]string{"a.test Prefix / shop/b:80*1", "InvalidKind spec.rules[0].backendRefs[0].kind", "InvalidField spec.rules[0].backendRefs[1].port", "InvalidField spec.rules[1].backendRefs"}},
		"bad host and path": {aRoute(`hostnames: ["a_b", ok.test], rules: [{matches: [{path: {value: "a"}}, {path: {value: /x}}], backendRefs: [{name: a, port: 80}]}]`),
			[]string{"ok.test Prefix /x shop/a:80*1", "InvalidField spec.hostnames[0]", "InvalidField spec.rules[0].matches[0].path.value"}},
	} {
		set, problems, attached := HTTPRoute(of[gatewayv1.HTTPRoute](t, c.route), Surroundings{Gateways: []*gatewayv1.Gateway{of[gatewayv1.Gateway](t, aGateway)},
			Grants: []*gatewayv1.ReferenceGrant{of[gatewayv1.ReferenceGrant](t, grant), of[gatewayv1.ReferenceGrant](t, imports)}}, fleet.Origin{})
		if got := lines(set, problems); !attached || !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
	if _, _, attached := HTTPRoute(of[gatewayv1.HTTPRoute](t, aRoute("rules: []")), Surroundings{}, fleet.Origin{}); attached {
		t.Error("a route of somebody else's Gateway is not ours")
	}
}

func TestGateway(t *testing.T) {
	g := of[gatewayv1.Gateway](t, `{metadata: {namespace: infra, name: edge}, spec: {addresses: [{value: 192.0.2.1}], listeners: [
{name: a, port: 53, protocol: UDP}, {name: b, port: 443, protocol: HTTPS}, {name: c, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: x, namespace: other}]}},
{name: d, port: 80, protocol: HTTP, hostname: a_b}, {name: e, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}},
{name: f, port: 443, protocol: HTTPS, tls: {mode: Passthrough, certificateRefs: [{name: x}]}}]}}`)
	usable, problems := Gateway(g, nil, fleet.Origin{})
	want := []string{"NotCarried spec.listeners[0].protocol", "InvalidField spec.listeners[1].tls.certificateRefs", "RefNotPermitted spec.listeners[2].tls.certificateRefs[0].namespace",
		"InvalidField spec.listeners[3].hostname", "InvalidField spec.listeners[4].allowedRoutes.namespaces.selector", "NotCarried spec.listeners[5].tls.mode", "NotCarried spec.addresses"}
	if got := lines(nil, problems); usable != 0 || !slices.Equal(got, want) {
		t.Errorf("%d usable,\n got %q\nwant %q", usable, got, want)
	}
}

func TestImports(t *testing.T) {
	r := of[gatewayv1.HTTPRoute](t, aRoute(`rules: [{backendRefs: [{name: a, port: 80}]}, {backendRefs: [{name: b, port: 80}, {group: multicluster.x-k8s.io, kind: ServiceImport, name: c, port: 80},
{group: multicluster.x-k8s.io, kind: ServiceImport, name: d, namespace: other}, {group: else, kind: ServiceImport, name: e}]}]`))
	want := map[string]fleet.ServiceName{"spec.rules[1].backendRefs[1].name": {Namespace: "shop", Name: "c"}, "spec.rules[1].backendRefs[2].name": {Namespace: "other", Name: "d"}}
	if got := Imports(r); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A listener that chooses namespaces by their labels takes routes of those alone.
func TestListenersSelectNamespaces(t *testing.T) {
	const team = "matchLabels: {team: web}, matchExpressions: [{key: stage, operator: In, values: [live, canary]}, {key: closed, operator: DoesNotExist}]"
	for name, c := range map[string]struct {
		selector string
		labels   labels.Set // nil: nobody knows them
		want     []string
	}{
		"its labels":         {team, labels.Set{"team": "web", "stage": "live", "more": ""}, []string{"a.test Prefix / shop/a:80*1"}},
		"other labels":       {team, labels.Set{"team": "web", "stage": "live", "closed": ""}, []string{"NotAllowedByListeners spec.parentRefs[0]"}},
		"no labels":          {team, labels.Set{}, []string{"NotAllowedByListeners spec.parentRefs[0]"}},
		"nothing asked":      {"", labels.Set{}, []string{"a.test Prefix / shop/a:80*1"}},
		"labels unread":      {team, nil, []string{"NamespaceUnread spec.parentRefs[0]"}},
		"a broken selector":  {"matchExpressions: [{key: a, operator: Is}]", labels.Set{}, []string{"NoMatchingParent spec.parentRefs[0]"}},
		"a name among words": {`matchLabels: {kubernetes.io/metadata.name: shop}`, labels.Set{"kubernetes.io/metadata.name": "shop"}, []string{"a.test Prefix / shop/a:80*1"}},
	} {
		g := of[gatewayv1.Gateway](t, `{metadata: {namespace: infra, name: edge}, spec: {listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {`+c.selector+`}}}}]}}`)
		set, problems, attached := HTTPRoute(of[gatewayv1.HTTPRoute](t, aRoute(`hostnames: [a.test], rules: [{backendRefs: [{name: a, port: 80}]}]`)),
			Surroundings{Gateways: []*gatewayv1.Gateway{g}, Labels: func(namespace string) (labels.Set, bool) { return c.labels, namespace == "shop" && c.labels != nil }}, fleet.Origin{})
		if got := lines(set, problems); !attached || !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

// What is wrong with a selector is said in words that its author understands, and
// always of the same requirement.
func TestBadSelectorsAreNamed(t *testing.T) {
	many := "matchLabels: {"
	for i := range maxRequirements + 1 {
		many += fmt.Sprintf("k%d: v, ", i)
	}
	for selector, says := range map[string]string{
		`, selector: {matchExpressions: [{key: a, operator: Is}]}`:            `"Is" is not a valid label selector operator`,
		`, selector: {matchExpressions: [{key: a, operator: In}]}`:            "can't be empty",
		`, selector: {matchLabels: {"z z": a, "a a": b, m: "?"}}`:             `"a a"`,
		`, selector: {matchLabels: {a: "` + strings.Repeat("x", 9999) + `"}}`: "values[0][a]: Invalid value",
		`, selector: {` + many + "}}":                                         "more than 64 requirements",
		"":                                                                    "is missing",
	} {
		g := of[gatewayv1.Gateway](t, `{metadata: {namespace: infra, name: edge}, spec: {listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector`+selector+`}}}]}}`)
		for range 5 {
			usable, problems := Gateway(g, nil, me)
			checkSaid(t, problems, "spec.listeners[0].allowedRoutes.namespaces.selector: "+says)
			if usable != 0 || len(problems[0].Message) > 700 {
				t.Errorf("%d usable, %q", usable, problems[0].Message)
			}
		}
	}
}

// Whatever somebody writes, translating it neither panics nor lets a route out
// that could match nothing or lead nowhere.
func FuzzHTTPRoute(f *testing.F) {
	f.Add([]byte(aRoute(`hostnames: [a.test], rules: [{matches: [{path: {value: /x}}], backendRefs: [{name: a, port: 80}]}]`)))
	f.Add([]byte(aRoute(`rules: [{backendRefs: [{name: a, namespace: b, port: 80, weight: -1}]}]`)))
	f.Fuzz(func(t *testing.T, route []byte) {
		var r gatewayv1.HTTPRoute
		if yaml.Unmarshal(route, &r) != nil {
			return
		}
		g := *of[gatewayv1.Gateway](t, aGateway)
		_, _ = Gateway(&g, nil, fleet.Origin{})
		set, _, _ := HTTPRoute(&r, Surroundings{Gateways: []*gatewayv1.Gateway{&g}}, fleet.Origin{})
		if set == nil {
			return
		}
		for _, x := range set.Routes {
			if badPath(x.Match.Path) != "" || len(x.To) == 0 || !slices.ContainsFunc(x.To, func(to fleet.Target) bool { return to.Weight > 0 && to.Port.Number > 0 }) {
				t.Errorf("%+v", x)
			}
		}
	})
}

// Whatever stands in a Gateway, it is read in bounds.
func FuzzGateway(f *testing.F) {
	f.Add([]byte(aGateway))
	f.Fuzz(func(t *testing.T, text []byte) {
		var g gatewayv1.Gateway
		if yaml.Unmarshal(text, &g) != nil {
			return
		}
		if usable, problems := Gateway(&g, nil, fleet.Origin{}); usable > maxListeners || len(problems) > 100 {
			t.Errorf("%d usable, %d problems", usable, len(problems))
		}
	})
}
