package v1alpha1

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

func workload(t testing.TB, spec string) *FederatedObject {
	t.Helper()
	o := &FederatedObject{Spec: *read[FederatedObjectSpec](t, spec)}
	o.Namespace, o.Name = "shop", "deployment-web"
	return o
}

const webTemplate = "template: {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, creationTimestamp: null}, spec: {replicas: 1000, x: 9007199254740993}}"

func TestWorkloadWithEverything(t *testing.T) {
	o := workload(t, webTemplate+`
where: {clusters: [us-1, eu-1], regions: [us, eu], selector: {matchLabels: {tier: gold}, matchExpressions: [{key: a, operator: NotIn, values: [b, c]}]}}
spread: {mode: free, rebalance: true, grace: 90s, budget: 3, limits: [{cluster: eu-1, weight: 3, min: 1, max: 9}, {cluster: "*", weight: 0, min: 2}, {cluster: us-1}]}
overrides:
- where: {regions: [eu]}
  registry: r.example.com:5000/mirror
  args: [{container: web, args: [-v, "--x=y"]}]
  env: [{name: A, value: b}, {container: web, name: A}, {container: web, name: B, value: c}]
  labels: {tier: gold}
- patch: [{op: add, path: /spec/a, value: {z: 1, b: [null]}}, {op: replace, path: /spec/b, value: null}, {op: remove, path: /spec/c~1d}, {op: copy, from: /spec/e, path: /spec/f}]
follow: true
adopt: true
deletion: Orphan
serviceAccountName: web.deployer
`)
	got, problems := o.Parse(me)
	checkSaid(t, problems)
	object := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web", "namespace": "shop"},
		"spec": map[string]any{"replicas": int64(1000), "x": int64(9007199254740993)}}
	if d := cmp.Diff(object, got.Object.Object); d != "" {
		t.Errorf("object (-want +got)\n%s", d)
	}
	if s := got.Where.Labels.String(); s != "a notin (b,c),tier=gold" {
		t.Errorf("selector %s", s)
	}
	got.Object, got.Where.Labels = nil, nil
	want := &placement.Template{
		Where: placement.Where{Clusters: []string{"eu-1", "us-1"}, Regions: []fleet.Region{"eu", "us"}},
		Spread: placement.Spread{Mode: placement.ModeFree, Rebalance: true, Grace: 90 * time.Second, Budget: 3, Limits: map[string]placement.Limit{
			"eu-1": {Weight: 3, Min: 1, Max: 9}, "*": {Min: 2, Max: -1}, "us-1": {Weight: 1, Max: -1}}},
		Overrides: []placement.Override{
			{Where: placement.Where{Regions: []fleet.Region{"eu"}}, Registry: "r.example.com:5000/mirror",
				Args:   map[string][]string{"web": {"-v", "--x=y"}},
				Env:    map[string]map[string]string{"*": {"A": "b"}, "web": {"A": "", "B": "c"}},
				Labels: map[string]string{"tier": "gold"}},
			{Patch: []byte(`[{"op":"add","path":"/spec/a","value":{"b":[null],"z":1}},{"op":"replace","path":"/spec/b","value":null},{"op":"remove","path":"/spec/c~1d"},{"op":"copy","path":"/spec/f","from":"/spec/e"}]`)},
		},
		Follow: true, Adopt: true, Orphan: true, Account: "web.deployer", Origin: me,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestWorkloadDefaults(t *testing.T) {
	for text, want := range map[string]placement.Mode{
		"apiVersion: apps/v1, kind: Deployment":                       placement.ModeDivide,
		"apiVersion: apps/v1, kind: StatefulSet, spec: {replicas: 3}": placement.ModeDuplicate,
		"apiVersion: apps/v1, kind: DaemonSet":                        placement.ModeDuplicate,
		"apiVersion: v1, kind: ConfigMap":                             placement.ModeDuplicate,
		"apiVersion: a.example/v1, kind: Farm, spec: {replicas: 3}":   placement.ModeDivide,
		"apiVersion: a.example/v1, kind: Field, spec: {replicas: a}":  placement.ModeDuplicate,
	} {
		got, problems := workload(t, "template: {"+text+", metadata: {name: web}}").Parse(me)
		checkSaid(t, problems)
		spread := placement.Spread{Mode: want, Grace: placement.DefaultGrace, Limits: map[string]placement.Limit{"*": {Weight: 1, Max: -1}}}
		if d := cmp.Diff(spread, got.Spread); d != "" || !reflect.DeepEqual(got.Where, placement.Where{}) || got.Orphan {
			t.Errorf("%s (-want +got)\n%s", text, d)
		}
	}
	got, problems := workload(t, "template: {apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: 'a:b'}}").Parse(me)
	checkSaid(t, problems)
	if got.Object.GetNamespace() != "" {
		t.Error("a ClusterRole is put into a namespace")
	}
}

func TestWorkloadFaults(t *testing.T) {
	const object = "apiVersion: v1, kind: ConfigMap, metadata: {name: a}"
	at := func(more string) string { return webTemplate + "\n" + more }
	for name, c := range map[string]struct {
		spec string
		want []string
	}{
		"nothing":         {"{}", []string{"spec.template: missing"}},
		"null":            {"template: null", []string{"spec.template: missing"}},
		"text":            {"template: hello", []string{"spec.template: no object"}},
		"empty":           {"template: {}", []string{"spec.template.apiVersion: no group and version", "spec.template.kind: no kind", "spec.template.metadata: missing"}},
		"no texts":        {"template: {apiVersion: 1, kind: [a], metadata: {name: {}}}", []string{"spec.template.apiVersion: no text", "spec.template.kind: no text", "spec.template.apiVersion: no group", "spec.template.kind: no kind", "spec.template.metadata.name: no text", "spec.template.metadata.name: missing"}},
		"apiVersion":      {"template: {apiVersion: a/b/c, kind: A, metadata: {name: a}}", []string{"spec.template.apiVersion: no group and version"}},
		"ours":            {"template: {apiVersion: meridian.dev/v1alpha1, kind: Zone, metadata: {name: a}}", []string{"spec.template.apiVersion: host cluster only"}},
		"list":            {"template: {apiVersion: v1, kind: List, metadata: {name: a}}", []string{"spec.template.kind: is a list"}},
		"name":            {"template: {apiVersion: v1, kind: A, metadata: {name: a/b, generateName: x}}", []string{"spec.template.metadata.name: no name of an object", "spec.template.metadata.generateName: metadata.name"}},
		"control":         {`template: {apiVersion: v1, kind: A, metadata: {name: "a\x1b[2J"}}`, []string{"spec.template.metadata.name: no name of an object"}},
		"namespace":       {"template: {apiVersion: v1, kind: A, metadata: {name: a, namespace: bank}}", []string{`spec.template.metadata.namespace: lies in "shop"`}},
		"namespace given": {"template: {apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: shop}}", []string{"spec.template.metadata.namespace: have none"}},
		"from a server": {"template: {apiVersion: v1, kind: A, metadata: {name: a, uid: x, resourceVersion: '1', managedFields: [], ownerReferences: [], deletionTimestamp: x}, status: {}}",
			[]string{"spec.template.status: remove it", "spec.template.metadata.deletionTimestamp: set by a server", "spec.template.metadata.managedFields: set by a server",
				"spec.template.metadata.ownerReferences: none in the others", "spec.template.metadata.resourceVersion: set by a server", "spec.template.metadata.uid: set by a server"}},
		"labels":        {"template: {apiVersion: v1, kind: A, metadata: {name: a, labels: {a: true}, annotations: [b]}}", []string{"spec.template.metadata.labels: no text", "spec.template.metadata.annotations: no text"}},
		"where":         {at("where: {clusters: [eu-1, Eu, host, eu-1], regions: [eu, eu]}"), []string{"spec.where.clusters[1]: DNS label", "spec.where.clusters[2]: installation itself", "spec.where.clusters: twice", "spec.where.regions[1]: twice"}},
		"nowhere":       {at("where: {clusters: []}"), []string{"spec.where: would mean nowhere"}},
		"selector":      {at("where: {selector: {matchLabels: {'a b': c}, matchExpressions: [{key: '', operator: In}, {key: a, operator: Exists, values: [b]}, {key: a, operator: Gt, values: ['1']}, {key: a, operator: In, values: ['b c']}]}}"), []string{"spec.where.selector.matchLabels: no key", "spec.where.selector.matchExpressions[0].key: no key", "spec.where.selector.matchExpressions[0].values: is empty", "spec.where.selector.matchExpressions[1].values: takes no values", "spec.where.selector.matchExpressions[2].operator: no operator", "spec.where.selector.matchExpressions[3].values[0]: no value"}},
		"limits":        {at("spread: {limits: [{cluster: a, weight: -1, min: 2000000, max: -1}, {cluster: a}, {cluster: b, min: 3, max: 2}, {cluster: ''}]}"), []string{"spec.spread.limits[0].weight: outside 0 to 1000000", "spec.spread.limits[0].min: outside", "spec.spread.limits[0].max: outside", "spec.spread.limits[1].cluster: twice", "spec.spread.limits[2].min: above the max of 2", "spec.spread.limits[3].cluster: is empty"}},
		"nobody":        {at("spread: {mode: divide, limits: [{cluster: a, weight: 0}, {cluster: b, max: 0}]}"), []string{"spec.spread.limits: nobody"}},
		"spread":        {at("spread: {mode: luck, grace: 1ms, budget: 0}\ndeletion: Keep"), []string{"spec.spread.grace: outside 10s to 168h", "spec.spread.budget: outside 1", "spec.spread.mode: choose one of", "spec.deletion: choose one of"}},
		"account":       {at("serviceAccountName: 'bank:admin'"), []string{"spec.serviceAccountName: of this namespace by its name alone"}},
		"account path":  {at("serviceAccountName: ../admin"), []string{"spec.serviceAccountName: no name of a ServiceAccount"}},
		"account ended": {at(`serviceAccountName: "web\nImpersonate-Group: system:masters"`), []string{"spec.serviceAccountName: no name of a ServiceAccount"}},
		"indivisible":   {"template: {" + object + "}\nspread: {mode: free}", []string{"spec.spread.mode: this ConfigMap has none"}},
		"no override":   {at("overrides: [{where: {regions: [eu]}}]"), []string{"spec.overrides[0]: changes nothing"}},
		"registry":      {at("overrides: [{registry: 'https://a'}]"), []string{"spec.overrides[0].registry: no registry"}},
		"args":          {at("overrides: [{args: [{container: '*', args: []}, {container: a, args: []}, {container: a, args: []}]}]"), []string{"spec.overrides[0].args[0].container: DNS label", "spec.overrides[0].args[2].container: twice"}},
		"env":           {at("overrides: [{env: [{name: 1a}, {name: a=b}, {name: A}, {name: A}]}]"), []string{"spec.overrides[0].env[0].name: no name of a variable", "spec.overrides[0].env[1].name: no name", "spec.overrides[0].env[3].name: twice"}},
		"labels of it":  {at("overrides: [{labels: {a: b c}}]"), []string{"spec.overrides[0].labels: no value"}},
		"patch":         {at("overrides: [{patch: [{op: change, path: /a}, {op: add, path: a}, {op: remove, path: /a, value: 1}, {op: move, path: /a}, {op: remove, path: /a, from: /b}, {op: replace, path: '/a~2', value: 1}]}]"), []string{"spec.overrides[0].patch[0].op: RFC 6902", "spec.overrides[0].patch[1].path: no JSON pointer", "spec.overrides[0].patch[1].value: missing", "spec.overrides[0].patch[2].value: takes none", "spec.overrides[0].patch[3].from: missing", "spec.overrides[0].patch[4].from: takes none", "spec.overrides[0].patch[5].path: '~'"}},
		"another thing": {at("overrides: [{patch: [{op: replace, path: '', value: {}}, {op: remove, path: /metadata/name}, {op: move, from: /kind, path: /a}, {op: add, path: /status/x, value: 1}, {op: test, path: /kind, value: A}]}]"), []string{"spec.overrides[0].patch[0].path: what it is", "spec.overrides[0].patch[1].path: what it is", "spec.overrides[0].patch[2].from: what it is", "spec.overrides[0].patch[3].path: what it is"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := workload(t, c.spec).Parse(me)
			if got != nil {
				t.Errorf("taken as %+v", got)
			}
			checkSaid(t, problems, c.want...)
		})
	}
	if _, problems := (&FederatedObject{}).Parse(me); len(problems) != 3 {
		t.Errorf("an empty object: %v", problems)
	}
}

func TestWhatHasNoEffectIsSaid(t *testing.T) {
	const object = "template: {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
	for spec, want := range map[string][]string{
		object + "spread: {rebalance: true, limits: [{cluster: eu-1}]}":                                                         {"spec.spread.limits: change nothing", "spec.spread.rebalance: nothing can be moved"},
		webTemplate + "\nwhere: {clusters: [eu-1]}\nspread: {limits: [{cluster: us-1}, {cluster: '*'}]}":                        {"spec.spread.limits: leaves it out"},
		webTemplate + "\nwhere: {clusters: [eu-1]}\noverrides: [{where: {clusters: [us-1]}, labels: {a: b}}, {labels: {a: c}}]": {"spec.overrides[0]: leaves it out"},
	} {
		got, problems := workload(t, spec).Parse(me)
		if got == nil {
			t.Errorf("%s is refused", spec)
		}
		checkSaid(t, problems, want...)
	}
}

// A hostile object costs little, and what is said of it stays short.
func TestWorkloadIsBounded(t *testing.T) {
	o := workload(t, webTemplate)
	o.Spec.Template.Raw = []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"` + strings.Repeat("x", 1_400_000) + `"}}`)
	got, problems := o.Parse(me)
	checkSaid(t, problems, "spec.template: at most 786432 are taken")
	if got != nil {
		t.Error("taken")
	}
	o = workload(t, webTemplate)
	o.Spec.Spread, o.Spec.Where = &Spread{}, &Where{}
	for i := range 3000 {
		name := fmt.Sprintf("%s%d", strings.Repeat("A", 1000), i)
		o.Spec.Where.Clusters = append(o.Spec.Where.Clusters, ClusterName(name))
		o.Spec.Spread.Limits = append(o.Spec.Spread.Limits, Limit{Cluster: name})
		o.Spec.Overrides = append(o.Spec.Overrides, Override{Patch: []PatchOperation{{Op: name, Path: name}}})
	}
	_, problems = o.Parse(me)
	total := 0
	for _, p := range problems {
		total += len(p.Message)
	}
	if len(problems) > 21 || total > 8000 {
		t.Errorf("%d problems in %d bytes", len(problems), total)
	}
}

func TestPlacementRule(t *testing.T) {
	p := &Placement{Spec: *read[PlacementSpec](t, `
objects: [{apiVersion: apps/v1, kind: Deployment, selector: {matchLabels: {tier: gold}}}, {apiVersion: v1, kind: Service, name: web}]
where: {regions: [eu]}
spread: {limits: [{cluster: eu-1, weight: 2}]}
`)}
	p.Namespace, p.Name = "shop", "gold"
	got, problems := p.Parse(me)
	checkSaid(t, problems)
	if got.Namespace != "shop" || len(got.Objects) != 2 || !got.Objects[0].Labels.Matches(labels.Set{"tier": "gold"}) || got.Objects[1].Name != "web" ||
		got.Terms.Spread.Mode != "" || got.Terms.Spread.Limits["eu-1"].Weight != 2 || got.Terms.Origin != me {
		t.Errorf("%+v", got)
	}
	for spec, want := range map[string][]string{
		"{}": {"spec.objects: about nothing"},
		"objects: [{apiVersion: apps, kind: 'A B'}, {apiVersion: v1, kind: A, name: a/b, selector: {matchLabels: {'': b}}}]": {"spec.objects[0].kind: no kind", "spec.objects[1].name: no name", "spec.objects[1].selector.matchLabels: no key"},
	} {
		p := &Placement{Spec: *read[PlacementSpec](t, spec)}
		p.Namespace, p.Name = "shop", "gold"
		got, problems := p.Parse(me)
		if got != nil {
			t.Errorf("%s is taken as %+v", spec, got)
		}
		checkSaid(t, problems, want...)
	}
}

func TestMemory(t *testing.T) {
	var s WorkloadStatus
	learned := map[string]int{"kept": 1}
	if err := s.Recall(&learned); err != nil || learned["kept"] != 1 {
		t.Errorf("nothing was learned: %v %v", err, learned)
	}
	if err := s.Remember(map[string]int{"eu-1": 3}); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back WorkloadStatus
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	clear(learned)
	if err := back.Recall(&learned); err != nil || learned["eu-1"] != 3 {
		t.Errorf("%v %v", err, learned)
	}
	if err := s.Remember(strings.Repeat("a", MaxMemory)); err == nil || s.Memory == nil {
		t.Errorf("too much is remembered, or what was known is lost: %v", err)
	}
	back.Memory.Raw = []byte(`"nonsense"`)
	if err := back.Recall(&learned); err == nil || !strings.Contains(err.Error(), "begun anew") {
		t.Errorf("nonsense is recalled: %v", err)
	}
}

// Whatever somebody writes, Parse neither breaks nor keeps a value that is wrong.
func FuzzWorkloadParse(f *testing.F) {
	for _, spec := range []string{"{}", webTemplate, "template: {apiVersion: v1, kind: Service, metadata: {name: a}}\nwhere: {regions: [eu]}",
		webTemplate + "\nspread: {mode: divide, limits: [{cluster: '*', weight: 3, min: 1, max: 4}]}\noverrides: [{patch: [{op: add, path: /a, value: [1, {}]}], env: [{name: A, value: b}]}]",
		webTemplate + "\nwhere: {selector: {matchExpressions: [{key: a, operator: In, values: [b]}]}}"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		var s FederatedObjectSpec
		if len(spec) > 1<<14 || yaml.Unmarshal([]byte(spec), &s) != nil {
			return
		}
		o := &FederatedObject{Spec: s}
		o.Namespace, o.Name = "shop", "me"
		got, problems := o.Parse(me)
		if got == nil && len(problems) == 0 {
			t.Fatal("refused without a word")
		}
		for _, p := range problems {
			if len(p.Message) > 1000 || strings.ContainsFunc(p.Message, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("said %q", p.Message)
			}
		}
		if got == nil {
			return
		}
		if ns := got.Object.GetNamespace(); ns != "shop" && ns != "" || got.Object.GetName() == "" || got.Object.Object["status"] != nil {
			t.Fatalf("object %v", got.Object)
		}
		for name, l := range got.Spread.Limits {
			if l.Weight < 0 || l.Min < 0 || l.Max >= 0 && l.Min > l.Max {
				t.Fatalf("limit %s %+v", name, l)
			}
		}
		for _, v := range got.Overrides {
			if v.Patch != nil && !json.Valid(v.Patch) {
				t.Fatalf("patch %q", v.Patch)
			}
		}
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back FederatedObject
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		again, _ := back.Parse(me)
		if again == nil || !reflect.DeepEqual(again.Object, got.Object) || !reflect.DeepEqual(again.Spread, got.Spread) || !reflect.DeepEqual(again.Overrides, got.Overrides) {
			t.Fatalf("what was taken once is another thing the second time:\n%+v\n%+v", got, again)
		}
	})
}
