package install

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// judged is an API server with the policies in force.
type judged struct {
	*Reach
	t *testing.T
}

// asUser reaches it in somebody's name.
func (j judged) asUser(user string) dynamic.Interface {
	j.t.Helper()
	cfg := rest.CopyConfig(j.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		j.t.Fatal(err)
	}
	return client
}

// grants binds somebody to a role in a namespace; rules are in kubectl's words:
// "create,delete deployments.apps".
func (j judged) grants(user, namespace string, rules ...string) {
	j.t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(user, ":", "-"), Namespace: namespace}}
	for _, text := range append(rules, "* federatedobjects.meridian.dev", "* placements.meridian.dev") {
		verbs, what, _ := strings.Cut(text, " ")
		what, name, named := strings.Cut(what, "/")
		resource, group, _ := strings.Cut(what, ".")
		rule := rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: strings.Split(verbs, ",")}
		if group == v1alpha1.Group && verbs == "*" {
			rule.Verbs = []string{"get", "list", "create", "update", "patch", "delete"} // and not escalate
		}
		if named {
			rule.ResourceNames = []string{name}
		}
		role.Rules = append(role.Rules, rule)
	}
	roles := j.kube.RbacV1().Roles(namespace)
	if _, err := roles.Create(j.t.Context(), role, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		if _, err := roles.Update(j.t.Context(), role, metav1.UpdateOptions{}); err != nil {
			j.t.Fatal(err)
		}
		return
	} else if err != nil {
		j.t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacGroup, Kind: "Role", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacGroup, Kind: "User", Name: user}}}
	if _, err := j.kube.RbacV1().RoleBindings(namespace).Create(j.t.Context(), binding, metav1.CreateOptions{}); err != nil {
		j.t.Fatal(err)
	}
}

var (
	federatedObjects = v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")
	placements       = v1alpha1.SchemeGroupVersion.WithResource("placements")
)

// wrap is an object of ours with this spec.
func wrap(t *testing.T, kind, name, namespace, spec string) *unstructured.Unstructured {
	t.Helper()
	objects, err := decode([]byte(fmt.Sprintf("apiVersion: meridian.dev/v1alpha1\nkind: %s\nmetadata: {name: %s, namespace: %s}\nspec: {%s}", kind, name, namespace, spec)))
	if err != nil {
		t.Fatal(err)
	}
	return objects[0]
}

// says checks that something is refused in these words, or allowed when there are none.
func says(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if len(words) == 0 {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s is answered by %v, want %q", what, err, w)
		}
	}
}

// TestNobodyClimbs: at a real API server, nobody federates what he may not write himself.
func TestNobodyClimbs(t *testing.T) {
	host := reach(t, started(t, "host", "10.1.0.9"))
	ctx := t.Context()
	j := judged{host, t}
	settings := Settings{Region: "europe-west1", Values: map[string]any{
		"workloads": map[string]any{"resources": map[string]any{"Widget.example.com": "widgets"}},
	}}
	if _, _, err := Init(ctx, host, settings, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	shop := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop"}}}
	if _, err := host.Apply(ctx, []*unstructured.Unstructured{shop}, Progress{}); err != nil {
		t.Fatal(err)
	}
	try := func(user, kind, namespace, spec string) error {
		o := wrap(t, kind, "trial", namespace, spec)
		gvr := federatedObjects
		if kind == v1alpha1.KindPlacement {
			gvr = placements
		}
		_, err := j.asUser(user).Resource(gvr).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	const deployment = "template: {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}"
	const widget, gizmo = "template: {apiVersion: example.com/v1, kind: Widget, metadata: {name: a}}", "template: {apiVersion: example.com/v1, kind: Gizmo, metadata: {name: a}}"

	j.grants("nobody", "default")
	j.grants("alice", "default", "create,update,delete deployments.apps")
	j.grants("alice", "shop")
	j.grants("creator", "default", "create deployments.apps")
	j.grants("updater", "default", "create,update deployments.apps")
	j.grants("along", "default", "create deployments.apps", "get,create secrets", "get,create configmaps", "create serviceaccounts", "create persistentvolumeclaims")
	j.grants("acting", "default", "create configmaps", "impersonate serviceaccounts/deployer")
	j.grants("crafty", "default", "create,update,delete widgets.example.com", "* *.apps")
	j.grants("grouped", "default", "create,update,delete *.example.com")
	j.grants("trusted", "default", "escalate federatedobjects.meridian.dev")
	err := poll(ctx, func(context.Context) (bool, error) { // until the policies are in force
		return apierrors.IsForbidden(try("nobody", "FederatedObject", "default", deployment)), nil
	})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("who may write it may federate it", func(t *testing.T) {
		for _, c := range []struct {
			user, namespace, spec string
			refused               []string
		}{
			{user: "alice", namespace: "default", spec: deployment},
			{user: "alice", namespace: "shop", spec: deployment, refused: []string{"is forbidden", "you may not create deployments.apps in the namespace shop, so you may not do so in many clusters either", "kubectl -n shop create role federate-deployments --verb=create,update,delete --resource=deployments.apps, and bind it to alice"}},
			{user: "alice", namespace: "default", spec: "template: {apiVersion: v1, kind: Secret, metadata: {name: a}}", refused: []string{"you may not create secrets in the namespace default"}},
			{user: "alice", namespace: "default", spec: "template: {apiVersion: deployments/v1, kind: Deployment, metadata: {name: a}}", refused: []string{"you may not create *.deployments in"}},
			{user: "creator", namespace: "default", spec: deployment},
			{user: "creator", namespace: "default", spec: deployment + ", adopt: true", refused: []string{"you may not update deployments.apps"}},
			{user: "creator", namespace: "default", spec: deployment + ", follow: true", refused: []string{"follow takes along what the object names", "--resource=configmaps,persistentvolumeclaims,secrets,serviceaccounts, and bind it to creator"}},
			{user: "along", namespace: "default", spec: deployment + ", follow: true"},
			{user: "creator", namespace: "default", spec: deployment + ", serviceAccountName: deployer", refused: []string{"you may not act as the ServiceAccount deployer of the namespace default", "--verb=impersonate --resource=serviceaccounts --resource-name=deployer, and bind it to creator"}},
			{user: "acting", namespace: "default", spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, serviceAccountName: deployer"},
			{user: "acting", namespace: "default", spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, serviceAccountName: admin", refused: []string{"ServiceAccount admin"}},
			{user: "acting", namespace: "default", spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}, serviceAccountName: 'shop:deployer'", refused: []string{"spec.serviceAccountName: Invalid value"}},
			{user: "crafty", namespace: "default", spec: widget},
			{user: "crafty", namespace: "default", spec: gizmo, refused: []string{"you may not create *.example.com", `nobody has said which resource Gizmo.example.com is`, `meridian init --set "workloads.resources.Gizmo\.example\.com=PLURAL", or grant the verb escalate on federatedobjects.meridian.dev`}},
			{user: "grouped", namespace: "default", spec: gizmo},
			{user: "trusted", namespace: "default", spec: gizmo + ", follow: true, serviceAccountName: anybody"},
		} {
			says(t, c.user+" in "+c.namespace+": "+c.spec, try(c.user, "FederatedObject", c.namespace, c.spec), c.refused...)
		}
	})

	t.Run("changing and deleting", func(t *testing.T) {
		all := host.dynamic.Resource(federatedObjects).Namespace("default")
		_, err := all.Create(ctx, wrap(t, "FederatedObject", "web", "default", deployment+", follow: true"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		patch := func(user, patch string) error {
			_, err := j.asUser(user).Resource(federatedObjects).Namespace("default").Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
		remove := func(user string) error {
			return j.asUser(user).Resource(federatedObjects).Namespace("default").Delete(ctx, "web", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		}
		says(t, "a label", patch("nobody", `{"metadata": {"labels": {"a": "b"}}}`))
		says(t, "the same again", patch("nobody", `{"spec": {"follow": true}}`))
		says(t, "nothing along, by nobody", patch("nobody", `{"spec": {"follow": false}}`), "you may not update deployments.apps")
		for _, c := range []struct {
			user, patch string
			refused     []string
		}{
			{"creator", `{"spec": {"follow": false, "template": {"spec": {"replicas": 4}}}}`, []string{"you may not update deployments.apps"}},
			{"updater", `{"spec": {"follow": false, "template": {"spec": {"replicas": 4}}}}`, nil},
			{"updater", `{"spec": {"follow": false, "overrides": [{"labels": {"a": "b"}}]}}`, nil},
			{"updater", `{"spec": {"template": {"spec": {"replicas": 4}}}}`, []string{"follow takes along"}},
			{"updater", `{"spec": {"follow": false, "where": {"regions": ["eu"]}}}`, []string{"you may not delete deployments.apps"}},
			{"updater", `{"spec": {"follow": false, "deletion": "Orphan"}}`, []string{"you may not delete deployments.apps"}},
			{"alice", `{"spec": {"follow": false, "where": {"regions": ["eu"]}}}`, nil},
			{"alice", `{"spec": {"follow": false, "serviceAccountName": "deployer"}}`, []string{"you may not act as the ServiceAccount deployer"}},
			{"trusted", `{"spec": {"template": {"apiVersion": "example.com/v1"}}}`, []string{"the API group of a template cannot change"}},
			{"trusted", `{"spec": {"template": {"apiVersion": "apps/v2"}}}`, nil},
		} {
			says(t, c.user+" patches "+c.patch, patch(c.user, c.patch), c.refused...)
		}
		says(t, "deleting", remove("updater"), "you may not delete deployments.apps in the namespace default")
		says(t, "deleting", remove("alice"))
		if _, err := all.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec": {"deletion": "Orphan"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		says(t, "letting go", remove("nobody"))

		// The daemons write finalizers and status, and no spec.
		daemon := byAccount(t, host, daemonAccount).dynamic.Resource(federatedObjects).Namespace("default")
		_, err = daemon.Patch(ctx, "web", types.MergePatchType, []byte(`{"metadata": {"finalizers": ["meridian.dev/placement"]}}`), metav1.PatchOptions{})
		says(t, "the daemon's finalizer", err)
		_, err = daemon.Patch(ctx, "web", types.MergePatchType, []byte(`{"status": {"ready": 1}}`), metav1.PatchOptions{}, "status")
		says(t, "the daemon's status", err)
		_, err = daemon.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec": {"follow": false}}`), metav1.PatchOptions{})
		says(t, "a stolen daemon", err, "you may not update deployments.apps")
		_, err = daemon.Patch(ctx, "web", types.MergePatchType, []byte(`{"metadata": {"finalizers": null}}`), metav1.PatchOptions{})
		says(t, "the daemon lets go", err)
	})

	t.Run("a namespace that ends takes its objects along", func(t *testing.T) {
		if _, err := host.dynamic.Resource(federatedObjects).Namespace("shop").Create(ctx, wrap(t, "FederatedObject", "web", "shop", gizmo), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := host.kube.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		err := poll(ctx, func(ctx context.Context) (bool, error) {
			_, err := host.kube.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
			return apierrors.IsNotFound(err), nil
		})
		if err != nil {
			t.Error(err)
		}
	})

	t.Run("who may change what a Placement selects may write it", func(t *testing.T) {
		const deployments = "objects: [{apiVersion: apps/v1, kind: Deployment}"
		says(t, "alice", try("alice", "Placement", "default", deployments+"]"))
		says(t, "updater", try("updater", "Placement", "default", deployments+"]"), "you may not update and delete deployments.apps in the namespace default, so you may not say where")
		says(t, "alice, a Service too", try("alice", "Placement", "default", deployments+", {apiVersion: v1, kind: Service}]"), "you may not update and delete services in")
		says(t, "alice, a Gizmo too", try("alice", "Placement", "default", deployments+", {apiVersion: example.com/v1, kind: Gizmo}]"), "you may not update and delete *.example.com", `"workloads.resources.Gizmo\.example\.com=PLURAL"`)
		says(t, "alice as somebody", try("alice", "Placement", "default", deployments+"], serviceAccountName: deployer"), "you may not act as the ServiceAccount deployer")
		says(t, "crafty", try("crafty", "Placement", "default", "objects: ["+strings.Repeat("{apiVersion: apps/v1, kind: Deployment},", 7)+"{apiVersion: example.com/v1, kind: Widget}]"))
		says(t, "crafty, once more", try("crafty", "Placement", "default", "objects: ["+strings.Repeat("{apiVersion: apps/v1, kind: Deployment},", 9)+"]"), "at most 8 kinds")
		all := host.dynamic.Resource(placements).Namespace("default")
		if _, err := all.Create(ctx, wrap(t, "Placement", "both", "default", deployments+", {apiVersion: v1, kind: Service}]"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		alices := j.asUser("alice").Resource(placements).Namespace("default")
		_, err := alices.Patch(ctx, "both", types.MergePatchType, []byte(`{"spec": {"objects": [{"apiVersion": "apps/v1", "kind": "Deployment"}]}}`), metav1.PatchOptions{})
		says(t, "alice takes Services out", err, "you may not update and delete services in")
		says(t, "alice deletes it", alices.Delete(ctx, "both", metav1.DeleteOptions{}), "you may not update and delete services in")
	})

	t.Run("the policies are understood", func(t *testing.T) {
		for _, name := range []string{"meridian-federatedobjects", "meridian-placements"} {
			err := poll(ctx, func(ctx context.Context) (bool, error) {
				p, err := host.kube.AdmissionregistrationV1().ValidatingAdmissionPolicies().Get(ctx, name, metav1.GetOptions{})
				if err != nil || p.Status.TypeChecking == nil || p.Status.ObservedGeneration != p.Generation {
					return false, err
				}
				for _, w := range p.Status.TypeChecking.ExpressionWarnings {
					t.Errorf("%s: %s: %s", name, w.FieldRef, w.Warning)
				}
				return true, nil
			})
			if err != nil {
				t.Error(name, err)
			}
		}
	})

	t.Run("check misses them", func(t *testing.T) {
		worst := func() (faults []string) {
			report, err := Check(ctx, host, Checking{})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				if strings.HasPrefix(f.About, "ValidatingAdmissionPolicy") && f.Severity == Fault {
					faults = append(faults, f.About+": "+f.Message)
				}
			}
			return faults
		}
		if found := worst(); len(found) > 0 {
			t.Errorf("%v", found)
		}
		policies, bindings := host.kube.AdmissionregistrationV1().ValidatingAdmissionPolicies(), host.kube.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
		if _, err := policies.Patch(ctx, "meridian-placements", types.MergePatchType, []byte(`{"spec": {"failurePolicy": "Ignore"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := bindings.Delete(ctx, "meridian-federatedobjects", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if found := worst(); len(found) != 2 || !strings.Contains(found[0]+found[1], "is asked for no other right") || !strings.Contains(found[0]+found[1], "somebody has changed it") {
			t.Errorf("%q", found)
		}
		if _, did, err := Init(ctx, host, Settings{}, false, Progress{}); err != nil || did.Created != 1 || did.Changed != 1 {
			t.Errorf("%v %v", did, err)
		}
		if found := worst(); len(found) > 0 {
			t.Errorf("%v", found)
		}
	})

	t.Run("a host acts as nobody of kube-system", func(t *testing.T) {
		joining := Joining{Membership: Membership{Name: "eu-1", Region: "europe-west1"}, Workloads: DefaultWorkloads(), WorkloadsAs: []string{"deployer"}, AnyEndpoint: true}
		if _, err := Join(ctx, host, host, joining, true, Progress{}); err != nil {
			t.Error(err)
		}
		if _, err := host.kube.CoreV1().ServiceAccounts("kube-system").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := Join(ctx, host, host, joining, true, Progress{})
		says(t, "joining", err, "host has a ServiceAccount deployer in kube-system, and the host could act as that too; choose another name for --workloads-as")
	})
}
