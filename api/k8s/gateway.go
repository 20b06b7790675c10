package k8s

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// GatewayController is the spec.controllerName of GatewayClasses that are ours.
const GatewayController = "meridian.dev/gateway"

// maxListeners bounds one Gateway, as its schema does.
const maxListeners = 64

// Reasons that others act upon.
const (
	NotCarried   = "NotCarried"            // a field that is understood and has no effect yet
	NotPermitted = "RefNotPermitted"       // no ReferenceGrant lets it name another namespace's object
	NotAllowed   = "NotAllowedByListeners" // no listener takes routes of its namespace
	Unread       = "NamespaceUnread"       // it hangs on the labels of a namespace, and nobody knows these
)

// listener is one usable listener of a Gateway.
type listener struct {
	gateway     *gatewayv1.Gateway
	name        gatewayv1.SectionName
	port        gatewayv1.PortNumber
	host        string                // "" for every host
	certificate fleet.CertificateName // empty: plain HTTP
	from        gatewayv1.FromNamespaces
	selector    labels.Selector // of namespaces, where from says so
}

// Labels are those of a namespace; false while nobody knows them.
type Labels func(namespace string) (labels.Set, bool)

// takes reports whether a listener takes routes of a namespace. Known is false
// where that hangs on labels that nobody knows.
func (l listener) takes(namespace string, of Labels) (takes, known bool) {
	switch l.from {
	case gatewayv1.NamespacesFromAll:
		return true, true
	case gatewayv1.NamespacesFromSame:
		return namespace == l.gateway.Namespace, true
	case gatewayv1.NamespacesFromSelector:
		if of == nil {
			return false, false
		}
		set, known := of(namespace)
		return known && l.selector.Matches(set), known
	}
	return false, true
}

// Gateway says what is wrong with a Gateway, and how many of its listeners are
// usable. The listeners stand wherever Clusters have front doors, so a Gateway
// only says which hosts, certificates and namespaces.
func Gateway(g *gatewayv1.Gateway, grants []*gatewayv1.ReferenceGrant, origin fleet.Origin) (usable int, problems []fleet.Problem) {
	f := &field.Faults{About: origin}
	list := listeners(f, g, grants)
	if len(g.Spec.Addresses) > 0 {
		f.AddReason(NotCarried, "spec.addresses", "has no effect, since addresses are those of the Clusters' gateways; leave it out")
	}
	return len(list), f.Problems()
}

func listeners(f *field.Faults, g *gatewayv1.Gateway, grants []*gatewayv1.ReferenceGrant) []listener {
	var list []listener
	for i, l := range g.Spec.Listeners[:min(len(g.Spec.Listeners), maxListeners)] {
		path := field.Index("spec.listeners", i)
		out := listener{gateway: g, name: l.Name, port: l.Port, from: gatewayv1.NamespacesFromSame}
		before := f.Count()
		switch l.Protocol {
		case gatewayv1.HTTPProtocolType:
		case gatewayv1.HTTPSProtocolType:
			out.certificate = listenerCertificate(f, path+".tls", g, l.TLS, grants)
		default:
			f.AddReason(NotCarried, path+".protocol", "%s is not served yet; write HTTP or HTTPS", field.Quote(string(l.Protocol)))
		}
		host, err := hostname(string(deref(l.Hostname, "")))
		if err != nil {
			f.Add(path+".hostname", "%v", err)
		}
		out.host = host
		if a := l.AllowedRoutes; a != nil {
			if a.Namespaces != nil {
				out.from = deref(a.Namespaces.From, out.from)
			}
			if out.from == gatewayv1.NamespacesFromSelector {
				var err error
				if out.selector, err = selector(a.Namespaces.Selector); err != nil {
					f.Add(path+".allowedRoutes.namespaces.selector", "%v", err)
				}
			}
			if len(a.Kinds) > 0 && !slices.ContainsFunc(a.Kinds, func(k gatewayv1.RouteGroupKind) bool { return k.Kind == "HTTPRoute" }) {
				f.AddReason(NotCarried, path+".allowedRoutes.kinds", "names no HTTPRoute, and no other kind is served yet; add it")
			}
		}
		if f.Count() == before {
			list = append(list, out)
		}
	}
	return list
}

// The bounds of one selector of namespaces.
const (
	maxRequirements = 64
	maxComplaint    = 300 // bytes of what a library says of it
)

// selector reads a selector of namespaces. One without requirements takes all.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return nil, errors.New("is missing, and from: Selector needs one; write matchLabels, or from: Same or All")
	}
	if len(s.MatchLabels)+len(s.MatchExpressions) > maxRequirements {
		return nil, fmt.Errorf("has more than %d requirements; write fewer, or label the namespaces with one word", maxRequirements)
	}
	var one []*metav1.LabelSelector // requirement, in a fixed order, so that the same fault is always named
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		one = append(one, &metav1.LabelSelector{MatchLabels: map[string]string{key: s.MatchLabels[key]}})
	}
	for _, e := range s.MatchExpressions {
		one = append(one, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{e}})
	}
	for _, r := range one {
		if _, err := metav1.LabelSelectorAsSelector(r); err != nil {
			return nil, fmt.Errorf("is no selector (%s); write matchLabels, or matchExpressions with the operators In, NotIn, Exists and DoesNotExist", clipped(err))
		}
	}
	return metav1.LabelSelectorAsSelector(s)
}

// clipped is a library's complaint, which quotes what was written, in one short line.
func clipped(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(err.Error(), ""))
	if len(text) > maxComplaint {
		text = strings.ToValidUTF8(text[:maxComplaint], "") + "..."
	}
	return text
}

// listenerCertificate is the first one that a listener names; one is carried.
func listenerCertificate(f *field.Faults, path string, g *gatewayv1.Gateway, t *gatewayv1.ListenerTLSConfig, grants []*gatewayv1.ReferenceGrant) fleet.CertificateName {
	switch {
	case t == nil || len(t.CertificateRefs) == 0:
		f.Add(path+".certificateRefs", "is empty, so nothing can be served over TLS; name a Secret of type kubernetes.io/tls")
		return ""
	case deref(t.Mode, gatewayv1.TLSModeTerminate) != gatewayv1.TLSModeTerminate:
		f.AddReason(NotCarried, path+".mode", "only Terminate is served yet; write that")
		return ""
	}
	ref := t.CertificateRefs[0]
	path = field.Index(path+".certificateRefs", 0)
	if deref(ref.Group, "") != "" || deref(ref.Kind, "Secret") != "Secret" {
		f.AddReason("InvalidCertificateRef", path+".kind", "only Secrets hold certificates; name a Secret")
		return ""
	}
	namespace := string(deref(ref.Namespace, gatewayv1.Namespace(g.Namespace)))
	if err := cmp.Or(field.Label(namespace), field.Subdomain(string(ref.Name))); err != nil {
		f.AddReason("InvalidCertificateRef", path+".name", "%v", err)
		return ""
	}
	if namespace != g.Namespace && !granted(grants, "Gateway", g.Namespace, "", "Secret", namespace, string(ref.Name)) {
		f.AddReason(NotPermitted, path+".namespace", "no ReferenceGrant in %s lets Gateways of %s name its Secret %s; create one there", namespace, g.Namespace, ref.Name)
		return ""
	}
	return CertificateName(namespace, string(ref.Name))
}

// granted reports whether a namespace lets objects of another one name what it has.
func granted(grants []*gatewayv1.ReferenceGrant, fromKind, fromNamespace, toGroup, toKind, toNamespace, name string) bool {
	return slices.ContainsFunc(grants, func(g *gatewayv1.ReferenceGrant) bool {
		return g.Namespace == toNamespace &&
			slices.ContainsFunc(g.Spec.From, func(f gatewayv1.ReferenceGrantFrom) bool {
				return string(f.Group) == gatewayv1.GroupName && string(f.Kind) == fromKind && string(f.Namespace) == fromNamespace
			}) &&
			slices.ContainsFunc(g.Spec.To, func(t gatewayv1.ReferenceGrantTo) bool {
				return string(t.Group) == toGroup && string(t.Kind) == toKind && (t.Name == nil || string(*t.Name) == name)
			})
	})
}

// overlap is the host that a listener and a route have in common. A wildcard
// takes one label here, as certificates do.
func overlap(a, b string) (string, bool) {
	switch {
	case a == b || b == "":
		return a, true
	case a == "":
		return b, true
	case strings.HasPrefix(a, "*.") && wildcardTakes(a, b):
		return b, true
	case strings.HasPrefix(b, "*.") && wildcardTakes(b, a):
		return a, true
	}
	return "", false
}

func wildcardTakes(wildcard, host string) bool {
	_, parent, ok := strings.Cut(host, ".")
	return ok && !strings.HasPrefix(host, "*") && "*."+parent == wildcard
}
