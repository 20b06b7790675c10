package install

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/retry"

	"github.com/meridian-lb/meridian/placement"
)

// revoke takes from the host the right to write workloads in the member, and waits
// until that is in force: from then on nobody writes them but whoever runs this.
func (l *Leaving) revoke(ctx context.Context, member *Reach, p Progress) error {
	role, err := member.kube.RbacV1().ClusterRoles().Get(ctx, workloadRole, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return member.explain("reading ClusterRole "+workloadRole, err)
	}
	if err := member.removeAll(ctx, workloadObjects(l.Namespace, nil, nil), p); err != nil || role == nil {
		return err
	}
	verb := "delete"
	writes := func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Verbs, verb) }
	i := slices.IndexFunc(role.Rules, writes)
	if i < 0 { // it writes in the name of others
		verb = "impersonate"
		i = slices.IndexFunc(role.Rules, writes)
	}
	if i < 0 || len(role.Rules[i].APIGroups) == 0 || len(role.Rules[i].Resources) == 0 {
		return nil
	}
	rule := role.Rules[i]
	attributes := &authorizationv1.ResourceAttributes{Verb: verb, Group: rule.APIGroups[0], Resource: rule.Resources[0], Namespace: metav1.NamespaceDefault}
	if len(rule.ResourceNames) > 0 {
		attributes.Name = rule.ResourceNames[0]
	}
	ask := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + l.Namespace + ":" + memberAccount,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + l.Namespace, "system:authenticated"},
		ResourceAttributes: attributes,
	}}
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		said, err := member.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, ask, metav1.CreateOptions{})
		return err == nil && !said.Status.Allowed || apierrors.IsForbidden(err), nil
	})
	if err != nil {
		return fmt.Errorf("in %s the host may still delete %s, though ClusterRoleBinding %s is gone; see who else grants that to ServiceAccount %s/%s, and run this again: %w",
			member.Name, ask.Spec.ResourceAttributes.Resource, workloadRole, l.Namespace, memberAccount, err)
	}
	return nil
}

// placed is an object that was placed in a member.
type placed struct {
	*unstructured.Unstructured
	resource schema.GroupVersionResource
}

// ownersOf are the UIDs of the host's FederatedObjects.
func ownersOf(ctx context.Context, b books) (map[types.UID]bool, error) {
	owners := map[types.UID]bool{}
	_, err := b.each(ctx, func(o *unstructured.Unstructured) { owners[o.GetUID()] = true })
	return owners, err
}

// placed are the objects of a member that are there for some FederatedObjects, sorted,
// and the names of those that were placed for others, which are not ours to touch.
func (r *Reach) placed(ctx context.Context, owners map[types.UID]bool, p Progress) (found []placed, others []string, err error) {
	kinds, err := r.writable(p)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range kinds {
		for from := ""; ; {
			list, err := r.dynamic.Resource(k).List(ctx, metav1.ListOptions{LabelSelector: placement.LabelPlaced + "=true", Limit: 250, Continue: from})
			switch {
			case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err):
				list = &unstructured.UnstructuredList{} // the kind has gone
			case apierrors.IsForbidden(err):
				p.Say("Note: in %s you may not list %s; what was placed of these stays there.", r.Name, k.GroupResource())
				list = &unstructured.UnstructuredList{}
			case err != nil:
				return nil, nil, r.explain("listing "+k.GroupResource().String(), err)
			}
			for i := range list.Items {
				o := &list.Items[i]
				switch needing := placement.NeededBy(o); {
				case len(needing) == 0, metav1.GetControllerOf(o) != nil: // the label was inherited
				case slices.ContainsFunc(needing, func(uid types.UID) bool { return owners[uid] }):
					found = append(found, placed{o, k})
				default:
					others = append(others, name(o))
				}
			}
			if from = list.GetContinue(); from == "" {
				break
			}
		}
	}
	slices.SortFunc(found, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	slices.Sort(others)
	return found, others, nil
}

// writable are the kinds in namespaces of which objects can be listed and deleted, sorted.
func (r *Reach) writable(p Progress) ([]schema.GroupVersionResource, error) {
	lists, err := discovery.ServerPreferredNamespacedResources(r.kube.Discovery())
	if discovery.IsGroupDiscoveryFailedError(err) {
		p.Say("Note: %s does not say all its kinds (%v); what was placed of the others stays there.", r.Name, err)
		err = nil
	}
	if err != nil {
		return nil, r.explain("asking for the kinds that there are", err)
	}
	kinds, err := discovery.GroupVersionResources(discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "patch", "delete"}}, lists))
	if err != nil {
		return nil, r.explain("reading the kinds that there are", err)
	}
	return slices.SortedFunc(maps.Keys(kinds), func(a, b schema.GroupVersionResource) int { return cmp.Compare(a.String(), b.String()) }), nil
}

// sweep takes away what the host's FederatedObjects have in the member, or leaves it to
// the member without our marks.
func (l *Leaving) sweep(ctx context.Context, member, host *Reach, p Progress) error {
	owners, err := ownersOf(ctx, hostBooks{host})
	if err != nil {
		return err
	}
	stop := p.during("looking for placed workloads in %s", member.Name)
	found, others, err := member.placed(ctx, owners, p)
	stop()
	if err != nil {
		return err
	}
	for _, o := range found {
		done := "deleted"
		if l.Keep {
			done = "left to the cluster"
			err = member.release(ctx, o)
		} else {
			err = member.take(ctx, o)
		}
		if err != nil {
			return err
		}
		p.Say("  %s %s", name(o.Unstructured), done)
	}
	if len(others) > 0 {
		p.Say("Note: these were placed by FederatedObjects that %s does not have, and stay: %s.", host.Name, some(others))
	}
	return nil
}

// take deletes just the object that was seen.
func (r *Reach) take(ctx context.Context, o placed) error {
	uid, background := o.GetUID(), metav1.DeletePropagationBackground
	err := r.dynamic.Resource(o.resource).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, and perhaps another one came
		return nil
	}
	return r.explain("deleting "+name(o.Unstructured), err)
}

// release leaves an object to the cluster, without our marks.
func (r *Reach) release(ctx context.Context, o placed) error {
	on, live := r.dynamic.Resource(o.resource).Namespace(o.GetNamespace()), o.Unstructured
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		patch, err := placement.Release(live)
		if err != nil {
			return err
		}
		_, err = on.Patch(ctx, o.GetName(), types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager + "-unjoin"})
		if apierrors.IsConflict(err) { // a controller wrote its status
			if fresh, err := on.Get(ctx, o.GetName(), metav1.GetOptions{}); err == nil {
				live = fresh
			}
		}
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return r.explain("taking our marks off "+name(o.Unstructured), err)
}

// some names a few of many.
func some(names []string) string {
	const few = 8
	if len(names) > few {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
	}
	return strings.Join(names, ", ")
}
