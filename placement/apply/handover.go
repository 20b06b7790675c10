package apply

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

// successor is the manager that spec.replicas is handed over to when an autoscaler
// of the member is to decide them: a field that nobody manages any more is removed,
// and an API server would fill in 1.
const successor = placement.Successor

// ownsReplicas reports whether spec.replicas is among some fields.
func ownsReplicas(f *metav1.FieldsV1) bool {
	var fields struct {
		Spec struct {
			Replicas *struct{} `json:"f:replicas"`
		} `json:"f:spec"`
	}
	return json.Unmarshal(f.GetRawBytes(), &fields) == nil && fields.Spec.Replicas != nil
}

// handsOver reports whether applying o would give up spec.replicas, which are ours.
func handsOver(o *unstructured.Unstructured, l *live) bool {
	_, wanted, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas")
	return l != nil && l.replicas && !wanted
}

// handover is what the successor applies: the replicas that there are.
func handover(l *live) (*unstructured.Unstructured, bool) {
	n, ok, _ := unstructured.NestedInt64(l.object.Object, "spec", "replicas")
	if !ok {
		return nil, false
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": l.object.GetAPIVersion(), "kind": l.object.GetKind(),
		"metadata": map[string]any{"name": l.object.GetName(), "namespace": l.object.GetNamespace()},
		"spec":     map[string]any{"replicas": n},
	}}, true
}
