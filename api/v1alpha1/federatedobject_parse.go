package v1alpha1

import (
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// Parse makes the workload that the object describes. Any fault makes it nil: half a
// workload would run where nobody asked for it. Problems beside a workload name
// fields that have no effect.
func (o *FederatedObject) Parse(origin fleet.Origin) (*placement.Template, []fleet.Problem) {
	f := &field.Faults{About: origin}
	named(f, o.Namespace, o.Name)
	object := o.Spec.Template.parse(f, "spec.template", o.Namespace)
	t := o.Spec.Terms.parse(f, "spec")
	if f.Count() > 0 {
		return nil, f.Problems()
	}
	t.Object, t.Origin = object, origin
	switch divisible := placement.MayDivide(object); {
	case t.Spread.Mode == "":
		t.Spread.Mode = placement.DefaultMode(object)
	case t.Spread.Mode != placement.ModeDuplicate && !divisible:
		f.Add("spec.spread.mode", "%s divides replicas, and this %s has none that can be divided; choose duplicate, or leave the mode out", t.Spread.Mode, object.GetKind())
		return nil, f.Problems()
	}
	idle(f, &t)
	return &t, f.Problems()
}

// Parse makes the rule that the object describes. Any fault makes it nil.
func (p *Placement) Parse(origin fleet.Origin) (*placement.Rule, []fleet.Problem) {
	f := &field.Faults{About: origin}
	named(f, p.Namespace, p.Name)
	r := &placement.Rule{Namespace: p.Namespace, Objects: p.Spec.selections(f), Terms: p.Spec.Terms.parse(f, "spec")}
	if f.Count() > 0 {
		return nil, f.Problems()
	}
	r.Terms.Origin = origin
	idle(f, &r.Terms)
	return r, f.Problems()
}

const maxSelections = 64

func (s *PlacementSpec) selections(f *field.Faults) []placement.Selection {
	if len(s.Objects) == 0 {
		f.Add("spec.objects", "is empty, so the Placement is about nothing; name at least one kind of objects by apiVersion and kind")
	}
	var list []placement.Selection
	for i, o := range bounded(f, "spec.objects", s.Objects, maxSelections) {
		path := field.Index("spec.objects", i)
		before := f.Count()
		kind(f, path, o.APIVersion, o.Kind)
		if o.Name != "" {
			objectName(f, path+".name", o.Name)
		}
		labels := o.Selector.parse(f, path+".selector")
		if f.Count() == before {
			list = append(list, placement.Selection{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, Labels: labels})
		}
	}
	return list
}

func named(f *field.Faults, namespace, name string) {
	if err := field.Label(namespace); err != nil {
		f.Add("metadata.namespace", "%v", err)
	}
	// Kubernetes lets the labels of objects' names be longer than those of DNS.
	if len(name) > maxObjectName || len(validation.IsDNS1123Subdomain(name)) > 0 {
		f.Add("metadata.name", "%s is no name of an object; use up to %d lower-case letters, digits, '-' and '.'", field.Quote(name), maxObjectName)
	}
}
