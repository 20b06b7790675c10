package plain

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/api/v1alpha1"
)

const (
	// finalizer keeps an object until its clusters have let go of what they have of it.
	finalizer = "meridian.dev/federated"
	// sourceAnnotation is on every FederatedObject that was made of an object: the
	// generation of that object.
	sourceAnnotation = "meridian.dev/source-generation"
)

// stays says why an object stays where it is and is not federated; empty: it is.
func (f *Federator) stays(o *unstructured.Unstructured) string {
	switch ns := o.GetNamespace(); {
	case ns == f.cfg.Namespace:
		return "it belongs to the installation"
	case strings.HasPrefix(ns, "kube-"):
		return "it belongs to the API server"
	case o.GetLabels()[k8s.FederateLabel] == "false":
		return "its label says so"
	case o.GetAPIVersion() == "v1" && o.GetKind() == "Secret" && strings.HasPrefix(secretType(o), "helm.sh/"):
		return "it is helm's memory of what was installed here"
	}
	return v1alpha1.Bound(o)
}

func secretType(o *unstructured.Unstructured) string {
	t, _, _ := unstructured.NestedString(o.Object, "type")
	return t
}

// templateOf is what clusters are given of an object.
func templateOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	t, _ := v1alpha1.Clean(o)
	unstructured.RemoveNestedField(t.Object, "metadata", "finalizers")
	labels, annotations := t.GetLabels(), t.GetAnnotations()
	delete(labels, k8s.FederateLabel)
	if t.GetAPIVersion() == "v1" && t.GetKind() == "Service" { // one of that name is one in all clusters
		if labels == nil {
			labels = map[string]string{}
		}
		labels[k8s.FederateLabel] = "true"
	}
	delete(annotations, "deprecated.daemonset.template.generation") // each API server counts for itself
	delete(annotations, v1alpha1.LetGoAnnotation)
	t.SetLabels(orNone(labels))
	t.SetAnnotations(orNone(annotations))
	return t
}

// orNone is nothing in place of an empty map, which an API server does not keep: what it
// has would never be what is wanted.
func orNone(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// sourceOf says of which object a FederatedObject was made; false: somebody wrote it.
func sourceOf(o *unstructured.Unstructured) (key, bool) {
	owner := metav1.GetControllerOf(o)
	if _, made := o.GetAnnotations()[sourceAnnotation]; owner == nil || !made {
		return key{}, false
	}
	return key{schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind), types.NamespacedName{Namespace: o.GetNamespace(), Name: owner.Name}}, true
}
