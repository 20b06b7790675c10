package placement

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Divisible reports whether an object has replicas that can be divided. Of kinds that
// Kubernetes does not know, those have whose spec says how many.
func Divisible(o *unstructured.Unstructured) bool {
	kind := kindOf(o)
	if Builtin(kind.Group) {
		s := shapes[kind]
		return s.Replicas != nil || s.Scales
	}
	_, said := countAt(o.Object, "spec", "replicas")
	return said
}

// MayDivide reports whether an object can be divided if its author asks for it. Of kinds
// that Kubernetes does not know only clusters can say.
func MayDivide(o *unstructured.Unstructured) bool {
	return Divisible(o) || !Builtin(kindOf(o).Group)
}

// DefaultMode is how an object is spread whose author does not say. The pods of a
// StatefulSet have names and volumes of their own, so it is divided on request only.
func DefaultMode(o *unstructured.Unstructured) Mode {
	if !Divisible(o) || kindOf(o) == kindStatefulSet {
		return ModeDuplicate
	}
	return ModeDivide
}
