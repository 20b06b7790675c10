package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Outcome counts what applying did.
type Outcome struct{ Created, Changed, Same int }

// String is the outcome as people read it.
func (o Outcome) String() string {
	return fmt.Sprintf("%d created, %d changed, %d as they were", o.Created, o.Changed, o.Same)
}

// patience is how long an API server may take for what it does by and by: until a
// new CRD's kind is served, or a new right holds.
const patience = 30 * time.Second

// Apply makes a cluster hold the objects, in their order, by server-side apply:
// fields that others set on them stay. What is so already is not written.
func (r *Reach) Apply(ctx context.Context, objects []*unstructured.Unstructured, p Progress) (Outcome, error) {
	var out Outcome
	for _, o := range objects {
		stop := p.during("%s in %s", name(o), r.Name)
		did, err := r.apply(ctx, o)
		stop()
		if immutable(err) {
			return out, r.lasting(o, err)
		}
		if err != nil {
			return out, r.explain("applying "+name(o), err)
		}
		switch did {
		case "created":
			out.Created++
		case "changed":
			out.Changed++
		default:
			out.Same++
			continue
		}
		p.Say("  %s %s", name(o), did)
	}
	return out, nil
}

// immutable reports whether a change is one that no API server makes: the volumes of a
// StatefulSet, the selector of a Deployment.
func immutable(err error) bool {
	return apierrors.IsInvalid(err) && (strings.Contains(err.Error(), "field is immutable") || strings.Contains(err.Error(), "updates to statefulset spec"))
}

// lasting says how an object is made anew that cannot be changed. Its pods and their
// volumes stay meanwhile.
func (r *Reach) lasting(o *unstructured.Unstructured, err error) error {
	where := ""
	if o.GetNamespace() != "" {
		where = " -n " + o.GetNamespace()
	}
	return fmt.Errorf("applying %s in %s: the API server lets nobody change that; \"kubectl --context %s%s delete %s %s --cascade=orphan\" takes it away and leaves its pods and volumes as they are, then run this again: %w",
		name(o), r.Name, r.Name, where, strings.ToLower(o.GetKind()), o.GetName(), err)
}

func (r *Reach) apply(ctx context.Context, o *unstructured.Unstructured) (string, error) {
	client, err := r.resource(ctx, o)
	if err != nil {
		return "", err
	}
	before, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return "", err
	}
	after, err := client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if err != nil {
		return "", err
	}
	if o.GetKind() == "CustomResourceDefinition" {
		if err := established(ctx, client, o.GetName()); err != nil {
			return "", err
		}
		r.mapper.Reset()
	}
	switch {
	case missing:
		return "created", nil
	case before.GetResourceVersion() != after.GetResourceVersion() && !alike(before, after):
		return "changed", nil
	}
	return "", nil
}

// alike reports whether two states of an object differ in nothing that we say: in what
// controllers say of it, or in the order in which the server lists who manages what.
func alike(a, b *unstructured.Unstructured) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	for _, o := range []*unstructured.Unstructured{a, b} {
		o.SetResourceVersion("")
		o.SetManagedFields(nil)
		unstructured.RemoveNestedField(o.Object, "status")
	}
	return equality.Semantic.DeepEqual(a.Object, b.Object)
}

// resource is the client of an object's kind. A kind whose CRD has only just come
// may need a moment to be known.
func (r *Reach) resource(ctx context.Context, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	var mapping *meta.RESTMapping
	err := poll(ctx, func(context.Context) (bool, error) {
		var err error
		mapping, err = r.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		if !meta.IsNoMatchError(err) {
			return true, err
		}
		fresh, known := r.crd(ctx, gvk.Group, gvk.Kind)
		if known && fresh {
			r.mapper.Reset()
			return false, nil
		}
		return true, fmt.Errorf("it serves no kind %s of %s; is the CRD there? \"meridian init\" installs Meridian's own: %w", gvk.Kind, gvk.GroupVersion(), err)
	})
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return r.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return r.dynamic.Resource(mapping.Resource), nil
}

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// crd reports whether a CRD for a kind is there at all, and known to be so.
func (r *Reach) crd(ctx context.Context, group, kind string) (there, known bool) {
	list, err := r.dynamic.Resource(crds).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, false
	}
	for _, c := range list.Items {
		g, _, _ := unstructured.NestedString(c.Object, "spec", "group")
		k, _, _ := unstructured.NestedString(c.Object, "spec", "names", "kind")
		if g == group && k == kind {
			return true, true
		}
	}
	return false, true
}

// established waits until the server serves what a CRD defines.
func established(ctx context.Context, client dynamic.ResourceInterface, name string) error {
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		crd, err := client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return true, err
		}
		return condition(crd, "Established") == "True", nil
	})
	if err != nil {
		return fmt.Errorf("waiting until it is served: %w", err)
	}
	return nil
}

// condition is the status of one condition of an object; empty when it has none.
func condition(o *unstructured.Unstructured, of string) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == of {
			status, _ := m["status"].(string)
			return status
		}
	}
	return ""
}

// pollEvery is the time between two looks at something that somebody else does.
const pollEvery = 100 * time.Millisecond

// poll looks until done reports true or an error, or the time is over.
func poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	return pollFor(ctx, patience, done)
}

func pollFor(ctx context.Context, within time.Duration, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// remove deletes an object; that it is not there is fine. It reports whether it was.
func (r *Reach) remove(ctx context.Context, o *unstructured.Unstructured) (bool, error) {
	mapping, err := r.mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if meta.IsNoMatchError(err) {
		return false, nil // nor is its kind
	}
	if err != nil {
		return false, r.explain("deleting "+name(o), err)
	}
	client := dynamic.ResourceInterface(r.dynamic.Resource(mapping.Resource))
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		client = r.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	err = client.Delete(ctx, o.GetName(), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, r.explain("deleting "+name(o), err)
}
