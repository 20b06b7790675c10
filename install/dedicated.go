package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// plainRole lets the daemons do in a dedicated API what controllers do in a cluster.
	plainRole = "meridian:plain-objects"
	// dedicatedMark is a ConfigMap by which a dedicated API is told from a cluster.
	dedicatedMark = "meridian-dedicated-api"
)

// daemonUser is what the daemons are called by a dedicated API: as by a cluster, so that
// the same roles hold.
func daemonUser(namespace string) string {
	return "system:serviceaccount:" + namespace + ":" + daemonAccount
}

// Dedicated is what a dedicated API is to hold so that it is a host: the kinds, the
// namespace of the installation, and the rights of its daemons. Values are those of the
// chart; only what they say of rights and classes counts.
func Dedicated(namespace string, values map[string]any) ([]*unstructured.Unstructured, error) {
	own := map[string]any{}
	for _, key := range []string{"tlsNamespaces", "ingressClass", "workloads"} {
		if v, ok := values[key]; ok {
			own[key] = v
		}
	}
	Merge(own, map[string]any{"region": "any", "createNamespace": true, "renew": map[string]any{"enabled": false}, "gateway": map[string]any{"enabled": false}})
	objects, err := Render(namespace, own)
	if err != nil {
		return nil, err
	}
	kept := []string{"Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "IngressClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return !slices.Contains(kept, o.GetKind()) })
	meta := metav1.ObjectMeta{Name: plainRole, Labels: map[string]string{labelPartOf: manager, labelManagedBy: manager}}
	rbac := rbacv1.SchemeGroupVersion
	mark := meta.DeepCopy()
	mark.Name, mark.Namespace = dedicatedMark, namespace
	objects = append(objects,
		object(rbac.WithKind("ClusterRole"), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
			// What is federated may be of any kind, and so may what is left in a namespace.
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch", "patch", "update", "delete"}},
			// Whoever wrote the plain object was asked for his rights when he did.
			{APIGroups: []string{"meridian.dev"}, Resources: []string{"federatedobjects"}, Verbs: []string{"create", "escalate"}},
		}}),
		object(rbac.WithKind("ClusterRoleBinding"), &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbac.Group, Kind: "ClusterRole", Name: plainRole},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: daemonAccount, Namespace: namespace}},
		}),
		object(corev1.SchemeGroupVersion.WithKind("ConfigMap"), &corev1.ConfigMap{ObjectMeta: *mark, Data: map[string]string{
			"about": "This API server runs no controllers. What is written here runs in the clusters that have joined.",
		}}))
	sortObjects(objects)
	return objects, nil
}

// Furnish has a dedicated API hold what it is to hold. What is so already is not written.
func Furnish(ctx context.Context, reach *Reach, namespace string, values map[string]any, p Progress) (Outcome, error) {
	objects, err := Dedicated(cmp.Or(namespace, Namespace), values)
	if err != nil {
		return Outcome{}, err
	}
	return reach.Apply(ctx, objects, p)
}

// dedicated reports whether an API server is a dedicated API. Who may not look is taken
// to look at a cluster.
func (r *Reach) dedicated(ctx context.Context, namespace string) bool {
	_, err := r.kube.CoreV1().ConfigMaps(cmp.Or(namespace, Namespace)).Get(ctx, dedicatedMark, metav1.GetOptions{})
	return err == nil
}

// furnishEvery is how often a dedicated API is looked after, and furnishAgain how soon
// after a failure.
const (
	furnishEvery = 10 * time.Minute
	furnishAgain = 5 * time.Second
)

// KeepFurnished furnishes a dedicated API until ctx ends: as soon as it answers, and
// again when somebody has changed what it is to hold.
func KeepFurnished(ctx context.Context, reach *Reach, namespace string, values map[string]any, p Progress) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C:
		}
		if _, err := Furnish(ctx, reach, namespace, values, p); err != nil {
			if ctx.Err() == nil && said != err.Error() {
				said = err.Error()
				p.Say("Note: %v; it is tried again.", err)
			}
			wait.Reset(furnishAgain)
			continue
		}
		said = ""
		wait.Reset(furnishEvery)
	}
}

// settled refuses what cannot be with a dedicated API, or without one any more. Was is
// what the installation was told before; nil: nothing.
func (s *Settings) settled(reach *Reach, was *record) error {
	switch {
	case was != nil && wantsAPI(was.values) && !s.dedicated():
		return fmt.Errorf("the installation in %s has a dedicated API, and everything that was written lies in it; leave api.enabled as it is, or take the installation away with \"meridian uninstall --context %s\" and begin anew", reach.Name, reach.Name)
	case was != nil && !wantsAPI(was.values) && s.dedicated():
		return fmt.Errorf("the installation in %s has its Clusters, Zones and so on in that cluster, and a dedicated API would begin empty; let its members go, take it away with \"meridian uninstall --context %s\", and begin anew with --dedicated-api", reach.Name, reach.Name)
	}
	return nil
}
