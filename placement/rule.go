package placement

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// Rule places plain objects of one namespace: those that it selects, each by the same
// terms.
type Rule struct {
	Namespace string
	Objects   []Selection // one that fits any of them is selected; never empty
	// Terms are those of the workloads that it makes. There is no Object in it; its
	// Spread.Mode is empty where the author leaves it to the object's kind.
	Terms Template
}

// Selection selects objects; all that it says must hold.
type Selection struct {
	APIVersion, Kind string
	Name             string          // empty: any
	Labels           labels.Selector // nil: any
}

// Selects reports whether a rule is about an object.
func (r *Rule) Selects(o *unstructured.Unstructured) bool {
	if o.GetNamespace() != r.Namespace {
		return false
	}
	for _, s := range r.Objects {
		if s.APIVersion == o.GetAPIVersion() && s.Kind == o.GetKind() && (s.Name == "" || s.Name == o.GetName()) &&
			(s.Labels == nil || s.Labels.Matches(labels.Set(o.GetLabels()))) {
			return true
		}
	}
	return false
}

// First is the rule that an object is placed by: the eldest of those that select it,
// of equally old ones the first by name; nil without any.
func First(rules []*Rule, o *unstructured.Unstructured) *Rule {
	var first *Rule
	for _, r := range rules {
		if r.Selects(o) && (first == nil || r.Terms.Origin.Compare(first.Terms.Origin) < 0) {
			first = r
		}
	}
	return first
}

// Place makes a workload of an object that the rule selects. The object must be
// without status and without what servers set.
func (r *Rule) Place(o *unstructured.Unstructured) *Template {
	t := r.Terms
	t.Object = o
	if t.Spread.Mode == "" {
		t.Spread.Mode = DefaultMode(o)
	}
	if !MayDivide(o) {
		t.Spread.Mode = ModeDuplicate
	}
	return &t
}
