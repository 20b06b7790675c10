package apply

import (
	"context"
	"encoding/json"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// orphan leaves an object to its cluster: our marks go, and our name from its
// managed fields, so that nobody is in the way of whoever manages it next. Nothing
// else of it changes, so that no pod starts anew.
func (m *member) orphan(ctx context.Context, r ref, as account, on dynamic.ResourceInterface) (outcome, error) {
	leaving := outcome{state: v1alpha1.WorkloadLeaving, reason: "Orphaned", message: "it is left to the cluster"}
	o, err := on.Get(ctx, r.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !noSuchResource(err):
		return leaving, nil
	case err != nil:
		return failed(r, "get", account{}, err), err
	case len(neededBy(o)) == 0:
		return leaving, nil
	}
	labels, annotations := o.GetLabels(), o.GetAnnotations()
	delete(labels, placement.LabelPlaced)
	for _, a := range ourAnnotations {
		delete(annotations, a)
	}
	fields := slices.DeleteFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == placement.Manager || f.Manager == successor
	})
	if len(fields) == 0 {
		fields = []metav1.ManagedFieldsEntry{{}} // an empty list would mean: as it was
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": o.GetUID()},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": o.GetResourceVersion()},
		{"op": "add", "path": "/metadata/labels", "value": labels},
		{"op": "add", "path": "/metadata/annotations", "value": annotations},
		{"op": "add", "path": "/metadata/managedFields", "value": fields},
	})
	if err != nil {
		return failed(r, "orphan", as, err), err
	}
	_, err = on.Patch(as.in(ctx), r.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: placement.Manager})
	if apierrors.IsForbidden(err) && !as.nobody() { // as with what is deleted
		if _, ours := on.Patch(ctx, r.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: placement.Manager}); ours == nil {
			err = nil
		}
	}
	m.meter.write(m.name, "orphan", err)
	if err != nil {
		return failed(r, "orphan", as, err), err
	}
	return leaving, nil
}
