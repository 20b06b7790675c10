package apply

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/placement"
)

var definitions = apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions")

// scaling is where the kind keeps its replicas, in this API server; unscaled says why
// that could not be read, though it has some.
func (k *kind) scaling() (scale placement.Scale, unscaled error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.scale, k.unscaled
}

// replicasAt is where the kind keeps the replicas that are wanted.
func (k *kind) replicasAt() []string {
	if scale, _ := k.scaling(); !scale.IsZero() {
		return scale.Spec
	}
	return usualReplicas
}

// scaleOf reads where a kind that others defined keeps its replicas. Discovery says
// whether it has any, and its definition where. An API that no definition is behind
// keeps them where Kubernetes does.
func scaleOf(ctx context.Context, c connection, gvk schema.GroupVersionKind, resource string, served []metav1.APIResource) (scale placement.Scale, unscaled, err error) {
	has := slices.ContainsFunc(served, func(r metav1.APIResource) bool { return r.Name == resource+"/scale" })
	if placement.Builtin(gvk.Group) || !has {
		return placement.Scale{}, nil, nil
	}
	name := resource + "." + gvk.Group
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	o, err := c.client.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		scale, err = placement.ParseScale(".spec.replicas", ".status.replicas", "")
		return scale, nil, err
	case apierrors.IsForbidden(err):
		return placement.Scale{}, fmt.Errorf("the cluster does not let us read the definition %s, which says where replicas are; let \"meridian join --workloads\" name %s there again", name, name), nil
	case err != nil:
		return placement.Scale{}, nil, fmt.Errorf("reading the definition %s: %w", name, err)
	}
	scale, unscaled = definedScale(o, gvk.Version)
	return scale, unscaled, nil
}

func definedScale(o *unstructured.Unstructured, version string) (placement.Scale, error) {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
		return placement.Scale{}, fmt.Errorf("the definition %s cannot be read: %s", o.GetName(), oneLine(err.Error()))
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version || v.Subresources == nil || v.Subresources.Scale == nil {
			continue
		}
		s, selector := v.Subresources.Scale, ""
		if s.LabelSelectorPath != nil {
			selector = *s.LabelSelectorPath
		}
		return placement.ParseScale(s.SpecReplicasPath, s.StatusReplicasPath, selector)
	}
	return placement.Scale{}, nil
}

// scaled finds where the workload's replicas are, if its kind is one that others
// defined: as the first cluster says that answers, else as it was. The fault is why
// nothing can be divided.
func (w *workload) scaled(views []view, before placement.Scale) (scale placement.Scale, fault string) {
	if placement.Builtin(w.main().Group) {
		return placement.Scale{}, ""
	}
	scale = before
	known := false
	for _, v := range views {
		switch {
		case !v.silent.IsZero() || !v.report.listed:
		case v.report.unscaled != nil && w.template.Spread.Mode != placement.ModeDuplicate:
			return scale, v.name + ": " + v.report.unscaled.Error()
		case !v.report.served:
		case !known:
			scale, known = v.report.scale, true
		}
	}
	return scale, ""
}
