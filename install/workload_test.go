package install

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
)

// workloadHost is an API server that serves our kinds, and nothing else runs in it;
// asked runs kubectl there.
func workloadHost(t *testing.T) (host *Reach, asked func(args ...string) string) {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	c, err := cluster.Start(t.Context(), group, cluster.Config{Name: "host", Addr: lab.Loopback(), Dir: t.TempDir(), Programs: programs, NoControllers: true})
	if err != nil {
		t.Fatal(err)
	}
	host = reach(t, c)
	objects, err := Render(Namespace, map[string]any{"region": "any"})
	if err != nil {
		t.Fatal(err)
	}
	objects = slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() != "CustomResourceDefinition" })
	if _, err := host.Apply(t.Context(), objects, Progress{}); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	kubeconfig := filepath.Join(home, "kubeconfig")
	if err := os.WriteFile(kubeconfig, c.Kubeconfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	return host, func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), programs.Kubectl, append([]string{"--kubeconfig", kubeconfig, "--cache-dir", home}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
}

const aTemplate = "template: {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}"

// workloadDocs are objects with what the API server says of them and, of what it
// takes, what Parse says.
var workloadDocs = []struct{ spec, refused, fault string }{
	{spec: aTemplate},
	{spec: aTemplate + ", where: {clusters: [eu-1], regions: [eu], selector: {matchLabels: {tier: gold}, matchExpressions: [{key: a, operator: Exists}]}}"},
	{spec: aTemplate + ", spread: {mode: free, rebalance: true, grace: 1h, budget: 3, limits: [{cluster: eu-1, weight: 3, min: 1, max: 9}, {cluster: '*'}]}, follow: true, adopt: true, deletion: Orphan"},
	{spec: aTemplate + ", overrides: [{where: {clusters: [eu-1]}, registry: 'r.example.com:5000/a', args: [{container: web, args: [-v]}], env: [{name: A, value: b}, {container: web, name: A}], labels: {a: b}}]"},
	{spec: aTemplate + ", overrides: [{patch: [{op: add, path: /spec/x, value: {a: [1]}}, {op: replace, path: /spec/y, value: null}, {op: remove, path: /spec/z}, {op: move, from: /a, path: /b}, {op: test, path: /kind, value: Deployment}]}]"},
	{spec: "template: {apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: 'a:b'}, rules: []}"},

	{spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: ''}}", refused: "the template needs a metadata.name"},
	{spec: "template: {apiVersion: v1, kind: ConfigMap}", refused: "the template needs a metadata.name"},
	{spec: "template: {kind: ConfigMap, metadata: {name: a}}", refused: "spec.template.apiVersion: Required value"},
	{spec: "template: {apiVersion: v1, metadata: {name: a}}", refused: "spec.template.kind: Required value"},
	{spec: "template: {apiVersion: v1, kind: 'Config Map', metadata: {name: a}}", refused: "spec.template.kind: Invalid value"},
	{spec: "", refused: "spec.template: Required value"},
	{spec: "template: {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, status: {}}", refused: "the template must not have a status"},
	{spec: "template: {apiVersion: v1, kind: Pod, metadata: {generateName: a-}}", refused: "every cluster would make up another name"},
	{spec: "template: {apiVersion: v1, kind: List, metadata: {name: a}, items: []}", refused: "the template is a list"},
	{spec: "template: {apiVersion: meridian.dev/v1alpha1, kind: Zone, metadata: {name: a}}", refused: "belong in the host cluster only"},
	{spec: aTemplate + ", where: {clusters: [Europe]}", refused: "spec.where.clusters[0]"},
	{spec: aTemplate + ", where: {clusters: []}", refused: "should have at least 1 item"},
	{spec: aTemplate + ", where: {clusters: [a, a]}", refused: "Duplicate value"},
	{spec: aTemplate + ", where: {selector: {matchExpressions: [{key: a, operator: In}]}}", refused: "operators In and NotIn need values"},
	{spec: aTemplate + ", where: {selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}", refused: "Exists and DoesNotExist take none"},
	{spec: aTemplate + ", spread: {mode: random}", refused: "supported values: \"divide\", \"free\", \"duplicate\""},
	{spec: aTemplate + ", spread: {limits: [{cluster: a, min: 3, max: 2}]}", refused: "min must not be above max"},
	{spec: aTemplate + ", spread: {limits: [{cluster: a, weight: -1}]}", refused: "should be greater than or equal to 0"},
	{spec: aTemplate + ", spread: {limits: [{cluster: a}, {cluster: a}]}", refused: "Duplicate value"},
	{spec: aTemplate + ", spread: {mode: divide, limits: [{cluster: a, weight: 0}]}", refused: "nobody would get a replica"},
	{spec: aTemplate + ", spread: {grace: 1s}", refused: "grace must lie between 10s and 168h"},
	{spec: aTemplate + ", spread: {grace: soon}", refused: "spec.spread.grace"},
	{spec: aTemplate + ", spread: {budget: 0}", refused: "should be greater than or equal to 1"},
	{spec: aTemplate + ", deletion: Keep", refused: "supported values: \"Delete\", \"Orphan\""},
	{spec: aTemplate + ", overrides: [{where: {clusters: [a]}}]", refused: "the override changes nothing"},
	{spec: aTemplate + ", overrides: [{registry: 'https://r.example.com'}]", refused: "spec.overrides[0].registry"},
	{spec: aTemplate + ", overrides: [{patch: [{op: change, path: /a}]}]", refused: "spec.overrides[0].patch[0].op: Unsupported value"},
	{spec: aTemplate + ", overrides: [{patch: [{op: remove, path: a}]}]", refused: "path must be a JSON pointer"},
	{spec: aTemplate + ", overrides: [{patch: [{op: copy, path: /a}]}]", refused: "operations move and copy need a from"},
	{spec: aTemplate + ", overrides: [{patch: [{op: remove, path: /a, from: /b}]}]", refused: "no other takes one"},
	{spec: aTemplate + ", overrides: [{patch: [{op: replace, path: /metadata/name, value: x}]}]", refused: "a patch must not change what the object is"},

	// What the schema cannot say is refused at the door.
	{spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: elsewhere}}", fault: "spec.template.metadata.namespace: is \"elsewhere\""},
	{spec: "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: x}}", fault: "spec.template.metadata.uid: is set by a server"},
	{spec: "template: {apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: default}}", fault: "objects of this kind have none"},
	{spec: "template: {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: a}}, spread: {mode: divide}", fault: "this DaemonSet has none"},
	{spec: aTemplate + ", where: {clusters: [host]}", fault: "names the installation itself"},
	{spec: aTemplate + ", overrides: [{patch: [{op: add, path: /a}]}]", fault: "spec.overrides[0].patch[0].value: is missing"},
	{spec: aTemplate + ", overrides: [{patch: [{op: remove, path: /a~b}]}]", fault: "'~' that stands for nothing"},
	{spec: aTemplate + ", overrides: [{labels: {'a b': c}}]", fault: "no key of a label"},
}

// The API server says in words that a person understands what is wrong; what its
// schema cannot express is refused by Parse; what is good is taken by both.
func TestWorkloadsAtTheAPIServer(t *testing.T) {
	host, asked := workloadHost(t)
	ctx := t.Context()
	client := host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("default")
	for _, c := range workloadDocs {
		objects, err := decode([]byte("apiVersion: meridian.dev/v1alpha1\nkind: FederatedObject\nmetadata: {name: a, namespace: default}\nspec: {" + c.spec + "}"))
		if err != nil {
			t.Fatal(c.spec, err)
		}
		got, err := client.Create(ctx, objects[0], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"})
		switch {
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s\nis answered by %v, want %q", c.spec, err, c.refused)
		case c.refused == "" && err != nil:
			t.Errorf("%s\nis refused: %v", c.spec, err)
		case err == nil:
			parsed(t, got, c.spec, c.fault)
		}
	}
	others := []struct{ doc, refused string }{
		{"kind: Placement\nmetadata: {name: a, namespace: default}\nspec: {objects: [{apiVersion: apps/v1, kind: Deployment, selector: {matchLabels: {a: b}}}], where: {regions: [eu]}}", ""},
		{"kind: Placement\nmetadata: {name: a, namespace: default}\nspec: {objects: []}", "should have at least 1 item"},
		{"kind: Placement\nmetadata: {name: a, namespace: default}\nspec: {objects: [{kind: Deployment}]}", "apiVersion: Required value"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '50', lon: '4'}, taints: [{key: a, effect: NoExecute}, {key: example.com/b, value: c, effect: NoSchedule}]}", ""},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '50', lon: '4'}, taints: [{key: a, effect: PreferNoSchedule}]}", "supported values: \"NoSchedule\", \"NoExecute\""},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '50', lon: '4'}, taints: [{key: 'a b', effect: NoExecute}]}", "spec.taints[0].key"},
	}
	for _, c := range others {
		objects, err := decode([]byte("apiVersion: meridian.dev/v1alpha1\n" + c.doc))
		if err != nil {
			t.Fatal(err)
		}
		client, err := host.resource(ctx, objects[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Create(ctx, objects[0], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: "Strict"})
		if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s\nis answered by %v, want %q", c.doc, err, c.refused)
		}
	}
	t.Run("removal", func(t *testing.T) { removed(t, host) })
	t.Run("columns", func(t *testing.T) { columns(t, host) })
	t.Run("defaults", func(t *testing.T) { defaults(t, host) })
	t.Run("kubectl", func(t *testing.T) { explained(t, asked) })
	t.Run("the largest", func(t *testing.T) { largest(t, host) })
}

// removed deletes a workload that a cluster still has.
func removed(t *testing.T, host *Reach) {
	client := host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("default")
	if err := Remove(t.Context(), host, written(t, host), Removal{}, Progress{}); err != nil {
		t.Fatal(err)
	}
	written(t, host)
	patch := func(body string, sub ...string) *unstructured.Unstructured {
		o, err := client.Patch(t.Context(), "deployment-web", types.MergePatchType, []byte(body), metav1.PatchOptions{}, sub...)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	o := patch(`{"metadata":{"finalizers":["example.com/held"]}}`)
	if err := Remove(t.Context(), host, o, Removal{}, Progress{}); err == nil || !strings.Contains(err.Error(), "no daemon has said yet what it waits for") {
		t.Errorf("it ends with %v", err)
	}
	patch(`{"status":{"conditions":[{"type":"Placed","status":"False","reason":"Deleting","message":"eu-1 cannot be asked","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`, "status")
	err := Remove(t.Context(), host, o, Removal{Orphan: true, Force: true}, Progress{})
	if err == nil || !strings.Contains(err.Error(), "eu-1 cannot be asked; it goes by itself when that is over, or with --force") {
		t.Errorf("it ends with %v", err)
	}
	o, err = client.Get(t.Context(), o.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if deletion, _, _ := unstructured.NestedString(o.Object, "spec", "deletion"); deletion != "Orphan" || o.GetAnnotations()[v1alpha1.LetGoAnnotation] != "true" {
		t.Errorf("its deletion is %q, its annotations are %v", deletion, o.GetAnnotations())
	}
	let := make(chan error, 1)
	go func() { // while it is waited for
		_, err := client.Patch(t.Context(), o.GetName(), types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		let <- err
	}()
	var said bytes.Buffer
	if err := Remove(t.Context(), host, o, Removal{Wait: time.Minute}, Progress{W: &said}); err != nil || !strings.Contains(said.String(), "FederatedObject default/deployment-web deleted") {
		t.Errorf("it ends with %v, and says %q", err, &said)
	}
	if err := <-let; err != nil {
		t.Error(err)
	}
}

// explained is what kubectl tells a person.
func explained(t *testing.T, asked func(args ...string) string) {
	for _, c := range []struct {
		want string
		args []string
	}{
		{"by weight (divide), by the room that clusters have (free)", []string{"explain", "federatedobject.spec.spread"}},
		{"without status and without what servers set", []string{"explain", "federatedobject.spec.template"}},
		{"FederatedObject is one object of any kind that is to be in many clusters", []string{"explain", "fo"}},
		{"as a JSON pointer (RFC 6901)", []string{"explain", "federatedobject.spec.overrides.patch"}},
		{"NoSchedule sends nothing new there", []string{"explain", "cluster.spec.taints.effect"}},
		{"Of several Placements", []string{"explain", "placement"}},
		{"deployment-web", []string{"get", "meridian", "-A"}},
	} {
		// kubectl breaks lines as it likes.
		out := strings.Join(strings.Fields(asked(c.args...)), " ")
		if !strings.Contains(out, c.want) {
			t.Errorf("kubectl %v: no %q in\n%s", c.args, c.want, out)
		}
	}
	t.Log("\n" + asked("get", "fo", "-o", "wide"))
}

// largest writes the largest template that Parse takes, and the largest status beside
// it: an API server has to store both.
func largest(t *testing.T, host *Reach) {
	template := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "large"}, "data": map[string]any{"a": ""}}
	raw, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	template["data"] = map[string]any{"a": strings.Repeat("x", v1alpha1.MaxTemplate-len(raw)-len(`,"namespace":"default"`))}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"template": template}}}
	o.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindFederatedObject))
	o.SetNamespace("default")
	o.SetName("configmap-large")
	client := host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("default")
	got, err := client.Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	parsed(t, got, "the largest template", "")
	now := metav1.Now()
	status := v1alpha1.WorkloadStatus{Desired: 1 << 40, Ready: 1 << 40, InClusters: "1024/1024"}
	for i := range 1024 {
		status.Clusters = append(status.Clusters, v1alpha1.ClusterWorkload{
			Cluster: fmt.Sprintf("%s-%04d", strings.Repeat("c", 58), i), AppliedGeneration: 1000, Desired: 1_000_000, Ready: 1_000_000, Unschedulable: 1_000_000,
			State: v1alpha1.WorkloadUnreachable, Reason: "NoAnswer", Message: strings.Repeat("m", v1alpha1.MaxWorkloadMessage), Time: &now,
		})
	}
	if err := status.Remember(map[string]string{"l": strings.Repeat("l", v1alpha1.MaxMemory-len(`{"l":""}`))}); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Patch(t.Context(), o.GetName(), types.MergePatchType, body, metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("a status of %d bytes beside a template of %d: %v", len(body), v1alpha1.MaxTemplate, err)
	}
}

// parsed looks what Parse says of an object as an API server gives it back.
func parsed(t *testing.T, o *unstructured.Unstructured, spec, fault string) {
	t.Helper()
	raw, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var typed v1alpha1.FederatedObject
	if err := json.Unmarshal(raw, &typed); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	got, problems := typed.Parse(fleet.Origin{Kind: v1alpha1.KindFederatedObject, Name: "a"})
	said := fmt.Sprint(problems)
	switch {
	case fault == "" && (got == nil || len(problems) > 0):
		t.Errorf("%s\nis refused by Parse: %v", spec, problems)
	case fault != "" && (got != nil || !strings.Contains(said, fault)):
		t.Errorf("%s\nis answered by Parse with %v, want %q", spec, problems, fault)
	}
}

// written creates a workload and its status.
func written(t *testing.T, host *Reach) *unstructured.Unstructured {
	t.Helper()
	objects, err := decode([]byte("apiVersion: meridian.dev/v1alpha1\nkind: FederatedObject\nmetadata: {name: deployment-web, namespace: default}\nspec: {" + aTemplate + ", spread: {limits: [{cluster: eu-1}]}, overrides: [{env: [{name: A, value: b}]}, {patch: [{op: replace, path: /spec/x, value: null}]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	client := host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("default")
	if _, err := client.Apply(t.Context(), "deployment-web", objects[0], metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		t.Fatal(err)
	}
	status := `{"status":{"desired":7,"ready":5,"unschedulable":1,"inClusters":"2/3","memory":{"a":{"b":[1,null]}},
"clusters":[{"cluster":"eu-1","appliedGeneration":1,"desired":7,"ready":5,"unschedulable":1,"state":"Applied","reason":"Applied","message":"as it is wanted","time":"2026-01-01T00:00:00Z"}],
"conditions":[{"type":"Placed","status":"True","reason":"Placed","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	o, err := client.Patch(t.Context(), "deployment-web", types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// columns are what "kubectl get" prints.
func columns(t *testing.T, host *Reach) {
	written(t, host)
	raw, err := host.kube.Discovery().RESTClient().Get().AbsPath("/apis/meridian.dev/v1alpha1/namespaces/default/federatedobjects").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	row := map[string]string{}
	for i, c := range table.ColumnDefinitions {
		row[c.Name] = fmt.Sprint(table.Rows[0].Cells[i])
	}
	for name, want := range map[string]string{"Name": "deployment-web", "Kind": "Deployment", "Desired": "7", "Ready": "5", "Clusters": "2/3", "Placed": "True", "Unschedulable": "1"} {
		if row[name] != want {
			t.Errorf("column %s is %q, want %q", name, row[name], want)
		}
	}
	if row["Age"] == "" {
		t.Errorf("no age: %v", row)
	}
}

// defaults are filled in, and what nobody can describe is kept as it is.
func defaults(t *testing.T, host *Reach) {
	o := written(t, host)
	for path, want := range map[string]string{"spec.deletion": "Delete", "spec.spread.grace": "5m"} {
		if got, _, _ := unstructured.NestedString(o.Object, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %q by default, want %q", path, got, want)
		}
	}
	raw, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var typed v1alpha1.FederatedObject
	if err := json.Unmarshal(raw, &typed); err != nil {
		t.Fatal(err)
	}
	if l := typed.Spec.Spread.Limits[0]; l.Weight == nil || *l.Weight != 1 {
		t.Errorf("limit %+v", l)
	}
	if e := typed.Spec.Overrides[0].Env[0]; e.Container != "*" {
		t.Errorf("env %+v", e)
	}
	if v := typed.Spec.Overrides[1].Patch[0].Value; string(v.Raw) != "null" {
		t.Errorf("null has become %q", v.Raw)
	}
	if m := typed.Status.Memory; m == nil || string(m.Raw) != `{"a":{"b":[1,null]}}` {
		t.Errorf("memory %+v", m)
	}
	client := host.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("default")
	for patch, want := range map[string]string{
		`{"spec":{"template":{"metadata":{"name":"other"}}}}`: "the kind and the name of a template cannot change",
		`{"spec":{"template":{"kind":"StatefulSet"}}}`:        "the kind and the name of a template cannot change",
		`{"spec":{"template":{"spec":{"replicas":9}}}}`:       "",
	} {
		_, err := client.Patch(t.Context(), "deployment-web", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s is answered by %v, want %q", patch, err, want)
		}
	}
}
