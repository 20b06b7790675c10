package kube

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	eventEvery = time.Hour // the same fault is reported again so late
	maxEvents  = 50        // of one writing
)

// apiVersions of the kinds that status is written to.
func apiVersionOf(kind string) schema.GroupVersion {
	switch kind {
	case v1alpha1.KindCluster, v1alpha1.KindTrafficPolicy, v1alpha1.KindZone:
		return v1alpha1.SchemeGroupVersion
	case "Ingress":
		return networkingv1.SchemeGroupVersion
	}
	return gatewayGroup
}

func groupOf(plural string) (schema.GroupVersion, bool) {
	kind, ok := map[string]string{"clusters": "Cluster", "zones": "Zone", "trafficpolicies": "TrafficPolicy", "ingresses": "Ingress",
		"gatewayclasses": "GatewayClass", "gateways": "Gateway", "httproutes": "HTTPRoute"}[plural]
	return apiVersionOf(kind), ok
}

// report makes an Event of every fault of an object that was asked about, once
// an hour. The name is made of the fault, so that replicas do not say it twice.
func (s *scribe) report(ctx context.Context, r *report) {
	for name, at := range s.events {
		if r.now.Sub(at) > 2*eventEvery {
			delete(s.events, name)
		}
	}
	made := 0
	for _, w := range slices.SortedFunc(maps.Keys(r.faults), func(a, b who) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	}) {
		o := r.objects[w]
		if o == nil {
			continue
		}
		for _, p := range r.faults[w] {
			if made == maxEvents {
				return
			}
			if s.event(ctx, r, w, o, p) {
				made++
			}
		}
	}
}

func (s *scribe) event(ctx context.Context, r *report, w who, o metav1.Object, p fleet.Problem) bool {
	message := oneLimit(p.Message)
	message = message[:min(len(message), 1000)] // the API server takes no longer one
	sum := sha256.Sum256([]byte(string(o.GetUID()) + "\x00" + p.Reason + "\x00" + p.Message + "\x00" + r.now.Truncate(eventEvery).UTC().Format(time.RFC3339)))
	name := cutName(w.name, 230) + "." + hex.EncodeToString(sum[:8])
	if _, done := s.events[name]; done {
		return false
	}
	namespace := cmp.Or(w.namespace, metav1.NamespaceDefault)
	now := metav1.NewTime(r.now)
	e := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject: corev1.ObjectReference{APIVersion: apiVersionOf(w.kind).String(), Kind: w.kind, Namespace: w.namespace, Name: w.name,
			UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()},
		Reason: p.Reason, Message: message, Type: corev1.EventTypeWarning,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source: corev1.EventSource{Component: "meridiand"}, ReportingController: "meridian.dev/meridiand", ReportingInstance: r.instance,
	}
	c, err := s.i.server.rest(corev1.SchemeGroupVersion)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	err = c.Post().Namespace(namespace).Resource("events").Body(e).Do(ctx).Error()
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.i.meter.writes.WithLabelValues("events", "failed").Inc()
		if !apierrors.IsForbidden(err) {
			return true // tried again, and counted against the bound
		}
	} else {
		s.i.meter.writes.WithLabelValues("events", "written").Inc()
	}
	s.events[name] = r.now
	return true
}

func cutName(s string, most int) string { return s[:min(len(s), most)] }
