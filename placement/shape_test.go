package placement

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestSum(t *testing.T) {
	stories(t, "sum", func(t *testing.T, files map[string][]byte) string {
		in := object(t, files["told.yaml"]).Object
		group, kind, _ := strings.Cut(textAt(in, "kind"), "/")
		var told []Told
		for _, v := range listAt(in, "told") {
			told = append(told, Told{textAt(v, "cluster"), mapAt(v, "status")})
		}
		before := asYAML(t, in)
		got := asYAML(t, Sum(schema.GroupKind{Group: group, Kind: kind}, told))
		for i := range told {
			told[0], told[i] = told[i], told[0]
			if again := asYAML(t, Sum(schema.GroupKind{Group: group, Kind: kind}, told)); again != got {
				t.Errorf("in another order it is another sum:\n%s", again)
			}
		}
		if after := asYAML(t, in); after != before {
			t.Error("what was told has changed")
		}
		return got
	})
}

func TestCountOf(t *testing.T) {
	scale, err := ParseScale(".spec.size", ".status.there", ".status.selector")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, live string
		want       Count
		counted    bool
	}{
		{
			"a Deployment at rest",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 4}, spec: {replicas: 3}, status: {observedGeneration: 4, replicas: 3, readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}}",
			Count{Desired: 3, Current: 3, Ready: 2, Updated: 3, Available: 1, Fresh: true}, true,
		},
		{
			"a Deployment whose controller lags behind",
			"{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 5}, spec: {replicas: 9}, status: {observedGeneration: 4, replicas: 3}}",
			Count{Desired: 9, Current: 3}, true,
		},
		{"a Deployment that nobody has looked at", "{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 1}, spec: {}}", Count{Desired: 1}, true},
		{
			"a ReplicaSet",
			"{apiVersion: apps/v1, kind: ReplicaSet, metadata: {generation: 1}, spec: {replicas: 3}, status: {observedGeneration: 1, replicas: 3, readyReplicas: 2, availableReplicas: 2}}",
			Count{Desired: 3, Current: 3, Ready: 2, Updated: 3, Available: 2, Fresh: true}, true,
		},
		{
			"a DaemonSet, whose nodes say how many",
			"{apiVersion: apps/v1, kind: DaemonSet, metadata: {generation: 1}, status: {observedGeneration: 1, desiredNumberScheduled: 5, currentNumberScheduled: 4, numberReady: 3, updatedNumberScheduled: 2, numberAvailable: 1}}",
			Count{Desired: 5, Current: 4, Ready: 3, Updated: 2, Available: 1, Fresh: true}, true,
		},
		{
			"a Job",
			"{apiVersion: batch/v1, kind: Job, metadata: {generation: 1}, spec: {parallelism: 4}, status: {active: 3, ready: 2, succeeded: 7, failed: 1}}",
			Count{Desired: 4, Current: 3, Ready: 2, Updated: 3, Available: 2, Succeeded: 7, Failed: 1, Fresh: true}, true,
		},
		{
			"a kind of others, by its scale subresource, with its generation in words",
			"{apiVersion: example.com/v1, kind: Farm, metadata: {generation: 2}, spec: {size: 6}, status: {there: 5, readyReplicas: 4, observedGeneration: '2'}}",
			Count{Desired: 6, Current: 5, Ready: 4, Fresh: true}, true,
		},
		{"a kind of others that does not say", "{apiVersion: example.com/v1, kind: Farm, spec: {}}", Count{Fresh: true}, false},
		{"a Deployment of somebody else's group, without scale", "{apiVersion: other.example.com/v1, kind: Service, spec: {replicas: 3}}", Count{}, false},
		{"nonsense", "{apiVersion: apps/v1, kind: Deployment, metadata: {generation: 1}, spec: {replicas: -3}, status: {observedGeneration: 1, replicas: many, readyReplicas: -1}}", Count{Fresh: true}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scale
			if !strings.Contains(tt.live, "Farm") {
				s = Scale{}
			}
			got, counted := CountOf(object(t, []byte(tt.live)), s)
			if counted != tt.counted || counted && got != tt.want {
				t.Errorf("got %+v, %v; want %+v, %v", got, counted, tt.want, tt.counted)
			}
		})
	}
}

func TestParseScale(t *testing.T) {
	for _, paths := range [][2]string{
		{"", ""}, {".spec.replicas", ""}, {"spec.replicas", ".status.replicas"}, {".spec", ".status"}, {".spec.a[0]", ".status.b"}, {".status.replicas", ".spec.replicas"},
		{".spec." + strings.Repeat("a", 300), ".status.b"}, {".spec..a", ".status.b"},
	} {
		if s, err := ParseScale(paths[0], paths[1], ""); err == nil {
			t.Errorf("%q was read as %v", paths, s)
		}
	}
}

func TestTarget(t *testing.T) {
	hpa := object(t, []byte("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}"))
	if kind, name, ok := Target(hpa); !ok || kind != kindDeployment || name != "web" {
		t.Errorf("got %v %q %v", kind, name, ok)
	}
	if !ShapeOf(hpa, Scale{}).Scales {
		t.Error("an HPA scales")
	}
	if _, _, ok := Target(object(t, []byte("{apiVersion: apps/v1, kind: Deployment, spec: {scaleTargetRef: {kind: X, name: y}}}"))); ok {
		t.Error("a Deployment is no HPA")
	}
}

func TestPodsAt(t *testing.T) {
	path, ok := ShapeOf(object(t, []byte("{apiVersion: v1, kind: Pod}")), Scale{}).PodsAt()
	if !ok || len(path) != 0 {
		t.Errorf("a Pod is its own template, and not at %v", path)
	}
	if _, ok := ShapeOf(object(t, []byte("{apiVersion: v1, kind: ConfigMap}")), Scale{}).PodsAt(); ok {
		t.Error("a ConfigMap has no pods")
	}
}
