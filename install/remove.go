package install

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Removal is an order to delete a FederatedObject.
type Removal struct {
	Orphan bool          // the clusters keep what they have
	Force  bool          // clusters that do not answer are not waited for; they keep what they have
	Wait   time.Duration // for the clusters to show that nothing is left; at least a second
}

// Remove deletes a FederatedObject of the host cluster and waits until it is gone,
// which it is when the clusters have shown that nothing is left of it.
func Remove(ctx context.Context, host *Reach, o *unstructured.Unstructured, r Removal, p Progress) error {
	on := host.dynamic.Resource(federatedResource).Namespace(o.GetNamespace())
	change := map[string]any{}
	if r.Orphan {
		change["spec"] = map[string]any{"deletion": v1alpha1.DeletionOrphan}
	}
	if r.Force {
		change["metadata"] = map[string]any{"annotations": map[string]any{v1alpha1.LetGoAnnotation: "true"}}
	}
	if len(change) > 0 {
		patch, err := json.Marshal(change)
		if err != nil {
			return err
		}
		_, err = on.Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: federator})
		if err != nil && !apierrors.IsNotFound(err) {
			return host.explain("changing "+name(o), err)
		}
	}
	uid := o.GetUID()
	if err := on.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil && !apierrors.IsNotFound(err) {
		return host.explain("deleting "+name(o), err)
	}
	end := time.NewTimer(max(r.Wait, time.Second))
	defer end.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for told := time.Now(); ; {
		now, err := on.Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && now.GetUID() != uid:
			p.Say("  %s deleted", name(o))
			return nil
		case err != nil:
			return host.explain("reading "+name(o), err)
		}
		o = now
		if time.Since(told) >= sayEvery {
			told = time.Now()
			p.Say("  … %s: %s", name(o), holdup(o))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return fmt.Errorf("%s is being deleted and still there: %s; it goes by itself when that is over, or with --force, which lets go of clusters that do not answer", name(o), holdup(o))
		case <-look.C:
		}
	}
}

// holdup is what a FederatedObject that is being deleted waits for.
func holdup(o *unstructured.Unstructured) string {
	var f v1alpha1.FederatedObject
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &f); err == nil {
		if c := meta.FindStatusCondition(f.Status.Conditions, v1alpha1.ConditionPlaced); c != nil && c.Reason == v1alpha1.ReasonDeleting {
			return c.Message
		}
	}
	return "no daemon has said yet what it waits for; \"meridian check\" says whether one runs"
}
