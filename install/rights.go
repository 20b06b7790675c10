package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// right is a permission that a command needs.
type right struct{ verb, group, resource, subresource, namespace, name string }

// what the permission is for, as kubectl writes it.
func (p right) what() string {
	s := p.resource
	if p.subresource != "" {
		s += "/" + p.subresource
	}
	if p.group != "" {
		s += "." + p.group
	}
	if p.name != "" {
		s += " " + p.name
	}
	if p.namespace != "" {
		s += " in " + p.namespace
	}
	return s
}

// String is the permission as kubectl writes it.
func (p right) String() string { return p.verb + " " + p.what() }

// toApply are the rights that server-side apply of objects needs.
func toApply(objects []*unstructured.Unstructured) []right {
	return onEach(objects, "get", "create", "patch")
}

// onEach are rights on the kinds of objects, each once and in their order.
func onEach(objects []*unstructured.Unstructured, verbs ...string) []right {
	var out []right
	for _, o := range objects {
		resource, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
		for _, verb := range verbs {
			p := right{verb: verb, group: resource.Group, resource: resource.Resource, namespace: o.GetNamespace()}
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

const rbacGroup = "rbac.authorization.k8s.io"

// handsOn are the rights that roles among the objects give: nobody may grant what he
// has not, but for those who may escalate.
func handsOn(objects []*unstructured.Unstructured) ([]right, error) {
	var out []right
	for _, o := range objects {
		if o.GetKind() != "Role" && o.GetKind() != "ClusterRole" {
			continue
		}
		raw, err := o.MarshalJSON()
		if err != nil {
			return nil, err
		}
		var role rbacv1.ClusterRole // a Role has the same rules
		if err := json.Unmarshal(raw, &role); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name(o), err)
		}
		for _, rule := range role.Rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					resource, sub, _ := strings.Cut(resource, "/")
					for _, n := range names {
						for _, verb := range rule.Verbs {
							p := right{verb: verb, group: group, resource: resource, subresource: sub, namespace: o.GetNamespace(), name: n}
							if !slices.Contains(out, p) {
								out = append(out, p)
							}
						}
					}
				}
			}
		}
	}
	return out, nil
}

// missingToApply says in a sentence which rights somebody lacks who wants to apply
// objects, and more rights beside; empty: none.
func (r *Reach) missingToApply(ctx context.Context, objects []*unstructured.Unstructured, more []right) (string, error) {
	const all = "*" // one question spares an administrator a hundred
	if lacking, err := r.lacks(ctx, []right{{verb: all, group: all, resource: all}}); err != nil || len(lacking) == 0 {
		return "", err
	}
	lacking, err := r.lacks(ctx, append(toApply(objects), more...))
	if err != nil {
		return "", err
	}
	grants, err := handsOn(objects)
	if err != nil {
		return "", err
	}
	if len(grants) > 0 {
		free, err := r.lacks(ctx, []right{{verb: "escalate", group: rbacGroup, resource: "clusterroles"}, {verb: "bind", group: rbacGroup, resource: "clusterroles"}})
		if err != nil {
			return "", err
		}
		if len(free) == 0 {
			grants = nil
		}
	}
	cannotGrant, err := r.lacks(ctx, grants)
	if err != nil {
		return "", err
	}
	var sentences []string
	if len(lacking) > 0 {
		sentences = append(sentences, "you may not "+inWords(lacking))
	}
	if len(cannotGrant) > 0 {
		sentences = append(sentences, "you cannot grant what you may not do yourself: "+inWords(cannotGrant))
	}
	if len(sentences) == 0 {
		return "", nil
	}
	return fmt.Sprintf("in %s %s; use a context of an administrator, or let one grant it", r.Name, strings.Join(sentences, "; and ")), nil
}

// inWords lists rights with the verbs of one resource together.
func inWords(rights []right) string {
	var subjects []string
	verbs := map[string][]string{}
	for _, p := range rights {
		if verbs[p.what()] == nil {
			subjects = append(subjects, p.what())
		}
		verbs[p.what()] = append(verbs[p.what()], p.verb)
	}
	var out []string
	for _, subject := range subjects {
		out = append(out, strings.Join(verbs[subject], "/")+" "+subject)
	}
	return strings.Join(out, ", ")
}

// lacks lists the rights that whoever runs the command does not have, in order.
func (r *Reach) lacks(ctx context.Context, rights []right) ([]right, error) {
	var out []right
	for _, p := range rights {
		review, err := r.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: p.verb, Group: p.group, Resource: p.resource, Subresource: p.subresource, Namespace: p.namespace, Name: p.name,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, r.explain("asking for your own permissions", err)
		}
		if !review.Status.Allowed {
			out = append(out, p)
		}
	}
	return out, nil
}
