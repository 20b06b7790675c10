package install

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// oldest is the oldest Kubernetes that members may run: 1.30.
const oldest = 30

// right is a permission that a command needs.
type right struct{ verb, group, resource, subresource, namespace string }

// String is the permission as kubectl writes it.
func (p right) String() string {
	s := p.verb + " " + p.resource
	if p.subresource != "" {
		s += "/" + p.subresource
	}
	if p.group != "" {
		s += "." + p.group
	}
	if p.namespace != "" {
		s += " in " + p.namespace
	}
	return s
}

// memberRights are what joining needs in the member, beside the rights that it
// hands on: nobody may grant what he has not.
func memberRights(namespace string) []right {
	const rbac = "rbac.authorization.k8s.io"
	return []right{
		{verb: "list", resource: "nodes"},
		{verb: "create", resource: "namespaces"},
		{verb: "create", resource: "serviceaccounts", namespace: namespace},
		{verb: "create", resource: "serviceaccounts", subresource: "token", namespace: namespace},
		{verb: "create", group: rbac, resource: "clusterroles"},
		{verb: "create", group: rbac, resource: "clusterrolebindings"},
		{verb: "create", group: rbac, resource: "roles", namespace: namespace},
		{verb: "create", group: rbac, resource: "rolebindings", namespace: namespace},
	}
}

func hostRights(namespace string) []right {
	const rbac = "rbac.authorization.k8s.io"
	return []right{
		{verb: "create", group: rbac, resource: "roles", namespace: namespace},
		{verb: "create", group: rbac, resource: "rolebindings", namespace: namespace},
		{verb: "patch", resource: "secrets", namespace: namespace},
		{verb: "get", resource: "secrets", namespace: namespace},
		{verb: "patch", group: "meridian.dev", resource: "clusters"},
	}
}

// version asks the server for its version and refuses what is too old.
func (r *Reach) version() error {
	v, err := r.kube.Discovery().ServerVersion()
	if err != nil {
		return r.explain("asking for the version", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err == nil && v.Major == "1" && minor < oldest {
		return fmt.Errorf("%s runs Kubernetes %s, and at least 1.%d is needed; upgrade it", r.Name, v.GitVersion, oldest)
	}
	return nil
}

// lacks lists the rights that whoever runs the command does not have, in order.
func (r *Reach) lacks(ctx context.Context, rights []right) ([]right, error) {
	var out []right
	for _, p := range rights {
		review, err := r.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: p.verb, Group: p.group, Resource: p.resource, Subresource: p.subresource, Namespace: p.namespace,
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

// missingRights says in a sentence what a person may not do; empty: nothing.
func (r *Reach) missingRights(ctx context.Context, rights []right) (string, error) {
	lacking, err := r.lacks(ctx, rights)
	if err != nil || len(lacking) == 0 {
		return "", err
	}
	var words []string
	for _, p := range lacking {
		words = append(words, p.String())
	}
	return fmt.Sprintf("in %s you may not %s; use a context of an administrator, or let one grant it", r.Name, strings.Join(words, ", ")), nil
}

// nodes lists the nodes, all of them.
func (r *Reach) nodes(ctx context.Context) ([]corev1.Node, error) {
	var out []corev1.Node
	o := metav1.ListOptions{Limit: 500}
	for {
		list, err := r.kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return nil, r.explain("listing nodes", err)
		}
		out = append(out, list.Items...)
		if o.Continue = list.Continue; o.Continue == "" {
			return out, nil
		}
	}
}

// Site reads where a cluster stands from its nodes.
func (r *Reach) Site(ctx context.Context) (Site, error) {
	nodes, err := r.nodes(ctx)
	return ReadSite(nodes), err
}
