package v1alpha1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/placement"
)

// placedWeb is a Deployment whose status a daemon has written.
func placedWeb(t *testing.T) *FederatedObject {
	t.Helper()
	at := metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	o := workload(t, webTemplate)
	o.Generation = 3
	o.Status = WorkloadStatus{
		Status:  Status{ObservedGeneration: 2, Conditions: []metav1.Condition{{Type: ConditionAccepted, Status: "True"}, {Type: ConditionPlaced, Status: "True", Reason: "Placed", Message: "2 clusters have it as it is wanted"}}},
		Desired: 1000, Ready: 400, InClusters: "2/2",
		Clusters: []ClusterWorkload{
			{Cluster: "us-1", Desired: 600, Ready: 400, State: WorkloadApplied, Message: "its minimum of 5; 595 by its weight of 3", Time: &at},
			{Cluster: "eu-1", Desired: 400, State: WorkloadRefused, Reason: "Forbidden", Message: "the cluster does not let us apply it; and why"},
			{Cluster: "ap-1", State: WorkloadLeaving},
		},
		Memory: &Opaque{Raw: []byte(`{"replicas":1000,"clusters":{"us-1":{"ordered":600}},"ordinals":{"us-1":1000},"job":{"eu-1":{"g":7}}}`)},
	}
	return o
}

func TestReport(t *testing.T) {
	o := placedWeb(t)
	want := placement.Report{
		Namespace: "shop", Name: "deployment-web", APIVersion: "apps/v1", Kind: "Deployment", Object: "web", Mode: placement.ModeDivide,
		Generation: 3, Observed: 2, Desired: 1000, Ready: 400, Unplaced: -1, InClusters: "2/2",
		State: "Placed", Reason: "Placed", Message: "2 clusters have it as it is wanted",
		Clusters: []placement.Holding{
			{Cluster: "ap-1", Goal: -1, State: "Leaving"},
			{Cluster: "eu-1", Goal: -1, Told: 400, State: "Refused", Reason: "Forbidden", Message: "the cluster does not let us apply it; and why"},
			{Cluster: "us-1", Goal: -1, Told: 600, Ready: 400, State: "Applied", Reasons: []string{"its minimum of 5", "595 by its weight of 3"}, Since: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)},
		},
	}
	if d := cmp.Diff(want, o.Report()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for name, c := range map[string]struct {
		conditions []metav1.Condition
		state      string
	}{
		"nobody looked": {nil, "Unknown"},
		"not accepted":  {[]metav1.Condition{{Type: ConditionReady, Status: "False"}, {Type: ConditionAccepted, Status: "False"}}, "NotAccepted"},
		"conflict":      {[]metav1.Condition{{Type: ConditionPlaced, Status: "False"}, {Type: ConditionConflict, Status: "True"}}, "Conflict"},
		"not ready":     {[]metav1.Condition{{Type: ConditionPlaced, Status: "True"}, {Type: ConditionConflict, Status: "False"}, {Type: ConditionReady, Status: "False"}}, "NotReady"},
	} {
		o.Status.Conditions = c.conditions
		if got := o.Report().State; got != c.state {
			t.Errorf("%s: %s, want %s", name, got, c.state)
		}
	}
	o.Spec.Template.Raw = []byte(`{"kind":`)
	if r := o.Report(); r.Mode != "" || r.Kind != "" || len(r.Clusters) != 3 {
		t.Errorf("what cannot be read: %+v", r)
	}
}

func TestKnown(t *testing.T) {
	o := placedWeb(t)
	k := o.Known()
	if d := cmp.Diff(map[string]int64{"eu-1": 400, "us-1": 600}, k.Running); d != "" {
		t.Errorf("running (-want +got)\n%s", d)
	}
	if k.Memory.Clusters["us-1"].Ordered != 600 || k.Ordinals["us-1"] != 1000 || k.Job["eu-1"].Given != 7 {
		t.Errorf("%+v", k)
	}
	o.Status.Memory.Raw = []byte(`{"replicas":"many"}`)
	if k := o.Known(); k.Memory.Replicas != 0 || len(k.Running) != 2 {
		t.Errorf("with a memory that cannot be read: %+v", k)
	}
}
