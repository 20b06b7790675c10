package placement

import (
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// Job is what a batch/v1 Job says about its size.
type Job struct {
	Parallelism int64 // pods at one time
	Completions int64 // pods that must succeed; negative: not said, the pods share a queue
	Indexed     bool  // completionMode: Indexed
}

// JobPart is one cluster's part of a Job. A cluster with Parallelism 0 and
// Completions 0 is given no Job; otherwise Completions >= Parallelism > 0, except
// in a cluster whose Job is paused because its parallelism went elsewhere.
type JobPart struct {
	Cluster     string
	Parallelism int64
	Completions int64 // negative: none are said
}

// DivideJob divides a Job over seats: its parallelism as replicas are, and its
// completions in proportion to that, so that all parts end at about the same time.
//
// A Job's completions cannot be changed once it exists. So a cluster that has the
// Job keeps the completions that it was given (had, which names all whose results
// still count), and only what nobody has yet is dealt to clusters without one.
// Unplaced are completions that nobody can take any more because every cluster has
// its Job already.
//
// An Indexed Job is refused: every cluster would count from index 0, for a Job
// has no first index to set.
func DivideJob(about fleet.Origin, object string, j Job, seats []Seat, had map[string]int64) (parts []JobPart, unplaced int64, problems []fleet.Problem) {
	if j.Indexed {
		return nil, 0, []fleet.Problem{{About: about, Reason: "IndexedJob",
			Message: "an Indexed Job cannot be divided, since every cluster would work through the indexes from 0; let where name one cluster, or use completionMode NonIndexed"}}
	}
	pods := j.Parallelism
	if j.Completions >= 0 {
		pods = min(pods, j.Completions) // more would have nothing to do
	}
	division := Divide(object, pods, false, seats)
	for _, p := range division.Parts {
		part := JobPart{Cluster: p.Cluster, Parallelism: p.Replicas, Completions: -1}
		if j.Completions >= 0 {
			part.Completions = max(0, had[p.Cluster])
		}
		parts = append(parts, part)
	}
	if j.Completions < 0 {
		return parts, 0, nil
	}
	return parts, completions(object, j.Completions, parts, had), nil
}

// completions deals those that nobody has yet, and returns what nobody can take.
func completions(object string, wanted int64, parts []JobPart, had map[string]int64) int64 {
	left := clamp(wanted, 0, maxReplicas)
	for _, n := range had {
		left -= max(0, n)
	}
	var fresh []*JobPart // clusters that get a Job now
	for i := range parts {
		if _, has := had[parts[i].Cluster]; !has && parts[i].Parallelism > 0 {
			fresh = append(fresh, &parts[i])
		}
	}
	slices.SortFunc(fresh, func(a, b *JobPart) int { return byTie(object, a.Cluster, b.Cluster) })
	hands := make([]hand, len(fresh))
	for i, p := range fresh {
		p.Parallelism = clamp(left, 0, p.Parallelism) // more would have nothing to do
		hands[i] = hand{weight: p.Parallelism, low: p.Parallelism, high: p.Parallelism}
		if p.Parallelism > 0 {
			hands[i].high = maxReplicas
		}
		left -= p.Parallelism
	}
	left = deal(left, hands)
	for i, p := range fresh {
		p.Completions = hands[i].got
	}
	return max(left, 0)
}
