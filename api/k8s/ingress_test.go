package k8s

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/meridian-lb/meridian/fleet"
)

const everyIngress = `
metadata: {namespace: shop, name: web}
spec:
  ingressClassName: meridian
  defaultBackend: {service: {name: rest, port: {number: 80}}}
  tls: [{hosts: [Shop.example.com], secretName: a}, {hosts: ["*.dev.example.com"], secretName: dev}]
  rules:
  - host: SHOP.example.com
    http:
      paths:
      - {path: /cart/, pathType: Prefix, backend: {service: {name: cart, port: {name: http}}}}
      - {path: /cart/, pathType: Exact, backend: {service: {name: slash, port: {number: 8080}}}}
      - {pathType: ImplementationSpecific, backend: {service: {name: web, port: {number: 80}}}}
  - host: shop.example.com
    http: {paths: [{path: /cart, pathType: Prefix, backend: {service: {name: cart, port: {name: http}}}}]}
  - host: "*.Dev.example.com"
    http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
  - host: bare.example.com
`

func route(host string, kind fleet.PathType, path, service string, port fleet.PortRef, certificate fleet.CertificateName) fleet.Route {
	return fleet.Route{Host: host, Match: fleet.Match{Type: kind, Path: path}, Certificate: certificate, Origin: me,
		To: []fleet.Target{{Service: fleet.ServiceName{Namespace: "shop", Name: service}, Port: port, Weight: 1}}}
}

func TestRoutes(t *testing.T) {
	n80 := fleet.PortRef{Number: 80}
	for name, c := range map[string]struct {
		text string
		want []fleet.Route
	}{
		"everything": {everyIngress, []fleet.Route{
			route("*.dev.example.com", fleet.PathPrefix, "/a", "web", n80, "shop/dev"),
			route("*.dev.example.com", fleet.PathPrefix, "/", "rest", n80, "shop/dev"),
			route("bare.example.com", fleet.PathPrefix, "/", "rest", n80, ""),
			route("shop.example.com", fleet.PathExact, "/cart/", "slash", fleet.PortRef{Number: 8080}, "shop/a"),
			route("shop.example.com", fleet.PathPrefix, "/cart", "cart", fleet.PortRef{Name: "http"}, "shop/a"),
			route("shop.example.com", fleet.PathPrefix, "/", "web", n80, "shop/a"),
		}},
		"default backend alone": {
			"{metadata: {namespace: shop, name: web}, spec: {defaultBackend: {service: {name: rest, port: {number: 80}}}}}",
			[]fleet.Route{route("", fleet.PathPrefix, "/", "rest", n80, "")}},
		"TLS for all": {
			"{metadata: {namespace: shop, name: web}, spec: {tls: [{secretName: a}], rules: [{http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}}",
			[]fleet.Route{route("", fleet.PathPrefix, "/", "web", n80, "shop/a")}},
		"TLS by wildcard": {
			"{metadata: {namespace: shop, name: web}, spec: {tls: [{hosts: ['*.example.com'], secretName: a}], rules: [{host: a.example.com, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}, {host: a.b.example.com, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}}",
			[]fleet.Route{route("a.b.example.com", fleet.PathPrefix, "/", "web", n80, ""), route("a.example.com", fleet.PathPrefix, "/", "web", n80, "shop/a")}},
		"the first of several certificates": {
			"{metadata: {namespace: shop, name: web}, spec: {tls: [{secretName: rest}, {hosts: [a.com], secretName: one}, {hosts: [a.com], secretName: two}, {secretName: late}], rules: [{host: a.com, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}, {host: b.com, http: {paths: [{path: /, backend: {service: {name: web, port: {number: 80}}}}]}}]}}",
			[]fleet.Route{route("a.com", fleet.PathPrefix, "/", "web", n80, "shop/one"), route("b.com", fleet.PathPrefix, "/", "web", n80, "shop/rest")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := Routes(read[networkingv1.Ingress](t, c.text), me)
			checkSaid(t, problems)
			if d := cmp.Diff(&fleet.RouteSet{Routes: c.want, Origin: me}, got, same); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func TestRouteFaults(t *testing.T) {
	const ok = "backend: {service: {name: web, port: {number: 80}}}"
	rule := func(host, paths string) string {
		return fmt.Sprintf("{rules: [{host: good.example.com, http: {paths: [{path: /, %s}]}}, {host: %q, http: {paths: [%s]}}]}", ok, host, paths)
	}
	for name, c := range map[string]struct {
		spec string
		left int
		want []string
	}{
		"nothing":             {"{}", 0, []string{"spec: neither rules nor a default backend"}},
		"host with port":      {rule("a.example.com:80", "{path: /, "+ok+"}"), 1, []string{"spec.rules[1].host: without port"}},
		"host is an address":  {rule("1.2.3.4", "{path: /, "+ok+"}"), 1, []string{"spec.rules[1].host: address"}},
		"star inside":         {rule("a.*.com", "{path: /, "+ok+"}"), 1, []string{"spec.rules[1].host: first label"}},
		"pattern":             {rule("a.com", "{path: /img/*, "+ok+"}"), 1, []string{"spec.rules[1].http.paths[0].path: pattern"}},
		"exact without path":  {rule("a.com", "{pathType: Exact, "+ok+"}"), 1, []string{"spec.rules[1].http.paths[0].path: begin with"}},
		"unknown type":        {rule("a.com", "{pathType: Regex, path: /, "+ok+"}"), 1, []string{"spec.rules[1].http.paths[0].pathType: choose Exact"}},
		"dots":                {rule("a.com", "{path: /a/../b, "+ok+"}, {path: /a/%2E%2e, "+ok+"}, {path: //a, "+ok+"}, {path: '/a?b', "+ok+"}"), 1, []string{"spec.rules[1].http.paths[0].path: resolve", "spec.rules[1].http.paths[1].path: resolve", "spec.rules[1].http.paths[2].path: plain elements", "spec.rules[1].http.paths[3].path: percent-encode"}},
		"never seen":          {rule("a.com", `{path: '/a\b', pathType: Prefix, `+ok+"}, {path: '/%', pathType: Exact, "+ok+"}, {path: /a%00, "+ok+"}, {path: /..;x/a, "+ok+"}, {path: /a%5Cb, "+ok+"}, {path: '/%%61%61', pathType: Exact, "+ok+"}"), 1, []string{"spec.rules[1].http.paths[0].path: backslash", "spec.rules[1].http.paths[1].path: write %25", "spec.rules[1].http.paths[2].path: encoded slash", "spec.rules[1].http.paths[3].path: resolve", "spec.rules[1].http.paths[4].path: encoded slash", "spec.rules[1].http.paths[5].path: write %25"}},
		"same path encoded":   {rule("good.example.com", "{path: /%61, "+ok+"}, {path: /a, backend: {service: {name: other, port: {number: 80}}}}"), 2, []string{"spec.rules[1].http.paths[1].path: already goes elsewhere"}},
		"resource":            {rule("a.com", "{path: /, backend: {resource: {kind: Bucket, name: x}}}"), 1, []string{"spec.rules[1].http.paths[0].backend.resource: only services"}},
		"no service":          {rule("a.com", "{path: /, backend: {}}"), 1, []string{"spec.rules[1].http.paths[0].backend.service: missing"}},
		"no port":             {rule("a.com", "{path: /, backend: {service: {name: web}}}"), 1, []string{"spec.rules[1].http.paths[0].backend.service.port: 1 to 65535"}},
		"port twice":          {rule("a.com", "{path: /, backend: {service: {name: web, port: {name: http, number: 80}}}}"), 1, []string{"spec.rules[1].http.paths[0].backend.service.port: one of them"}},
		"same path elsewhere": {rule("good.example.com", "{path: /, backend: {service: {name: other, port: {number: 80}}}}"), 1, []string{"spec.rules[1].http.paths[0].path: already goes elsewhere"}},
		"rule without paths":  {"{rules: [{host: a.com}]}", 0, []string{"spec.rules[0].http: no usable default backend"}},
		"bad default": {"{defaultBackend: {resource: {kind: Bucket, name: x}}, rules: [{host: a.com}]}", 0,
			[]string{"spec.defaultBackend.resource: only services", "spec.rules[0].http: no usable default backend"}},
		"TLS without a Secret": {fmt.Sprintf("{tls: [{hosts: [a.com]}], rules: [{host: a.com, http: {paths: [{path: /, %s}]}}]}", ok), 1, []string{"spec.tls[0].secretName: is empty"}},
		"bad TLS host":         {fmt.Sprintf("{tls: [{hosts: [a_b], secretName: a}], rules: [{host: a.com, http: {paths: [{path: /, %s}]}}]}", ok), 1, []string{"spec.tls[0].hosts[0]: not a host name"}},
	} {
		t.Run(name, func(t *testing.T) {
			ing := &networkingv1.Ingress{Spec: *read[networkingv1.IngressSpec](t, c.spec)}
			ing.Namespace, ing.Name = "shop", "web"
			got, problems := Routes(ing, me)
			checkSaid(t, problems, c.want...)
			n := 0
			if got != nil {
				n = len(got.Routes)
			}
			if n != c.left || (got == nil) != (c.left == 0) {
				t.Errorf("routes %+v, want %d", got, c.left)
			}
		})
	}
}

func TestRoutesAreBounded(t *testing.T) {
	ing := read[networkingv1.Ingress](t, everyIngress)
	for i := range 3000 {
		p := ing.Spec.Rules[0].HTTP.Paths[0]
		p.Path = fmt.Sprint("/more/", i)
		ing.Spec.Rules[0].HTTP.Paths = append(ing.Spec.Rules[0].HTTP.Paths, p)
	}
	got, problems := Routes(ing, me)
	checkSaid(t, problems, "spec.rules[0].http.paths[2000]: beyond")
	if got == nil || len(got.Routes) != MaxRoutes {
		t.Errorf("want %d routes", MaxRoutes)
	}
}

func TestClass(t *testing.T) {
	old := map[string]string{IngressClassAnnotation: "old"}
	for want, ing := range map[string]*networkingv1.Ingress{
		"":    {},
		"new": {Spec: networkingv1.IngressSpec{IngressClassName: new("new")}},
		"old": func() *networkingv1.Ingress { i := &networkingv1.Ingress{}; i.Annotations = old; return i }(),
	} {
		if got := Class(ing); got != want {
			t.Errorf("class %q, want %q", got, want)
		}
	}
	both := &networkingv1.Ingress{Spec: networkingv1.IngressSpec{IngressClassName: new("new")}}
	both.Annotations = old
	if got := Class(both); got != "new" {
		t.Errorf("field and annotation: class %q, want the field's", got)
	}
}

// Gateways decode what needs no encoding, and encode what does, before they
// compare; a route that keeps to the letter would never be taken.
func TestPathsAreTakenInTheirNormalForm(t *testing.T) {
	for in, want := range map[string]string{
		"/%41": "/A", "/~user": "/~user", "/%7Euser": "/~user", "/a%2Db/": "/a-b", "/{id}": "/%7Bid%7D", "/a|b^c": "/a%7Cb%5Ec", "/%C3%A9": "/%C3%A9", "/%20": "/%20", "/a;v=1": "/a;v=1", "/a/..b": "/a/..b",
	} {
		ing := read[networkingv1.Ingress](t, fmt.Sprintf("{metadata: {namespace: shop, name: web}, spec: {rules: [{http: {paths: [{path: %q, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}", in))
		set, problems := Routes(ing, me)
		if set == nil || len(problems) > 0 || set.Routes[0].Match.Path != want {
			t.Errorf("%s becomes %+v with problems %v, want %s", in, set, problems, want)
		}
	}
}
