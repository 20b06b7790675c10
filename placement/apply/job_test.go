package apply

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// What is remembered of a Job over as many clusters as a status can name fits into it,
// or nothing would ever be ordered.
func TestAJobInAThousandClustersIsRemembered(t *testing.T) {
	object := func(uid string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "batch/v1", "kind": "Job",
			"metadata": map[string]any{"name": "sum", "namespace": "shop", "uid": uid},
			"spec":     map[string]any{"parallelism": int64(1_000_000), "completions": int64(10_000_000)}}}
	}
	w := &workload{object: &v1alpha1.FederatedObject{}, template: &placement.Template{Object: object(""), Spread: placement.Spread{Mode: placement.ModeDivide}}}
	var views []view
	var choices []placement.Choice
	for i := range 1000 {
		name := fmt.Sprintf("production-europe-%04d", i)
		live := object(string(types.UID(fmt.Sprintf("%08x-79ce-4f9b-b0ab-0af9e1a8cd5f", i))))
		live.Object["status"] = map[string]any{"succeeded": int64(10_000_000), "conditions": []any{map[string]any{"type": "Complete", "status": "True"}}}
		v := view{name: name, report: report{live: live}}
		v.count, v.counts = placement.CountOf(live, placement.Scale{})
		views = append(views, v)
		choices = append(choices, placement.Choice{Cluster: name, Stand: placement.StandOpen})
	}
	o := job(w, choices, views, memory{}, time.Now())
	var s v1alpha1.WorkloadStatus
	if err := s.Remember(o.after); err != nil || len(o.after.Job) != 1000 {
		t.Error(len(o.after.Job), err)
	}
}
