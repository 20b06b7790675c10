package placement

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/fleet"
)

// rendering is what a story says beside the template.
type rendering struct {
	Cluster     string
	Region      fleet.Region
	Labels      map[string]string
	Replicas    *int64
	Completions *int64
	Ordinal     *int64
	Min, Max    *int64
	Left        bool
	Overrides   []struct {
		Clusters []string
		Regions  []fleet.Region
		Selector string
		Registry string
		Args     map[string][]string
		Env      map[string]map[string]string
		Labels   map[string]string
		Patch    []any
	}
}

func (r rendering) parts(t testing.TB, template *unstructured.Unstructured) (Template, Cluster, Given) {
	tmpl := Template{Object: template, Origin: fleet.Origin{Cluster: "host", Kind: "FederatedObject", Namespace: "shop", Name: "web"}}
	for _, o := range r.Overrides {
		out := Override{
			Where: Where{Clusters: o.Clusters, Regions: o.Regions}, Registry: o.Registry, Args: o.Args, Env: o.Env, Labels: o.Labels,
		}
		if o.Selector != "" {
			s, err := labels.Parse(o.Selector)
			if err != nil {
				t.Fatal(err)
			}
			out.Where.Labels = s
		}
		if o.Patch != nil {
			patch, err := json.Marshal(o.Patch)
			if err != nil {
				t.Fatal(err)
			}
			out.Patch = patch
		}
		tmpl.Overrides = append(tmpl.Overrides, out)
	}
	return tmpl, Cluster{Name: r.Cluster, Region: r.Region, Labels: r.Labels},
		Given{Replicas: r.Replicas, Completions: r.Completions, Ordinal: r.Ordinal, Min: r.Min, Max: r.Max, Left: r.Left}
}

var anOwner = Owner{UID: "3f0c", Kind: "FederatedObject", Namespace: "shop", Name: "web"}

func TestRender(t *testing.T) {
	stories(t, "render", func(t *testing.T, files map[string][]byte) string {
		var r rendering
		if err := yaml.UnmarshalStrict(files["for.yaml"], &r); err != nil {
			t.Fatal(err)
		}
		template := object(t, files["template.yaml"])
		before := template.DeepCopy()
		tmpl, cluster, given := r.parts(t, template)
		got, problems := Render(tmpl, cluster, given, anOwner)
		again, _ := Render(tmpl, cluster, given, anOwner)
		if asYAML(t, got) != asYAML(t, again) {
			t.Error("rendered twice, it is not the same")
		}
		if asYAML(t, before) != asYAML(t, template) {
			t.Error("rendering changed the template")
		}
		if (got == nil) != (problems != nil) {
			t.Fatalf("there is to be an object or a problem; got %v, %v", got, problems)
		}
		if got != nil {
			if changes := Differs(got, got); changes != nil {
				t.Errorf("the object differs from itself: %v", changes)
			}
			return asYAML(t, got.Object)
		}
		return sentences(problems)
	})
}

// TestRenderKeepsItsTemplate renders with any overrides that fit and looks whether
// the template, the identity and the selector stay, and whether it is the same twice.
func TestRenderKeepsItsTemplate(t *testing.T) {
	template := object(t, []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 9
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, args: [a], env: [{name: A, value: "1"}]}
      - {name: log, image: "quay.io/x/log:1"}
`))
	before, _ := template.MarshalJSON()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"a", "b", "c"})
		tmpl := Template{Object: template}
		for range rapid.IntRange(0, 4).Draw(t, "overrides") {
			tmpl.Overrides = append(tmpl.Overrides, Override{
				Registry: rapid.SampledFrom([]string{"", "eu.example.com", "localhost:5000/m"}).Draw(t, "registry"),
				Args:     rapid.MapOfN(rapid.SampledFrom([]string{"web", "log"}), rapid.SliceOfN(word, 0, 3), 0, 2).Draw(t, "args"),
				Env:      rapid.MapOfN(rapid.SampledFrom([]string{"web", "log", "*"}), rapid.MapOfN(word, word, 0, 3), 0, 3).Draw(t, "env"),
				Labels:   rapid.MapOfN(word, word, 0, 3).Draw(t, "labels"),
				Patch:    rapid.SampledFrom([][]byte{nil, []byte(`[{"op":"add","path":"/metadata/annotations","value":{"x":"y"}},{"op":"copy","from":"/spec/template/spec/containers","path":"/spec/template/spec/initContainers"}]`)}).Draw(t, "patch"),
			})
		}
		n := rapid.Int64Range(0, 100).Draw(t, "replicas")
		first, problems := Render(tmpl, Cluster{Name: "eu"}, Given{Replicas: &n}, anOwner)
		if problems != nil {
			t.Fatal(sentences(problems))
		}
		again, _ := Render(tmpl, Cluster{Name: "eu"}, Given{Replicas: &n}, anOwner)
		a, _ := first.MarshalJSON()
		b, _ := again.MarshalJSON()
		if after, _ := template.MarshalJSON(); !bytes.Equal(after, before) || !bytes.Equal(a, b) {
			t.Fatal("the template changed, or it is not the same twice")
		}
		if first.GetName() != "web" || first.GetNamespace() != "shop" || len(mapAt(first.Object, "spec", "selector", "matchLabels")) != 1 {
			t.Fatalf("another object: %s", a)
		}
		if got, ok := countAt(first.Object, "spec", "replicas"); !ok || got != n {
			t.Fatalf("%d replicas, want %d", got, n)
		}
		if _, _, placed := OwnerOf(first); !placed {
			t.Fatal("not marked")
		}
	})
}

// FuzzRender lets any bytes be a patch: whatever happens, the object is still the
// same one, bounded, and the template as it was.
func FuzzRender(f *testing.F) {
	for _, patch := range []string{
		`[{"op":"add","path":"/metadata/labels/a","value":"b"}]`,
		`[{"op":"replace","path":"/spec/list/0","value":null},{"op":"test","path":"/spec/list/0","value":null}]`,
		`[{"op":"copy","from":"/spec","path":"/spec/a"},{"op":"copy","from":"/spec","path":"/spec/a"}]`,
		`[{"op":"move","from":"/spec/a","path":"/spec/list/-"}]`,
		`[{"op":"remove","path":"/metadata/name"}]`,
		`[{"op":"remove","path":"/spec/list/1"},{"op":"add","path":"/spec/list/1","value":{}}]`,
		`[{"op":"replace","path":"","value":{}}]`,
		`[{"op":"test","path":"/spec/num","value":1.0}]`,
		`[{"op":"add","path":"/spec/list/99999999999","value":1}]`,
		`[{"Op":"add","op":"remove","path":"/a","PATH":"/spec"}]`,
		`[null]`, `{}`, `[`, ``, strings.Repeat("[", 1000),
	} {
		f.Add([]byte(patch))
	}
	template := object(f, []byte("apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x, namespace: shop, labels: {}}\nspec: {a: {b: c}, list: [1, null, {d: e}], num: 1, \"\": 2, \"x/y~z\": null}\n"))
	before, err := template.MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		if patch == nil {
			patch = []byte{}
		}
		got, problems := Render(Template{Object: template, Overrides: []Override{{Patch: patch}}}, Cluster{Name: "eu"}, Given{}, anOwner)
		if after, _ := template.MarshalJSON(); !bytes.Equal(before, after) {
			t.Fatal("the template changed")
		}
		if (got == nil) == (problems == nil) {
			t.Fatalf("there is to be an object or a problem; got %v, %v", got, problems)
		}
		if got == nil {
			return
		}
		if got.GetAPIVersion() != "example.com/v1" || got.GetKind() != "Thing" || got.GetName() != "x" || got.GetNamespace() != "shop" {
			t.Fatalf("another object: %v", got.Object)
		}
		text, err := got.MarshalJSON()
		if err != nil || len(text) > MaxBytes {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
		if changes := Differs(got, got); changes != nil {
			t.Fatalf("differs from itself: %v", changes)
		}
	})
}
