package kube

import (
	"context"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/k8s"
)

// What we wrote to an object is taken back when it leaves us for another controller,
// or for none: our addresses would go on drawing users and external-dns to where
// nobody serves it. What another controller wrote is left as it is.

// fieldManager is the name under which API servers note what we write.
const fieldManager = "meridiand"

// statusWriters reduces what an API server notes about writers to the names of those
// who wrote the status as it is.
func statusWriters(list []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for _, e := range list {
		if e.Subresource == "status" {
			out = append(out, metav1.ManagedFieldsEntry{Manager: e.Manager, Subresource: e.Subresource})
		}
	}
	return out
}

// oursAlone reports whether a status is what we wrote, and nobody else has written
// to it. The API server's own record outlives restarts, other replicas' turns and
// addresses that have changed since.
func oursAlone(o metav1.Object) bool {
	list := o.GetManagedFields()
	return len(list) > 0 && !slices.ContainsFunc(list, func(e metav1.ManagedFieldsEntry) bool { return e.Manager != fieldManager })
}

// leaveIngresses takes back what Ingresses show that are no longer ours.
func (s *scribe) leaveIngresses(ctx context.Context, ours []*networkingv1.Ingress) {
	if !s.i.shelves.ingressClasses.ready() {
		return // nobody knows whose the others are
	}
	for _, ing := range without(s.i.shelves.ingresses.all(), ours) {
		if oursAlone(ing) {
			s.patch(ctx, ing, "ingresses", ing.Status, networkingv1.IngressStatus{})
		}
	}
}

// leaveGateways takes back what Gateways show that are no longer ours: they wait for
// their controller, as new ones do.
func (s *scribe) leaveGateways(ctx context.Context, ours []*gatewayv1.Gateway) {
	if !s.i.shelves.gatewayClasses.ready() {
		return
	}
	waits := func(kind gatewayv1.GatewayConditionType) metav1.Condition {
		return metav1.Condition{Type: string(kind), Status: metav1.ConditionUnknown, Reason: string(gatewayv1.GatewayReasonPending),
			Message: "Waiting for controller", LastTransitionTime: metav1.Unix(0, 0)}
	}
	want := gatewayv1.GatewayStatus{Conditions: []metav1.Condition{waits(gatewayv1.GatewayConditionAccepted), waits(gatewayv1.GatewayConditionProgrammed)}}
	for _, g := range without(s.i.shelves.gateways.all(), ours) {
		if oursAlone(g) {
			s.patch(ctx, g, "gateways", g.Status, want)
		}
	}
}

// left reports whether a route carries what we said of it for some Gateway. Whether
// that still is ours is known where everything that says so has been read.
func (s *scribe) left(route *gatewayv1.HTTPRoute) bool {
	return s.i.shelves.gatewayClasses.ready() && s.i.shelves.gateways.ready() &&
		slices.ContainsFunc(route.Status.Parents, func(p gatewayv1.RouteParentStatus) bool { return p.ControllerName == k8s.GatewayController })
}

// without are the objects of all that are not among some, both as a shelf lists them.
func without[T metav1.Object](all, some []T) []T {
	are := map[types.NamespacedName]bool{}
	for _, o := range some {
		are[nameOf(o)] = true
	}
	return slices.DeleteFunc(all, func(o T) bool { return are[nameOf(o)] })
}
