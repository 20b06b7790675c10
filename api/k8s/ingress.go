package k8s

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	// IngressClass is the class of Ingresses that are ours.
	IngressClass = "meridian"
	// IngressController is the spec.controller of an IngressClass that is ours.
	IngressController = "meridian.dev/ingress"
	// IngressClassAnnotation is how a class was written before there was a field.
	IngressClassAnnotation = "kubernetes.io/ingress.class"
)

// The bounds of one Ingress.
const (
	MaxRoutes = 2000
	maxPath   = 1024
	maxTLS    = 1000
)

// Class is the class of an Ingress, by field or, where that is not set, by the
// old annotation; empty: it names none.
func Class(ing *networkingv1.Ingress) string {
	if c := ing.Spec.IngressClassName; c != nil {
		return *c
	}
	return ing.Annotations[IngressClassAnnotation]
}

// Classes are the classes, by name, of Ingresses that are ours. The empty name is
// among them when Ingresses that name no class are of one of these by default.
func Classes(all []*networkingv1.IngressClass) map[string]bool {
	ours := map[string]bool{IngressClass: true}
	for _, c := range all {
		if c.Spec.Controller == IngressController {
			ours[c.Name] = true
			ours[""] = ours[""] || c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		}
	}
	return ours
}

// Routes makes the routes of an Ingress, sorted by host and most specific match;
// whether it is ours is for the caller to ask (Class). A rule or path with a
// fault is left out. It returns nil when no route is left.
//
// The default backend takes what no rule takes: every host where there are no
// rules, else what is left over of the Ingress's own hosts. So an Ingress never
// catches hosts that it does not name, unless it names none.
func Routes(ing *networkingv1.Ingress, origin fleet.Origin) (*fleet.RouteSet, []fleet.Problem) {
	t := &translation{Faults: field.Faults{About: origin}, ing: ing, at: map[place]int{}}
	if err := field.Label(ing.Namespace); err != nil {
		t.Add("metadata.namespace", "%v", err)
	}
	if err := field.Subdomain(ing.Name); err != nil {
		t.Add("metadata.name", "%v", err)
	}
	if t.Count() > 0 {
		return nil, t.Problems()
	}
	t.secured()
	rest, hasRest := t.defaultBackend()
	hosts := []string{""} // that the default backend catches
	if len(ing.Spec.Rules) > 0 {
		hosts = t.rules(hasRest)
	} else if ing.Spec.DefaultBackend == nil {
		t.Add("spec", "has neither rules nor a default backend, so it routes nothing; write one of them")
	}
	if hasRest {
		for _, h := range hosts {
			t.leftOver(h, rest)
		}
	}
	if len(t.routes) == 0 {
		return nil, t.Problems()
	}
	slices.SortFunc(t.routes, func(a, b fleet.Route) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.Match.Compare(b.Match))
	})
	return &fleet.RouteSet{Routes: t.routes, Origin: origin}, t.Problems()
}

// translation is one Ingress on its way.
type translation struct {
	field.Faults
	ing    *networkingv1.Ingress
	forAll fleet.CertificateName            // of the entry without hosts, which speaks for all
	byHost map[string]fleet.CertificateName // of the other entries
	routes []fleet.Route
	at     map[place]int // in routes
	full   bool
}

// place is what a route of one Ingress may be written for once.
type place struct {
	host  string
	match fleet.Match
}

// secured notes with which certificates hosts are served over TLS. Of several
// entries about a host the first counts.
func (t *translation) secured() {
	t.byHost = map[string]fleet.CertificateName{}
	for i, entry := range t.ing.Spec.TLS {
		path := field.Index("spec.tls", i)
		if err := field.Subdomain(entry.SecretName); err != nil {
			t.Add(path+".secretName", "%v", err)
			continue
		}
		certificate := CertificateName(t.ing.Namespace, entry.SecretName)
		if len(entry.Hosts) == 0 {
			t.forAll = cmp.Or(t.forAll, certificate)
		}
		for j, host := range entry.Hosts {
			path := field.Index(path+".hosts", j)
			if len(t.byHost) == maxTLS {
				t.Add(path, "is beyond the %d hosts that are taken; split the Ingress", maxTLS)
				return
			}
			name, err := hostname(host)
			if err != nil {
				t.Add(path, "%v", err)
				continue
			}
			t.byHost[name] = cmp.Or(t.byHost[name], certificate)
		}
	}
}

// certificate is the one of the entry of spec.tls that speaks for a host: by its
// name, by a wildcard of one label, as certificates do, or for all.
func (t *translation) certificate(host string) fleet.CertificateName {
	_, parent, _ := strings.Cut(host, ".")
	return cmp.Or(t.byHost[host], t.byHost["*."+parent], t.forAll)
}

func (t *translation) defaultBackend() (fleet.Target, bool) {
	if t.ing.Spec.DefaultBackend == nil {
		return fleet.Target{}, false
	}
	return t.target("spec.defaultBackend", *t.ing.Spec.DefaultBackend)
}

// rules adds the routes of all rules and returns the hosts that they name.
func (t *translation) rules(hasRest bool) []string {
	var hosts []string
	known := map[string]bool{}
	for i, rule := range t.ing.Spec.Rules {
		path := field.Index("spec.rules", i)
		host, err := hostname(rule.Host)
		if err != nil {
			t.Add(path+".host", "%v", err)
			continue
		}
		if !known[host] && len(hosts) < MaxRoutes {
			known[host] = true
			hosts = append(hosts, host)
		}
		switch {
		case rule.HTTP == nil && !hasRest:
			t.Add(path+".http", "is missing and there is no usable default backend to take its place; write paths, or spec.defaultBackend")
		case rule.HTTP == nil:
		default:
			for j, p := range rule.HTTP.Paths {
				t.path(field.Index(path+".http.paths", j), host, p)
			}
		}
	}
	return hosts
}

func (t *translation) path(path, host string, p networkingv1.HTTPIngressPath) {
	if t.full {
		return
	}
	m, ok := t.match(path, p)
	to, ok2 := t.target(path+".backend", p.Backend)
	if !ok || !ok2 {
		return
	}
	if i, ok := t.at[place{host, m}]; ok {
		if !reflect.DeepEqual(t.routes[i].To, []fleet.Target{to}) {
			t.Add(path+".path", "%s %s of this host already goes elsewhere in this Ingress, so this one does not hold; remove one of them", m.Type, field.Quote(m.Path))
		}
		return
	}
	t.add(path, host, m, to)
}

// leftOver gives the default backend what no rule of the host takes.
func (t *translation) leftOver(host string, to fleet.Target) {
	m := fleet.Match{Type: fleet.PathPrefix, Path: "/"}
	if _, taken := t.at[place{host, m}]; !taken {
		t.add("spec.defaultBackend", host, m, to)
	}
}

func (t *translation) add(path, host string, m fleet.Match, to fleet.Target) {
	if len(t.routes) == MaxRoutes {
		if !t.full {
			t.Add(path, "is beyond the %d routes that are taken of one Ingress; split it", MaxRoutes)
		}
		t.full = true
		return
	}
	t.at[place{host, m}] = len(t.routes)
	t.routes = append(t.routes, fleet.Route{Host: host, Match: m, To: []fleet.Target{to}, Certificate: t.certificate(host), Origin: t.About})
}

// match reads a path. ImplementationSpecific is Prefix here; what looks like the
// pattern of another implementation is refused rather than taken literally.
func (t *translation) match(path string, p networkingv1.HTTPIngressPath) (fleet.Match, bool) {
	kind := networkingv1.PathTypeImplementationSpecific
	if p.PathType != nil {
		kind = *p.PathType
	}
	before := t.Count()
	m := fleet.Match{Type: fleet.PathPrefix, Path: p.Path}
	switch kind {
	case networkingv1.PathTypeExact:
		m.Type = fleet.PathExact
	case networkingv1.PathTypePrefix:
		m.Path = cmp.Or(m.Path, "/")
	case networkingv1.PathTypeImplementationSpecific:
		m.Path = cmp.Or(m.Path, "/")
		if strings.ContainsAny(m.Path, `*^$()[]{}|\`) {
			t.Add(path+".path", "%s looks like a pattern, and patterns are not taken; write a plain path with pathType Prefix or Exact", field.Quote(m.Path))
		}
	default:
		t.Add(path+".pathType", "%s is unknown; choose Exact, Prefix or ImplementationSpecific", field.Quote(string(kind)))
	}
	if fault := badPath(m.Path); fault != "" {
		t.Add(path+".path", "%s %s", field.Quote(m.Path), fault)
	} else {
		m.Path, _ = fleet.NormalPath(m.Path)
	}
	if m.Type == fleet.PathPrefix && m.Path != "/" {
		m.Path = strings.TrimSuffix(m.Path, "/")
	}
	return m, t.Count() == before
}

// badPath says why a path cannot be meant as it is written, though gateways would
// see another one; empty: it only may have to be encoded otherwise.
func badPath(p string) string {
	lower := strings.ToLower(p)
	_, unescape := url.PathUnescape(p)
	switch {
	case !strings.HasPrefix(p, "/"):
		return "does not begin with '/'; put one before it"
	case len(p) > maxPath:
		return "is too long; write at most 1024 characters"
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r >= 0x7f }) || strings.ContainsAny(p, `?#"<>`+"`"):
		return "has characters that a path cannot carry; percent-encode them, and leave the query out"
	case strings.Contains(p, "//"), strings.Contains(lower, "%2f"), strings.Contains(lower, "%5c"), strings.Contains(lower, "%00"):
		return "has an empty element or an encoded slash, which gateways never see; write plain elements"
	case strings.Contains(p, `\`):
		return "has a backslash, which gateways take for a slash; write '/'"
	case unescape != nil:
		return "has a '%' that encodes nothing, which gateways refuse; write %25"
	}
	for element := range strings.SplitSeq(strings.ReplaceAll(lower, "%2e", "."), "/") {
		if element, _, _ = strings.Cut(element, ";"); element == "." || element == ".." {
			return "has the element '.' or '..', which gateways resolve before they compare; write the path that is meant"
		}
	}
	return ""
}

// target reads a backend. A port is named by number or by name, never by both.
func (t *translation) target(path string, b networkingv1.IngressBackend) (fleet.Target, bool) {
	before := t.Count()
	switch {
	case b.Resource != nil:
		t.AddReason("ResourceBackend", path+".resource", "only services can be backends here; write service: {name, port}")
		return fleet.Target{}, false
	case b.Service == nil:
		t.Add(path+".service", "is missing; write service: {name, port}")
		return fleet.Target{}, false
	}
	s := b.Service
	if err := field.Label(s.Name); err != nil {
		t.Add(path+".service.name", "%v", err)
	}
	to := fleet.Target{Service: fleet.ServiceName{Namespace: t.ing.Namespace, Name: s.Name}, Weight: 1}
	switch {
	case s.Port.Name != "" && s.Port.Number != 0:
		t.Add(path+".service.port", "has both name and number; write one of them")
	case s.Port.Name != "":
		if err := field.Label(s.Port.Name); err != nil {
			t.Add(path+".service.port.name", "%v", err)
		}
		to.Port.Name = s.Port.Name
	default:
		n, err := field.Port(s.Port.Number)
		if err != nil {
			t.Add(path+".service.port", "%v", err)
		}
		to.Port.Number = n
	}
	return to, t.Count() == before
}

// hostname reads a host of a rule: lower-cased, "" for every host, a wildcard of
// one label.
func hostname(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if len(s) <= 255 { // beyond, it is refused below and need not be changed
		s = strings.ToLower(strings.TrimSuffix(s, "."))
	}
	return s, field.Hostname(s, true)
}
