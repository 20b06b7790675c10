package plain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// finish empties a namespace that is being deleted, and lets it go when nothing is in
// it any more, as the namespace controller of a cluster does. Clusters keep their
// namespaces of that name: others may have put something there.
func (f *Federator) finish(ctx context.Context, name string) error {
	ns := f.namespaces.get(types.NamespacedName{Name: name})
	if ns == nil || ns.GetDeletionTimestamp() == nil {
		return nil
	}
	resources, err := f.contents()
	if err != nil {
		return fmt.Errorf("finding out what may lie in it: %w", err)
	}
	var left []string
	for _, r := range resources {
		on := f.client.Resource(r).Namespace(name)
		list, err := on.List(ctx, metav1.ListOptions{Limit: 500})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err):
			continue
		case err != nil:
			return fmt.Errorf("listing %s: %w", r.Resource, err)
		case len(list.Items) == 0:
			continue
		}
		left = append(left, fmt.Sprintf("%s (%d)", r.GroupResource(), len(list.Items)))
		for i := range list.Items {
			o := &list.Items[i]
			if o.GetDeletionTimestamp() != nil {
				continue
			}
			uid, background := o.GetUID(), metav1.DeletePropagationBackground
			err := on.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
			f.meter.write("delete", err)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsMethodNotSupported(err) {
				return fmt.Errorf("deleting %s %s: %w", r.Resource, o.GetName(), err)
			}
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		if err := f.remains(ctx, ns, "still in it: "+strings.Join(left, ", ")+"; what is federated goes when its clusters have let it go"); err != nil {
			return err
		}
		return errLater
	}
	return f.finalize(ctx, ns)
}

// contents are the resources that lie in namespaces. One group that is not known is
// enough for an error: what lies there would stay for ever.
func (f *Federator) contents() ([]schema.GroupVersionResource, error) {
	lists, err := f.discovery.ServerPreferredNamespacedResources()
	if err != nil {
		return nil, err
	}
	var out []schema.GroupVersionResource
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range l.APIResources {
			if slices.Contains(r.Verbs, "list") && slices.Contains(r.Verbs, "delete") && r.Name != "events" {
				out = append(out, gv.WithResource(r.Name))
			}
		}
	}
	return out, nil
}

// remains says in the namespace's status what it waits for.
func (f *Federator) remains(ctx context.Context, ns *unstructured.Unstructured, text string) error {
	list, _, _ := unstructured.NestedSlice(ns.Object, "status", "conditions")
	of := string(corev1.NamespaceContentRemaining)
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == of && m["message"] == text {
			return nil
		}
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": of, "status": "True", "reason": "SomeResourcesRemain", "message": text, "lastTransitionTime": metav1.NewTime(time.Now()),
	}}}})
	if err != nil {
		return err
	}
	_, err = f.client.Resource(f.namespaces.gvr).Patch(ctx, ns.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// finalize lets an empty namespace go. Finalizers of others stay.
func (f *Federator) finalize(ctx context.Context, ns *unstructured.Unstructured) error {
	list, _, _ := unstructured.NestedStringSlice(ns.Object, "spec", "finalizers")
	rest := slices.DeleteFunc(slices.Clone(list), func(name string) bool { return name == string(corev1.FinalizerKubernetes) })
	if len(rest) == len(list) {
		return nil
	}
	fresh := ns.DeepCopy()
	if err := unstructured.SetNestedStringSlice(fresh.Object, rest, "spec", "finalizers"); err != nil {
		return err
	}
	_, err := f.client.Resource(f.namespaces.gvr).Update(ctx, fresh, metav1.UpdateOptions{FieldManager: manager}, "finalize")
	f.meter.write("finalize", err)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return errLater
	}
	return err
}
