package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// Federate wraps an object into a FederatedObject by the terms. What servers set must
// be gone (Clean). Unfederate makes the same object of it again. Remarks name terms
// that have no effect on it.
func Federate(o *unstructured.Unstructured, terms Terms) (_ *unstructured.Unstructured, remarks []string, _ error) {
	if !placement.MayDivide(o) {
		terms.Spread = nil
	}
	raw, err := json.Marshal(terms)
	if err != nil {
		return nil, nil, err
	}
	spec := map[string]any{}
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, nil, err
	}
	spec["template"] = o.DeepCopy().Object
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetGroupVersionKind(SchemeGroupVersion.WithKind(KindFederatedObject))
	out.SetName(FederatedName(o.GetKind(), o.GetName()))
	out.SetNamespace(o.GetNamespace())
	remarks, err = proved(out)
	return out, remarks, err
}

// proved asks Parse of a new object what a server and a daemon will say later.
func proved(o *unstructured.Unstructured) (remarks []string, _ error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var typed FederatedObject
	if err := json.Unmarshal(raw, &typed); err != nil {
		return nil, err
	}
	if typed.Namespace == "" {
		typed.Namespace = "default" // whoever applies it says which
	}
	t, problems := typed.Parse(fleet.Origin{})
	for _, p := range problems {
		remarks = append(remarks, p.Message)
	}
	if t == nil {
		return nil, fmt.Errorf("%s", strings.Join(remarks, "; "))
	}
	return remarks, nil
}

// Unfederate is the object that a FederatedObject wraps.
func Unfederate(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if gvk := o.GroupVersionKind(); gvk.Group != Group || gvk.Kind != KindFederatedObject {
		return nil, fmt.Errorf("%s %s is no FederatedObject, so there is nothing to take out of it; leave it as it is", field.Quote(o.GetKind()), field.Quote(o.GetName()))
	}
	template, found, err := unstructured.NestedMap(o.Object, "spec", "template")
	if err != nil || !found {
		return nil, fmt.Errorf("FederatedObject %s has no object as spec.template; write one", field.Quote(o.GetName()))
	}
	out := &unstructured.Unstructured{Object: template}
	if out.GetNamespace() == "" && o.GetNamespace() != "" && !placement.ClusterScoped(out.GroupVersionKind().Group, out.GetKind()) {
		out.SetNamespace(o.GetNamespace())
	}
	return out, nil
}

// maxObjectName is how long Kubernetes lets names of objects be.
const maxObjectName = 253

// FederatedName is the name of the FederatedObject that "meridian federate" makes of
// an object: its kind and name in small letters, "deployment-web". Where that is no
// name of an object, because it is too long or holds colons or capitals, its end is a hash.
func FederatedName(kind, name string) string {
	plain := strings.ToLower(kind + "-" + name)
	if name == strings.ToLower(name) && len(validation.IsDNS1123Subdomain(plain)) == 0 {
		return plain
	}
	sum := sha256.Sum256([]byte(kind + "/" + name))
	tail := "-" + hex.EncodeToString(sum[:5])
	head := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, plain)
	head = strings.Trim(head[:min(len(head), maxObjectName-len(tail))], "-")
	return strings.TrimPrefix(head+tail, "-")
}
