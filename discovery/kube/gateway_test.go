package kube

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	gatewayAPI = "/apis/gateway.networking.k8s.io/v1"
	hostSource = "i/kube/host"
)

// house is a host cluster with the Gateway API, and who hears of it.
type house struct {
	*brain
	host *site
}

// shown is the status of any kind of the Gateway API.
type shown struct {
	Status struct {
		Conditions []metav1.Condition
		Addresses  []struct{ Value string }
		Listeners  []struct{ AttachedRoutes int }
		Parents    []struct {
			ControllerName string
			Conditions     []metav1.Condition
		}
	}
}

func (h *house) get(t *testing.T, path string) (s shown, err error) {
	t.Helper()
	data, err := h.host.rest().Get().AbsPath(gatewayAPI + path).Do(t.Context()).Raw()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(data, &s)
}

// A diary of the Gateway API, whose kinds come while we watch.
func TestGatewayAPI(t *testing.T) {
	h := &house{brain: &brain{keeper: newKeeper()}, host: sites(t, "host")["host"]}
	h.host.install(t)
	h.host.service(t, "shop", federated, "10.2.0.1")
	h.host.post(t, clustersPath, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: here}, spec: {region: eu, place: {lat: "50", lon: "4"}, gateways: [{address: 192.0.2.1}]}}`)
	h.start(t, Config{Host: h.host.REST(), Member: "here"})
	h.want(t, hostSource, "cluster here")

	crds := "config/crd/standard/gateway.networking.k8s.io_"
	h.host.apply(t, ofModule(t, "sigs.k8s.io/gateway-api", crds+"gatewayclasses.yaml", crds+"gateways.yaml", crds+"httproutes.yaml", crds+"referencegrants.yaml")...)
	h.host.post(t, gatewayAPI+"/gatewayclasses", `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: meridian}, spec: {controllerName: meridian.dev/gateway}}`)
	h.host.post(t, gatewayAPI+"/namespaces/default/gateways", `{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge}, spec: {gatewayClassName: meridian, listeners: [{name: http, port: 80, protocol: HTTP}]}}`)
	h.host.post(t, gatewayAPI+"/namespaces/default/httproutes", `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: shop}, spec: {parentRefs: [{name: edge}],
hostnames: [shop.example.com], rules: [{backendRefs: [{name: shop, port: 80}]}]}}`)
	h.want(t, hostSource, "cluster here", "route httproute/default/shop shop.example.com/ -> default/shop")

	step(t, "objects are served and answered", h.answers)
	step(t, "a host that is added to a route is claimed since then", h.claims)
	step(t, "a ServiceImport is a name of the federated service", h.followsImports)
	step(t, "a permission that is taken back ends what it permitted", h.followsGrants)
	step(t, "a Gateway chooses by the labels of namespaces, which come and go", h.followsLabels)
	step(t, "what leaves us is left without our words, and with everybody else's", h.leaves)
}

func (h *house) answers(t *testing.T) {
	eventually(t, func() error {
		s, err := h.get(t, "/gatewayclasses/meridian")
		if err != nil || !meta.IsStatusConditionTrue(s.Status.Conditions, "Accepted") {
			return fmt.Errorf("the class says %+v, %w", s, err)
		}
		s, err = h.get(t, "/namespaces/default/gateways/edge")
		if err != nil || !meta.IsStatusConditionTrue(s.Status.Conditions, "Programmed") || len(s.Status.Addresses) != 1 || s.Status.Listeners[0].AttachedRoutes != 1 {
			return fmt.Errorf("the Gateway says %+v, %w", s, err)
		}
		s, err = h.get(t, "/namespaces/default/httproutes/shop")
		if err != nil || len(s.Status.Parents) != 1 || !meta.IsStatusConditionTrue(s.Status.Parents[0].Conditions, "ResolvedRefs") || !meta.IsStatusConditionTrue(s.Status.Parents[0].Conditions, "Accepted") {
			return fmt.Errorf("the route says %+v, %w", s, err)
		}
		return nil
	})
	h.host.patch(t, gatewayAPI+"/namespaces/default/httproutes/shop", `{"spec":{"rules":[{"backendRefs":[{"name":"nothing","port":80}]}]}}`)
	eventually(t, func() error {
		s, err := h.get(t, "/namespaces/default/httproutes/shop")
		if err != nil || !meta.IsStatusConditionFalse(s.Status.Parents[0].Conditions, "ResolvedRefs") {
			return fmt.Errorf("the route says %+v, %w", s, err)
		}
		return nil
	})
}

func (h *house) claims(t *testing.T) {
	h.host.patch(t, gatewayAPI+"/namespaces/default/httproutes/shop", `{"spec":{"hostnames":["shop.example.com","more.example.com"],"rules":[{"backendRefs":[{"name":"shop","port":80}]}]}}`)
	h.until(t, func() error {
		set := h.routes(hostSource, "httproute/default/shop")
		if set == nil || !set.Claim("more.example.com").Since.After(set.Origin.Created) || !set.Claim("shop.example.com").Since.Equal(set.Origin.Created) {
			return fmt.Errorf("it says %+v", set)
		}
		return nil
	})
	h.host.patch(t, gatewayAPI+"/namespaces/default/httproutes/shop", `{"spec":{"hostnames":["shop.example.com"]}}`)
	h.want(t, hostSource, "cluster here", "route httproute/default/shop shop.example.com/ -> default/shop")
}

func (h *house) followsImports(t *testing.T) {
	resolved := func(status, says, not string) {
		t.Helper()
		eventually(t, func() error {
			s, err := h.get(t, "/namespaces/default/httproutes/shop")
			if err != nil {
				return err
			}
			if r := meta.FindStatusCondition(s.Status.Parents[0].Conditions, "ResolvedRefs"); r == nil || string(r.Status) != status || !strings.Contains(r.Message, says) || not != "" && strings.Contains(r.Message, not) {
				return fmt.Errorf("the route says %+v", s)
			}
			return nil
		})
	}
	backend := func(name string) {
		h.host.patch(t, gatewayAPI+"/namespaces/default/httproutes/shop", `{"spec":{"rules":[{"backendRefs":[{"group":"multicluster.x-k8s.io","kind":"ServiceImport","name":"`+name+`","port":80}]}]}}`)
	}
	const missing = "spec.rules[0].backendRefs[0].name: there is no ServiceImport default/cart, and no cluster has the service"
	backend("cart")
	resolved("False", "no cluster has the service", "ServiceImport") // there is no such kind, so nobody knows
	h.host.apply(t, ofModule(t, "sigs.k8s.io/mcs-api", "config/crd/multicluster.x-k8s.io_serviceimports.yaml")...)
	resolved("False", missing, "")
	eventually(t, func() error {
		events, err := h.host.admin.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil || !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == "ImportNotFound" }) {
			return fmt.Errorf("%w, %d events", err, len(events.Items))
		}
		return nil
	})
	h.host.post(t, "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/default/serviceimports", `{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, metadata: {name: cart}, spec: {type: ClusterSetIP, ports: [{port: 80}]}}`)
	resolved("False", "no cluster has the service", "ServiceImport")
	backend("shop") // served by a cluster, which is as good as an import
	resolved("True", "", "")
}

func (h *house) followsGrants(t *testing.T) {
	h.host.post(t, "/api/v1/namespaces", `{apiVersion: v1, kind: Namespace, metadata: {name: other}}`)
	h.host.post(t, gatewayAPI+"/namespaces/other/referencegrants", `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: ours}, spec: {
from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: "", kind: Service}]}}`)
	h.host.patch(t, gatewayAPI+"/namespaces/default/httproutes/shop", `{"spec":{"rules":[{"backendRefs":[{"name":"shop","namespace":"other","port":80}]}]}}`)
	h.want(t, hostSource, "cluster here", "route httproute/default/shop shop.example.com/ -> other/shop")
	h.host.delete(t, gatewayAPI+"/namespaces/other/referencegrants/ours")
	h.want(t, hostSource, "cluster here")
}

func (h *house) followsLabels(t *testing.T) {
	h.host.post(t, gatewayAPI+"/namespaces/other/httproutes", `{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: guest}, spec: {parentRefs: [{namespace: default, name: edge}],
hostnames: [guest.example.com], rules: [{backendRefs: [{name: shop, port: 80}]}]}}`)
	h.wantProblem(t, hostSource, "HTTPRoute other/guest in host: NotAllowedByListeners")
	selecting := func(selector string) {
		h.host.patch(t, gatewayAPI+"/namespaces/default/gateways/edge", `{"spec":{"listeners":[{"name":"http","port":80,"protocol":"HTTP","allowedRoutes":{"namespaces":{"from":"Selector","selector":`+selector+`}}}]}}`)
	}
	label := func(value string) {
		h.host.patch(t, "/api/v1/namespaces/other", `{"metadata":{"labels":{"edge":`+value+`}}}`)
	}
	const guest = "route httproute/other/guest guest.example.com/ -> other/shop"
	selecting(`{"matchExpressions":[{"key":"edge","operator":"In","values":["yes"]}]}`)
	h.want(t, hostSource, "cluster here")
	label(`"yes"`)
	h.want(t, hostSource, "cluster here", guest)
	label(`"no"`)
	h.want(t, hostSource, "cluster here")
	label(`"yes"`)
	h.want(t, hostSource, "cluster here", guest)
	selecting(`{"matchExpressions":[{"key":"edge","operator":"Among","values":["yes"]}]}`) // the last good one stays
	h.wantProblem(t, hostSource, `"Among" is not a valid label selector operator`)
	h.want(t, hostSource, "cluster here", guest)
	eventually(t, func() error {
		s, err := h.get(t, "/namespaces/default/gateways/edge")
		if err != nil {
			return err
		}
		if a := meta.FindStatusCondition(s.Status.Conditions, "Accepted"); a == nil || a.Status != "False" || !strings.Contains(a.Message, "operators In, NotIn, Exists and DoesNotExist") {
			return fmt.Errorf("the Gateway says %+v", s)
		}
		return nil
	})
}

func (h *house) leaves(t *testing.T) {
	h.host.patch(t, gatewayAPI+"/namespaces/other/httproutes/guest/status", `{"status":{"parents":[{"parentRef":{"name":"edge","namespace":"default"},"controllerName":"meridian.dev/gateway","conditions":[{"type":"Accepted","status":"True","reason":"Accepted","message":"before","lastTransitionTime":"2026-01-01T00:00:00Z"}]},
{"parentRef":{"name":"else"},"controllerName":"example.com/else","conditions":[{"type":"Accepted","status":"True","reason":"Accepted","message":"theirs","lastTransitionTime":"2026-01-01T00:00:00Z"}]}]}}`)
	parents := func(want ...string) {
		t.Helper()
		eventually(t, func() error {
			s, err := h.get(t, "/namespaces/other/httproutes/guest")
			if err != nil {
				return err
			}
			var got []string
			for _, p := range s.Status.Parents {
				got = append(got, p.ControllerName)
				if len(p.Conditions) == 0 {
					return fmt.Errorf("%s has said nothing yet", p.ControllerName)
				}
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("the route hears of %q, want %q", got, want)
			}
			return nil
		})
	}
	parents("example.com/else", "meridian.dev/gateway")
	h.host.post(t, gatewayAPI+"/gatewayclasses", `{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: else}, spec: {controllerName: example.com/else}}`)
	h.host.patch(t, gatewayAPI+"/namespaces/default/gateways/edge", `{"spec":{"gatewayClassName":"else"}}`)
	parents("example.com/else")
	eventually(t, func() error {
		s, err := h.get(t, "/namespaces/default/gateways/edge")
		if err != nil || len(s.Status.Addresses)+len(s.Status.Listeners) > 0 || len(s.Status.Conditions) != 2 || s.Status.Conditions[0].Message != "Waiting for controller" {
			return fmt.Errorf("the Gateway says %+v, %w", s, err)
		}
		return nil
	})
	h.host.patch(t, gatewayAPI+"/namespaces/other/httproutes/guest/status", `{"status":{"parents":[{"parentRef":{"name":"edge","namespace":"default"},"controllerName":"meridian.dev/gateway","conditions":[{"type":"Accepted","status":"True","reason":"Accepted","message":"before","lastTransitionTime":"2026-01-01T00:00:00Z"}]}]}}`)
	parents()
}
