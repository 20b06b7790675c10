package apply

import (
	"context"

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
	patch, err := placement.Release(o)
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
