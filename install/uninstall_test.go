package install

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// left lists what bears Meridian's label in a cluster, namespaces that end too.
func left(t *testing.T, r *Reach) (names []string) {
	t.Helper()
	for _, kind := range kinds() {
		mapping, err := r.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			continue
		}
		list, err := r.dynamic.Resource(mapping.Resource).List(t.Context(), metav1.ListOptions{LabelSelector: labelPartOf + "=" + manager})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			list.Items[i].SetKind(kind.Kind)
			names = append(names, name(&list.Items[i]))
		}
	}
	return names
}

// Every kind that the chart makes is looked for when an installation goes.
func TestUninstallKnowsEveryKind(t *testing.T) {
	v := everything()
	v["serviceMonitor"] = map[string]any{"enabled": true}
	parts, err := Offline(Settings{Region: "europe-west1", Values: v})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"Namespace": true}
	for _, k := range kinds() {
		known[k.String()] = true
	}
	for _, o := range parts[0].Objects {
		if !known[o.GroupVersionKind().String()] && !known[o.GetKind()] {
			t.Errorf("%s is not", name(o))
		}
		if !made(o) {
			t.Errorf("%s does not say who made it", name(o))
		}
	}
}

// A namespace that ends is no missing right.
func TestInitWhileTheNamespaceEnds(t *testing.T) {
	eu := bareServer(t, "eu", "10.1.0.16") // where nobody lets it end
	ctx := t.Context()
	if _, _, err := Init(ctx, eu, Settings{Region: "europe-west1"}, false, Progress{}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		eu.kube.CoreV1().Secrets(Namespace).Delete(ctx, SecretGateway, metav1.DeleteOptions{}),
		eu.kube.CoreV1().Namespaces().Delete(ctx, Namespace, metav1.DeleteOptions{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := Init(ctx, eu, Settings{}, false, Progress{})
	if err == nil || !strings.Contains(err.Error(), "its namespace is being deleted") || strings.Contains(err.Error(), "you may not") {
		t.Errorf("got %v", err)
	}
}

// addressed makes an Ingress that tells an address.
func addressed(t *testing.T, r *Reach, class string) {
	t.Helper()
	on := r.kube.NetworkingV1().Ingresses("default")
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: class}, Spec: networkingv1.IngressSpec{IngressClassName: &class,
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "shop", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}
	made, err := on.Create(t.Context(), i, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	if _, err := on.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestUninstall: what init made goes, what others made stays, and members are not forgotten unasked.
func TestUninstall(t *testing.T) {
	eu, us := reach(t, started(t, "eu", "10.1.0.14")), bareServer(t, "us", "10.1.0.15")
	ctx := t.Context()
	inited := func(r *Reach, s Settings) {
		t.Helper()
		if _, _, err := Init(ctx, r, s, false, Progress{}); err != nil {
			t.Fatal(err)
		}
	}
	uninstall := func(r *Reach, o Removing) string {
		t.Helper()
		var said bytes.Buffer
		if _, err := Uninstall(ctx, r, o, false, Progress{W: &said}); err != nil {
			t.Fatalf("%v\n%s", err, &said)
		}
		return said.String()
	}
	inited(eu, Settings{Region: "europe-west1"})
	authority, err := eu.Authority(ctx, Namespace)
	if err != nil {
		t.Fatal(err)
	}
	inited(us, Settings{Region: "us-east1", Authority: authority, Values: map[string]any{"meridiand": map[string]any{"kube": false}}})
	t.Run("another region is no host", func(t *testing.T) {
		_, err := Join(ctx, eu, us, Joining{Membership: Membership{Name: "eu-1", Region: "europe-west1"}}, false, Progress{})
		if err == nil || !strings.Contains(err.Error(), "us is no host cluster: its daemons follow") {
			t.Errorf("got %v", err)
		}
		r, err := Check(ctx, us, Checking{})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			if strings.Contains(f.Remedy, "meridian join") {
				t.Errorf("%+v", f)
			}
		}
	})
	join := func() {
		t.Helper()
		if _, err := Join(ctx, us, eu, Joining{Membership: Membership{Name: "us-1", Region: "us-east1"}}, false, Progress{}); err != nil {
			t.Fatal(err)
		}
	}
	join()
	credentials, err := eu.existing(ctx, Namespace, secretName("us-1"))
	if err != nil {
		t.Fatal(err)
	}

	t.Run("not while members are joined", func(t *testing.T) {
		_, err := Uninstall(ctx, eu, Removing{}, false, Progress{})
		if err == nil || !strings.Contains(err.Error(), "joined to eu and not to be forgotten unasked: us-1") || !strings.Contains(err.Error(), "meridian unjoin us-1 --context CONTEXT --host-context eu") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not without rights", func(t *testing.T) {
		if _, err := Uninstall(ctx, nobody(t, eu), Removing{Force: true}, false, Progress{}); err == nil || !strings.Contains(err.Error(), "you may not") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a dry run deletes nothing and says the same", func(t *testing.T) {
		before := left(t, eu)
		parts, err := Uninstall(ctx, eu, Removing{Force: true, CRDs: true}, true, Progress{})
		if err != nil || len(parts[0].Objects) < len(before) || parts[0].Objects[len(parts[0].Objects)-1].GetKind() != "Namespace" {
			t.Errorf("%v %d of %d", err, len(parts[0].Objects), len(before))
		}
		if now := left(t, eu); len(now) != len(before) {
			t.Errorf("%d of %d are left", len(now), len(before))
		}
	})
	t.Run("another region goes, and stays a member", func(t *testing.T) {
		out := uninstall(us, Removing{})
		if !strings.Contains(out, "something of somebody else's is in it: ServiceAccount meridian-system/meridian") {
			t.Errorf("%s", out)
		}
		bearer := as(t, credentials[secretName("us-1")].Data[kubeconfigKey])
		if _, err := bearer.kube.CoreV1().Services("").List(ctx, metav1.ListOptions{}); err != nil {
			t.Errorf("the host sees its member no more: %v", err)
		}
		for _, n := range left(t, us) {
			if !strings.HasPrefix(n, "CustomResourceDefinition") && !strings.Contains(n, "meridian:") && n != "ServiceAccount meridian-system/meridian" {
				t.Errorf("%s is left", n)
			}
		}
		if err := Unjoin(ctx, us, eu, Leaving{Name: "us-1"}, Progress{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("what others made stays", func(t *testing.T) {
		mine := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mine", Namespace: Namespace}}
		if _, err := eu.kube.CoreV1().ConfigMaps(Namespace).Create(ctx, mine, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		zone, err := NewZone("shop.example.com", []string{"ns1.shop.example.com=192.0.2.53"})
		if err != nil {
			t.Fatal(err)
		}
		inited(eu, Settings{Zone: zone})
		ledger := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LedgerName, Namespace: Namespace}} // as daemons make them
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.LeaseName, Namespace: Namespace}}
		_, e1 := eu.kube.CoreV1().ConfigMaps(Namespace).Create(ctx, ledger, metav1.CreateOptions{})
		_, e2 := eu.kube.CoordinationV1().Leases(Namespace).Create(ctx, lease, metav1.CreateOptions{})
		if err := errors.Join(e1, e2); err != nil {
			t.Fatal(err)
		}
		for class := range map[string]bool{"meridian": true, "other": true} {
			addressed(t, eu, class)
		}
		if out := uninstall(eu, Removing{}); !strings.Contains(out, "ConfigMap meridian-system/mine") || !strings.Contains(out, "the CRDs stay") {
			t.Errorf("%s", out)
		}
		for class, want := range map[string]int{"meridian": 0, "other": 1} {
			i, err := eu.kube.NetworkingV1().Ingresses("default").Get(ctx, class, metav1.GetOptions{})
			if err != nil || len(i.Status.LoadBalancer.Ingress) != want {
				t.Errorf("the Ingress of class %s tells %d addresses, want %d (%v)", class, len(i.Status.LoadBalancer.Ingress), want, err)
			}
		}
		for _, n := range left(t, eu) {
			if !strings.HasPrefix(n, "CustomResourceDefinition") {
				t.Errorf("%s is left", n)
			}
		}
		_, e1 = eu.kube.CoreV1().ConfigMaps(Namespace).Get(ctx, ledger.Name, metav1.GetOptions{})
		_, e2 = eu.kube.CoordinationV1().Leases(Namespace).Get(ctx, lease.Name, metav1.GetOptions{})
		if !apierrors.IsNotFound(e1) || !apierrors.IsNotFound(e2) {
			t.Errorf("what the daemons made for themselves is left: %v, %v", e1, e2)
		}
		z := bare(clustersResource.GroupVersion().WithKind("Zone"), "", "shop.example.com")
		client, err := eu.resource(ctx, z)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Get(ctx, z.GetName(), metav1.GetOptions{}); err != nil {
			t.Errorf("the zone: %v", err)
		}
		uninstall(eu, Removing{}) // again
		if r, err := Check(ctx, eu, Checking{}); err != nil || len(r.Findings) != 1 || r.Findings[0].Message != "nothing is installed in it" {
			t.Errorf("%v %+v", err, r)
		}
		if err := eu.kube.CoreV1().ConfigMaps(Namespace).Delete(ctx, "mine", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("by force and with all, members too", func(t *testing.T) {
		inited(eu, Settings{Region: "europe-west1"})
		join()
		o := fares(t, someWeb, "", "")
		o.SetNamespace(metav1.NamespaceDefault)
		o.SetFinalizers([]string{placement.Finalizer}) // as daemons do, who are no more when it is to go
		if _, err := eu.dynamic.Resource(federatedResource).Namespace(metav1.NamespaceDefault).Create(ctx, o, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		out := uninstall(eu, Removing{Force: true, CRDs: true})
		if !strings.Contains(out, "what was made in the member us-1 stays there") {
			t.Errorf("%s", out)
		}
		if names := left(t, eu); len(names) > 0 {
			t.Errorf("%v are left", names)
		}
		if _, err := eu.kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the namespace stays: %v", err)
		}
		inited(eu, Settings{Region: "asia-east1"}) // and may begin anew at once, elsewhere
		if err := Unjoin(ctx, us, eu, Leaving{Name: "us-1"}, Progress{}); err != nil {
			t.Errorf("cleaning the member afterwards: %v", err)
		}
		var of []*unstructured.Unstructured
		for _, m := range memberObjects(Namespace) {
			client, err := us.resource(ctx, m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Get(ctx, m.GetName(), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				of = append(of, m)
			}
		}
		if len(of) > 0 {
			t.Errorf("the member keeps %d objects", len(of))
		}
	})
}
