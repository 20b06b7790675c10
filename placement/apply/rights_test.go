package apply

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// grant binds a user to rules in all namespaces, or in one.
func (s *site) grant(t *testing.T, user, namespace string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	about := metav1.ObjectMeta{Name: strings.ReplaceAll(user, ":", "-"), Namespace: namespace}
	who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	rbac := s.admin.RbacV1()
	var role, binding error
	if namespace == "" {
		_, role = rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: about, Rules: rules}, metav1.CreateOptions{})
		_, binding = rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: about, Subjects: who,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: about.Name}}, metav1.CreateOptions{})
	} else {
		_, role = rbac.Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: about, Rules: rules}, metav1.CreateOptions{})
		_, binding = rbac.RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: about, Subjects: who,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: about.Name}}, metav1.CreateOptions{})
	}
	if err := errors.Join(role, binding); err != nil {
		t.Fatal(err)
	}
}

// revoke takes back what was granted in a namespace.
func (s *site) revoke(t *testing.T, user, namespace string) {
	t.Helper()
	name := strings.ReplaceAll(user, ":", "-")
	err := errors.Join(s.admin.RbacV1().RoleBindings(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}),
		s.admin.RbacV1().Roles(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
	if err != nil {
		t.Fatal(err)
	}
}

func rule(group, resources string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Split(resources, ","), Verbs: verbs}
}

// acting reaches a member as a host that may look and act for accounts, and not more.
func (h *house) acting(t *testing.T, s *site) {
	t.Helper()
	const user = "system:serviceaccount:meridian-system:meridian"
	act := rule("", "serviceaccounts", "impersonate")
	act.ResourceNames = []string{"deployer"}
	s.grant(t, user, "", rule("", "namespaces,configmaps,pods,nodes", "get", "list", "watch"), rule("", "namespaces", "create"),
		rule("apps", "replicasets", "get", "list", "watch"), rule("autoscaling", "horizontalpodautoscalers", "get", "list", "watch"), act)
	cfg := rest.CopyConfig(s.REST())
	count := h.requests[s.Name()]
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		count.next = inName{user, next}
		return count
	})
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.access[s.Name()] = Member{Config: cfg, Client: client, Token: "2"}
	h.Members(h.access)
}

// inName asks in the name of a user, unless a request names another one already: of
// these the admin is asked whether he may, since who acts for somebody cannot say for
// whom he does that himself.
type inName struct {
	user string
	next http.RoundTripper
}

func (i inName) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Impersonate-User") == "" {
		req = req.Clone(req.Context())
		req.Header.Set("Impersonate-User", i.user)
	}
	return i.next.RoundTrip(req)
}

const (
	deployer = "system:serviceaccount:default:deployer"
	note     = "{apiVersion: v1, kind: ConfigMap, metadata: {name: NAME}, data: {a: b}}"
)

// A workload is carried out on behalf of an account of its namespace: if the host lets
// it write such a thing, and where the members let it too.
func TestOnBehalf(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	h := applier(t, "one", host, eu, us)
	h.acting(t, eu)
	h.acting(t, us)
	h.run(t)
	write := rule("", "configmaps", "create", "patch", "delete")
	eu.grant(t, deployer, "default", write)

	step(t, "not before the host lets it", func(t *testing.T) {
		host.federate(t, "a", strings.Replace(note, "NAME", "a", 1), "serviceAccountName: deployer")
		host.wantStatus(t, "a", condition(v1alpha1.ConditionPlaced, "False", "Forbidden: "+deployer+" may not create configmaps in the namespace default of the host cluster"))
		host.wantStatus(t, "a", condition(v1alpha1.ConditionPlaced, "False", "kubectl -n default create role deployer-configmaps --verb=create,patch,delete --resource=configmaps"))
		for name, r := range h.requests {
			if w := writes(r.since(0)); len(w) > 0 {
				t.Errorf("%s was written to: %q", name, w)
			}
		}
	})
	step(t, "where the members let it", func(t *testing.T) {
		host.grant(t, deployer, "default", write)
		eu.want(t, "map[a:b]", configMaps+"/a", "data")
		host.wantStatus(t, "a", row("eu", v1alpha1.WorkloadApplied, ""))
		host.wantStatus(t, "a", row("us", v1alpha1.WorkloadRefused, `Forbidden: User "`+deployer+`" cannot`))
		host.wantStatus(t, "a", row("us", v1alpha1.WorkloadRefused, "let it there: kubectl -n default create rolebinding deployer --clusterrole=edit --serviceaccount=default:deployer"))
		us.grant(t, deployer, "default", write)
		us.want(t, "map[a:b]", configMaps+"/a", "data")
		host.wantStatus(t, "a", condition(v1alpha1.ConditionPlaced, "True", ""))
	})
	step(t, "it writes in that name", func(t *testing.T) {
		eu.revoke(t, deployer, "default")
		host.patch(t, federated+"/a", `{"spec":{"template":{"data":{"a":"c"}}}}`)
		us.want(t, "map[a:c]", configMaps+"/a", "data")
		host.wantStatus(t, "a", row("eu", v1alpha1.WorkloadRefused, "cannot patch resource"))
		eu.want(t, "map[a:b]", configMaps+"/a", "data")
		eu.grant(t, deployer, "default", write)
		eu.want(t, "map[a:c]", configMaps+"/a", "data")
	})
	step(t, "a right that is withdrawn takes nothing away", func(t *testing.T) {
		host.revoke(t, deployer, "default")
		host.wantStatus(t, "a", condition(v1alpha1.ConditionPlaced, "False", "Forbidden: "+deployer))
		host.patch(t, federated+"/a", `{"spec":{"template":{"data":{"a":"d"}}}}`)
		eu.patch(t, configMaps+"/a", `{"data":{"a":"mine"}}`)
		before := h.quiet(t, 0)
		host.wantStatus(t, "a", func(s v1alpha1.WorkloadStatus) error {
			if s.ObservedGeneration < 3 {
				return fmt.Errorf("generation %d is looked at", s.ObservedGeneration)
			}
			return condition(v1alpha1.ConditionPlaced, "False", "Forbidden")(s)
		})
		for name, r := range h.requests {
			if w := writes(r.since(before[name])); len(w) > 0 {
				t.Errorf("%s was written to: %q", name, w)
			}
		}
		host.grant(t, deployer, "default", write)
		eu.want(t, "map[a:d]", configMaps+"/a", "data")
		us.want(t, "map[a:d]", configMaps+"/a", "data")
	})
	step(t, "no other account, and not ourselves", func(t *testing.T) {
		other := strings.Replace(deployer, "deployer", "other", 1)
		host.grant(t, other, "default", write)
		host.federate(t, "b", strings.Replace(note, "NAME", "b", 1), "serviceAccountName: other")
		host.wantStatus(t, "b", row("eu", v1alpha1.WorkloadRefused, ""))
		host.federate(t, "c", strings.Replace(note, "NAME", "c", 1), "")
		host.wantStatus(t, "c", row("eu", v1alpha1.WorkloadRefused, "does not let us apply it"))
	})
	step(t, "a deletion ends", func(t *testing.T) {
		us.revoke(t, deployer, "default")
		host.delete(t, federated+"/a")
		eu.wantNone(t, configMaps+"/a")
		host.wantStatus(t, "a", condition(v1alpha1.ConditionPlaced, "False", "it is not let go in us: "))
		us.grant(t, deployer, "default", write)
		us.wantNone(t, configMaps+"/a")
		host.wantNone(t, federated+"/a")
	})
}
