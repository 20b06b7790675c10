package v1alpha1

import (
	"github.com/meridian-lb/meridian/placement"
)

// Known is what the status says of where the workload is. A memory that cannot be
// read is none.
func (o *FederatedObject) Known() placement.Known {
	k := placement.Known{Running: map[string]int64{}}
	var r placement.Record
	if o.Status.Recall(&r) == nil {
		k.Record = r
	}
	for _, c := range o.Status.Clusters {
		if c.State == WorkloadLeaving && c.Desired <= 0 {
			continue // it is as good as gone
		}
		k.Running[c.Cluster] = max(0, c.Desired)
	}
	return k
}
