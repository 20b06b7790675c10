package placement

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/fleet"
)

// Given is one cluster's part of what is divided. What is nil stays as the template
// has it.
type Given struct {
	Replicas    *int64 // copies; of a Job, those that run at one time
	Completions *int64 // of a Job
	Ordinal     *int64 // that a StatefulSet's pods begin with
	Min, Max    *int64 // of an HPA
	Left        bool   // somebody in the cluster says how many, an HPA: the object does not, so that nobody is overruled
	Scale       Scale  // of a kind that others defined
}

// Reasons of problems with what is to be placed.
const (
	ReasonOverride = "InvalidOverride" // an override does not fit the template
	ReasonNumbers  = "NotDivisible"    // the object has no place for its part of a division
)

// Render is just the object that a cluster is given: the template, its part of the
// replicas, the overrides that mean this cluster, one after the other, and the
// owner. It is nil if there are problems, each of which would be the same for an equal
// template and cluster. Equal arguments give equal objects, and the template stays as
// it was.
func Render(t Template, c Cluster, given Given, owner Owner) (*unstructured.Unstructured, []fleet.Problem) {
	problem := func(reason, message string) []fleet.Problem {
		return []fleet.Problem{{About: t.Origin, Reason: reason, Message: fmt.Sprintf("for cluster %s: %s", c.Name, message)}}
	}
	object := copyOf(t.Object.Object)
	shape := ShapeOf(t.Object, given.Scale)
	settings, err := given.settings(t.Object, shape)
	if err != nil {
		return nil, problem(ReasonNumbers, err.Error())
	}
	for _, s := range settings {
		if !s.set(object) {
			return nil, problem(ReasonNumbers, fmt.Sprintf("there is no place for a number at %s; make the fields above it maps", dotted(s.path)))
		}
	}
	for i, o := range t.Overrides {
		if !o.Where.Matches(c) {
			continue
		}
		if object, err = o.change(object, shape); err != nil {
			return nil, problem(ReasonOverride, fmt.Sprintf("override %d: %s", i+1, err))
		}
		for _, s := range settings {
			if !s.holds(object) {
				return nil, problem(ReasonOverride, fmt.Sprintf("override %d changes %s, which is divided over clusters; say it with the limits of the spread", i+1, dotted(s.path)))
			}
		}
	}
	out := &unstructured.Unstructured{Object: object}
	if out.GetAPIVersion() != t.Object.GetAPIVersion() || out.GetKind() != t.Object.GetKind() ||
		out.GetNamespace() != t.Object.GetNamespace() || out.GetName() != t.Object.GetName() {
		return nil, problem(ReasonOverride, "the overrides change which object it is; apiVersion, kind, name and namespace are those of the template")
	}
	foldStringData(out)
	if !owner.mark(object) {
		return nil, problem(ReasonInvalid, "metadata.labels or metadata.annotations is no map; write names with values below it")
	}
	var problems []fleet.Problem
	for _, f := range faults(out) {
		problems = append(problems, problem(f.reason, f.message)...)
	}
	if problems != nil {
		return nil, problems
	}
	return out, nil
}

// setting is a number at a path; nil: there is none.
type setting struct {
	path   []string
	number *int64
}

func (s setting) set(object map[string]any) bool {
	if s.number == nil {
		drop(object, s.path...)
		return true
	}
	return put(object, *s.number, s.path...)
}

func (s setting) holds(object map[string]any) bool {
	n, ok := countAt(object, s.path...)
	if s.number == nil {
		return at(object, s.path...) == nil
	}
	return ok && n == *s.number
}

// settings are the numbers that an object is to have, or an error that says why it
// cannot.
func (g Given) settings(object *unstructured.Unstructured, shape Shape) ([]setting, error) {
	kind := kindOf(object)
	var out []setting
	for _, n := range []*int64{g.Replicas, g.Completions, g.Ordinal, g.Min, g.Max} {
		if n != nil && (*n < 0 || *n > 1<<31-1) {
			return nil, fmt.Errorf("%d is no number of replicas; they go from 0 to 2147483647", *n)
		}
	}
	if g.Left || g.Replicas != nil {
		if shape.Replicas == nil {
			return nil, fmt.Errorf("%s has no replicas to divide; use the mode duplicate", kind.Kind)
		}
		s := setting{path: shape.Replicas, number: g.Replicas}
		if g.Left {
			s.number = nil
		}
		out = append(out, s)
	}
	if g.Completions != nil {
		switch {
		case kind != kindJob:
			return nil, fmt.Errorf("%s has no completions to divide; only Job has", kind.Kind)
		case textAt(object.Object, "spec", "completionMode") == "Indexed":
			return nil, fmt.Errorf("an Indexed Job cannot be divided: every cluster would begin with index 0; use the mode duplicate, or completionMode NonIndexed")
		case *g.Completions == 0:
			return nil, fmt.Errorf("a Job without completions would be complete at once; leave the cluster out")
		}
		out = append(out, setting{[]string{"spec", "completions"}, g.Completions})
	}
	if g.Ordinal != nil {
		if kind != kindStatefulSet {
			return nil, fmt.Errorf("%s has no ordinals; only StatefulSet has", kind.Kind)
		}
		out = append(out, setting{[]string{"spec", "ordinals", "start"}, g.Ordinal})
	}
	if g.Min != nil || g.Max != nil {
		switch {
		case !shape.Scales:
			return nil, fmt.Errorf("%s has no minReplicas and maxReplicas; only HorizontalPodAutoscaler has", kind.Kind)
		case g.Min == nil || g.Max == nil || *g.Max < 1 || *g.Min > *g.Max:
			return nil, fmt.Errorf("an HPA needs a maximum of at least 1 that its minimum does not pass; leave clusters out, or let it grow to one replica in each")
		}
		out = append(out, setting{[]string{"spec", "minReplicas"}, g.Min}, setting{[]string{"spec", "maxReplicas"}, g.Max})
	}
	return out, nil
}
