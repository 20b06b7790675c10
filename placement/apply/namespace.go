package apply

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

var namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")

// namespaceLabels are those of a namespace of the host cluster, which go along when a
// member's namespace is made: what Pod Security and network policies go by. Without them
// it would be guarded otherwise than its author meant, so a failure to read makes none.
func (a *Applier) namespaceLabels(ctx context.Context, name string) (map[string]string, error) {
	ns, err := a.conn.client.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		// Not as it is: it says nothing of the member.
		return nil, fmt.Errorf("reading the labels of namespace %s in the host cluster, which the member's is to have: %s", name, reason(err))
	}
	labels := maps.Clone(ns.GetLabels())
	delete(labels, corev1.LabelMetadataName) // every API server sets its own
	return labels, nil
}

// makeNamespace makes a namespace that a workload needs. One that is there stays as it
// is, labels too: it is the member's. Nor do labels follow later, for whoever may relabel
// one namespace may relabel all of them.
func (m *member) makeNamespace(ctx context.Context, name string, sake *unstructured.Unstructured) error {
	labels, err := m.labels(ctx, name)
	if err != nil {
		return err
	}
	_, from, _ := placement.OwnerOf(sake)
	ns := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "annotations": map[string]any{namespaceAnnotation: from}},
	}}
	if len(labels) > 0 {
		ns.SetLabels(labels)
	}
	m.mu.Lock()
	client := m.conn.client
	m.mu.Unlock()
	_, err = client.Resource(namespaces).Create(ctx, ns, metav1.CreateOptions{FieldManager: placement.Manager})
	m.meter.write(m.name, "namespace", err)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
