package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// TestWorkloadsReachAMember: a FederatedObject of the host runs in a member that was
// joined with --workloads, by nothing but the rights that the chart and join give.
func TestWorkloadsReachAMember(t *testing.T) {
	host, kube := aHost(t)
	far, err := cluster.Start(t.Context(), lab.Begin(t), cluster.Config{
		Name: "eu-1", Addr: netip.MustParseAddr("127.1.9.2"), Dir: t.TempDir(), Programs: lab.Kube(t), NoControllers: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	member, err := kubernetes.NewForConfig(far.REST())
	if err != nil {
		t.Fatal(err)
	}
	var as []string
	join := func(workloads ...string) {
		t.Helper()
		at, err := install.NewReach("eu-1", far.REST())
		if err != nil {
			t.Fatal(err)
		}
		home, err := install.NewReach("host", host.REST())
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		if _, err := install.Join(t.Context(), at, home, install.Joining{
			Membership: install.Membership{Name: "eu-1", Region: "europe-west1", Place: fleet.Place{Lat: 50, Lon: 4}},
			Workloads:  workloads, WorkloadsAs: as, AnyEndpoint: true, Server: far.REST().Host,
		}, false, install.Progress{W: &said}); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
	}
	join()
	own, err := host.KubeconfigWithToken("meridiand", tokenOf(t, kube, install.Namespace, "meridiand"))
	if err != nil {
		t.Fatal(err)
	}
	c := aConfig(t)
	c.watch, c.namespace, c.kubeLoopback = "", install.Namespace, true
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(c.kubeconfig, own, 0o600); err != nil {
		t.Fatal(err)
	}
	const path = "/apis/meridian.dev/v1alpha1/namespaces/default/federatedobjects"
	federate := func(name, template string) {
		t.Helper()
		body := fmt.Sprintf("{apiVersion: meridian.dev/v1alpha1, kind: FederatedObject, metadata: {name: %s}, spec: {template: %s}}", name, template)
		if err := kube.CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/yaml").Body([]byte(body)).Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(name, kind string, state metav1.ConditionStatus, says string) {
		t.Helper()
		eventually(t, func() error {
			raw, err := kube.CoreV1().RESTClient().Get().AbsPath(path + "/" + name).Do(t.Context()).Raw()
			if err != nil {
				return err
			}
			var o v1alpha1.FederatedObject
			if err := json.Unmarshal(raw, &o); err != nil {
				return err
			}
			for _, c := range o.Status.Conditions {
				if c.Type == kind && c.Status == state && strings.Contains(c.Message, says) {
					return nil
				}
			}
			text, _ := json.Marshal(o.Status)
			return fmt.Errorf("%s is not %s with %q: %s", kind, state, says, text)
		})
	}
	federate("web", `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 4, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "web:1"}]}}}}`)
	federate("key", "{apiVersion: v1, kind: Secret, metadata: {name: key}, data: {a: YQ==}}")
	serving(t, c, func() {
		want("web", v1alpha1.ConditionPlaced, metav1.ConditionFalse, "eu-1: the cluster does not let us list and watch Deployment; name it in")
		join(install.DefaultWorkloads()...)
		var d *appsv1.Deployment
		eventually(t, func() (err error) {
			d, err = member.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
			return err
		})
		if *d.Spec.Replicas != 4 {
			t.Errorf("it has %d replicas", *d.Spec.Replicas)
		}
		want("web", v1alpha1.ConditionPlaced, metav1.ConditionTrue, "1 clusters have it")
		want("key", v1alpha1.ConditionPlaced, metav1.ConditionFalse, "does not let us list and watch Secret")
		if err := kube.CoreV1().RESTClient().Delete().AbsPath(path + "/web").Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			list, err := member.AppsV1().Deployments("default").List(t.Context(), metav1.ListOptions{})
			if err == nil && len(list.Items) > 0 {
				err = fmt.Errorf("%s is there still", list.Items[0].Name)
			}
			return err
		})

		// The member takes back what it gave, but for accounts that it can give to itself.
		as = []string{"deployer"}
		join(install.DefaultWorkloads()...)
		grantWorkloads(t, kube)
		federate("plain", "{apiVersion: v1, kind: ConfigMap, metadata: {name: plain}}")
		want("plain", v1alpha1.ConditionPlaced, metav1.ConditionFalse, "the cluster does not let us apply it")
		federate("behalf", "{apiVersion: v1, kind: ConfigMap, metadata: {name: behalf}}, serviceAccountName: deployer")
		want("behalf", v1alpha1.ConditionPlaced, metav1.ConditionFalse, `eu-1: User "system:serviceaccount:default:deployer" cannot patch resource "configmaps"`)
		grantWorkloads(t, member)
		want("behalf", v1alpha1.ConditionPlaced, metav1.ConditionTrue, "1 clusters have it")
	})
}

// grantWorkloads lets the ServiceAccount deployer of the namespace default write
// ConfigMaps there.
func grantWorkloads(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: "deployer", Namespace: "default"}
	if _, err := kube.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create", "patch", "delete"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "deployer"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "deployer", Namespace: "default"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
