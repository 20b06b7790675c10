package placement

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNeedsOf(t *testing.T) {
	tests := []struct {
		name, spec string
		want       Amounts
	}{
		{"nothing asked", "{containers: [{name: a}]}", Amounts{}},
		{
			"containers add up; a limit is a request where there is none",
			"{containers: [{resources: {requests: {cpu: 250m, memory: 1Gi}}}, {resources: {limits: {cpu: 1, nvidia.com/gpu: '2'}, requests: {cpu: 0.5}}}]}",
			Amounts{"cpu": 750, "memory": 1 << 30, "nvidia.com/gpu": 2},
		},
		{
			"a start that needs more than the pod",
			"{initContainers: [{resources: {requests: {cpu: 3}}}, {resources: {requests: {cpu: 2, memory: 5}}}], containers: [{resources: {requests: {cpu: 1, memory: 7}}}]}",
			Amounts{"cpu": 3000, "memory": 7},
		},
		{
			"a sidecar stays, beside the starts after it",
			"{initContainers: [{restartPolicy: Always, resources: {requests: {cpu: 1}}}, {resources: {requests: {cpu: 2}}}], containers: [{resources: {requests: {cpu: 1500m}}}]}",
			Amounts{"cpu": 3000},
		},
		{
			"what the pod asks for as a whole goes before, and the runtime adds to it",
			"{resources: {requests: {cpu: 4}}, overhead: {cpu: 100m, memory: 10}, containers: [{resources: {requests: {cpu: 1, memory: 5}}}]}",
			Amounts{"cpu": 4100, "memory": 15},
		},
		{
			"nonsense is not asked for, and nothing overflows",
			"{containers: [{resources: {requests: {cpu: many, memory: '1e-999999999', a: -5, b: 9E, c: 999999999999E}}}, {resources: {requests: {b: 9E, cpu: 999999999999E}}}]}",
			Amounts{"a": 0, "b": math.MaxInt64, "c": math.MaxInt64, "cpu": math.MaxInt64},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			needs, ok := NeedsOf(object(t, []byte("{apiVersion: v1, kind: Pod, spec: "+tt.spec+"}")))
			if !ok || fmt.Sprint(needs.Requests) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, %v; want %v", needs.Requests, ok, tt.want)
			}
		})
	}
	if _, ok := NeedsOf(object(t, []byte("{apiVersion: v1, kind: ConfigMap}"))); ok {
		t.Error("a ConfigMap needs no node")
	}
}

// TestRoom tells of clusters and how many pods of a tenth of a core and 1 GB fit.
func TestRoom(t *testing.T) {
	const good = "{apiVersion: v1, kind: Node, metadata: {name: %s, labels: {disk: ssd, empty: ''}}, status: {allocatable: {cpu: %s, memory: 8G, pods: '%d'}, conditions: [{type: Ready, status: 'True'}]}}"
	node := func(name, cpu string, pods int) string { return fmt.Sprintf(good, name, cpu, pods) }
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: p%d}, spec: {nodeName: %q, containers: [{resources: {requests: {cpu: %s, memory: 1G}}}]}, status: {phase: %s}}"
	tests := []struct {
		name  string
		nodes []string
		pods  []string
		spec  string // more of the template
		want  int64
	}{
		{"no node", nil, nil, "", 0},
		{"memory is scarce", []string{node("a", "4", 110)}, nil, "", 8},
		{"cpu is scarce", []string{node("a", "350m", 110)}, nil, "", 3},
		{"pods are scarce", []string{node("a", "4", 2)}, nil, "", 2},
		{"nodes add up, and none lends to another", []string{node("a", "150m", 110), node("b", "150m", 110)}, nil, "", 2},
		{"a node that is told twice", []string{node("a", "4", 110), node("a", "4", 110)}, nil, "", 8},
		{"what runs holds", []string{node("a", "4", 110)}, []string{fmt.Sprintf(pod, 1, "a", "1", "Running"), fmt.Sprintf(pod, 2, "a", "1", "Running")}, "", 6},
		{"what is over holds nothing", []string{node("a", "4", 110)}, []string{fmt.Sprintf(pod, 1, "a", "1", "Succeeded"), fmt.Sprintf(pod, 2, "a", "1", "Failed")}, "", 8},
		{"what waits will hold", []string{node("a", "4", 110)}, []string{fmt.Sprintf(pod, 1, "", "150m", "Pending")}, "", 6},
		{"what waits for a larger machine than there is holds nothing", []string{node("a", "4", 110)}, []string{fmt.Sprintf(pod, 1, "", "64", "Pending")}, "", 8},
		{"a pod of a node that has gone", []string{node("a", "4", 110)}, []string{fmt.Sprintf(pod, 1, "gone", "1", "Running")}, "", 8},
		{"more runs than the node says it has", []string{node("a", "100m", 110)}, []string{fmt.Sprintf(pod, 1, "a", "1", "Running")}, "", 0},
		{"a resource that nobody has", []string{node("a", "4", 110)}, nil, "resources: {requests: {nvidia.com/gpu: 1}}", 0},
		{"the wrong nodes", []string{node("a", "4", 110)}, nil, "nodeSelector: {disk: hdd}", 0},
		{"the right nodes", []string{node("a", "4", 110)}, nil, "nodeSelector: {disk: ssd, empty: ''}", 8},
		{"a label that nodes lack is not an empty one", []string{node("a", "4", 110)}, nil, "nodeSelector: {other: ''}", 0},
		{"cordoned", []string{"{metadata: {name: a}, spec: {unschedulable: true}, status: {allocatable: {cpu: 4, memory: 8G, pods: 9}, conditions: [{type: Ready, status: 'True'}]}, kind: Node, apiVersion: v1}"}, nil, "", 0},
		{"not ready", []string{"{metadata: {name: a}, status: {allocatable: {cpu: 4, memory: 8G, pods: 9}, conditions: [{type: Ready, status: Unknown}]}, kind: Node, apiVersion: v1}"}, nil, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var nodes []Node
			for _, n := range tt.nodes {
				nodes = append(nodes, NodeOf(object(t, []byte(n))))
			}
			var pods []Pod
			for _, p := range tt.pods {
				pods = append(pods, PodOf(object(t, []byte(p))))
			}
			more := ""
			if tt.spec != "" {
				more = ", " + tt.spec
			}
			needs, ok := NeedsOf(object(t, []byte("{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{resources: {requests: {cpu: 100m, memory: 1G}}}]"+more+"}}}}")))
			if !ok {
				t.Fatal("no needs")
			}
			if got := Room(nodes, pods, needs); got != tt.want {
				t.Errorf("room for %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTaints(t *testing.T) {
	tests := []struct {
		taint   Taint
		allowed Toleration
		want    bool
	}{
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{}, false},
		{Taint{"gpu", "yes", "PreferNoSchedule"}, Toleration{}, true},
		{Taint{"gpu", "yes", "NoExecute"}, Toleration{Operator: "Exists"}, true},
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{Key: "gpu", Operator: "Exists"}, true},
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{Key: "gpu", Operator: "Exists", Effect: "NoExecute"}, false},
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{Key: "gpu", Value: "yes"}, true},
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{Key: "gpu", Operator: "Equal", Value: "no"}, false},
		{Taint{"gpu", "yes", "NoSchedule"}, Toleration{Key: "cpu", Operator: "Exists"}, false},
		{Taint{"gpu", "5", "NoSchedule"}, Toleration{Key: "gpu", Operator: "Lt", Value: "9"}, false},
	}
	for _, tt := range tests {
		n := Node{Ready: true, Taints: []Taint{tt.taint}}
		if got := n.takes(Needs{Tolerations: []Toleration{tt.allowed}}); got != tt.want {
			t.Errorf("%+v on %+v: %v, want %v", tt.allowed, tt.taint, got, tt.want)
		}
	}
}

// TestRoomIsTrue fills an estimated room, one pod at a time onto the nodes where they fit, and
// finds that just as many fit as were promised, if nobody waits.
func TestRoomIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := func(name string, most int64) Amounts {
			return rapid.MapOfN(rapid.SampledFrom([]string{"cpu", "memory", "x"}), rapid.Int64Range(0, most), 0, 3).Draw(t, name)
		}
		var nodes []Node
		var pods []Pod
		for i := range rapid.IntRange(0, 5).Draw(t, "nodes") {
			n := Node{Name: fmt.Sprint(i), Ready: rapid.Bool().Draw(t, "ready"), Allocatable: amounts("allocatable", 50)}
			n.Allocatable["pods"] = rapid.Int64Range(0, 20).Draw(t, "pods")
			nodes = append(nodes, n)
			for range rapid.IntRange(0, 3).Draw(t, "running") {
				pods = append(pods, Pod{Node: n.Name, Needs: Needs{Requests: amounts("held", 10)}})
			}
		}
		needs := Needs{Requests: amounts("asked", 10)}
		promised := Room(nodes, pods, needs)
		fitted := int64(0)
		for _, n := range nodes {
			for n.takes(needs) {
				left := Amounts{}
				left.add(n.Allocatable)
				for _, p := range pods {
					if p.Node == n.Name {
						left = left.less(p.Needs.asked())
					}
				}
				if left.times(needs.asked()) == 0 {
					break
				}
				pods = append(pods, Pod{Node: n.Name, Needs: needs})
				fitted++
			}
		}
		if promised != fitted {
			t.Fatalf("room for %d was promised, and %d fitted", promised, fitted)
		}
		for range 3 {
			pods = append(pods, Pod{Needs: Needs{Requests: amounts("waits", 10)}})
		}
		if more := Room(nodes, pods, needs); more != 0 {
			t.Fatalf("the cluster is full, and has room for %d", more)
		}
	})
}

func TestUnschedulable(t *testing.T) {
	const pod = "{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'%s}, spec: {%s}, status: {phase: Pending, conditions: [{type: PodScheduled, status: %q, reason: %s, message: no room%s}]}}"
	var pods []Pod
	for _, text := range []string{
		fmt.Sprintf(pod, "late", "", "", "False", "Unschedulable", ", lastTransitionTime: '2026-01-01T00:09:00Z'"),
		fmt.Sprintf(pod, "early", "", "", "False", "Unschedulable", ", lastTransitionTime: '2026-01-01T00:05:00Z'"),
		fmt.Sprintf(pod, "undated", "", "", "False", "Unschedulable", ""),
		fmt.Sprintf(pod, "gated", "", "", "False", "SchedulingGated", ""),
		fmt.Sprintf(pod, "placed", "", "nodeName: a", "True", "Scheduled", ""),
		fmt.Sprintf(pod, "leaving", ", deletionTimestamp: '2026-01-01T00:00:00Z'", "", "False", "Unschedulable", ""),
		"{apiVersion: v1, kind: Pod, metadata: {name: new}}",
	} {
		pods = append(pods, PodOf(object(t, []byte(text))))
	}
	before := slices.Clone(pods)
	var got []string
	for _, p := range Unschedulable(pods) {
		got = append(got, p.Name+" "+p.Unschedulable.Format(time.TimeOnly)+" "+p.Why)
	}
	if want := []string{"undated 00:00:00 no room", "early 00:05:00 no room", "late 00:09:00 no room"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for i := range pods {
		if pods[i].Name != before[i].Name {
			t.Error("the order of the pods has changed")
		}
	}
}
