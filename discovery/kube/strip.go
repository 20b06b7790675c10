package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/meridian-lb/meridian/api/k8s"
)

// What nobody here reads is not kept: a member may have many objects that are
// not federated.

func stripMeta(m metav1.Object, labels ...string) {
	m.SetAnnotations(nil)
	m.SetFinalizers(nil)
	m.SetOwnerReferences(nil)
	var kept map[string]string
	for _, l := range labels {
		if v, ok := m.GetLabels()[l]; ok {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[l] = v
		}
	}
	m.SetLabels(kept)
}

func stripService(s *corev1.Service) {
	stripMeta(s, k8s.FederateLabel)
	s.Spec = corev1.ServiceSpec{Type: s.Spec.Type, Ports: s.Spec.Ports, IPFamilies: s.Spec.IPFamilies}
	s.Status = corev1.ServiceStatus{}
}

func stripSlice(s *discoveryv1.EndpointSlice) {
	stripMeta(s, discoveryv1.LabelServiceName)
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		e.Hostname, e.TargetRef, e.DeprecatedTopology, e.Hints = nil, nil, nil, nil
		if e.Zone != nil {
			e.NodeName = nil
		}
	}
}

func stripExport(e *mcsv1alpha1.ServiceExport) {
	stripMeta(e)
	e.Status = mcsv1alpha1.ServiceExportStatus{}
}

// stripNamespace keeps every label, since listeners may select by any.
func stripNamespace(n *metav1.PartialObjectMetadata) {
	all := n.GetLabels()
	stripMeta(n)
	n.SetLabels(all)
}

func stripNode(n *metav1.PartialObjectMetadata) { stripMeta(n, corev1.LabelTopologyZone) }
