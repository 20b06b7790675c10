package apply

import (
	"encoding/json"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/placement"
)

func read(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestWhatIsPackedComesBackWhole(t *testing.T) {
	for name, text := range map[string]string{
		"bulky":     `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":3,"template":{"spec":{"n":9007199254740993,"f":1.5,"list":[1,"x",null]}}},"status":{"replicas":3}}`,
		"data":      `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"},"binaryData":{"b":"AA=="}}`,
		"spec only": `{"apiVersion":"v1","kind":"Odd","metadata":{"name":"a"},"spec":{"template":{}}}`,
		"no maps":   `{"apiVersion":"v1","kind":"Odd","metadata":{"name":"a"},"spec":7,"data":"text"}`,
		"small":     `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"clusterIP":"10.0.0.1"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(read(t, text), usualReplicas)
			l.pack()
			before, err := json.Marshal(l.object.Object)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := l.whole().Object, read(t, text).Object; !reflect.DeepEqual(got, want) {
				t.Errorf("%v came back, want %v", got, want)
			}
			if after, _ := json.Marshal(l.object.Object); string(after) != string(before) {
				t.Errorf("to look at the whole changed what is kept: %s, before %s", after, before)
			}
			for _, path := range bulky {
				if _, there, err := unstructured.NestedFieldNoCopy(l.object.Object, path...); there && err == nil {
					t.Errorf("%v is kept as it was", path)
				}
			}
		})
	}
}

func TestOnlyNewsIsNews(t *testing.T) {
	const text = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a","uid":"u","resourceVersion":"7","generation":2,"labels":{"meridian.dev/placed":"true"},"annotations":{"meridian.dev/placed-by":"x"},
		"managedFields":[{"manager":"meridian","operation":"Apply","fieldsV1":{"f:spec":{"f:replicas":{}}}}]},
		"spec":{"replicas":3,"selector":{"matchLabels":{"app":"a"}}},"status":{"observedGeneration":2,"replicas":3,"readyReplicas":3,"conditions":[{"type":"Available","lastUpdateTime":"2026-01-01T00:00:00Z"}]}}`
	set := func(v any, path ...string) func(*unstructured.Unstructured) {
		return func(o *unstructured.Unstructured) {
			if err := unstructured.SetNestedField(o.Object, v, path...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*unstructured.Unstructured)
		news   bool
	}{
		"nothing":          {func(*unstructured.Unstructured) {}, false},
		"a later revision": {set("8", "metadata", "resourceVersion"), false},
		"a heartbeat":      {set([]any{map[string]any{"type": "Available", "lastUpdateTime": "2026-01-02T00:00:00Z"}}, "status", "conditions"), false},
		"fewer are ready":  {set(int64(2), "status", "readyReplicas"), true},
		"it was scaled":    {set(int64(4), "spec", "replicas"), true},
		"another object":   {set("v", "metadata", "uid"), true},
		"it goes":          {set("2026-01-02T00:00:00Z", "metadata", "deletionTimestamp"), true},
		"our label went":   {set(map[string]any{}, "metadata", "labels"), true},
		"an annotation":    {set("y", "metadata", "annotations", placement.AnnotationPlacedBy), true},
		"other pods":       {set("b", "spec", "selector", "matchLabels", "app"), true},
		"our field went":   {func(o *unstructured.Unstructured) { o.SetManagedFields(nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			after := read(t, text)
			c.change(after)
			if got := !alike(newLive(read(t, text), usualReplicas), newLive(after, usualReplicas), placement.Scale{}); got != c.news {
				t.Errorf("news is %v, want %v", got, c.news)
			}
		})
	}
}

// What one big cluster would show is news to whoever shows it.
func TestASumIsNews(t *testing.T) {
	for name, c := range map[string]struct {
		gk            schema.GroupKind
		before, after string
		news          bool
	}{
		"an address":        {schema.GroupKind{Kind: "Service"}, `{"loadBalancer":{}}`, `{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}`, true},
		"an autoscaler":     {schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, `{"desiredReplicas":0}`, `{"desiredReplicas":2}`, true},
		"its measures":      {schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, `{"desiredReplicas":2}`, `{"desiredReplicas":2,"currentMetrics":[{"type":"Resource"}]}`, false},
		"a Job is complete": {schema.GroupKind{Group: "batch", Kind: "Job"}, `{"succeeded":2}`, `{"succeeded":2,"conditions":[{"type":"Complete","status":"True"}]}`, true},
		"a CronJob began":   {schema.GroupKind{Group: "batch", Kind: "CronJob"}, `{}`, `{"lastScheduleTime":"2026-01-01T00:00:00Z"}`, true},
		"a ConfigMap":       {schema.GroupKind{Kind: "ConfigMap"}, `{}`, `{"anything":true}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			state := func(status string) *live {
				return newLive(read(t, `{"apiVersion":"v1","kind":"`+c.gk.Kind+`","metadata":{"name":"a"},"status":`+status+`}`), usualReplicas)
			}
			if got := !tellAlike(c.gk, state(c.before), state(c.after)); got != c.news {
				t.Errorf("news is %v, want %v", got, c.news)
			}
		})
	}
}

func TestALaterListThatShowsNothingNewIsNoNews(t *testing.T) {
	const text = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"namespace":"n","name":"a","uid":"u","resourceVersion":"7"},"data":{"k":"v"}}`
	var told []int
	var firsts []bool
	s := &stock{packs: true, changed: func(list []change, first bool) { told, firsts = append(told, len(list)), append(firsts, first) }}
	for _, list := range [][]any{{}, {}, {read(t, text)}, {read(t, text)}, {}} {
		if err := s.Replace(list, ""); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(told, []int{0, 1, 1}) || !reflect.DeepEqual(firsts, []bool{true, false, false}) {
		t.Errorf("told of %v changes, first %v; want the first list, then what came, then what went", told, firsts)
	}
}
