package k8s

import (
	"cmp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// serviceImports is the group of ServiceImport, which names a service of all clusters.
const serviceImports = "multicluster.x-k8s.io"

// maxRules bounds one HTTPRoute, as its schema does; likewise its other lists.
const maxRules = 64

// Surroundings are the objects of other people that decide what an HTTPRoute may do.
type Surroundings struct {
	Gateways []*gatewayv1.Gateway // ours
	Grants   []*gatewayv1.ReferenceGrant
	Labels   Labels // of namespaces
}

// HTTPRoute makes the routes of an HTTPRoute on those Gateways, which are ours,
// sorted by host and most specific match. Attached is false when it names none of
// them: then it is somebody else's. It returns nil when no route is left, and, with
// a problem of the reason Unread, when a listener chooses by labels that nobody
// knows: half of its hosts would be no better answer than those of before.
//
// Carried are hosts, Exact and PathPrefix matches, weights, and references into
// other namespaces that a ReferenceGrant allows. A rule whose filters, or a match
// whose headers, have no effect yet is left out rather than widened.
func HTTPRoute(route *gatewayv1.HTTPRoute, around Surroundings, origin fleet.Origin) (set *fleet.RouteSet, problems []fleet.Problem, attached bool) {
	t := &httpTranslation{Faults: field.Faults{About: origin}, route: route, around: around, at: map[place]bool{}}
	if err := cmp.Or(field.Label(route.Namespace), field.Subdomain(route.Name)); err != nil {
		t.Add("metadata.name", "%v", err)
		return nil, t.Problems(), false
	}
	on, attached := t.parents()
	switch {
	case !attached:
		return nil, nil, false
	case t.unread:
		return nil, t.Problems(), true
	}
	hosts := t.hosts(on)
	for i, rule := range route.Spec.Rules[:min(len(route.Spec.Rules), maxRules)] {
		t.rule(field.Index("spec.rules", i), rule, hosts)
	}
	if len(t.routes) == 0 {
		return nil, t.Problems(), true
	}
	slices.SortStableFunc(t.routes, func(a, b fleet.Route) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.Match.Compare(b.Match))
	})
	return &fleet.RouteSet{Routes: t.routes, Origin: origin}, t.Problems(), true
}

type httpTranslation struct {
	field.Faults
	route  *gatewayv1.HTTPRoute
	around Surroundings
	routes []fleet.Route
	at     map[place]bool
	full   bool
	unread bool // whether a listener takes it hangs on labels that nobody knows
}

// served is a host with the certificate that it is served with.
type served struct {
	host        string
	certificate fleet.CertificateName
}

// Parent is the Gateway that a reference of a route of that namespace names;
// false when it names something else.
func Parent(ref gatewayv1.ParentReference, namespace string) (ns, name string, ok bool) {
	ok = deref(ref.Group, gatewayv1.GroupName) == gatewayv1.GroupName && deref(ref.Kind, "Gateway") == "Gateway"
	return string(deref(ref.Namespace, gatewayv1.Namespace(namespace))), string(ref.Name), ok
}

// parents are the listeners that take the route.
func (t *httpTranslation) parents() (on []listener, attached bool) {
	for i, ref := range t.route.Spec.ParentRefs[:min(len(t.route.Spec.ParentRefs), maxRules)] {
		namespace, name, ok := Parent(ref, t.route.Namespace)
		g := slices.IndexFunc(t.around.Gateways, func(g *gatewayv1.Gateway) bool { return g.Namespace == namespace && g.Name == name })
		if !ok || g < 0 {
			continue
		}
		attached = true
		elsewhere := &field.Faults{} // the Gateway's own faults are told to its author
		taken, matching, unknown := 0, 0, 0
		for _, l := range listeners(elsewhere, t.around.Gateways[g], t.around.Grants) {
			if ref.SectionName != nil && *ref.SectionName != l.name || ref.Port != nil && *ref.Port != l.port {
				continue
			}
			matching++
			switch takes, known := l.takes(t.route.Namespace, t.around.Labels); {
			case !known:
				unknown++
			case takes:
				on = append(on, l)
				taken++
			}
		}
		path := field.Index("spec.parentRefs", i)
		switch {
		case matching == 0:
			t.AddReason("NoMatchingParent", path, "Gateway %s/%s has no usable listener of that name and port; correct the reference, or mend the Gateway", namespace, name)
		case unknown > 0:
			t.unread = true
			t.AddReason(Unread, path, "Gateway %s/%s chooses by the labels of namespace %s, which cannot be read, so what was in force stays; grant meridiand's ServiceAccount get, list and watch on namespaces", namespace, name, t.route.Namespace)
		case taken == 0:
			t.AddReason(NotAllowed, path, "no listener of Gateway %s/%s takes routes of namespace %s; allow them there with allowedRoutes.namespaces.from: All, or with a selector that takes the namespace's labels", namespace, name, t.route.Namespace)
		}
	}
	return on, attached
}

// hosts are those that the route has in common with the listeners. Where several
// listeners serve a host, one with a certificate counts.
func (t *httpTranslation) hosts(on []listener) []served {
	wanted := []string{""}
	if len(t.route.Spec.Hostnames) > 0 {
		wanted = nil
	}
	for i, h := range t.route.Spec.Hostnames[:min(len(t.route.Spec.Hostnames), maxRules)] {
		name, err := hostname(string(h))
		if err != nil {
			t.Add(field.Index("spec.hostnames", i), "%v", err)
			continue
		}
		wanted = append(wanted, name)
	}
	by := map[string]fleet.CertificateName{}
	var out []served
	for _, l := range on {
		for _, h := range wanted {
			common, ok := overlap(l.host, h)
			if !ok {
				continue
			}
			if _, there := by[common]; !there {
				out = append(out, served{host: common})
			}
			by[common] = cmp.Or(by[common], l.certificate)
		}
	}
	for i := range out {
		out[i].certificate = by[out[i].host]
	}
	if len(out) == 0 && len(on) > 0 && len(wanted) > 0 {
		t.AddReason("NoMatchingListenerHostname", "spec.hostnames", "no listener serves one of them; add a listener for it, or correct the names")
	}
	return out
}

func (t *httpTranslation) rule(path string, rule gatewayv1.HTTPRouteRule, hosts []served) {
	if len(rule.Filters) > 0 {
		t.AddReason(NotCarried, path+".filters", "have no effect yet, so the rule is left out; remove them to have it")
		return
	}
	if rule.Timeouts != nil {
		t.AddReason(NotCarried, path+".timeouts", "have no effect yet; the rule holds without them")
	}
	if rule.Retry != nil {
		t.AddReason(NotCarried, path+".retry", "has no effect yet; the rule holds without it")
	}
	if rule.SessionPersistence != nil {
		t.AddReason(NotCarried, path+".sessionPersistence", "has no effect yet; the rule holds without it")
	}
	var to []fleet.Target
	for i, ref := range rule.BackendRefs[:min(len(rule.BackendRefs), maxRules)] {
		if target, ok := t.target(field.Index(path+".backendRefs", i), ref); ok {
			to = append(to, target)
		}
	}
	if !slices.ContainsFunc(to, func(t fleet.Target) bool { return t.Weight > 0 }) {
		t.Add(path+".backendRefs", "name no usable service with a weight above 0, so the rule is left out; name one")
		return
	}
	matches := rule.Matches[:min(len(rule.Matches), maxRules)]
	if len(matches) == 0 {
		matches = []gatewayv1.HTTPRouteMatch{{}}
	}
	for i, m := range matches {
		if match, ok := t.match(field.Index(path+".matches", i), m); ok {
			t.add(path, match, to, hosts)
		}
	}
}

// add puts a match up for all hosts; what an earlier rule takes stays with it.
func (t *httpTranslation) add(path string, m fleet.Match, to []fleet.Target, hosts []served) {
	for _, h := range hosts {
		p := place{h.host, m}
		switch {
		case t.at[p] || t.full:
			continue
		case len(t.routes) == MaxRoutes:
			t.Add(path, "is beyond the %d routes that are taken of one HTTPRoute; split it", MaxRoutes)
			t.full = true
			continue
		}
		t.at[p] = true
		t.routes = append(t.routes, fleet.Route{Host: h.host, Match: m, To: to, Certificate: h.certificate, Origin: t.About})
	}
}

func (t *httpTranslation) match(path string, m gatewayv1.HTTPRouteMatch) (fleet.Match, bool) {
	before := t.Count()
	if len(m.Headers) > 0 {
		t.AddReason(NotCarried, path+".headers", "are not compared yet, so the match is left out; remove them to have it")
	}
	if len(m.QueryParams) > 0 {
		t.AddReason(NotCarried, path+".queryParams", "are not compared yet, so the match is left out; remove them to have it")
	}
	if m.Method != nil {
		t.AddReason(NotCarried, path+".method", "is not compared yet, so the match is left out; remove it to have it")
	}
	out := fleet.Match{Type: fleet.PathPrefix, Path: "/"}
	if p := m.Path; p != nil {
		out.Path = deref(p.Value, "/")
		switch deref(p.Type, gatewayv1.PathMatchPathPrefix) {
		case gatewayv1.PathMatchPathPrefix:
		case gatewayv1.PathMatchExact:
			out.Type = fleet.PathExact
		default:
			t.AddReason(NotCarried, path+".path.type", "%s is not compared yet, so the match is left out; write Exact or PathPrefix", field.Quote(string(*p.Type)))
		}
		if fault := badPath(out.Path); fault != "" && t.Count() == before {
			t.Add(path+".path.value", "%s %s", field.Quote(out.Path), fault)
		}
		if t.Count() == before {
			out.Path, _ = fleet.NormalPath(out.Path)
		}
		if out.Type == fleet.PathPrefix && out.Path != "/" {
			out.Path = strings.TrimSuffix(out.Path, "/")
		}
	}
	return out, t.Count() == before
}

// Imports are the backends of an HTTPRoute that name a ServiceImport, by the paths of
// their fields, as GEP-1748 has it.
//
// A ServiceImport is the federated service of its name, and the ports are those of
// the Services that are exported: that is what an import is made from, so its own
// spec is not read. For the same reason the reference is good where any cluster
// serves the service, whether or not somebody has put an import into the host
// cluster: nothing else makes imports there, and a route that worked by the name of
// the Service would stop when it is written in the words of the standard. It is bad
// where neither is there.
func Imports(route *gatewayv1.HTTPRoute) map[string]fleet.ServiceName {
	out := map[string]fleet.ServiceName{}
	for i, rule := range route.Spec.Rules[:min(len(route.Spec.Rules), maxRules)] {
		for j, ref := range rule.BackendRefs[:min(len(rule.BackendRefs), maxRules)] {
			if deref(ref.Group, "") == serviceImports && deref(ref.Kind, "Service") == "ServiceImport" {
				path := field.Index(field.Index("spec.rules", i)+".backendRefs", j) + ".name"
				out[path] = backendName(route, ref)
			}
		}
	}
	return out
}

func backendName(route *gatewayv1.HTTPRoute, ref gatewayv1.HTTPBackendRef) fleet.ServiceName {
	return fleet.ServiceName{Namespace: string(deref(ref.Namespace, gatewayv1.Namespace(route.Namespace))), Name: string(ref.Name)}
}

// target reads a backend. A ServiceImport is the service of its name (Imports).
func (t *httpTranslation) target(path string, ref gatewayv1.HTTPBackendRef) (fleet.Target, bool) {
	before := t.Count()
	group, kind := string(deref(ref.Group, "")), string(deref(ref.Kind, "Service"))
	if !(group == "" && kind == "Service") && !(group == serviceImports && kind == "ServiceImport") {
		t.AddReason("InvalidKind", path+".kind", "only Service and ServiceImport can be backends here; name one of them")
		return fleet.Target{}, false
	}
	if len(ref.Filters) > 0 {
		t.AddReason(NotCarried, path+".filters", "have no effect yet, so the backend is left out; remove them to have it")
	}
	name := backendName(t.route, ref)
	if err := cmp.Or(field.Label(name.Namespace), field.Label(name.Name)); err != nil {
		t.Add(path+".name", "%v", err)
		return fleet.Target{}, false
	}
	if name.Namespace != t.route.Namespace && !granted(t.around.Grants, "HTTPRoute", t.route.Namespace, group, kind, name.Namespace, name.Name) {
		t.AddReason(NotPermitted, path+".namespace", "no ReferenceGrant in %s lets HTTPRoutes of %s name its %s %s; create one there", name.Namespace, t.route.Namespace, kind, name.Name)
	}
	to := fleet.Target{Service: name, Weight: 1}
	if ref.Weight != nil {
		to.Weight = uint32(max(0, min(*ref.Weight, 1_000_000)))
	}
	if ref.Port == nil {
		t.Add(path+".port", "is missing; write the port of the service")
	} else if n, err := field.Port(*ref.Port); err != nil {
		t.Add(path+".port", "%v", err)
	} else {
		to.Port.Number = n
	}
	return to, t.Count() == before
}
