package apply

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
	"github.com/meridian-lb/meridian/placement"
)

// rules are those of a role in kubectl's words: "create,patch deployments.apps".
func rules(list []string) (out []rbacv1.PolicyRule) {
	for _, text := range list {
		verbs, what, _ := strings.Cut(text, " ")
		what, name, named := strings.Cut(what, "/")
		resource, group, _ := strings.Cut(what, ".")
		r := rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: strings.Split(verbs, ",")}
		if named {
			r.ResourceNames = []string{name}
		}
		out = append(out, r)
	}
	return out
}

// grant gives the ServiceAccount just these rights in the namespace default.
func (s *site) grant(t *testing.T, account string, list ...string) {
	t.Helper()
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account}, Rules: rules(list)}
	roles := s.admin.RbacV1().Roles("default")
	if _, err := roles.Create(t.Context(), role, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		if _, err := roles.Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: "default"}}}
	if _, err := s.admin.RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// onlySees has the applier reach a member as somebody with these rights alone.
func (h *house) onlySees(t *testing.T, s *site, list ...string) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "only-sees"}, Rules: rules(list)}
	if _, err := s.admin.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		if _, err := s.admin.RbacV1().ClusterRoles().Update(t.Context(), role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: role.ObjectMeta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "host"}}}
	if _, err := s.admin.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := s.KubeconfigFor("host")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	count := h.requests[s.Name()]
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.access[s.Name()] = Member{Config: cfg, Client: client, Token: "only-sees"}
	h.Members(h.access)
}

// sees is what a host needs of a member in which it writes in others' names alone.
func sees(more ...string) []string {
	return append([]string{
		"get,list,watch namespaces", "get,list,watch nodes", "get,list,watch pods", "get,list,watch configmaps", "get,list,watch deployments.apps", "get,list,watch horizontalpodautoscalers.autoscaling",
		"impersonate serviceaccounts/deployer",
	}, more...)
}

// A workload is carried out on behalf of a ServiceAccount: the host says whether it may be
// written, each member whether it takes it, and nobody climbs over either.
func TestCarriedOutOnBehalf(t *testing.T) {
	at := sites(t, "host", "eu", "us")
	host, eu, us := at["host"], at["eu"], at["us"]
	host.install(t)
	h := applier(t, "a", host, eu, us)
	h.onlySees(t, eu, sees()...)
	h.onlySees(t, us, sees()...)
	h.run(t)
	const web, all = "/apis/apps/v1/namespaces/default/deployments/web", "create,patch,delete deployments.apps"
	eu.grant(t, "deployer", all)

	step(t, "the kinds are those that it serves", func(t *testing.T) { kindsAreServed(t, host) })
	step(t, "the host says no", func(t *testing.T) {
		host.federate(t, "deployment-web", webOf4, "serviceAccountName: deployer")
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, "Forbidden: system:serviceaccount:default:deployer may not create deployments.apps in the namespace default of the host cluster"))
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, "kubectl -n default create rolebinding deployer-deployments --role=deployer-deployments --serviceaccount=default:deployer"))
		host.wantStatus(t, "deployment-web", told.Row("eu", v1alpha1.WorkloadWaiting, "Forbidden"))
		if o, err := eu.get(web); o != nil || err != nil {
			t.Errorf("it is placed all the same: %v, %v", o, err)
		}
	})
	step(t, "the host says yes, and one member does not", func(t *testing.T) {
		host.grant(t, "deployer", all)
		host.wantStatus(t, "deployment-web", told.Row("eu", v1alpha1.WorkloadApplied, ""))
		eu.want(t, "2", web, "spec", "replicas")
		host.wantStatus(t, "deployment-web", told.Row("eu", v1alpha1.WorkloadApplied, ""))
		host.wantStatus(t, "deployment-web", told.Row("us", v1alpha1.WorkloadRefused, `Forbidden: User "system:serviceaccount:default:deployer" cannot patch resource "deployments" in API group "apps"; let it there: kubectl -n default create rolebinding deployer --clusterrole=edit --serviceaccount=default:deployer`))
	})
	step(t, "the member takes it", func(t *testing.T) {
		us.grant(t, "deployer", all)
		us.want(t, "2", web, "spec", "replicas")
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionTrue, "2 clusters"))
	})
	step(t, "what goes along is asked for too", func(t *testing.T) {
		host.post(t, "/api/v1/namespaces/default/configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}")
		host.federate(t, "deployment-along", withSettings, "{serviceAccountName: deployer, follow: true, where: {clusters: [eu]}}")
		host.wantStatus(t, "deployment-along", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, "Forbidden: system:serviceaccount:default:deployer may not create configmaps"))
		host.grant(t, "deployer", all, "create,patch,delete configmaps")
		host.wantStatus(t, "deployment-along", told.Row("eu", v1alpha1.WorkloadRefused, `cannot patch resource "configmaps"`))
		eu.grant(t, "deployer", all, "create,patch,delete configmaps")
		eu.want(t, "b", "/api/v1/namespaces/default/configmaps/settings", "data", "a")
		host.wantStatus(t, "deployment-along", told.Row("eu", v1alpha1.WorkloadApplied, ""))
		host.delete(t, federated+"/deployment-along")
		eu.wantNone(t, "/apis/apps/v1/namespaces/default/deployments/along")
	})
	step(t, "an account that the member did not name", func(t *testing.T) {
		host.grant(t, "other", "create,patch,delete configmaps")
		eu.grant(t, "other", "create,patch,delete configmaps")
		host.federate(t, "configmap-a", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "{serviceAccountName: other, where: {clusters: [eu]}}")
		host.wantStatus(t, "configmap-a", told.Row("eu", v1alpha1.WorkloadRefused, `the cluster does not let us act as the ServiceAccount other; let it join again with "meridian join --workloads --workloads-as=other"`))
		host.delete(t, federated+"/configmap-a")
		host.wantNone(t, federated+"/configmap-a")
	})
	step(t, "without an account there is no right", func(t *testing.T) {
		host.federate(t, "configmap-b", "{apiVersion: v1, kind: ConfigMap, metadata: {name: b}}", "where: {clusters: [eu]}")
		host.wantStatus(t, "configmap-b", told.Row("eu", v1alpha1.WorkloadRefused, "Forbidden: the cluster does not let us apply it"))
		host.delete(t, federated+"/configmap-b")
		host.wantNone(t, federated+"/configmap-b")
	})
	step(t, "the host withdraws the right", func(t *testing.T) {
		host.grant(t, "deployer")
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, "Forbidden: system:serviceaccount:default:deployer may not create deployments.apps"))
		host.wantStatus(t, "deployment-web", told.Row("eu", v1alpha1.WorkloadApplied, ""))
		before := h.quiet(t, 500*time.Millisecond)
		eu.patch(t, web, `{"spec": {"replicas": 3}}`)
		host.patch(t, federated+"/deployment-web", `{"spec": {"template": {"spec": {"replicas": 6}}}}`)
		host.wantStatus(t, "deployment-web", func(s v1alpha1.WorkloadStatus) error {
			if s.ObservedGeneration < 2 {
				return fmt.Errorf("it has not been looked at")
			}
			return told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, "Forbidden")(s)
		})
		after := h.quiet(t, 500*time.Millisecond)
		for name := range after {
			for _, r := range h.requests[name].since(before[name]) {
				if !strings.HasPrefix(r, http.MethodGet) {
					t.Errorf("%s was asked %s", name, r)
				}
			}
		}
		us.want(t, "2", web, "spec", "replicas")
	})
	step(t, "and gives it again", func(t *testing.T) {
		host.grant(t, "deployer", all)
		eu.want(t, "3", web, "spec", "replicas")
		us.want(t, "3", web, "spec", "replicas")
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionTrue, "2 clusters"))
	})
	step(t, "nothing is kept for ever by a right that is gone", func(t *testing.T) {
		host.grant(t, "deployer") // of no account
		eu.grant(t, "deployer")
		us.grant(t, "deployer")
		h.onlySees(t, us, sees("delete deployments.apps")...) // so it is ours to take away
		host.delete(t, federated+"/deployment-web")
		us.wantNone(t, web)
		host.wantStatus(t, "deployment-web", told.Condition(v1alpha1.ConditionPlaced, metav1.ConditionFalse, `it is not let go in eu: Deployment default/web: User "system:serviceaccount:default:deployer" cannot delete resource "deployments"`))
		host.patch(t, federated+"/deployment-web", `{"metadata": {"annotations": {"meridian.dev/let-go": "true"}}}`)
		host.wantNone(t, federated+"/deployment-web")
		eu.want(t, "3", web, "spec", "replicas")
	})
}

const webOf4 = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: a, image: a}]
`

// withSettings is a Deployment that names a ConfigMap.
const withSettings = `apiVersion: apps/v1
kind: Deployment
metadata: {name: along}
spec:
  replicas: 1
  selector: {matchLabels: {app: along}}
  template:
    metadata: {labels: {app: along}}
    spec:
      containers: [{name: a, image: a, envFrom: [{configMapRef: {name: settings}}]}]
`

// What is to be done by default on behalf of an account is done so, unless a workload
// names another.
func TestStandardAccount(t *testing.T) {
	w := &workload{object: &v1alpha1.FederatedObject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}}, template: &placement.Template{}}
	for _, c := range []struct {
		own, standard string
		want          account
	}{
		{"", "", account{}}, {"", "federator", account{"shop", "federator"}}, {"deployer", "federator", account{"shop", "deployer"}}, {"deployer", "", account{"shop", "deployer"}},
	} {
		w.template.Account = c.own
		if got := w.account(c.standard); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}
