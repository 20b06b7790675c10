package placement

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"pgregory.net/rapid"
)

// served is an object as an API server gives it back: read into Go's types and
// written again, which rewrites quantities and leaves out zero values; and with what it sets itself.
func served(t testing.TB, desired *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	live := desired.DeepCopy()
	if typed, err := scheme.Scheme.New(desired.GroupVersionKind()); err == nil {
		text, err := desired.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, typed); err != nil {
			t.Fatal(err)
		}
		scheme.Scheme.Default(typed)
		if live.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(typed); err != nil {
			t.Fatal(err)
		}
		live.SetGroupVersionKind(desired.GroupVersionKind())
	} else {
		drop(live.Object, "metadata", "labels")
	}
	put(live.Object, "1234", "metadata", "uid")
	put(live.Object, int64(7), "metadata", "generation")
	put(live.Object, int64(3), "status", "replicas")
	return live
}

// shared are the lists that others may add to, and by what their items are told apart, as the
// API says it (x-kubernetes-list-map-keys).
var shared = map[string][]string{
	"spec.ports":                                     {"port", "protocol"},
	"spec.template.spec.imagePullSecrets":            {"name"},
	"spec.template.spec.hostAliases":                 {"ip"},
	"spec.template.spec.topologySpreadConstraints":   {"topologyKey", "whenUnsatisfiable"},
	"spec.template.spec.initContainers":              {"name"},
	"spec.template.spec.containers":                  {"name"},
	"spec.template.spec.volumes":                     {"name"},
	"spec.template.spec.containers.ports":            {"containerPort", "protocol"},
	"spec.template.spec.containers.env":              {"name"},
	"spec.template.spec.containers.volumeMounts":     {"mountPath"},
	"spec.jobTemplate.spec.template.spec.containers": {"name"},
}

// crowd adds what is somebody else's wherever it can be: fields to every map, and items to
// every list by name.
func crowd(v any, path ...string) {
	switch v := v.(type) {
	case map[string]any:
		for key := range maps.Clone(v) {
			if list, ok := v[key].([]any); ok {
				if names := shared[dotted(mixed(path, key))]; names != nil {
					foreign := map[string]any{}
					for _, name := range names {
						foreign[name] = "foreign"
					}
					v[key] = append([]any{foreign}, list...)
				}
			}
			crowd(v[key], mixed(path, key)...)
		}
		v["foreign"] = "field"
	case []any:
		for i := range v {
			crowd(v[i], path...)
		}
	}
}

func samples(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile("testdata/differ/objects.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		out = append(out, object(t, doc))
	}
	return out
}

func TestDiffersNot(t *testing.T) {
	for _, desired := range samples(t) {
		t.Run(desired.GetKind(), func(t *testing.T) {
			live := served(t, desired)
			before := asYAML(t, desired.Object) + asYAML(t, live.Object)
			if changes := Differs(desired, live); changes != nil {
				t.Errorf("what the API server made of it differs: %v", changes)
			}
			if after := asYAML(t, desired.Object) + asYAML(t, live.Object); after != before {
				t.Error("comparing changed something")
			}
			if desired.GetKind() == "Thing" {
				return // lists of other kinds are owned as a whole
			}
			crowd(live.Object)
			if changes := Differs(desired, live); changes != nil {
				t.Errorf("with what is somebody else's it differs: %v", changes)
			}
			if again := Differs(Retain(desired, live), live); again != nil {
				t.Errorf("with what is the cluster's own it differs: %v", again)
			}
		})
	}
}

// leaf is one value of an object, and how to set it.
type leaf struct {
	path  []string
	value any
	set   func(any) // nil: takes it away
}

func leavesOf(v any, set func(any), path ...string) []leaf {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 {
			var out []leaf
			for _, key := range sortedKeys(v) {
				out = append(out, leavesOf(v[key], func(to any) {
					if v[key] = to; to == nil {
						delete(v, key)
					}
				}, mixed(path, key)...)...)
			}
			return out
		}
	case []any:
		if len(v) > 0 {
			var out []leaf
			for i := range v {
				out = append(out, leavesOf(v[i], func(to any) { v[i] = to }, mixed(path, fmt.Sprint(i))...)...)
			}
			return out
		}
	}
	return []leaf{{path, v, set}}
}

// twin finds the leaf of the live object at a path of the desired one. served keeps the
// order of lists, so the paths are equal.
func twin(live *unstructured.Unstructured, path []string) (leaf, bool) {
	for _, l := range leavesOf(live.Object, nil) {
		if slices.Equal(l.path, path) {
			return l, true
		}
	}
	return leaf{}, false
}

// TestDiffers changes every single value of what is ours, one after the other, and takes each
// away: each is noticed, and named.
func TestDiffers(t *testing.T) {
	for _, desired := range samples(t) {
		t.Run(desired.GetKind(), func(t *testing.T) {
			seen := 0
			for _, l := range leavesOf(desired.Object, nil) {
				live := served(t, desired)
				there, ok := twin(live, l.path)
				if !ok {
					continue // a zero value, which the API server leaves out
				}
				seen++
				for _, to := range []any{otherThan(there.value), nil} {
					live := served(t, desired)
					there, _ := twin(live, l.path)
					there.set(to)
					changes := Differs(desired, live)
					if len(changes) == 0 && (to != nil || !zero(l.value)) {
						t.Errorf("%s is %v instead of %v, and nobody notices", dotted(l.path), to, l.value)
					}
				}
			}
			if seen == 0 {
				t.Error("nothing was looked at")
			}
		})
	}
}

func zero(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return v == nil || v == "" || v == false || v == int64(0)
}

func otherThan(v any) any {
	switch v := v.(type) {
	case string:
		if q, ok := quantity(v); ok && !q.IsZero() {
			return v + "1" // a number that is another one
		}
		return v + "x"
	case int64:
		return v + 1
	case float64:
		return v + 1
	case bool:
		return !v
	}
	return "another"
}

// TestDiffersNames says what differs and how, in words for people.
func TestDiffersNames(t *testing.T) {
	const desired = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {a.b/c: d}}, spec: {replicas: 3, template: {spec: {
		initContainers: [{name: one}, {name: two}], volumes: [{name: data, emptyDir: {}}],
		containers: [{name: web, image: "nginx:2", env: [{name: A, value: "1"}]}, {name: log, image: fluent}]}}}}`
	const live = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, labels: {a.b/c: e}}, spec: {template: {spec: {
		initContainers: [{name: two}, {name: one}], volumes: [{name: data, hostPath: {path: /}}],
		containers: [{name: web, image: "nginx:1", env: [{name: A, value: "2"}]}]}}}}`
	var got []string
	for _, c := range Differs(object(t, []byte(desired)), object(t, []byte(live))) {
		got = append(got, fmt.Sprintf("%s: %v -> %v", c.Path, c.From, c.To))
	}
	want := []string{
		"metadata.labels[a.b/c]: e -> d",
		"spec.replicas: <nil> -> 3",
		"spec.template.spec.containers[web].env[A].value: 2 -> 1",
		"spec.template.spec.containers[web].image: nginx:1 -> nginx:2",
		"spec.template.spec.containers[log]: <nil> -> map[image:fluent name:log]",
		"spec.template.spec.initContainers[order]: <nil> -> <nil>",
		"spec.template.spec.volumes[data].emptyDir: <nil> -> map[]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestDiffersInNothing tells the nothing that API servers leave out from the nothing that
// means something.
func TestDiffersInNothing(t *testing.T) {
	tests := []struct {
		name, desired, live string
		want                int
	}{
		{"zero values of Go's types", "{kind: Pod, spec: {hostNetwork: false, hostname: '', priority: 0, tolerations: [], affinity: {}, x: 0.0}}", "{kind: Pod, spec: {}}", 0},
		{"null", "{kind: Pod, spec: null}", "{kind: Pod}", 0},
		{"an empty label", "{kind: Pod, metadata: {labels: {a: ''}}}", "{kind: Pod, metadata: {labels: {}}}", 1},
		{"an empty annotation", "{kind: Pod, metadata: {annotations: {a: ''}}}", "{kind: Pod, metadata: {}}", 1},
		{"no labels", "{kind: Pod, metadata: {labels: {}}}", "{kind: Pod, metadata: {}}", 0},
		{"an empty value of a node's label", "{kind: Pod, spec: {nodeSelector: {a: ''}}}", "{kind: Pod, spec: {nodeSelector: {}}}", 1},
		{"an empty value that pods are selected by", "{kind: X, spec: {selector: {matchLabels: {a: ''}}}}", "{kind: X, spec: {selector: {matchLabels: {}}}}", 1},
		{"a key without content", "{kind: ConfigMap, data: {a: ''}}", "{kind: ConfigMap, data: {}}", 1},
		{"a limit of nothing", "{kind: X, spec: {resources: {limits: {a: 0}}}}", "{kind: X, spec: {resources: {limits: {}}}}", 1},
		{"an empty volume", "{kind: Pod, spec: {volumes: [{name: a, emptyDir: {}}]}}", "{kind: Pod, spec: {volumes: [{name: a}]}}", 1},
		{"anything of a kind of others", "{apiVersion: x.y/v1, kind: X, spec: {a: 0, b: '', c: false, d: {}, e: [], f: null}}", "{apiVersion: x.y/v1, kind: X, spec: {}}", 5},
		{"labels of a kind of others", "{apiVersion: x.y/v1, kind: X, metadata: {labels: {}}}", "{apiVersion: x.y/v1, kind: X, metadata: {}}", 0},
		{"amounts of a kind of others are texts", "{apiVersion: x.y/v1, kind: X, spec: {requests: {cpu: 1000m}}}", "{apiVersion: x.y/v1, kind: X, spec: {requests: {cpu: '1'}}}", 1},
		{"lists of a kind of others are whole", "{apiVersion: x.y/v1, kind: X, spec: {env: [{name: a}]}}", "{apiVersion: x.y/v1, kind: X, spec: {env: [{name: a}, {name: b}]}}", 1},
		{"another version", "{apiVersion: x.y/v1, kind: X}", "{apiVersion: x.y/v2, kind: X}", 1},
		{"two of one name", "{kind: Pod, spec: {containers: [{name: a, image: b}, {name: a, image: c}]}}", "{kind: Pod, spec: {containers: [{name: a, image: b}, {name: a, image: d}]}}", 1},
		{"a label's value is no amount", "{kind: Pod, metadata: {labels: {sizeLimit: '1'}}}", "{kind: Pod, metadata: {labels: {sizeLimit: '1.0'}}}", 1},
		{"a variable's value is no amount", "{kind: Pod, spec: {containers: [{name: a, env: [{name: b, value: '1'}]}]}}", "{kind: Pod, spec: {containers: [{name: a, env: [{name: b, value: '1.0'}]}]}}", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			read := func(text string) *unstructured.Unstructured {
				if !strings.Contains(text, "apiVersion") {
					text = strings.Replace(text, "{", "{apiVersion: v1, ", 1)
				}
				return object(t, []byte(text))
			}
			if got := Differs(read(tt.desired), read(tt.live)); len(got) != tt.want {
				t.Errorf("got %v, want %d differences", got, tt.want)
			}
		})
	}
}

// TestDiffersBounded stops at some number of differences, and at any depth.
func TestDiffersBounded(t *testing.T) {
	many := map[string]any{}
	for i := range 1000 {
		many[fmt.Sprint("key", i)] = "x"
	}
	desired := &unstructured.Unstructured{Object: map[string]any{"kind": "ConfigMap", "data": many}}
	if got := len(Differs(desired, &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{}}})); got != maxChanges {
		t.Errorf("%d differences", got)
	}
}

// TestSecretsDiffer compares what a Secret holds, however it is written.
func TestSecretsDiffer(t *testing.T) {
	desired := object(t, []byte("{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {key: value}}"))
	same := object(t, []byte("{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {key: dmFsdWU=, other: eA==}}"))
	other := object(t, []byte("{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {key: b3RoZXI=}}"))
	if changes := Differs(desired, same); changes != nil {
		t.Errorf("differs: %v", changes)
	}
	if changes := Differs(desired, other); len(changes) != 1 || changes[0].Path != "data.key" {
		t.Errorf("got %v", changes)
	}
	if desired.Object["stringData"] == nil {
		t.Error("comparing changed the Secret")
	}
}

// TestQuantitiesDiffer writes amounts in every way and compares them as what they are.
func TestQuantitiesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		milli := rapid.Int64Range(0, 1<<40).Draw(t, "milli")
		other := rapid.Int64Range(0, 1<<40).Draw(t, "other")
		write := func(n int64) any {
			switch rapid.IntRange(0, 2).Draw(t, "form") {
			case 0:
				return fmt.Sprintf("%dm", n)
			case 1:
				return fmt.Sprintf("%d.%03d", n/1000, n%1000)
			}
			if n%1000 == 0 {
				return n / 1000
			}
			return fmt.Sprintf("%d000u", n)
		}
		claim := func(v any) *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": v}}}}}
		}
		if changes := Differs(claim(write(milli)), claim(write(milli))); changes != nil {
			t.Fatalf("the same amount differs: %v", changes)
		}
		if changes := Differs(claim(write(milli)), claim(write(other))); (changes == nil) != (milli == other) {
			t.Fatalf("%dm and %dm: %v", milli, other, changes)
		}
	})
}

// TestBare takes an object back out of a cluster: what is left can be placed, and is no
// difference to what was placed.
func TestBare(t *testing.T) {
	for _, desired := range samples(t) {
		t.Run(desired.GetKind(), func(t *testing.T) {
			placed, problems := Render(Template{Object: desired}, Cluster{Name: "eu"}, Given{}, anOwner)
			if problems != nil {
				t.Fatal(sentences(problems))
			}
			live := served(t, placed)
			bare := Bare(live)
			if problems := Check(bare, Rules{}, origin); len(problems) > 0 {
				t.Error(sentences(problems))
			}
			if _, _, placed := OwnerOf(bare); placed {
				t.Error("it still says whose it is")
			}
			if changes := Differs(bare, live); changes != nil {
				t.Errorf("differs from where it came from: %v", changes)
			}
		})
	}
}
