package apply

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

// successor is the manager that the wanted replicas are handed over to when an autoscaler
// of the member is to decide them: a field that nobody manages any more is removed,
// and an API server would fill in 1.
const successor = placement.Successor

// ownsField reports whether a field is among some.
func ownsField(f *metav1.FieldsV1, path []string) bool {
	var fields map[string]any
	if json.Unmarshal(f.GetRawBytes(), &fields) != nil {
		return false
	}
	for _, name := range path {
		next, ok := fields["f:"+name].(map[string]any)
		if !ok {
			return false
		}
		fields = next
	}
	return true
}

// handsOver reports whether applying o would give up the replicas, which are ours.
func handsOver(o *unstructured.Unstructured, l *live, replicas []string) bool {
	_, wanted, _ := unstructured.NestedFieldNoCopy(o.Object, replicas...)
	return l != nil && l.replicas && !wanted
}

// handover is what the successor applies: the replicas that there are.
func handover(l *live, replicas []string) (*unstructured.Unstructured, bool) {
	n, ok, _ := unstructured.NestedInt64(l.object.Object, replicas...)
	if !ok {
		return nil, false
	}
	h := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": l.object.GetAPIVersion(), "kind": l.object.GetKind(),
		"metadata": map[string]any{"name": l.object.GetName(), "namespace": l.object.GetNamespace()},
	}}
	return h, unstructured.SetNestedField(h.Object, n, replicas...) == nil
}
