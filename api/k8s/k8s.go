// Package k8s turns ordinary Kubernetes objects into fleet values: a Service with its EndpointSlices, an Ingress.
//
// It is pure, so that objects from API servers and from files mean the same. A
// translator changes nothing it is handed, never panics, and returns what is
// usable with the problems beside it; nil means that nothing is usable, and what
// was known of the object before should stay in force.
package k8s

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meridian-lb/meridian/fleet"
)

// FederateLabel on a Service says "true" when it shall be one service with those
// of the same name in other clusters, and "false" when it shall not.
const FederateLabel = "meridian.dev/federate"

// Federated reports whether a Service asks to be federated. Where other people
// write the Services, as in a cluster's API server, only these are taken: nobody
// shares a service with the world by accident.
func Federated(svc *corev1.Service) bool { return svc.Labels[FederateLabel] == "true" }

// Withheld reports whether a Service refuses to be federated. Where a file was
// written for Meridian, everything in it is taken but these.
func Withheld(svc *corev1.Service) bool { return svc.Labels[FederateLabel] == "false" }

// Outside reports whether a Service points outside its cluster and so is no set of
// endpoints. Whoever writes that means it: what was known of the Service before
// does not stay in force.
func Outside(svc *corev1.Service) bool { return svc.Spec.Type == corev1.ServiceTypeExternalName }

// ServiceOf names the service that an EndpointSlice belongs to; false when it
// names none.
func ServiceOf(slice *discoveryv1.EndpointSlice) (fleet.ServiceName, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return fleet.ServiceName{Namespace: slice.Namespace, Name: name}, name != ""
}
