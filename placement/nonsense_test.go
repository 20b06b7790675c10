package placement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"
)

// TestNonsenseIsHarmless hands objects in which anything lies anywhere to everything
// that reads objects.
func TestNonsenseIsHarmless(t *testing.T) {
	fields := rapid.SampledFrom([]string{
		"metadata", "name", "labels", "annotations", "spec", "replicas", "template", "containers", "initContainers", "env", "envFrom", "valueFrom", "secretKeyRef",
		"volumes", "projected", "sources", "secret", "ports", "selector", "matchLabels", "status", "conditions", "type", "loadBalancer", "ingress", "resources",
		"requests", "cpu", "taints", "tolerations", "imagePullSecrets", "claimRef", "scaleTargetRef", "jobTemplate", "items", "stringData", "data",
	})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		leaf := rapid.SampledFrom([]any{nil, "", "x", "1e-999999999", int64(-1), int64(7), 1.5, true})
		if depth == 0 {
			return leaf
		}
		return rapid.Custom(func(t *rapid.T) any {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				return leaf.Draw(t, "leaf")
			case 1:
				return rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "list")
			}
			return rapid.MapOfN(fields, value(depth-1), 0, 5).Draw(t, "map")
		})
	}
	kinds := rapid.SampledFrom([][2]string{
		{"apps/v1", "Deployment"}, {"apps/v1", "StatefulSet"}, {"apps/v1", "DaemonSet"}, {"batch/v1", "Job"}, {"batch/v1", "CronJob"}, {"v1", "Service"}, {"v1", "Pod"},
		{"v1", "ServiceAccount"}, {"v1", "Secret"}, {"v1", "PersistentVolume"}, {"v1", "PersistentVolumeClaim"}, {"autoscaling/v2", "HorizontalPodAutoscaler"}, {"x.y/v1", "Z"}, {"", ""}, {"v1", "Node"},
	})
	rapid.Check(t, func(t *rapid.T) {
		drawn := func(name string) *unstructured.Unstructured {
			u := &unstructured.Unstructured{Object: rapid.MapOfN(fields, value(5), 0, 6).Draw(t, name)}
			kind := kinds.Draw(t, "kind")
			u.Object["apiVersion"], u.Object["kind"] = kind[0], kind[1]
			return u
		}
		a, b := drawn("a"), drawn("b")
		before := asYAML(unfailing{}, a.Object) + asYAML(unfailing{}, b.Object)
		scale := Scale{Spec: []string{"spec", "replicas"}, Status: []string{"status", "replicas"}}
		CountOf(a, scale)
		Sum(kindOf(a), []Told{{"a", mapAt(a.Object, "status")}, {"b", mapAt(b.Object, "status")}})
		Target(a)
		Follow(a)
		Portable(a)
		Check(a, Rules{}, origin)
		needs, _ := NeedsOf(a)
		Room([]Node{NodeOf(a), NodeOf(b)}, []Pod{PodOf(a), PodOf(b)}, needs)
		Retain(a, b)
		Bare(a)
		Differs(a, b)
		n := int64(3)
		Render(Template{Object: a, Overrides: []Override{{
			Registry: "eu.example.com", Labels: map[string]string{"a": "b"}, Env: map[string]map[string]string{"*": {"A": "b"}},
		}}}, Cluster{}, Given{Replicas: &n, Scale: scale}, anOwner)
		if after := asYAML(unfailing{}, a.Object) + asYAML(unfailing{}, b.Object); after != before {
			t.Fatalf("an argument has changed: %s", cmp.Diff(before, after))
		}
	})
}
