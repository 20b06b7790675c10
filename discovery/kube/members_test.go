package kube

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/fleet"
)

// What a member said before a restart is forgotten when it leaves: one of its name
// that comes later begins with nothing.
func TestAMemberThatLeftIsForgotten(t *testing.T) {
	known := []fleet.Update{{Source: "i/kube/a"}, {Source: "i/kube/b"}, {Source: "i/file/a"}}
	ms := &members{cfg: Config{Instance: "i", Known: known}}
	ms.forget("a")
	if len(ms.cfg.Known) != 2 || ms.cfg.Known[0].Source != "i/kube/b" || ms.cfg.Known[1].Source != "i/file/a" {
		t.Errorf("remembered: %+v", ms.cfg.Known)
	}
	if len(known) != 3 || known[0].Source != "i/kube/a" {
		t.Errorf("somebody else's list was changed: %+v", known)
	}
}

// A service that only an export explains stays while exports may not be seen, and
// goes where there is no such kind.
func TestUnseenExportsTakeNothingAway(t *testing.T) {
	group := schema.GroupResource{Group: "multicluster.x-k8s.io", Resource: "serviceexports"}
	for says, c := range map[string]struct {
		err  error
		keep bool
	}{
		"forbidden": {apierrors.NewForbidden(group, "", nil), true},
		"not found": {apierrors.NewNotFound(group, ""), false},
	} {
		m := newMember("a", "i/kube/a", Config{Log: slog.New(slog.DiscardHandler)}, newMetrics(prometheus.NewRegistry()))
		if err := m.services.Replace([]any{&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}}, ""); err != nil {
			t.Fatal(err)
		}
		for _, k := range m.kinds {
			k.note(c.err)
		}
		if _, _, keep := m.backend(fleet.ServiceName{Namespace: "shop", Name: "cart"}); keep != c.keep {
			t.Errorf("%s: kept %v, want %v", says, keep, c.keep)
		}
	}
}

// A route that a listener takes for the labels of its namespace stays while nobody may
// read these.
func TestUnseenNamespacesTakeNothingAway(t *testing.T) {
	i := &Installation{voice: newVoice("i/kube/host", nil, nil), secrets: newSecrets(func() {})}
	from, host := gatewayv1.NamespacesFromSelector, gatewayv1.Hostname("a.test")
	shelve(t, &i.shelves.gatewayClasses, &gatewayv1.GatewayClass{ObjectMeta: metav1.ObjectMeta{Name: "ours"}, Spec: gatewayv1.GatewayClassSpec{ControllerName: k8s.GatewayController}})
	shelve(t, &i.shelves.gateways, &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "edge"}, Spec: gatewayv1.GatewaySpec{GatewayClassName: "ours",
		Listeners: []gatewayv1.Listener{{Name: "own", Port: 80, Protocol: gatewayv1.HTTPProtocolType, Hostname: &host}, {Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType, AllowedRoutes: &gatewayv1.AllowedRoutes{
			Namespaces: &gatewayv1.RouteNamespaces{From: &from, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"edge": "yes"}}}}}}}})
	infra := gatewayv1.Namespace("infra")
	shelve(t, &i.shelves.httpRoutes, &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "r"}, Spec: gatewayv1.HTTPRouteSpec{
		CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Namespace: &infra, Name: "edge"}}}}})
	shelve(t, &i.shelves.grants)
	name := fleet.FactName{Kind: fleet.KindRoutes, Name: "httproute/shop/r"}
	before := map[fleet.FactName]fleet.Value{name: &fleet.RouteSet{}}
	look := func() news { n := news{}; i.facts().into(n, before); return n }

	n := look()
	if _, said := n[name]; said {
		t.Errorf("namespaces unread, and it is told %v", n[name])
	}
	if said := fmt.Sprint(n); !strings.Contains(said, "which cannot be read, so what was in force stays; grant") {
		t.Errorf("nobody hears why: %s", said)
	}
	shelve(t, &i.shelves.namespaces, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	n = look()
	if v, said := n[name]; !said || v != nil {
		t.Errorf("namespaces read, and the route is not gone: %v, %v", v, said)
	}
}

// shelve makes these the list of a kind.
func shelve[T metav1.Object](t *testing.T, s *shelf[T], objects ...T) {
	t.Helper()
	s.changed = func([]change[T], bool) {}
	list := make([]any, len(objects))
	for n, o := range objects {
		list[n] = o
	}
	if err := s.Replace(list, ""); err != nil {
		t.Fatal(err)
	}
}

// A route whose class nobody may read is not gone; one whose Ingress is gone is.
func TestUnseenClassesTakeNothingAway(t *testing.T) {
	i := &Installation{}
	quiet := func([]change[*networkingv1.Ingress], bool) {}
	i.shelves.ingresses.changed = quiet
	if err := i.shelves.ingresses.Replace([]any{&networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}}, ""); err != nil {
		t.Fatal(err)
	}
	unread := func(name string) bool {
		return i.unread(fleet.FactName{Kind: fleet.KindRoutes, Name: "ingress/shop/" + name})
	}
	if !unread("web") || unread("gone") {
		t.Errorf("without classes: there %v, gone %v", unread("web"), unread("gone"))
	}
	i.shelves.ingressClasses.changed = func([]change[*networkingv1.IngressClass], bool) {}
	if err := i.shelves.ingressClasses.Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if unread("web") {
		t.Error("with classes, what is not ours any more is gone")
	}
}
