package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/install"
)

// hostCluster is a real API server with an installation and some Clusters.
type hostCluster struct {
	t          *testing.T
	kubeconfig string
	dynamic    dynamic.Interface
}

func aHost(t *testing.T) *hostCluster {
	t.Helper()
	h := &hostCluster{t: t, kubeconfig: twoClusters(t)}
	if out, err := meridian(t, "init", "--context", "eu", "--region", "europe-west1", "--kubeconfig", h.kubeconfig); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	reach, err := install.Open(h.kubeconfig, "eu")
	if err != nil {
		t.Fatal(err)
	}
	if h.dynamic, err = dynamic.NewForConfig(reach.Config); err != nil {
		t.Fatal(err)
	}
	h.create(threeClusters, "clusters", "")
	h.create("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "namespaces", "")
	return h
}

func (h *hostCluster) create(text, resource, namespace string) {
	h.t.Helper()
	objects, err := install.ReadObjects(strings.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	for _, o := range objects {
		gvr := o.GroupVersionKind().GroupVersion().WithResource(resource)
		if _, err := h.dynamic.Resource(gvr).Namespace(namespace).Create(h.t.Context(), o, metav1.CreateOptions{}); err != nil {
			h.t.Fatal(err)
		}
	}
}

// told writes the status that a daemon would write.
func (h *hostCluster) told(name, clusters string) {
	h.t.Helper()
	client := h.dynamic.Resource(v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")).Namespace("shop")
	o, err := client.Get(h.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	status := fmt.Sprintf(`{"status":{"observedGeneration":%d,"clusters":%s}}`, o.GetGeneration(), clusters)
	if _, err := client.Patch(h.t.Context(), name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		h.t.Fatal(err)
	}
}

// run runs a command line with a file, and returns what it prints, what it says and
// its exit code.
func (h *hostCluster) run(file string, line ...string) (out, said string, code int) {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		h.t.Fatal(err)
	}
	args := line
	if file != "" {
		args = append(args, "-f", path)
	}
	out, said, err := typed(h.t, "", append(args, "--context", "eu", "-n", "shop", "--kubeconfig", h.kubeconfig)...)
	code, err = exitCode(err)
	if err != nil {
		said += sentence(err)
	}
	return out, said, code
}

const webYAML = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 9
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "shop/web:1"}]}}
`

func TestDiff(t *testing.T) {
	h := aHost(t)
	differs := func(want int, file string, line ...string) (string, string) {
		t.Helper()
		out, said, code := h.run(file, append([]string{"diff"}, line...)...)
		if code != want {
			t.Errorf("diff %v ends with %d, want %d\n%s%s", line, code, want, out, said)
		}
		return out, said
	}

	// Nothing is there yet.
	out, _ := differs(1, webYAML, "--weight", "eu-1=2", "--weight", "*=1")
	for _, want := range []string{
		"FederatedObject shop/deployment-web: it is new\n", "CLUSTER  NOW  THEN  WHY\neu-1     -    6     6 by its weight of 2\nus-1     -    3     3 by its weight of 1\n",
		"--- FederatedObject shop/deployment-web in eu-1, now\n+++ FederatedObject shop/deployment-web in eu-1, by the file\n@@ -0,0 +1,", "+  replicas: 6\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("a new one: no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "us-2") {
		t.Errorf("a tainted cluster is to get something:\n%s", out)
	}
	apply := func(file string, line ...string) {
		t.Helper()
		if out, said, code := h.run(file, append([]string{"federate", "--apply"}, line...)...); code != 0 {
			t.Fatalf("%s%s", out, said)
		}
	}
	apply(webYAML, "--weight", "eu-1=2", "--weight", "*=1")
	if out, _ := differs(0, webYAML, "--weight", "eu-1=2", "--weight", "*=1"); out != "" {
		t.Errorf("no change, but\n%s", out)
	}

	// In the middle of a move a file that changes no numbers changes none.
	h.told("deployment-web", `[{"cluster":"eu-1","desired":5,"ready":4,"state":"Applied"},{"cluster":"us-1","desired":4,"ready":4,"state":"Applied"}]`)
	if out, _ := differs(0, webYAML, "--weight", "eu-1=2", "--weight", "*=1"); out != "" {
		t.Errorf("no change, but\n%s", out)
	}
	out, _ = differs(1, strings.Replace(webYAML, "web:1", "web:2", 1), "--weight", "eu-1=2", "--weight", "*=1")
	want := `FederatedObject shop/deployment-web
CLUSTER  NOW  THEN  WHY
eu-1     5    5     Applied
us-1     4    4     Applied
--- FederatedObject shop/deployment-web in eu-1, now
+++ FederatedObject shop/deployment-web in eu-1, by the file
@@ -19,5 +19,5 @@
         app: web
     spec:
       containers:
-      - image: shop/web:1
+      - image: shop/web:2
         name: web
--- FederatedObject shop/deployment-web in us-1, now
+++ FederatedObject shop/deployment-web in us-1, by the file
@@ -19,5 +19,5 @@
         app: web
     spec:
       containers:
-      - image: shop/web:1
+      - image: shop/web:2
         name: web
`
	if d := cmp.Diff(want, out); d != "" {
		t.Errorf("another image (-want +got)\n%s", d)
	}

	// What runs stays where more is wanted, and a cluster that where leaves out gives all up.
	out, _ = differs(1, webYAML, "--replicas", "12", "--weight", "eu-1=2", "--weight", "*=1")
	for _, want := range []string{"eu-1     5    8     5 that run there and stay; 3 by its weight of 2\nus-1     4    4     4 that run there and stay\n", "-  replicas: 5\n+  replicas: 8\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("more replicas: no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "in us-1, now") {
		t.Errorf("us-1 sees no change:\n%s", out)
	}
	out, _ = differs(1, webYAML, "--where", "clusters=eu-1", "--follow")
	for _, want := range []string{"FederatedObject shop/deployment-web: follow false -> true\n", "us-1     4    -     where does not name it\n", "+++ FederatedObject shop/deployment-web in us-1, by the file\n@@ -1,"} {
		if !strings.Contains(out, want) {
			t.Errorf("out of where: no %q in\n%s", want, out)
		}
	}

	// FederatedObjects as they are, also several at once.
	file, _, _ := h.run(webYAML, "federate", "--weight", "eu-1=2", "--weight", "*=1")
	differs(0, file)
	out, _ = differs(1, file+"---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {key: hunter2}\n")
	if strings.Contains(out, "hunter2") || strings.Contains(out, "aHVudGVyMg==") || !strings.Contains(out, "+  key: '*** (after)'\n") {
		t.Errorf("a Secret:\n%s", out)
	}

	for name, c := range map[string]struct {
		file string
		line []string
		want string
	}{
		"a bad file":             {"a: [", nil, "is no YAML of objects"},
		"a fault":                {webYAML, []string{"--mode", "luck"}, "choose divide, free or duplicate"},
		"terms of no effect":     {file, []string{"--where", "clusters=eu-1"}, "write it into these"},
		"another kind":           {strings.Replace(file, "kind: Deployment", "kind: ReplicaSet", 1), nil, "write a FederatedObject of another name"},
		"a bad override":         {strings.Replace(file, "spec:\n", "spec:\n  overrides: [{args: [{container: wbe, args: []}]}]\n", 1), nil, `no container "wbe"`},
		"a format":               {webYAML, []string{"-o", "json"}, "leave it out"},
		"a flag that is none":    {webYAML, []string{"--wher", "x"}, "unknown flag"},
		"no file":                {"", nil, "name a file with -f"},
		"a member, not a host":   {webYAML, []string{"--context", "us"}, "it is no host cluster"},
		"a context that is none": {webYAML, []string{"--context", "nowhere"}, "no context \"nowhere\""},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(c.want, "it is no host") || strings.HasPrefix(c.want, "no context") {
				out, said, err := typed(t, c.file, append([]string{"diff", "-f", "-", "--kubeconfig", h.kubeconfig}, c.line...)...)
				var e exit
				if !errors.As(err, &e) || e.code != 2 || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v\n%s%s", err, out, said)
				}
				return
			}
			out, said := differs(2, c.file, c.line...)
			if !strings.Contains(said, c.want) || out != "" {
				t.Errorf("no %q in %q; printed %q", c.want, said, out)
			}
		})
	}

	rendersFromTheHost(t, h)
}

// What a Secret holds is never in a diff, whatever form it has.
func TestSecretsAreMasked(t *testing.T) {
	secret := func(data any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "data": data}}
	}
	before, after := secret(map[string]any{"same": "c2FtZQ==", "other": "b2xk", "gone": "Z29uZQ=="}), secret(map[string]any{"same": "c2FtZQ==", "other": "bmV3"})
	for what, c := range map[string]struct {
		before, after *unstructured.Unstructured
		want          string
	}{
		"values":        {before, after, " data:\n-  gone: '*** (before)'\n-  other: '*** (before)'\n+  other: '*** (after)'\n   same: '***'\n"},
		"a new one":     {nil, after, "+  other: '*** (after)'\n+  same: '*** (after)'\n"},
		"no map":        {before, secret("bmV3"), "+data: '*** (after)'\n"},
		"no secret":     {nil, &unstructured.Unstructured{Object: map[string]any{"kind": "ConfigMap", "data": map[string]any{"a": "b"}}}, "+  a: b\n"},
		"no difference": {before, before, ""},
	} {
		got, err := unified("x", c.before, c.after)
		if err != nil || !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: %v, no %q in\n%s", what, err, c.want, got)
		}
		for _, leak := range []string{"c2FtZQ", "b2xk", "Z29uZQ", "bmV3"} {
			if strings.Contains(got, leak) {
				t.Errorf("%s: %s leaks\n%s", what, leak, got)
			}
		}
	}
	if v := before.Object["data"].(map[string]any)["other"]; v != "b2xk" {
		t.Errorf("masking changed the object: %v", v)
	}
}

// rendersFromTheHost looks at what a real API server keeps.
func rendersFromTheHost(t *testing.T, h *hostCluster) {
	t.Helper()
	out, said, code := h.run("", "render", "deployment/web", "--cluster", "us-1")
	var o unstructured.Unstructured
	if list, err := install.ReadObjects(strings.NewReader(out)); err != nil || len(list) != 1 || code != 0 {
		t.Fatalf("%v %d\n%s%s", err, code, out, said)
	} else {
		o = *list[0]
	}
	if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); n != 4 || o.GetNamespace() != "shop" || len(o.GetAnnotations()["meridian.dev/placed-by"]) != 36 {
		t.Errorf("%v", o.Object)
	}
	if !strings.Contains(said, "us-1: 4 replicas, as its status has it: Applied\n") {
		t.Errorf("%s", said)
	}
	if _, said, code := h.run("", "render", "deployment-web", "--cluster", "us-2"); code != 1 || !strings.Contains(said, "it takes nothing new: taint full:NoSchedule") {
		t.Errorf("%d %s", code, said)
	}
	if _, said, code := h.run("", "render", "web", "--cluster", "us-1"); code != 1 || !strings.Contains(said, "their names begin with the kind") {
		t.Errorf("%d %s", code, said)
	}
	for line, want := range map[string]string{
		"render -n shop --context eu --cluster us-1": "deployment-web\n", "render --context eu --cluster": "eu-1\nus-1\nus-2\n",
	} {
		args := append(append([]string{"__complete"}, strings.Fields(line)...), "--kubeconfig", h.kubeconfig, "")
		if strings.HasSuffix(line, "--cluster") {
			args = append([]string{"__complete", "render", "--context", "eu", "--kubeconfig", h.kubeconfig, "--cluster"}, "")
		}
		if out, err := meridian(t, args...); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}
