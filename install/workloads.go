package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// workloadRole is what a host may write in a member, for the workloads that it places
// there. A member has it only if it was asked for.
const workloadRole = "meridian:workloads"

// DefaultWorkloads are the kinds that a host may write in a member which takes
// workloads and does not say which. Secrets are not among them.
func DefaultWorkloads() []string {
	return []string{
		"configmaps", "cronjobs.batch", "daemonsets.apps", "deployments.apps", "horizontalpodautoscalers.autoscaling", "jobs.batch",
		"replicasets.apps", "services", "statefulsets.apps",
	}
}

// escalating are resources by which who may write them can become anybody.
var escalating = []string{
	"clusterrolebindings.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
	"roles.rbac.authorization.k8s.io", "nodes", "certificatesigningrequests.certificates.k8s.io", "mutatingwebhookconfigurations.admissionregistration.k8s.io",
	"validatingwebhookconfigurations.admissionregistration.k8s.io",
}

// ParseWorkloads reads the kinds that a host may write, each as kubectl writes a
// resource: "deployments.apps", "configmaps". The result is sorted.
func ParseWorkloads(list []string) ([]string, error) {
	var out []string
	for _, text := range list {
		resource, group, grouped := strings.Cut(text, ".")
		if field.Label(resource) != nil || grouped && field.Subdomain(group) != nil {
			return nil, fmt.Errorf("--workloads: %.80q is no resource; write its plural and its group, like \"deployments.apps\" or \"configmaps\"", text)
		}
		if slices.Contains(escalating, text) {
			return nil, fmt.Errorf("--workloads: who may write %s can become anybody in the cluster; place these by other means", text)
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// reserved are names of ServiceAccounts that every cluster has, or that a host must never
// act as: these hold rights that nobody gave them with workloads in mind.
var reserved = []string{"default", memberAccount, daemonAccount}

// ParseAccounts reads the names of ServiceAccounts in whose names a host may write. The
// result is sorted. Every namespace may have one that is called so, and RBAC cannot leave
// some out, so a name should be nobody else's.
func ParseAccounts(list []string) ([]string, error) {
	var out []string
	for _, name := range list {
		if err := v1alpha1.AccountName(name); err != nil {
			return nil, fmt.Errorf("--workloads-as: %w", err)
		}
		if slices.Contains(reserved, name) || strings.HasSuffix(name, "-controller") {
			return nil, fmt.Errorf("--workloads-as: ServiceAccounts called %q have rights for other things, also in kube-system; choose a name that only workloads of a host are written by, like \"deployer\"", name)
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// workloadRules let a host carry workloads out: write the kinds that are named, make
// the namespaces that these need, and see what becomes of them. With accounts it only
// sees, and acts as these: what may be written is then theirs to be granted.
func workloadRules(resources, accounts []string) []rbacv1.PolicyRule {
	groups := map[string][]string{}
	var names []string
	for _, text := range resources {
		resource, group, _ := strings.Cut(text, ".")
		if groups[group] == nil {
			names = append(names, group)
		}
		groups[group] = append(groups[group], resource)
	}
	slices.Sort(names)
	see := []string{"get", "list", "watch"}
	first, write := rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"create"}}, []string{"create", "patch", "delete"}
	if len(accounts) > 0 {
		first, write = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, ResourceNames: accounts, Verbs: []string{"impersonate"}}, nil
	}
	rules := []rbacv1.PolicyRule{
		first,
		{APIGroups: []string{""}, Resources: []string{"nodes", "pods"}, Verbs: see},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"}, Verbs: see},
	}
	var defined []string // a definition says where the replicas of its kind are
	for _, text := range resources {
		if _, group, _ := strings.Cut(text, "."); !placement.Builtin(group) {
			defined = append(defined, text)
		}
	}
	if defined != nil {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, ResourceNames: defined, Verbs: []string{"get"}})
	}
	for _, group := range names {
		rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: groups[group], Verbs: slices.Concat(see, write)})
	}
	return rules
}

// workloadObjects let a host carry workloads out in a member.
func workloadObjects(namespace string, resources, accounts []string) []*unstructured.Unstructured {
	labels := map[string]string{labelPartOf: manager, labelManagedBy: manager}
	rbac := rbacv1.SchemeGroupVersion
	return []*unstructured.Unstructured{
		object(rbac.WithKind("ClusterRole"), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: workloadRole, Labels: labels}, Rules: workloadRules(resources, accounts)}),
		object(rbac.WithKind("ClusterRoleBinding"), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: workloadRole, Labels: labels},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: memberAccount, Namespace: namespace}},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbac.Group, Kind: "ClusterRole", Name: workloadRole},
		}),
	}
}

// inMember are the objects that a member holds for its host.
func (j *Joining) inMember() []*unstructured.Unstructured {
	objects := memberObjects(j.Namespace)
	if len(j.Workloads) > 0 {
		objects = append(objects, workloadObjects(j.Namespace, j.Workloads, j.WorkloadsAs)...)
	}
	return objects
}

// taken says which of the accounts that a host is to act as the member's own system has,
// whose rights nobody gave it with workloads in mind.
func (j *Joining) taken(ctx context.Context, member *Reach) (missing []string, err error) {
	for _, name := range j.WorkloadsAs {
		_, err := member.kube.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			missing = append(missing, fmt.Sprintf("%s has a ServiceAccount %s in %s, and the host could act as that too; choose another name for --workloads-as", member.Name, name, metav1.NamespaceSystem))
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err): // rights that are lacking are told by themselves
			return nil, member.explain("looking for ServiceAccounts in "+metav1.NamespaceSystem, err)
		}
	}
	return missing, nil
}
