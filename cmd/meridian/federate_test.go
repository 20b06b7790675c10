package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someYAML = `# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 3
  template: {}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop, uid: x, resourceVersion: "7"}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30080}]}, status: {loadBalancer: {}}}
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: log, namespace: shop}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: x, controller: true}]}}
---
`

// typed runs a command line with something on its input, and keeps what is said apart
// from what is printed.
func typed(t *testing.T, in string, args ...string) (out, said string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(in))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// A bound for one cluster closes no other one.
func TestBoundsOfOneClusterLeaveOthersOpen(t *testing.T) {
	out, said, err := typed(t, someYAML, "federate", "-f", "-", "--max", "us-1=10")
	if err != nil || !strings.Contains(out, "- cluster: '*'\n      weight: 1\n    - cluster: us-1\n      max: 10\n") {
		t.Errorf("%v, %s\n%s", err, said, out)
	}
}

// On whose behalf it is carried out is said by a name alone.
func TestFederateOnBehalf(t *testing.T) {
	out, said, err := typed(t, someYAML, "federate", "-f", "-", "--service-account", "deployer")
	if err != nil || strings.Count(out, "  serviceAccountName: deployer\n") != 3 {
		t.Errorf("%v, %s\n%s", err, said, out)
	}
	if _, _, err := typed(t, someYAML, "federate", "-f", "-", "--service-account", "bank:deployer"); err == nil || !strings.Contains(err.Error(), "by its name alone") {
		t.Errorf("an account elsewhere: %v", err)
	}
}

// Of a kind that others defined clusters say how it is divided; beside what has
// replicas, the spread is not about it.
func TestFederateKindsOfOthers(t *testing.T) {
	const farm = "apiVersion: example.com/v1\nkind: Farm\nmetadata: {name: wheat}\nspec: {size: 6}\n"
	out, said, err := typed(t, farm, "federate", "-f", "-", "--mode", "divide")
	if err != nil || !strings.Contains(out, "mode: divide") {
		t.Errorf("%v, %s\n%s", err, said, out)
	}
	out, said, err = typed(t, farm+"---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3, template: {}}\n", "federate", "-f", "-", "--mode", "divide")
	if err != nil || strings.Count(out, "mode: divide") != 1 {
		t.Errorf("%v, %s\n%s", err, said, out)
	}
}

func TestFederate(t *testing.T) {
	out, said, err := typed(t, someYAML, "federate", "-f", "-", "--where", "regions=us,eu", "--where", "tier=gold,cloud in (gcp,aws)", "--replicas", "1000",
		"--weight", "eu-1=3", "--weight", "*=1", "--min", "eu-1=2", "--max", "us-1=10", "--follow", "--orphan", "--grace", "2m")
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: meridian.dev/v1alpha1
kind: FederatedObject
metadata:
  name: deployment-web
  namespace: shop
spec:
  deletion: Orphan
  follow: true
  spread:
    grace: 2m0s
    limits:
    - cluster: '*'
      weight: 1
    - cluster: eu-1
      min: 2
      weight: 3
    - cluster: us-1
      max: 10
  template:
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      name: web
      namespace: shop
    spec:
      replicas: 1000
      template: {}
  where:
    regions:
    - us
    - eu
    selector:
      matchExpressions:
      - key: cloud
        operator: In
        values:
        - aws
        - gcp
      matchLabels:
        tier: gold
---
apiVersion: meridian.dev/v1alpha1
kind: FederatedObject
metadata:
  name: service-web
  namespace: shop
spec:
  deletion: Orphan
  follow: true
  template:
    apiVersion: v1
    kind: Service
    metadata:
      name: web
      namespace: shop
    spec:
      ports:
      - port: 80
`
	first, rest, _ := strings.Cut(out, "kind: DaemonSet")
	if !strings.HasPrefix(first, want) || rest == "" {
		t.Errorf("(-want +got)\n%s", cmp.Diff(want, first))
	}
	for _, words := range []string{"Service shop/web: removed what a server had set: status, metadata.resourceVersion, metadata.uid, spec.clusterIP, spec.ports[*].nodePort.", "Pod shop/web-1 is left out: it is made from ReplicaSet web"} {
		if !strings.Contains(said, words) {
			t.Errorf("no %q in\n%s", words, said)
		}
	}

	list, _, err := typed(t, someYAML, "federate", "-f", "-", "-o", "json")
	var items struct{ Items []any }
	if err != nil || json.Unmarshal([]byte(list), &items) != nil || len(items.Items) != 3 {
		t.Errorf("%v\n%s", err, list)
	}
}

// What federate prints of clean objects unfederate turns back, byte for byte.
func TestFederateAndBack(t *testing.T) {
	const clean = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 3
---
apiVersion: a.example/v1
data:
- null
- 9007199254740993
- "yes"
kind: Thing
metadata:
  annotations:
    a: b
  name: thing
  namespace: shop
`
	for _, format := range []string{"yaml", "json"} {
		there, said, err := typed(t, clean, "federate", "-f", "-", "--where", "clusters=eu-1,us-1", "-o", format)
		if err != nil || said != "" {
			t.Fatal(err, said)
		}
		back, said, err := typed(t, there, "unfederate", "-f", "-")
		if err != nil || said != "" {
			t.Fatal(err, said)
		}
		if d := cmp.Diff(clean, back); d != "" {
			t.Errorf("(-before +after)\n%s", d)
		}
	}
}

func TestFederateNamesTheRemedy(t *testing.T) {
	const web = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
	const other = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\n"
	const log = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: log}\n"
	const db = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\n"
	for name, c := range map[string]struct {
		in   string
		args []string
		want string
	}{
		"nothing":               {"", nil, "holds no objects"},
		"no YAML":               {"a: [", nil, "is no YAML of objects"},
		"no object":             {"a: b", nil, "no apiVersion and kind"},
		"no file":               {"", []string{"-f", "/nowhere/at/all"}, "/nowhere/at/all"},
		"replicas of none":      {log, []string{"--replicas", "3"}, "leave --replicas out"},
		"replicas of two":       {web + other, []string{"--replicas", "3"}, "give them one by one"},
		"negative":              {web, []string{"--replicas=-3"}, "outside 0 to 1000000"},
		"nothing to divide":     {log, []string{"--mode", "divide"}, "choose the clusters with --where"},
		"mode":                  {web, []string{"--mode", "luck"}, "choose divide, free or duplicate"},
		"weight":                {web, []string{"--weight", "eu-1"}, "eu-1=3"},
		"weight twice":          {web, []string{"--weight", "eu-1=3", "--weight", "eu-1=4"}, "given twice"},
		"min over max":          {web, []string{"--min", "eu-1=3", "--max", "eu-1=2"}, "above the max of 2"},
		"cluster's name":        {web, []string{"--where", "clusters=Europe"}, "DNS label"},
		"nowhere":               {web, []string{"--where", "clusters="}, "is empty"},
		"selector":              {web, []string{"--where", "a in b"}, "tier=gold"},
		"empty selector":        {web, []string{"--where", ""}, "selects nothing"},
		"both at once":          {web, []string{"--where", "a=b", "--where", "a=c"}, "a in (b,c)"},
		"cluster-scoped":        {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}", nil, "--cluster-scoped"},
		"one of ours":           {"apiVersion: meridian.dev/v1alpha1\nkind: Zone\nmetadata: {name: a}", nil, "apply the object there as it is"},
		"twice":                 {web + "---\n" + web, nil, "would both be FederatedObject deployment-web"},
		"another namespace":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}", []string{"-n", "c"}, "leave --namespace out"},
		"printed and sent":      {web, []string{"--apply", "-o", "yaml"}, "leave one of the two out"},
		"too large":             {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: " + strings.Repeat("x", 1_400_000) + "}", nil, "divide it into several objects"},
		"nothing left":          {"apiVersion: v1\nkind: Event\nmetadata: {name: a}", nil, "nothing is left"},
		"nobody gets a replica": {web, []string{"--mode", "divide", "--weight", "*=0"}, "nobody"},
		"items":                 {"apiVersion: v1\nkind: List\nitems: [a]", nil, "items[0] is no object"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"federate"}, c.args...)
			if !strings.Contains(strings.Join(args, " "), "-f ") {
				args = append(args, "-f", "-")
			}
			out, said, err := typed(t, c.in, args...)
			if err == nil {
				t.Fatalf("no error, but\n%s%s", out, said)
			}
			if s := sentence(err); !strings.Contains(s, c.want) || strings.Contains(s, "\n") || len(s) > 1000 {
				t.Errorf("%q does not name the remedy (%q)", s, c.want)
			}
		})
	}
	_, said, err := typed(t, db, "federate", "-f", "-", "--replicas", "3")
	if err != nil || !strings.Contains(said, "--mode divide divides them") {
		t.Errorf("%v %s", err, said)
	}
	if _, said, err = typed(t, db, "federate", "-f", "-", "--weight", "eu-1=3"); err != nil || !strings.Contains(said, "limits change nothing") {
		t.Errorf("%v %s", err, said)
	}
	for _, args := range [][]string{{"unfederate"}, {"unfederate", "a", "-f", "-"}} {
		if _, _, err := typed(t, "", args...); err == nil || !strings.Contains(err.Error(), "-f") {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, _, err := typed(t, web, "unfederate", "-f", "-"); err == nil || !strings.Contains(err.Error(), "is no FederatedObject") {
		t.Errorf("%v", err)
	}
}

func TestFederateCompletes(t *testing.T) {
	for want, args := range map[string][]string{
		"divide\nfree\nduplicate": {"--mode", ""},
		"clusters=\nregions=":     {"--where", ""},
	} {
		if out, err := meridian(t, append([]string{"__complete", "federate"}, args...)...); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// federatesThereAndBack sends workloads to a real API server and takes them out again.
func federatesThereAndBack(t *testing.T, run func(want string, args ...string) string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	apply := []string{"federate", "-f", file, "--apply", "--context", "eu", "--weight", "us-1=2"}
	run("eu: 1 created, 0 changed, 0 as they were", apply...)
	run("eu: 0 created, 0 changed, 1 as they were", apply...)
	run("FederatedObject default/deployment-web changed", append(apply, "--replicas", "9")...)
	back := run("replicas: 9", "unfederate", "deployment-web", "--context", "eu")
	if want := "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: default\nspec:\n  replicas: 9\n"; back != want {
		t.Errorf("(-want +got)\n%s", cmp.Diff(want, back))
	}
	run("namespaces \"nowhere\" not found", "federate", "-f", file, "--apply", "--context", "eu", "-n", "nowhere")
	run("has no FederatedObject deployment-api in namespace default", "unfederate", "deployment-api", "--context", "eu")
	run("FederatedObject default/deployment-web", "check", "--context", "eu")
	run("add --delete", "unfederate", "deployment-web", "--orphan", "--context", "eu")
	run("give one of the two", "unfederate", "-f", file, "--delete", "--context", "eu")
	run("FederatedObject default/deployment-web deleted", "unfederate", "deployment-web", "--delete", "--context", "eu")
	run("has no FederatedObject deployment-web in namespace default", "unfederate", "deployment-web", "--delete", "--context", "eu")
}
