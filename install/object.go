package install

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// order is that of kinds: what others need comes first. Kinds that are not named
// come last.
var order = []string{
	"Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap",
	"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "IngressClass", "NetworkPolicy", "PodDisruptionBudget", "Service",
	"StatefulSet", "Deployment", "HorizontalPodAutoscaler",
}

func rank(kind string) int {
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

// sortObjects puts objects into the order in which they are applied.
func sortObjects(objects []*unstructured.Unstructured) {
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(
			cmp.Compare(rank(a.GetKind()), rank(b.GetKind())),
			cmp.Compare(a.GetKind(), b.GetKind()),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()),
			cmp.Compare(a.GetName(), b.GetName()))
	})
}

// object makes an object of this package's own making untyped, without the fields
// that only a server fills in.
func object(gvk schema.GroupVersionKind, typed any) *unstructured.Unstructured {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	if err != nil { // only for types that are no objects
		panic(err)
	}
	o := &unstructured.Unstructured{Object: raw}
	o.SetGroupVersionKind(gvk)
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(o.Object, "status")
	return o
}

// name is how people are told of an object.
func name(o *unstructured.Unstructured) string {
	if o.GetNamespace() != "" {
		return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
	}
	return fmt.Sprintf("%s %s", o.GetKind(), o.GetName())
}

// Part is what one cluster is to hold.
type Part struct {
	Where   string // in words, for people
	Objects []*unstructured.Unstructured
}

// WriteYAML writes objects as a stream of documents that says where each belongs
// and which hold secrets. Equal objects give equal bytes.
func WriteYAML(w io.Writer, parts []Part) error {
	for _, p := range parts {
		for _, o := range p.Objects {
			mark := ""
			if o.GetKind() == "Secret" {
				mark = "# Holds secrets: keep it out of version control and logs.\n"
			}
			body, err := yaml.Marshal(o.Object)
			if err != nil {
				return fmt.Errorf("writing %s: %w", name(o), err)
			}
			if _, err := fmt.Fprintf(w, "---\n# %s\n%s%s", p.Where, mark, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// WriteJSON writes objects as one List per cluster.
func WriteJSON(w io.Writer, parts []Part) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	for _, p := range parts {
		if err := out.Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": p.Objects}); err != nil {
			return err
		}
	}
	return nil
}
