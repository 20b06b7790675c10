package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// Leaving is an order to let a member go.
type Leaving struct {
	Name      string
	Namespace string        // of the installation, in both clusters; empty means meridian-system
	Grace     time.Duration // for what is under way, between the order to drain and the end
	Timeout   time.Duration // that workloads may take to run elsewhere; 0 means 10 min
	Force     bool          // without waiting for workloads, and also when the member cannot be reached: its part stays there
	Keep      bool          // what was placed there stays, and is nobody's
}

var clustersResource = v1alpha1.SchemeGroupVersion.WithResource("clusters")

// Unjoin lets a member go: it sends nothing new there, waits until its workloads run
// elsewhere, and then removes what was placed there and what Join has made, in both
// clusters. What is gone already is fine. member may be nil with Force: it then keeps
// what it has.
func Unjoin(ctx context.Context, member, host *Reach, l Leaving, p Progress) error {
	l.Namespace = cmp.Or(l.Namespace, Namespace)
	unreachable := errors.New("no --context leads to it")
	if member != nil {
		unreachable = member.version()
	}
	if unreachable != nil && !l.Force {
		return fmt.Errorf("%s cannot be cleaned: %w; with --force it is let go all the same, and what was made there stays until \"meridian unjoin\" can reach it", l.Name, unreachable)
	}
	if unreachable == nil {
		if err := member.same(ctx, host, l.Namespace, l.Name); err != nil {
			return err
		}
		other, err := member.knownAs(ctx, host, l.Namespace, l.Name)
		if err != nil {
			return err
		}
		if other != "" {
			return fmt.Errorf("context %s leads to the member %s, not to %s, and %s would lose what was made there; write \"meridian unjoin %s\", or give the context of %s", member.Name, other, l.Name, other, other, l.Name)
		}
	}
	reached := unreachable == nil
	if l.Keep && reached { // first, so that nothing that drains is taken away
		p.Say("%s (%s):", l.Name, member.Name)
		if err := l.revoke(ctx, member, p); err != nil {
			return err
		}
	}
	if err := l.drain(ctx, host, p); err != nil {
		return err
	}
	if !l.Keep && reached { // while it is a member still, so that this can be gone on with
		p.Say("%s (%s):", l.Name, member.Name)
		if err := l.revoke(ctx, member, p); err != nil {
			return err
		}
		if err := l.sweep(ctx, member, host, p); err != nil {
			return err
		}
	}
	p.Say("host (%s):", host.Name)
	if err := host.removeAll(ctx, l.inHost(), p); err != nil {
		return err
	}
	if !reached {
		p.Say("%s: left as it is, since %v. What was placed there stays there, and so do its ServiceAccount %s/%s and the roles meridian:…, whose token ends by itself; \"meridian unjoin %s --context CONTEXT --host-context %s\" removes them, also later.", l.Name, unreachable, l.Namespace, memberAccount, l.Name, host.Name)
		return nil
	}
	p.Say("%s (%s):", l.Name, member.Name)
	return l.clean(ctx, member, host, p)
}

// inHost are the host's objects of a member; the last goes first, so that the member
// is gone before its credentials are.
func (l *Leaving) inHost() []*unstructured.Unstructured {
	var objects []*unstructured.Unstructured
	for _, o := range opened(l.Namespace, l.Name) {
		objects = append(objects, bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName()))
	}
	return append(objects,
		bare(corev1.SchemeGroupVersion.WithKind("Secret"), l.Namespace, secretName(l.Name)),
		bare(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindCluster), "", l.Name))
}

// inMember are all that a member may hold for its host.
func (l *Leaving) inMember() []*unstructured.Unstructured {
	return append(memberObjects(l.Namespace), workloadObjects(l.Namespace, nil, nil)...)
}

// Foresee says what Unjoin would wait for, and returns the objects that it would
// delete, by their names, the first first. A nil member keeps its own.
func Foresee(ctx context.Context, member, host *Reach, l Leaving, p Progress) ([]Part, error) {
	l.Namespace = cmp.Or(l.Namespace, Namespace)
	left, owners := stays{}, map[types.UID]bool{}
	if _, err := (hostBooks{host}).each(ctx, func(o *unstructured.Unstructured) {
		owners[o.GetUID()] = true
		left.see(o, l.Name, false)
	}); err != nil {
		return nil, err
	}
	switch d := (departure{Leaving: &l, left: left}); {
	case len(left) > 0:
		p.Say("%s.", d.intent())
	case len(owners) > 0:
		p.Say("No workload has to move.")
	}
	objects := l.inHost()
	slices.Reverse(objects)
	parts := []Part{{Where: "host cluster", Objects: objects}}
	if l.Force && member != nil && member.version() != nil {
		member = nil
	}
	if member == nil {
		return parts, nil
	}
	found, others, err := member.placed(ctx, owners, p)
	if err != nil {
		return nil, err
	}
	if len(others) > 0 {
		p.Say("Note: these were placed by FederatedObjects that %s does not have, and stay: %s.", host.Name, some(others))
	}
	var own []*unstructured.Unstructured
	for _, o := range found {
		if !l.Keep {
			own = append(own, bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName()))
		}
	}
	for _, o := range slices.Backward(l.inMember()) {
		own = append(own, bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName()))
	}
	return append(parts, Part{Where: "member " + l.Name, Objects: own}), nil
}

// clean removes from the member what was made for the host, and the namespace if
// that was made for it too and holds nothing else. Now that nobody there may write any
// more, it looks for workloads once more.
func (l *Leaving) clean(ctx context.Context, member, host *Reach, p Progress) error {
	objects := l.inMember()
	if err := member.removeAll(ctx, objects, p); err != nil {
		return err
	}
	if err := l.sweep(ctx, member, host, p); err != nil {
		return err
	}
	ns, err := member.kube.CoreV1().Namespaces().Get(ctx, l.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return member.explain("reading Namespace "+l.Namespace, err)
	case ns.Labels[labelJoined] != "true" || ns.DeletionTimestamp != nil:
		return nil
	}
	pods, err := member.kube.CoreV1().Pods(l.Namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return member.explain("listing pods of "+l.Namespace, err)
	}
	sets, err := member.kube.AppsV1().Deployments(l.Namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return member.explain("listing Deployments of "+l.Namespace, err)
	}
	if len(pods.Items)+len(sets.Items) > 0 {
		p.Say("  Namespace %s stays, since something runs in it", l.Namespace)
		return nil
	}
	return member.removeAll(ctx, []*unstructured.Unstructured{bare(corev1.SchemeGroupVersion.WithKind("Namespace"), "", l.Namespace)}, p)
}

// removeAll deletes objects, the last first.
func (r *Reach) removeAll(ctx context.Context, objects []*unstructured.Unstructured, p Progress) error {
	for i := len(objects) - 1; i >= 0; i-- {
		was, err := r.remove(ctx, objects[i])
		if err != nil {
			return err
		}
		if was {
			p.Say("  %s deleted", name(objects[i]))
		}
	}
	return nil
}

// bare is an object by its name alone.
func bare(gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(gvk)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}
