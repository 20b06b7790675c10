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
	Grace     time.Duration // between the order to drain and the end
	Force     bool          // also when the member cannot be reached: its part stays there
}

var clustersResource = v1alpha1.SchemeGroupVersion.WithResource("clusters")

// Unjoin lets a member go: it sends nothing new there, waits, and then removes what
// Join has made, in both clusters. What is gone already is fine. member may be nil
// with Force.
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
	if err := l.drain(ctx, host, p); err != nil {
		return err
	}
	p.Say("host (%s):", host.Name)
	if err := host.removeAll(ctx, l.inHost(), p); err != nil {
		return err
	}
	if unreachable != nil {
		p.Say("%s: left as it is, since %v. Its ServiceAccount %s/%s and the roles meridian:… stay there, and their token ends by itself; \"meridian unjoin %s --context CONTEXT --host-context %s\" removes them, also later.", l.Name, unreachable, l.Namespace, memberAccount, l.Name, host.Name)
		return nil
	}
	p.Say("%s (%s):", l.Name, member.Name)
	return l.clean(ctx, member, p)
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

// Left are the objects that Unjoin deletes, by their names, the first first. A nil
// member keeps its own.
func Left(member *Reach, l Leaving) []Part {
	l.Namespace = cmp.Or(l.Namespace, Namespace)
	host := l.inHost()
	slices.Reverse(host)
	parts := []Part{{Where: "host cluster", Objects: host}}
	if member == nil {
		return parts
	}
	var own []*unstructured.Unstructured
	for _, o := range slices.Backward(l.inMember()) {
		own = append(own, bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName()))
	}
	return append(parts, Part{Where: "member " + l.Name, Objects: own})
}

// drain orders that nothing new be sent to the member, and waits.
func (l *Leaving) drain(ctx context.Context, host *Reach, p Progress) error {
	clusters := host.dynamic.Resource(clustersResource)
	c, err := clusters.Get(ctx, l.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		names, err := host.Members(ctx)
		p.Say("%s is no member of %s, or not any more; that has %s.", l.Name, host.Name, orNone(names))
		return err
	}
	if err != nil {
		return host.explain("reading Cluster "+l.Name, err)
	}
	if l.Grace <= 0 {
		return nil
	}
	if draining, _, _ := unstructured.NestedBool(c.Object, "spec", "draining"); !draining {
		patch := []byte(`{"spec":{"draining":true}}`)
		if _, err := clusters.Patch(ctx, l.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager + "-unjoin"}); err != nil {
			return host.explain("draining Cluster "+l.Name, err)
		}
	}
	p.Say("%s drains for %s: nothing new is sent there, and what is under way may finish.", l.Name, l.Grace)
	end := time.NewTimer(l.Grace)
	defer end.Stop()
	tell := time.NewTicker(sayEvery)
	defer tell.Stop()
	for begin := time.Now(); ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s still drains and is still a member; go on with \"meridian unjoin %s --host-context %s\", or take it back with \"kubectl --context %s patch cluster.meridian.dev %s --type merge -p '{\"spec\":{\"draining\":false}}'\": %w", l.Name, l.Name, host.Name, host.Name, l.Name, ctx.Err())
		case <-tell.C:
			p.Say("  … %s to go", (l.Grace - time.Since(begin)).Round(time.Second))
		case <-end.C:
			return nil
		}
	}
}

// clean removes from the member what was made for the host, and the namespace if
// that was made for it too and holds nothing else.
func (l *Leaving) clean(ctx context.Context, member *Reach, p Progress) error {
	objects := l.inMember()
	if err := member.removeAll(ctx, objects, p); err != nil {
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
