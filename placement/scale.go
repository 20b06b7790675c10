package placement

// ScalePart is one cluster's part of a HorizontalPodAutoscaler. With Max 0 the
// cluster gets no autoscaler and no replicas.
type ScalePart struct {
	Cluster  string
	Min, Max int64 // Min <= Max; Min is at least 1 where the whole's is and Max > 0
}

// DivideScale divides an autoscaler's bounds over seats, each as replicas are. A
// cluster with a part of the maximum has at least 1 of the minimum if the whole
// has any, so the minimums may add up to more than the whole's where clusters are
// many. The maximums never do; what of them found no place is returned.
func DivideScale(object string, least, most int64, rebalance bool, seats []Seat) (parts []ScalePart, unplaced int64) {
	most = max(most, least)
	mins, maxs := Divide(object, least, rebalance, seats), Divide(object, most, rebalance, seats)
	for i, p := range maxs.Parts {
		part := ScalePart{Cluster: p.Cluster, Min: mins.Parts[i].Replicas, Max: p.Replicas}
		if part.Max > 0 && least > 0 {
			part.Min = max(part.Min, 1)
		}
		parts = append(parts, part) // Min <= Max: one replica more never takes one from a cluster
	}
	return parts, maxs.Unplaced
}
