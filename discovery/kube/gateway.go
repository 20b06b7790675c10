package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// classesOfOurs are the GatewayClasses that name us as their controller.
func (i *Installation) classesOfOurs() []*gatewayv1.GatewayClass {
	return slices.DeleteFunc(i.shelves.gatewayClasses.all(), func(c *gatewayv1.GatewayClass) bool {
		return c.Spec.ControllerName != k8s.GatewayController
	})
}

func (i *Installation) gatewaysOfOurs() []*gatewayv1.Gateway {
	classes := i.classesOfOurs()
	return slices.DeleteFunc(i.shelves.gateways.all(), func(g *gatewayv1.Gateway) bool {
		return !slices.ContainsFunc(classes, func(c *gatewayv1.GatewayClass) bool { return c.Name == string(g.Spec.GatewayClassName) })
	})
}

// surroundings are what routes are read beside.
func (i *Installation) surroundings() k8s.Surroundings {
	return k8s.Surroundings{Gateways: i.gatewaysOfOurs(), Grants: i.shelves.grants.all(), Labels: i.labelsOf}
}

// labelsOf are those of a namespace; false while nobody knows them. A namespace that
// has objects and is not there has not come yet, or is on its way out.
func (i *Installation) labelsOf(namespace string) (labels.Set, bool) {
	n, there := i.shelves.namespaces.get("", namespace)
	if !there {
		return nil, false
	}
	return n.Labels, true
}

// namespacesChanged takes notice of labels that became others; the rest of what
// happens to namespaces is nothing to us.
func (i *Installation) namespacesChanged(list []change[*metav1.PartialObjectMetadata], whole bool) {
	if whole {
		i.meter.lists.WithLabelValues(v1alpha1.HostCluster).Inc()
	}
	moved := slices.ContainsFunc(list, func(c change[*metav1.PartialObjectMetadata]) bool {
		return c.came || c.went || !maps.Equal(c.before.Labels, c.after.Labels)
	})
	if moved || whole {
		i.poke()
	}
}

// gateways adds the routes of the Gateway API.
func (i *Installation) gateways(f *facts) {
	around := i.surroundings()
	for _, g := range around.Gateways {
		_, problems := k8s.Gateway(g, around.Grants, originOf(v1alpha1.HostCluster, "Gateway", g))
		for _, p := range problems {
			f.fault(p)
		}
	}
	for _, r := range i.shelves.httpRoutes.all() {
		set, problems, attached := k8s.HTTPRoute(r, around, originOf(v1alpha1.HostCluster, "HTTPRoute", r))
		switch {
		case !attached:
		case set == nil && i.withdrawn(problems):
			for _, p := range problems {
				f.fault(p)
			}
		default:
			take(f, "httproute/"+r.Namespace+"/"+r.Name, set, set != nil, problems)
		}
	}
}

// withdrawn reports whether somebody else's permission is what a route lacks. That is
// no fault that an author could have made by a slip, after which the last good
// version would stay: who takes a permission back means it. It is believed only
// where everything that could give it has been read.
func (i *Installation) withdrawn(problems []fleet.Problem) bool {
	says := func(reasons ...string) bool {
		return slices.ContainsFunc(problems, func(p fleet.Problem) bool { return slices.Contains(reasons, p.Reason) })
	}
	return i.shelves.gateways.ready() && i.shelves.grants.ready() && says(k8s.NotPermitted, k8s.NotAllowed) && !says(k8s.Unread)
}

// writeGateways writes the conditions that Gateway API asks for, of our classes
// and Gateways and of the routes that hang on them. What other controllers wrote
// to a route is left as it is.
func (s *scribe) writeGateways(ctx context.Context, r *report) {
	for _, c := range s.i.classesOfOurs() {
		want := gatewayv1.GatewayClassStatus{SupportedFeatures: c.Status.SupportedFeatures, Conditions: r.conditions(c.Status.Conditions, c.Generation,
			condition(string(gatewayv1.GatewayClassConditionStatusAccepted), true, string(gatewayv1.GatewayClassReasonAccepted), "served by Meridian"))}
		s.patch(ctx, c, "gatewayclasses", c.Status, want)
	}
	around := s.i.surroundings()
	ours := around.Gateways
	routes := s.i.shelves.httpRoutes.all()
	for _, g := range ours {
		w := r.origin(g, "Gateway")
		usable, _ := k8s.Gateway(g, around.Grants, fleet.Origin{})
		s.patch(ctx, g, "gateways", g.Status, r.gateway(g, w, usable, routes))
	}
	s.leaveGateways(ctx, ours)
	for _, route := range routes {
		_, _, attached := k8s.HTTPRoute(route, around, fleet.Origin{})
		if attached || s.left(route) {
			w := r.origin(route, "HTTPRoute")
			if s.i.shelves.imports.ready() {
				r.imports(route, w, func(n fleet.ServiceName) bool { _, there := s.i.shelves.imports.get(n.Namespace, n.Name); return there })
			}
			s.patch(ctx, route, "httproutes", route.Status, r.httpRoute(route, w, ours))
		}
	}
}

func condition(kind string, ok bool, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if ok {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// gateway shows where a Gateway is served and how many routes hang on it.
func (r *report) gateway(g *gatewayv1.Gateway, w who, usable int, routes []*gatewayv1.HTTPRoute) gatewayv1.GatewayStatus {
	out := gatewayv1.GatewayStatus{AttachedListenerSets: g.Status.AttachedListenerSets}
	for _, a := range r.addresses()[:min(len(r.addresses()), 16)] { // as many as its schema takes
		kind := gatewayv1.IPAddressType
		out.Addresses = append(out.Addresses, gatewayv1.GatewayStatusAddress{Type: &kind, Value: a.String()})
	}
	faults := r.faults[w]
	accepted := condition(string(gatewayv1.GatewayConditionAccepted), true, string(gatewayv1.GatewayReasonAccepted), "understood and in force")
	programmed := condition(string(gatewayv1.GatewayConditionProgrammed), true, string(gatewayv1.GatewayReasonProgrammed), "served in every region")
	switch {
	case usable == 0:
		accepted = condition(accepted.Type, false, string(gatewayv1.GatewayReasonListenersNotValid), problemText(faults))
		programmed = condition(programmed.Type, false, string(gatewayv1.GatewayReasonInvalid), "no listener is usable")
	case len(out.Addresses) == 0:
		programmed = condition(programmed.Type, false, string(gatewayv1.GatewayReasonAddressNotAssigned), "no Cluster has gateways; add some to spec.gateways of one")
	}
	if usable > 0 && len(faults) > 0 {
		accepted.Reason, accepted.Message = string(gatewayv1.GatewayReasonListenersNotValid), problemText(faults)
	}
	out.Conditions = r.conditions(g.Status.Conditions, g.Generation, accepted, programmed)
	for _, l := range g.Spec.Listeners {
		out.Listeners = append(out.Listeners, r.listener(g, l, usable == len(g.Spec.Listeners), faults, routes))
	}
	return out
}

// listener shows one listener. Which of several is at fault is said in words.
func (r *report) listener(g *gatewayv1.Gateway, l gatewayv1.Listener, ok bool, faults []fleet.Problem, routes []*gatewayv1.HTTPRoute) gatewayv1.ListenerStatus {
	group := gatewayv1.Group(gatewayv1.GroupName)
	out := gatewayv1.ListenerStatus{Name: l.Name, SupportedKinds: []gatewayv1.RouteGroupKind{{Group: &group, Kind: "HTTPRoute"}}}
	var before []metav1.Condition
	for _, old := range g.Status.Listeners {
		if old.Name == l.Name {
			before = old.Conditions
		}
	}
	for _, route := range routes {
		for _, ref := range route.Spec.ParentRefs {
			ns, name, is := k8s.Parent(ref, route.Namespace)
			if is && ns == g.Namespace && name == g.Name && (ref.SectionName == nil || *ref.SectionName == l.Name) && len(r.routed[who{"HTTPRoute", route.Namespace, route.Name}]) > 0 {
				out.AttachedRoutes++
				break
			}
		}
	}
	reason, message := string(gatewayv1.ListenerReasonProgrammed), "served in every region"
	if !ok {
		reason, message = string(gatewayv1.ListenerReasonInvalid), problemText(faults)
	}
	out.Conditions = r.conditions(before, g.Generation, condition(string(gatewayv1.ListenerConditionProgrammed), ok, reason, message))
	return out
}

// importNotFound is the reason of a fault in a reference to a ServiceImport.
const importNotFound = "ImportNotFound"

// imports adds the faults of references to ServiceImports that the host cluster does
// not have and that no cluster's service stands for. Only here both are known.
func (r *report) imports(route *gatewayv1.HTTPRoute, w who, there func(fleet.ServiceName) bool) {
	refs := k8s.Imports(route)
	for _, path := range slices.Sorted(maps.Keys(refs)) {
		name := refs[path]
		if r.plan.Services[name] == nil && !there(name) {
			r.faults[w] = append(r.faults[w], fleet.Problem{About: originOf(v1alpha1.HostCluster, w.kind, route), Reason: importNotFound, Message: fmt.Sprintf(
				"%s: there is no ServiceImport %s, and no cluster has the service; export it with a ServiceExport in a cluster that has it, or correct the name", path, name)})
		}
	}
}

// httpRoute keeps the statuses of other controllers' parents and replaces ours.
func (r *report) httpRoute(route *gatewayv1.HTTPRoute, w who, ours []*gatewayv1.Gateway) gatewayv1.HTTPRouteStatus {
	out := gatewayv1.HTTPRouteStatus{}
	out.Parents = []gatewayv1.RouteParentStatus{} // its schema wants the list, be it empty
	for _, p := range route.Status.Parents {
		if p.ControllerName != k8s.GatewayController {
			out.Parents = append(out.Parents, p)
		}
	}
	faults := r.faults[w]
	accepted := condition(string(gatewayv1.RouteConditionAccepted), true, string(gatewayv1.RouteReasonAccepted), "understood and in force")
	resolved := condition(string(gatewayv1.RouteConditionResolvedRefs), true, string(gatewayv1.RouteReasonResolvedRefs), "everything that it names exists")
	if len(r.routed[w]) == 0 {
		accepted = condition(accepted.Type, false, string(gatewayv1.RouteReasonUnsupportedValue), "nothing of it is in force")
	}
	for _, p := range faults {
		switch p.Reason {
		case "ServiceNotFound", "PortNotFound", importNotFound:
			resolved = condition(resolved.Type, false, string(gatewayv1.RouteReasonBackendNotFound), problemText(faults))
		case "RefNotPermitted", "InvalidKind":
			resolved = condition(resolved.Type, false, p.Reason, problemText(faults))
		case "HostConflict", "NotAllowedByListeners", "NoMatchingParent", "NoMatchingListenerHostname":
			if accepted.Status == metav1.ConditionFalse {
				accepted.Reason = p.Reason
			}
			accepted.Message = problemText(faults)
		default:
			accepted.Message = problemText(faults)
		}
	}
	for _, ref := range route.Spec.ParentRefs {
		ns, name, is := k8s.Parent(ref, route.Namespace)
		if !is || !slices.ContainsFunc(ours, func(g *gatewayv1.Gateway) bool { return g.Namespace == ns && g.Name == name }) {
			continue
		}
		var before []metav1.Condition
		for _, old := range route.Status.Parents {
			if old.ControllerName == k8s.GatewayController && sameParent(old.ParentRef, ref) {
				before = old.Conditions
			}
		}
		out.Parents = append(out.Parents, gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: k8s.GatewayController,
			Conditions: r.conditions(before, route.Generation, accepted, resolved)})
	}
	return out
}

func sameParent(a, b gatewayv1.ParentReference) bool {
	same := func(p, q *gatewayv1.SectionName) bool { return (p == nil) == (q == nil) && (p == nil || *p == *q) }
	ns := func(p *gatewayv1.Namespace) gatewayv1.Namespace {
		if p == nil {
			return ""
		}
		return *p
	}
	port := func(p *gatewayv1.PortNumber) gatewayv1.PortNumber {
		if p == nil {
			return 0
		}
		return *p
	}
	return a.Name == b.Name && ns(a.Namespace) == ns(b.Namespace) && same(a.SectionName, b.SectionName) && port(a.Port) == port(b.Port)
}
