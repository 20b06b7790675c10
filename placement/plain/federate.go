package plain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// manager is the field manager of what is written here.
const manager = "meridiand"

// federate brings the FederatedObject of one object in line with it, and its status in
// line with what its clusters show.
func (f *Federator) federate(ctx context.Context, k key) error {
	s := f.shelf(k.GroupVersionKind)
	if s == nil || !s.ready() || !f.federated.ready() || !f.placements.ready() || !f.ruled() {
		return nil // a whole list has it looked at again
	}
	o := s.get(k.NamespacedName)
	name := types.NamespacedName{Namespace: k.Namespace, Name: v1alpha1.FederatedName(k.Kind, k.Name)}
	made := f.federated.get(name)
	if made != nil {
		if source, ok := sourceOf(made); !ok || source != k {
			if o == nil || f.stays(o) != "" || !isAlways(k.GroupVersionKind) && f.ruleOf(o) == nil {
				return nil
			}
			if o.GetDeletionTimestamp() != nil {
				return f.release(ctx, s, o)
			}
			f.event(ctx, o, "NameTaken", fmt.Sprintf("the FederatedObject %s that it needs was made for something else; rename one of the two", name))
			return nil
		}
	}
	switch {
	case o == nil && made == nil:
		return nil
	case o == nil:
		return f.orphaned(ctx, s, k, made)
	case o.GetDeletionTimestamp() != nil || f.stays(o) != "":
		return f.end(ctx, s, o, made, name)
	case made == nil && !isAlways(k.GroupVersionKind) && f.ruleOf(o) == nil:
		return f.end(ctx, s, o, made, name)
	}
	return f.keep(ctx, s, o, made, name)
}

// keep makes a FederatedObject what its object and the Placement that selects it say.
func (f *Federator) keep(ctx context.Context, s *shelf, o, made *unstructured.Unstructured, name types.NamespacedName) error {
	terms, ok := f.terms(o, made)
	if !ok {
		f.event(ctx, o, "PlacementUnknown", "a Placement of its namespace cannot be understood, and nobody knows whether it is about this object; see the status of Placements there")
		return nil // govern has it looked at again
	}
	if !slices.Contains(o.GetFinalizers(), finalizer) {
		return f.finalizers(ctx, s, o, append(slices.Clone(o.GetFinalizers()), finalizer)) // before anything is in any cluster
	}
	spec, err := normal(terms)
	if err != nil {
		return err
	}
	spec["template"] = templateOf(o).Object
	generation := strconv.FormatInt(o.GetGeneration(), 10)
	on := f.client.Resource(f.federated.gvr).Namespace(name.Namespace)
	owner := *metav1.NewControllerRef(o, s.gvk)
	owner.BlockOwnerDeletion = nil
	if made == nil {
		fresh := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		fresh.SetGroupVersionKind(federatedObject)
		fresh.SetName(name.Name)
		fresh.SetNamespace(name.Namespace)
		fresh.SetAnnotations(map[string]string{sourceAnnotation: generation})
		fresh.SetOwnerReferences([]metav1.OwnerReference{owner})
		_, err := on.Create(ctx, fresh, metav1.CreateOptions{FieldManager: manager})
		f.meter.write("create", err)
		return f.refused(ctx, o, err)
	}
	have, err := normal(made.Object["spec"])
	if err != nil {
		return err
	}
	want, err := normal(spec)
	if err != nil {
		return err
	}
	refs := made.GetOwnerReferences()
	if !reflect.DeepEqual(have, want) || made.GetAnnotations()[sourceAnnotation] != generation || len(refs) != 1 || refs[0].UID != o.GetUID() {
		fresh := made.DeepCopy()
		fresh.Object["spec"] = want
		annotations := fresh.GetAnnotations()
		annotations[sourceAnnotation] = generation
		fresh.SetAnnotations(annotations)
		fresh.SetOwnerReferences([]metav1.OwnerReference{owner})
		kept, err := on.Update(ctx, fresh, metav1.UpdateOptions{FieldManager: manager})
		f.meter.write("update", err)
		if err != nil || kept.GetResourceVersion() != made.GetResourceVersion() {
			return f.refused(ctx, o, err)
		}
		// To the API server the two are one, so no watch brings anything.
	}
	f.tell(ctx, o, made)
	return f.sum(ctx, s, o, made)
}

// normal is a value as JSON has it, so that two of them compare.
func normal(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	return out, json.Unmarshal(raw, &out)
}

// refused tells the author of an object that the API server does not take what was
// made of it.
func (f *Federator) refused(ctx context.Context, o *unstructured.Unstructured, err error) error {
	switch {
	case err == nil, apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		return nil // the watch brings what is
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return nil
	case apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		f.event(ctx, o, "NotFederated", "its FederatedObject is refused: "+oneLine(err.Error()))
	}
	return err
}

// end takes an object out of its clusters and then lets it go.
func (f *Federator) end(ctx context.Context, s *shelf, o, made *unstructured.Unstructured, name types.NamespacedName) error {
	on := f.client.Resource(f.federated.gvr).Namespace(name.Namespace)
	if made == nil {
		if !slices.Contains(o.GetFinalizers(), finalizer) {
			return f.release(ctx, s, o)
		}
		// It may have been made just now.
		live, err := on.Get(ctx, name.Name, metav1.GetOptions{})
		switch source, _ := sourceOf(orEmpty(live)); {
		case isGone(err, name.Name) || err == nil && source != keyOf(s.gvk, o):
			return f.release(ctx, s, o)
		case err != nil:
			return err
		}
		made = live
	}
	orphan := o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
	if deletion, _, _ := unstructured.NestedString(made.Object, "spec", "deletion"); orphan && made.GetDeletionTimestamp() == nil && deletion != string(v1alpha1.DeletionOrphan) {
		return f.patch(ctx, f.federated, made, map[string]any{"spec": map[string]any{"deletion": v1alpha1.DeletionOrphan}})
	}
	if o.GetAnnotations()[v1alpha1.LetGoAnnotation] == "true" && made.GetAnnotations()[v1alpha1.LetGoAnnotation] != "true" {
		return f.patch(ctx, f.federated, made, map[string]any{"metadata": map[string]any{"annotations": map[string]any{v1alpha1.LetGoAnnotation: "true"}}})
	}
	f.tell(ctx, o, made)
	if made.GetDeletionTimestamp() != nil {
		return nil // its watch says when it has gone
	}
	return f.remove(ctx, made)
}

func orEmpty(o *unstructured.Unstructured) *unstructured.Unstructured {
	if o == nil {
		return &unstructured.Unstructured{}
	}
	return o
}

// orphaned deletes a FederatedObject whose object is no more, once the API server has
// said so by itself: somebody took the finalizer away.
func (f *Federator) orphaned(ctx context.Context, s *shelf, k key, made *unstructured.Unstructured) error {
	if made.GetDeletionTimestamp() != nil {
		return nil
	}
	_, err := f.client.Resource(s.gvr).Namespace(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
	if !isGone(err, k.Name) {
		return err
	}
	return f.remove(ctx, made)
}

// isGone tells an object that is not there from a kind that is not served.
func isGone(err error, name string) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Name == name
}

func (f *Federator) remove(ctx context.Context, made *unstructured.Unstructured) error {
	uid := made.GetUID()
	err := f.client.Resource(f.federated.gvr).Namespace(made.GetNamespace()).Delete(ctx, made.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	f.meter.write("delete", err)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// release takes our finalizer from an object, and from one that is being deleted those
// that only wait for a garbage collector, which there is none of here.
func (f *Federator) release(ctx context.Context, s *shelf, o *unstructured.Unstructured) error {
	return f.finalizers(ctx, s, o, slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(name string) bool {
		return name == finalizer || o.GetDeletionTimestamp() != nil && (name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents)
	}))
}

func (f *Federator) finalizers(ctx context.Context, s *shelf, o *unstructured.Unstructured, list []string) error {
	if slices.Equal(o.GetFinalizers(), list) {
		return nil
	}
	return f.patch(ctx, s, o, map[string]any{"metadata": map[string]any{"finalizers": list}})
}

// patch changes just the object that was seen.
func (f *Federator) patch(ctx context.Context, s *shelf, o *unstructured.Unstructured, change map[string]any) error {
	metadata, _ := change["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["uid"], metadata["resourceVersion"] = o.GetUID(), o.GetResourceVersion()
	change["metadata"] = metadata
	raw, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = f.client.Resource(s.gvr).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.MergePatchType, raw, metav1.PatchOptions{FieldManager: manager})
	f.meter.write("patch", err)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the watch brings what is
	}
	return err
}
