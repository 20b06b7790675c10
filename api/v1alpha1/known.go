package v1alpha1

import (
	"github.com/meridian-lb/meridian/placement"
)

// Known is what the status says of where the workload is. A memory that cannot be
// read is none.
func (o *FederatedObject) Known() placement.Known {
	k := placement.Known{Running: map[string]int64{}}
	var m struct { // as a daemon writes it
		placement.Memory
		Ordinals    map[string]int64 `json:"ordinals"`
		Completions map[string]int64 `json:"completions"`
	}
	if o.Status.Recall(&m) == nil {
		k.Memory, k.Ordinals, k.Completions = m.Memory, m.Ordinals, m.Completions
	}
	for _, c := range o.Status.Clusters {
		if c.State == WorkloadLeaving && c.Desired <= 0 {
			continue // it is as good as gone
		}
		k.Running[c.Cluster] = max(0, c.Desired)
	}
	return k
}
