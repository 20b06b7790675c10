package apply

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/placement"
)

func placedObject(owner types.UID) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{"a": "b"}}}
	o.SetName("x")
	o.SetLabels(map[string]string{placement.LabelPlaced: "true"})
	o.SetAnnotations(map[string]string{placement.AnnotationPlacedBy: string(owner)})
	return o
}

// A mark is of the content and of those who need it, and is read back.
func TestMark(t *testing.T) {
	plain := placedObject("u1")
	before := digest(plain.Object)
	one, again, two := mark(plain, []types.UID{"u1"}), mark(plain, []types.UID{"u1"}), mark(plain, []types.UID{"u1", "u0"})
	if digest(plain.Object) != before {
		t.Error("the object was changed")
	}
	of := func(o *unstructured.Unstructured) string { return o.GetAnnotations()[appliedAnnotation] }
	if of(one) == "" || of(one) != of(again) || of(one) == of(two) {
		t.Errorf("the digests are %s, %s, %s", of(one), of(again), of(two))
	}
	if got := neededBy(one); len(got) != 1 || got[0] != "u1" {
		t.Errorf("one is needed by %v", got)
	}
	if got := neededBy(two); len(got) != 2 || got[0] != "u0" {
		t.Errorf("two is needed by %v", got)
	}
	if of(mark(one, []types.UID{"u1"})) != of(one) {
		t.Error("marked twice it is another")
	}
}

// What somebody in a member writes into our annotations does no harm.
func TestNeededByHostile(t *testing.T) {
	o := placedObject("u1")
	o.SetAnnotations(map[string]string{placement.AnnotationPlacedBy: "u1", neededByAnnotation: strings.Repeat("x,", 1<<20)})
	if got := neededBy(o); len(got) != 1 || got[0] != "u1" {
		t.Errorf("a long list is believed: %d", len(got))
	}
	o.SetLabels(nil)
	if got := neededBy(o); got != nil {
		t.Errorf("without the label it is needed by %v", got)
	}
}

// Replicas are handed over only if they are ours and no longer wanted.
func TestHandover(t *testing.T) {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "spec": map[string]any{"replicas": int64(7)}}}
	o.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationUpdate, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{}}}`)},
		{Manager: placement.Manager, Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:replicas":{},"f:selector":{}}}`)},
	})
	at := usualReplicas
	l := newLive(o, at)
	if !l.replicas || l.fields == "" {
		t.Fatalf("%+v", l)
	}
	without := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	if !handsOver(without, l, at) || handsOver(o, l, at) || handsOver(without, nil, at) {
		t.Error("who hands over is wrong")
	}
	h, ok := handover(l, at)
	if n, _, _ := unstructured.NestedInt64(h.Object, "spec", "replicas"); !ok || n != 7 {
		t.Errorf("%v is handed over", h)
	}
}
