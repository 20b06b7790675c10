package placement

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Successor is the manager that spec.replicas is handed over to when an autoscaler of
// the member is to decide them.
const Successor = "meridian-handover"

// Release is the JSON patch that leaves a placed object to its cluster: our marks go,
// and our names from its managed fields, so that nobody is in the way of whoever
// manages it next. Nothing else of it changes, so that no pod starts anew. It fits just
// the object that was read.
func Release(live *unstructured.Unstructured) ([]byte, error) {
	labels, annotations := live.GetLabels(), live.GetAnnotations()
	delete(labels, LabelPlaced)
	for _, a := range []string{AnnotationPlacedBy, AnnotationPlacedFrom, AnnotationNeededBy, AnnotationApplied} {
		delete(annotations, a)
	}
	fields := slices.DeleteFunc(live.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == Manager || f.Manager == Successor
	})
	if len(fields) == 0 {
		fields = []metav1.ManagedFieldsEntry{{}} // an empty list would mean: as it was
	}
	return json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": live.GetUID()},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()},
		{"op": "add", "path": "/metadata/labels", "value": labels},
		{"op": "add", "path": "/metadata/annotations", "value": annotations},
		{"op": "add", "path": "/metadata/managedFields", "value": fields},
	})
}
