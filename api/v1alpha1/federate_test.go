package v1alpha1

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// drawObject draws a clean object: what a person might write and no server has seen.
func drawObject(t *rapid.T) *unstructured.Unstructured {
	value := rapid.Custom(func(t *rapid.T) any {
		return rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Int64(), func(n int64) any { return n }), rapid.Map(rapid.String(), func(s string) any { return s }),
			rapid.Just[any](true), rapid.Just[any](0.5), rapid.Just[any]([]any{"a", int64(1), map[string]any{}}), rapid.Just[any](map[string]any{"replicas": int64(3)})).Draw(t, "value")
	})
	o := &unstructured.Unstructured{Object: rapid.MapOfN(rapid.StringMatching(`(spec|data|rules|x[a-z]{0,3})`), value, 0, 4).Draw(t, "fields")}
	gvk := rapid.SampledFrom([][2]string{{"apps/v1", "Deployment"}, {"v1", "ConfigMap"}, {"a.example/v1", "Farm"}, {"rbac.authorization.k8s.io/v1", "ClusterRole"}, {"batch/v1", "Job"}}).Draw(t, "kind")
	o.SetAPIVersion(gvk[0])
	o.SetKind(gvk[1])
	o.SetName(rapid.StringMatching(`[a-z0-9]([-a-z0-9:A-Z.]{0,20}[a-z0-9])?`).Draw(t, "name"))
	if gvk[1] != "ClusterRole" {
		o.SetNamespace(rapid.SampledFrom([]string{"", "shop"}).Draw(t, "namespace"))
	}
	if m := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), rapid.StringMatching(`[a-z]{0,5}`), 0, 2).Draw(t, "labels"); len(m) > 0 {
		o.SetLabels(m)
	}
	return o
}

func TestThereAndBackAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawObject(t)
		before := o.DeepCopy()
		clean, removed := Clean(o)
		if len(removed) > 0 || !reflect.DeepEqual(clean, o) {
			t.Fatalf("of a clean object are removed %v", removed)
		}
		one := int64(1)
		f, _, err := Federate(clean, Terms{Where: &Where{Regions: []RegionName{"eu"}}, Spread: &Spread{Limits: []Limit{{Cluster: "*", Min: &one}}}, Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		if faults := validation.IsDNS1123Subdomain(f.GetName()); len(faults) > 0 {
			t.Fatalf("name %q: %v", f.GetName(), faults)
		}
		again, err := Unfederate(f)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before.Object, again.Object); d != "" {
			t.Fatalf("(-before +after)\n%s", d)
		}
		if !reflect.DeepEqual(before, o) {
			t.Fatal("the object that was handed over has changed")
		}
	})
}

func TestFederatedName(t *testing.T) {
	for _, c := range []struct{ kind, name, want string }{
		{"Deployment", "web", "deployment-web"},
		{"HorizontalPodAutoscaler", "web.eu", "horizontalpodautoscaler-web.eu"},
		{"Role", "system:x", "role-system-x-"},
		{"Role", "system/x", "role-system-x-"},
		{"ConfigMap", strings.Repeat("a", 253), "configmap-aaa"},
	} {
		got := FederatedName(c.kind, c.name)
		if !strings.HasPrefix(got, c.want) || len(got) > 253 || len(validation.IsDNS1123Subdomain(got)) > 0 || got != FederatedName(c.kind, c.name) {
			t.Errorf("%s %s is %q", c.kind, c.name, got)
		}
	}
	if FederatedName("Role", "a:b") == FederatedName("Role", "a-b") || FederatedName("Role", "A") == FederatedName("Role", "a") || FederatedName("A", strings.Repeat("b", 252)+"1") == FederatedName("A", strings.Repeat("b", 252)+"2") {
		t.Error("two objects have one name")
	}
}

func TestClean(t *testing.T) {
	const lived = "uid: 5, resourceVersion: '7', creationTimestamp: '2026-01-01T00:00:00Z', managedFields: [{manager: kubectl}]"
	for name, c := range map[string]struct{ in, out, removed string }{
		"as kubectl writes it": {"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, creationTimestamp: null}, status: {}}", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", ""},
		"as a server says it": {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 3, " + lived + ", annotations: {deployment.kubernetes.io/revision: '3', kubectl.kubernetes.io/last-applied-configuration: x}}, spec: {replicas: 3}, status: {replicas: 3}}",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: 3}}",
			"status metadata.creationTimestamp metadata.generation metadata.managedFields metadata.resourceVersion metadata.uid metadata.annotations.deployment.kubernetes.io/revision metadata.annotations.kubectl.kubernetes.io/last-applied-configuration"},
		"chosen by a person": {"{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}}", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}}", ""},
		"chosen by a cluster": {"{apiVersion: v1, kind: Service, metadata: {name: a, uid: x}, spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ipFamilies: [IPv4], ports: [{port: 80, nodePort: 30080}]}}", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}",
			"metadata.uid spec.clusterIP spec.clusterIPs spec.ipFamilies spec.ports[*].nodePort"},
		"headless": {"{apiVersion: v1, kind: Service, metadata: {name: a, uid: x}, spec: {clusterIP: None, clusterIPs: [None]}}", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None, clusterIPs: [None]}}", "metadata.uid"},
		"a claim":  {"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a, uid: x, annotations: {pv.kubernetes.io/bind-completed: 'yes', a: b}}, spec: {volumeName: pv-1}}", "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a, annotations: {a: b}}, spec: {}}", "metadata.uid metadata.annotations.pv.kubernetes.io/bind-completed spec.volumeName"},
		"a job": {"{apiVersion: batch/v1, kind: Job, metadata: {name: a, uid: x, labels: {controller-uid: x}}, spec: {selector: {matchLabels: {controller-uid: x}}, template: {metadata: {labels: {controller-uid: x, a: b}}}}}",
			"{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {template: {metadata: {labels: {a: b}}}}}",
			"metadata.uid spec.selector metadata.labels.controller-uid spec.template.metadata.labels.controller-uid"},
		"nonsense": {"{apiVersion: v1, kind: Service, metadata: {name: a, uid: x, annotations: [1]}, spec: {ports: {a: b}}}", "{apiVersion: v1, kind: Service, metadata: {name: a, annotations: [1]}, spec: {ports: {a: b}}}", "metadata.uid"},
	} {
		t.Run(name, func(t *testing.T) {
			in := object(t, c.in)
			got, removed := Clean(in)
			if d := cmp.Diff(object(t, c.out).Object, got.Object); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if !slices.Equal(removed, strings.Fields(c.removed)) {
				t.Errorf("removed %v", removed)
			}
			if d := cmp.Diff(object(t, c.in).Object, in.Object); d != "" {
				t.Errorf("what was handed over has changed:\n%s", d)
			}
		})
	}
}

func TestBound(t *testing.T) {
	for text, want := range map[string]string{
		"{apiVersion: v1, kind: Pod, metadata: {name: a, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: x, controller: true}]}}": "made from ReplicaSet web-1",
		"{apiVersion: v1, kind: Secret, metadata: {name: a}, type: kubernetes.io/service-account-token}":                                                      "tokens",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt}}":                                                                               "its own",
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}":                                                                                              "",
		"{apiVersion: serving.example/v1, kind: Endpoints, metadata: {name: a}}":                                                                              "",
	} {
		if got := Bound(object(t, text)); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q", text, got)
		}
	}
}
