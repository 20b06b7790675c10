package plain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

// What an API server keeps for itself stays there; all else is federated.
func TestWhatStays(t *testing.T) {
	f := &Federator{cfg: Config{Namespace: "meridian-system"}}
	for text, stays := range map[string]bool{
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop}}":                                                                false,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: default}}":                                                             false,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop, labels: {meridian.dev/federate: 'true'}}}":                       false,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: shop, labels: {meridian.dev/federate: 'false'}}}":                      true,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-root-ca.crt, namespace: shop}}":                                                 true,
		"{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: kube-system}}":                                                         true,
		"{apiVersion: v1, kind: Secret, metadata: {name: member-eu, namespace: meridian-system}}":                                                true,
		"{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, type: helm.sh/release.v1}":                                         true,
		"{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: shop}, type: kubernetes.io/service-account-token}":                        true,
		"{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default}}":                                                      true,
		"{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: shop}}":                                                         false,
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: shop}}":                                                     true,
		"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: a, namespace: shop, ownerReferences: [{kind: Deployment, controller: true}]}}": true,
	} {
		if why := f.stays(object(t, text)); (why != "") != stays {
			t.Errorf("%s: %q", text, why)
		}
	}
}

// Clusters are given what the author wrote, and nothing that this API server added.
func TestTemplate(t *testing.T) {
	before := object(t, `
apiVersion: v1
kind: Service
metadata:
  {name: web, namespace: shop, uid: x, resourceVersion: '7', generation: 2, finalizers: [meridian.dev/federated], labels: {app: web}, annotations: {meridian.dev/let-go: 'true', note: a}}
spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80, nodePort: 30001}]}
status: {loadBalancer: {}}
`)
	kept := before.DeepCopy()
	got, want := templateOf(before), object(t, `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web, meridian.dev/federate: 'true'}, annotations: {note: a}}
spec: {ports: [{port: 80}]}
`)
	a, _ := got.MarshalJSON()
	b, _ := want.MarshalJSON()
	if string(a) != string(b) {
		t.Errorf("got  %s\nwant %s", a, b)
	}
	if x, _ := before.MarshalJSON(); string(x) != func() string { y, _ := kept.MarshalJSON(); return string(y) }() {
		t.Error("the object that was read is changed")
	}
	set := templateOf(object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a, namespace: shop, uid: x, labels: {meridian.dev/federate: 'true'}, annotations: {deprecated.daemonset.template.generation: '1'}}, spec: {}}"))
	if metadata, _ := set.Object["metadata"].(map[string]any); len(metadata) != 2 {
		t.Errorf("of its metadata more than name and namespace is left: %v", metadata)
	}
}

func TestSameStatus(t *testing.T) {
	for _, c := range []struct {
		status, before string
		same           bool
	}{
		{"{replicas: 3, readyReplicas: 0}", "{replicas: 3}", true},
		{"{replicas: 0}", "{}", true},
		{"{replicas: 3}", "{replicas: 2}", false},
		{"{}", "{readyReplicas: 2}", false},
		{"{loadBalancer: {}}", "{loadBalancer: {}}", true},
	} {
		int64s := func(text string) map[string]any {
			m := object(t, text).Object
			for k, v := range m {
				if f, ok := v.(float64); ok {
					m[k] = int64(f)
				}
			}
			return m
		}
		if got := sameStatus(int64s(c.status), int64s(c.before)); got != c.same {
			t.Errorf("%s and %s: %v", c.status, c.before, got)
		}
	}
}

// A Placement that cannot be understood moves nothing, and one that goes takes nothing
// away that it alone has brought.
func TestTermsAreKept(t *testing.T) {
	rule := func(name, kind string, at time.Time) *placement.Rule {
		p := &v1alpha1.Placement{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), CreationTimestamp: metav1.NewTime(at)}}
		p.Spec.Objects = []v1alpha1.ObjectSelector{{APIVersion: "v1", Kind: kind}}
		raw, err := normal(p)
		if err != nil {
			t.Fatal(err)
		}
		raw["apiVersion"], raw["kind"] = "meridian.dev/v1alpha1", "Placement"
		r, problems := parse(&unstructured.Unstructured{Object: raw})
		if r == nil {
			t.Fatal(problems)
		}
		return r
	}
	words := object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: words, namespace: shop}}")
	claim := object(t, "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: shop}}")
	made := object(t, "{spec: {template: {}, where: {clusters: [eu]}}}")
	now := time.Now()
	elder, younger := rule("elder", "ConfigMap", now.Add(-time.Hour)), rule("younger", "ConfigMap", now)
	f := &Federator{rules: rules{known: true, terms: map[*placement.Rule]map[string]any{elder: {"where": "elder", "spread": "x"}, younger: {"where": "younger"}}}}
	terms := func(o, made *unstructured.Unstructured) string {
		got, ok := f.terms(o, made)
		if !ok {
			return "nobody knows"
		}
		var words []string
		for _, key := range []string{"where", "spread", "deletion"} {
			if v, ok := got[key]; ok {
				words = append(words, key+"="+strings.TrimSpace(strings.ReplaceAll(strings.Trim(fmt.Sprint(v), "map[]"), "clusters:[", "")))
			}
		}
		return strings.Join(words, " ")
	}
	want := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want(terms(words, nil), "deletion=Delete")
	want(terms(words, made), "deletion=Delete")
	want(terms(claim, made), "where=eu")
	f.rules.list = []*placement.Rule{younger, elder}
	want(terms(words, made), "where=elder") // and no spread, since nothing of it is divided
	f.rules.unclear = map[string]bool{"shop": true}
	want(terms(words, made), "where=eu")
	want(terms(words, nil), "nobody knows")
}
