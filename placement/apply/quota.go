package apply

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/placement"
)

// forbidden are the copies that a cluster will not even create, because of a quota or
// an admission rule, and since when: its controller says so.
func forbidden(live *unstructured.Unstructured, c placement.Count) (int64, time.Time) {
	if live == nil || c.Desired <= c.Current {
		return 0, time.Time{}
	}
	list, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, v := range list {
		m, ok := v.(map[string]any)
		if !ok || m["type"] != "ReplicaFailure" || m["status"] != "True" {
			continue
		}
		text, _ := m["lastTransitionTime"].(string)
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			return c.Desired - c.Current, at
		}
	}
	return 0, time.Time{}
}
