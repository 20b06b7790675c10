package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// Removing is an order to take an installation away.
type Removing struct {
	Namespace string // empty means meridian-system
	Force     bool   // also while members are joined: they are forgotten, and their parts stay there
	CRDs      bool   // also the CRDs, and with them every object of their kinds
}

// Uninstall removes from a cluster what Init has made there, gateways and daemons
// first. What is gone already is fine. In a dry run it deletes nothing. It returns
// the objects by their names, the first to go first.
func Uninstall(ctx context.Context, r *Reach, o Removing, dryRun bool, p Progress) ([]Part, error) {
	o.Namespace = cmp.Or(o.Namespace, Namespace)
	if err := r.version(); err != nil {
		return nil, err
	}
	stop := p.during("looking at %s", r.Name)
	objects, notes, err := o.find(ctx, r)
	stop()
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		p.Say("Note: %s", n)
	}
	slices.Reverse(objects)
	parts := []Part{{Where: "host cluster", Objects: objects}}
	if dryRun {
		return parts, nil
	}
	lacking, err := r.lacks(ctx, onEach(objects, "delete"))
	if err != nil {
		return nil, err
	}
	if len(lacking) > 0 {
		return nil, fmt.Errorf("in %s you may not %s, so nothing was deleted; use a context of an administrator, or let one grant it", r.Name, inWords(lacking))
	}
	ingresses, err := r.addressed(ctx) // while it is known which classes are ours
	if err != nil {
		return nil, err
	}
	p.Say("%s:", r.Name)
	for _, x := range objects {
		stop := p.during("deleting %s", name(x))
		if x.GetKind() == "CustomResourceDefinition" && x.GetName() == federatedResource.GroupResource().String() {
			if err := r.unguard(ctx); err != nil {
				stop()
				return nil, err
			}
		}
		err := r.removeAll(ctx, []*unstructured.Unstructured{x}, p)
		if err == nil && (x.GetKind() == "Namespace" || x.GetKind() == "CustomResourceDefinition") {
			err = r.ended(ctx, x, p)
		}
		stop()
		if err != nil {
			return nil, fmt.Errorf("%w; what came before it is gone, and running \"meridian uninstall --context %s\" again goes on from there", err, r.Name)
		}
	}
	r.withdraw(ctx, ingresses, p)
	return parts, nil
}

// unguard takes our finalizer off the FederatedObjects, which would wait for ever for
// daemons that are no more. What is placed in members stays there.
func (r *Reach) unguard(ctx context.Context) error {
	var guarded []*unstructured.Unstructured
	if _, err := (hostBooks{r}).each(ctx, func(o *unstructured.Unstructured) {
		if slices.Contains(o.GetFinalizers(), placement.Finalizer) {
			bare := bare(o.GroupVersionKind(), o.GetNamespace(), o.GetName())
			bare.SetFinalizers(slices.DeleteFunc(o.GetFinalizers(), func(f string) bool { return f == placement.Finalizer }))
			bare.SetResourceVersion(o.GetResourceVersion())
			guarded = append(guarded, bare)
		}
	}); err != nil {
		return err
	}
	for _, o := range guarded {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": o.GetResourceVersion(), "finalizers": o.GetFinalizers()}})
		if err == nil {
			_, err = r.dynamic.Resource(federatedResource).Namespace(o.GetNamespace()).Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager + "-uninstall"})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return r.explain("taking the finalizer off "+name(o), err)
		}
	}
	return nil
}

// goneWithin is how long a namespace may take: its pods have time to end.
const goneWithin = 90 * time.Second

// ended waits until something that holds others is gone, so that init may begin anew.
func (r *Reach) ended(ctx context.Context, x *unstructured.Unstructured, p Progress) error {
	client, err := r.resource(ctx, x)
	if err != nil {
		return err
	}
	var last error // one failure is no end, and near the deadline no question is asked any more
	err = pollFor(ctx, goneWithin, func(ctx context.Context) (bool, error) {
		_, last = client.Get(ctx, x.GetName(), metav1.GetOptions{})
		return apierrors.IsNotFound(last), nil
	})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return r.explain("waiting until "+name(x)+" is gone", ctx.Err())
	}
	p.Say("Note: %s is not gone yet; see what holds it: kubectl --context %s describe %s %s", name(x), r.Name, strings.ToLower(x.GetKind()), x.GetName())
	return nil
}

// find lists what is to go, the last to go first, and says what stays and why.
func (o *Removing) find(ctx context.Context, r *Reach) (objects []*unstructured.Unstructured, notes []string, err error) {
	if set, err := r.kube.AppsV1().StatefulSets(o.Namespace).Get(ctx, daemonAccount, metav1.GetOptions{}); err == nil && set.Labels[labelManagedBy] == "Helm" {
		return nil, nil, fmt.Errorf("helm installed what is in namespace %s of %s, and has to take it away: helm -n %s uninstall meridian", o.Namespace, r.Name, o.Namespace)
	}
	if err := o.api(ctx, r); err != nil {
		return nil, nil, err
	}
	members, err := o.members(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	for _, kind := range kinds() {
		found, err := o.ours(ctx, r, kind)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, found...)
	}
	sortObjects(objects)
	if o.CRDs {
		notes = append(notes, "with the CRDs every Cluster, FederatedObject, Placement, TrafficPolicy and Zone goes; what is placed in clusters stays there.")
	} else if there, _ := r.crd(ctx, v1alpha1.Group, v1alpha1.KindCluster); there {
		notes = append(notes, "the CRDs stay, and with them every FederatedObject, Placement, TrafficPolicy and Zone; --crds deletes them too. Until init is run again nobody carries FederatedObjects out, nor finishes deleting them.")
	}
	for _, m := range members {
		objects = append(objects, m)
		notes = append(notes, fmt.Sprintf("what was made in the member %s stays there; \"meridian unjoin %s --context CONTEXT --host-context %s\" removes it, also afterwards.", m.GetName(), m.GetName(), r.Name))
	}
	volumes, err := o.volumes(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	own, err := o.daemons(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	objects = slices.Concat(volumes, own, objects)
	ns, note, err := o.home(ctx, r, objects)
	if note != "" {
		notes = append(notes, note)
	}
	if ns != nil {
		objects = append([]*unstructured.Unstructured{ns}, objects...)
	}
	return objects, notes, err
}

// api refuses to take a dedicated API away unasked: nobody sees from here who has joined
// it, and with its volume everything goes that was written in it.
func (o *Removing) api(ctx context.Context, r *Reach) error {
	_, err := r.kube.AppsV1().StatefulSets(o.Namespace).Get(ctx, apiName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || err == nil && o.Force:
		return nil
	case err != nil:
		return r.explain("reading StatefulSet "+o.Namespace+"/"+apiName, err)
	}
	return fmt.Errorf("the dedicated API of %s goes with everything that was written in it, and what its members run stays there with nobody to tend it; let them go first, then say --force\n  kubectl --context %s get clusters\n  meridian unjoin NAME --context CONTEXT --host-context %s", r.Name, contextName, contextName)
}

// members are the Clusters that have joined. Without Force there may be none.
func (o *Removing) members(ctx context.Context, r *Reach) ([]*unstructured.Unstructured, error) {
	list, err := r.dynamic.Resource(clustersResource).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil // nor is the CRD
	}
	if err != nil {
		return nil, r.explain("listing Clusters", err)
	}
	var out []*unstructured.Unstructured
	var names, commands []string
	for i := range list.Items {
		c := &list.Items[i]
		ref, _, _ := unstructured.NestedString(c.Object, "spec", "credentialsRef", "name")
		if ref == "" || !made(c) {
			continue // somebody wrote it himself
		}
		names = append(names, c.GetName())
		commands = append(commands, fmt.Sprintf("meridian unjoin %s --context CONTEXT --host-context %s", c.GetName(), r.Name))
		out = append(out, bare(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindCluster), "", c.GetName()))
	}
	if len(out) > 0 && !o.Force {
		return nil, fmt.Errorf("joined to %s and not to be forgotten unasked: %s; let them go first, or say --force\n  %s", r.Name, strings.Join(names, ", "), strings.Join(commands, "\n  "))
	}
	return out, nil
}

// kinds are those that the chart and this package make, each once.
func kinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, gv := range []struct {
		group, version string
		kinds          []string
	}{
		{"", "v1", []string{"ServiceAccount", "Secret", "ConfigMap", "Service"}},
		{"admissionregistration.k8s.io", "v1", []string{"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}},
		{"apiextensions.k8s.io", "v1", []string{"CustomResourceDefinition"}},
		{rbacGroup, "v1", []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}},
		{"networking.k8s.io", "v1", []string{"IngressClass", "NetworkPolicy"}},
		{"policy", "v1", []string{"PodDisruptionBudget"}},
		{"apps", "v1", []string{"StatefulSet", "Deployment"}},
		{"autoscaling", "v2", []string{"HorizontalPodAutoscaler"}},
		{"batch", "v1", []string{"CronJob"}},
		{"monitoring.coreos.com", "v1", []string{"ServiceMonitor"}},
	} {
		for _, kind := range gv.kinds {
			out = append(out, schema.GroupVersionKind{Group: gv.group, Version: gv.version, Kind: kind})
		}
	}
	return out
}

// ours are the objects of one kind that init made, also one of another version. What
// join made of this cluster as somebody's member is unjoin's to remove.
func (o *Removing) ours(ctx context.Context, r *Reach, kind schema.GroupVersionKind) ([]*unstructured.Unstructured, error) {
	if kind.Kind == "CustomResourceDefinition" && !o.CRDs {
		return nil, nil
	}
	mapping, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, r.explain("looking for "+kind.Kind, err)
	}
	list, err := r.dynamic.Resource(mapping.Resource).List(ctx, metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager + "," + labelManagedBy + "=" + manager})
	if err != nil {
		return nil, r.explain("listing "+mapping.Resource.Resource, err)
	}
	var out []*unstructured.Unstructured
	for i := range list.Items {
		x := bare(kind, list.Items[i].GetNamespace(), list.Items[i].GetName())
		if list.Items[i].GetLabels()[labelMember] != "" && !o.Force || forHost(o.Namespace, x) {
			continue
		}
		out = append(out, x)
	}
	return out, nil
}

// forHost reports whether join made an object for the host of a member.
func forHost(namespace string, x *unstructured.Unstructured) bool {
	return slices.ContainsFunc(append(memberObjects(namespace), workloadObjects(namespace, nil, nil)...), func(m *unstructured.Unstructured) bool { return name(m) == name(x) })
}

// volumes are those that the StatefulSets have asked for, which outlive them.
func (o *Removing) volumes(ctx context.Context, r *Reach) ([]*unstructured.Unstructured, error) {
	list, err := r.kube.CoreV1().PersistentVolumeClaims(o.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labelName + " in (" + daemonAccount + "," + apiName + ")," + labelPartOf + "=" + manager})
	if err != nil {
		return nil, r.explain("listing PersistentVolumeClaims", err)
	}
	var out []*unstructured.Unstructured
	for _, v := range list.Items {
		out = append(out, bare(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"), v.Namespace, v.Name))
	}
	return out, nil
}

// daemons are the objects that the daemons made for themselves. What they record would
// otherwise hold the namespace, and be believed by the next installation. They go when
// the daemons' rights have gone, so that none is made again.
func (o *Removing) daemons(ctx context.Context, r *Reach) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, x := range []*unstructured.Unstructured{
		bare(corev1.SchemeGroupVersion.WithKind("ConfigMap"), o.Namespace, v1alpha1.LedgerName),
		bare(coordinationv1.SchemeGroupVersion.WithKind("Lease"), o.Namespace, v1alpha1.LeaseName),
		bare(coordinationv1.SchemeGroupVersion.WithKind("Lease"), o.Namespace, v1alpha1.WorkloadsLease),
	} {
		client, err := r.resource(ctx, x)
		if err != nil {
			return nil, err
		}
		switch _, err := client.Get(ctx, x.GetName(), metav1.GetOptions{}); {
		case err == nil:
			out = append(out, x)
		case !apierrors.IsNotFound(err):
			return nil, r.explain("looking for "+name(x), err)
		}
	}
	return out, nil
}

// home is the namespace, if init made it and nothing is in it that stays.
func (o *Removing) home(ctx context.Context, r *Reach, gone []*unstructured.Unstructured) (_ *unstructured.Unstructured, note string, err error) {
	ns, err := r.kube.CoreV1().Namespaces().Get(ctx, o.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, "", nil
	case err != nil:
		return nil, "", r.explain("reading Namespace "+o.Namespace, err)
	case !made(ns):
		return nil, fmt.Sprintf("Namespace %s stays, since init did not make it.", o.Namespace), nil
	}
	goes := map[string]bool{}
	for _, x := range gone {
		goes[name(x)] = true
	}
	core, apps := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion
	for _, kind := range []schema.GroupVersionKind{
		core.WithKind("ServiceAccount"), core.WithKind("Secret"), core.WithKind("ConfigMap"), core.WithKind("Service"), core.WithKind("PersistentVolumeClaim"),
		apps.WithKind("StatefulSet"), apps.WithKind("Deployment"), apps.WithKind("DaemonSet"), batchv1.SchemeGroupVersion.WithKind("CronJob"),
	} {
		resource, _ := meta.UnsafeGuessKindToResource(kind)
		list, err := r.dynamic.Resource(resource).Namespace(o.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, "", r.explain("listing "+resource.Resource, err)
		}
		for i := range list.Items {
			x := bare(kind, o.Namespace, list.Items[i].GetName())
			if goes[name(x)] || name(x) == "ServiceAccount "+o.Namespace+"/default" || name(x) == "ConfigMap "+o.Namespace+"/kube-root-ca.crt" {
				continue // every namespace has these
			}
			return nil, fmt.Sprintf("Namespace %s stays, since something of somebody else's is in it: %s.", o.Namespace, name(x)), nil
		}
	}
	return bare(corev1.SchemeGroupVersion.WithKind("Namespace"), "", o.Namespace), "", nil
}
