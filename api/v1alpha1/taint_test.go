package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meridian-lb/meridian/fleet"
)

const aSite = "region: eu, place: {lat: 1, lon: 2}"

func TestLabelsAndTaints(t *testing.T) {
	c := read[Cluster](t, `{metadata: {name: a, labels: {tier: gold, example.com/cloud: "", meridian.dev/taint: NoSchedule}}, spec: {`+aSite+`,
taints: [{key: old, effect: NoSchedule}, {key: example.com/work, value: kernel, effect: NoExecute}, {key: old, effect: NoExecute}, {key: old, effect: NoExecute}]}}`)
	got, problems := c.Parse(me)
	checkSaid(t, problems)
	labels := []fleet.Label{{Key: "example.com/cloud"}, {Key: "meridian.dev/taint", Value: "NoSchedule"}, {Key: "tier", Value: "gold"}}
	taints := []fleet.Taint{
		{Key: "example.com/work", Value: "kernel", Effect: fleet.NoExecute}, {Key: "meridian.dev/taint", Effect: fleet.NoSchedule},
		{Key: "old", Effect: fleet.NoExecute}, {Key: "old", Effect: fleet.NoSchedule},
	}
	if d := cmp.Diff(labels, got.Labels); d != "" {
		t.Errorf("labels (-want +got)\n%s", d)
	}
	if d := cmp.Diff(taints, got.Taints); d != "" {
		t.Errorf("taints (-want +got)\n%s", d)
	}
}

// A fault in what only workloads ask for takes no traffic away.
func TestFaultyLabelsAndTaintsSpareTheCluster(t *testing.T) {
	c := read[Cluster](t, `{metadata: {name: a, labels: {"a b": c, d: "e/f", meridian.dev/taint: Never}}, spec: {`+aSite+`,
taints: [{key: "", effect: NoExecute}, {key: a, value: "b c", effect: NoExecute}, {key: a, effect: Evict}]}}`)
	got, problems := c.Parse(me)
	checkSaid(t, problems, "metadata.labels: no key", "metadata.labels: no value", "spec.taints[0].key: no key", "spec.taints[1].value: no value",
		"spec.taints[2].effect: counts as NoSchedule", "metadata.labels: counts as NoSchedule")
	want := []fleet.Taint{{Key: "a", Effect: fleet.NoSchedule}, {Key: "meridian.dev/taint", Effect: fleet.NoSchedule}}
	if d := cmp.Diff(want, got.Taints); d != "" {
		t.Errorf("taints (-want +got)\n%s", d)
	}
}

func TestLabelsAndTaintsAreBounded(t *testing.T) {
	c := read[Cluster](t, `{metadata: {name: a, labels: {}}, spec: {`+aSite+`}}`)
	c.Labels[strings.Repeat("a", 1<<20)] = strings.Repeat("b", 1<<20)
	for i := range 300 {
		c.Labels[fmt.Sprintf("k%d", i)] = "v"
		c.Spec.Taints = append(c.Spec.Taints, Taint{Key: fmt.Sprintf("k%d", i), Effect: "NoExecute"})
	}
	got, problems := c.Parse(me)
	checkSaid(t, problems, "metadata.labels: at most 256", "metadata.labels: no key", "spec.taints: at most 64")
	if len(got.Labels) != maxLabels-1 || len(got.Taints) != maxTaints {
		t.Errorf("%d labels and %d taints", len(got.Labels), len(got.Taints))
	}
}
