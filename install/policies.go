package install

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// policyKinds are those of the objects by which an API server asks who may federate what.
var policyKinds = []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}

// policies looks whether the API server asks who may federate what.
func (k *check) policies(ctx context.Context) error {
	if k.follower {
		return nil // nobody looks at FederatedObjects here
	}
	objects, err := Render(k.Namespace, map[string]any{"region": "any"})
	if err != nil {
		return err
	}
	for _, o := range objects {
		if !slices.Contains(policyKinds, o.GetKind()) {
			continue
		}
		about := name(o)
		client, err := k.host.resource(ctx, o)
		if err != nil {
			return k.host.explain("reading "+about, err)
		}
		live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			k.report.add(Fault, about, "it is not there, so whoever may write FederatedObjects and Placements in a namespace is asked for no other right there", k.again())
		case err != nil:
			return k.host.explain("reading "+about, err)
		case !within(judging(o), judging(live)):
			k.report.add(Fault, about, "it is of another version than this program, or somebody has changed it", k.again()+", which puts it right; or use the program that belongs to the installed version")
		default:
			k.report.add(Fine, about, "in force", "")
		}
	}
	return nil
}

// judging is the spec of a policy but for the resources that it knows, which are the
// installation's own.
func judging(policy *unstructured.Unstructured) map[string]any {
	spec, _, _ := unstructured.NestedMap(policy.Object, "spec")
	variables, there, _ := unstructured.NestedSlice(spec, "variables")
	if there {
		spec["variables"] = slices.DeleteFunc(variables, func(v any) bool {
			m, ok := v.(map[string]any)
			return ok && m["name"] == "resources"
		})
	}
	return spec
}
