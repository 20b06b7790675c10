package placement

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Job is what a batch/v1 Job says about its size.
type Job struct {
	Parallelism int64 // pods at one time
	Completions int64 // pods that must succeed; negative: not said, the pods share a queue
	Indexed     bool  // completionMode: Indexed
	Suspended   bool  // no pods are to run for now
}

// JobOf reads a Job as an API server would.
func JobOf(object *unstructured.Unstructured) Job {
	spec := mapAt(object.Object, "spec")
	j := Job{Parallelism: 1, Completions: -1, Indexed: textAt(spec, "completionMode") == "Indexed", Suspended: flagAt(spec, "suspend")}
	pods, said := countAt(spec, "parallelism")
	if said {
		j.Parallelism = clamp(pods, 0, maxReplicas)
	}
	n, counted := countAt(spec, "completions")
	switch {
	case counted:
		j.Completions = clamp(n, 0, maxReplicas)
	case !said:
		j.Completions = 1
	}
	return j
}

// IsJob reports whether an object is one, so that NextJob says what becomes of it.
func IsJob(object *unstructured.Unstructured) bool { return kindOf(object) == kindJob }

// JobSight is what is known of a Job in one cluster.
type JobSight struct {
	Cluster string
	Silent  time.Time // since when it does not answer, or what it says cannot be read; zero: it answers

	UID         string // of the Job there that is ours; empty: there is none
	Parallelism int64  // its spec.parallelism
	Completions int64  // its spec.completions; negative: it says none
	Succeeded   int64  // of its pods
	Over        bool   // it is complete or has failed, and makes no more pods
	Broken      bool   // it has failed
}

// Stint is what is remembered of one cluster's part of a Job, in few letters, since it is
// remembered of every cluster. Completions that were
// seen to be done stay counted when the Job that did them is gone.
type Stint struct {
	UID    string    `json:"u,omitempty"` // of the Job that was seen there; empty: it is still to be made, or it is gone
	Given  int64     `json:"g,omitempty"` // completions of that Job, 1 for a queue; 0: there is none, and none is to be made
	Done   int64     `json:"d,omitempty"` // pods of it that were seen to have succeeded
	Past   int64     `json:"b,omitempty"` // those of earlier Jobs there, which are gone
	Pods   int64     `json:"p,omitempty"` // that it was told to run at one time
	Over   bool      `json:"o,omitempty"` // its last Job has ended
	Broken bool      `json:"f,omitempty"` // by failing
	Void   bool      `json:"v,omitempty"` // what was left of it has been given to others
	Silent time.Time `json:"s,omitzero"`  // since when the cluster does not answer
}

// claim are the completions that nobody else is to be given.
func (s Stint) claim() int64 {
	if s.Void {
		return s.Past + s.Done
	}
	return s.Past + s.Given
}

// active: it has a Job that is not over, or is to have one.
func (s Stint) active() bool { return s.Given > 0 && !s.Over && !s.Void }

// left are the completions that it still has to do.
func (s Stint) left() int64 {
	if !s.active() {
		return 0
	}
	return max(0, s.Given-s.Done)
}

// met: it has, or had, something of the Job.
func (s Stint) met() bool { return s.Given > 0 || s.Past > 0 || s.Over }

// checked is a stint that can be believed: status can be edited.
func (s Stint) checked() Stint {
	for _, n := range []*int64{&s.Given, &s.Done, &s.Past, &s.Pods} {
		*n = clamp(*n, 0, maxReplicas)
	}
	return s
}

// JobOrder is what one cluster is to do with its part of a Job, and why.
type JobOrder struct {
	Cluster     string
	Act         Act
	Begin       bool  // it may be made; otherwise one that is gone stays gone until a later step says so
	Over        bool  // it has ended and is left as it is, also if it is gone
	Held        bool  // the cluster is silent, and what it has still counts
	Whole       bool  // it is given as the template has it
	Parallelism int64 // pods at one time
	Completions int64 // of its Job; negative: none are said
	Leaves      bool  // what it has goes, or ends there
	Reasons     []string
}

// JobStep is what is to be done next for one Job.
type JobStep struct {
	Orders    []JobOrder // sorted by cluster; those that never had anything of it and get nothing are left out
	Unplaced  int64      // completions that no cluster can take, now or later
	Succeeded int64      // pods, over all, as far as that was seen
	Broken    bool       // it failed somewhere, so nothing of it is begun any more
	Problem   string     // why nothing is to be done, and what helps; empty: Orders say it
	Again     time.Time  // when to look again though nothing changed; zero: never
}
