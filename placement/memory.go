package placement

import (
	"time"
)

// Record is all that is remembered of one workload. It lies in the object's status,
// so that another replica decides alike.
type Record struct {
	Memory
	Ordinals map[string]int64 `json:"ordinals,omitempty"` // by cluster: where those of a divided StatefulSet begin
	Job      map[string]Stint `json:"job,omitempty"`      // by cluster: its part of a Job
	Scale    Scale            `json:"scale,omitzero"`     // of a kind that others defined: where its replicas are
	Carry    int64            `json:"carry,omitempty"`    // replicas of an autoscaler's target when a cluster of it began to be left
	Along    []string         `json:"along,omitempty"`    // kinds of objects that went along and may still be there, sorted
}

// Memory is what the moves of one workload remember from step to step. It lies in
// the object's status, so that a daemon that starts, or another one that takes over,
// goes on alike; it does not change while nothing happens. It is to be saved before
// a step's orders are carried out.
type Memory struct {
	Replicas int64                   `json:"replicas,omitempty"` // wanted at the last step
	Cut      int64                   `json:"cut,omitempty"`      // that the author took off and that still run
	Clusters map[string]Recollection `json:"clusters,omitempty"` // those that have, or had, something of it
}

// Recollection is what is remembered of one cluster.
type Recollection struct {
	Ordered  int64     `json:"ordered,omitempty"`  // replicas last ordered there
	Seen     int64     `json:"seen,omitempty"`     // replicas last seen asked for there
	Silent   time.Time `json:"silent,omitzero"`    // since when it does not answer
	Replaced bool      `json:"replaced,omitempty"` // it is silent, and what it had is placed elsewhere
	Back     time.Time `json:"back,omitzero"`      // since when it answers again, for settleTime
	Room     int64     `json:"room,omitempty"`     // mode free: the weight in force
	Owed     int64     `json:"owed,omitempty"`     // replicas that were ready over all when it began to be left with an autoscaler in it
	Leaves   time.Time `json:"leaves,omitzero"`    // since when that is
	Lesson   *Lesson   `json:"lesson,omitempty"`   // what its pods that found no node have taught
}

// Lesson is a capacity that was learned the hard way.
type Lesson struct {
	Capacity int64     `json:"capacity"`
	Free     int64     `json:"free,omitempty"` // the least room seen free since; more of it is news
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"` // then more is tried there again; the lesson stays to say how often that failed
	Tries    int       `json:"tries"`
	Raised   bool      `json:"raised,omitempty"` // Capacity is what free room promised, not what was seen to fit
}

// checked is a recollection that can be believed: status can be edited.
func (r Recollection) checked() Recollection {
	r.Owed = clamp(r.Owed, 0, maxReplicas)
	r.Ordered, r.Seen, r.Room = clamp(r.Ordered, 0, maxReplicas), clamp(r.Seen, 0, maxReplicas), clamp(r.Room, 0, maxReplicas)
	if r.Lesson != nil {
		l := *r.Lesson
		l.Capacity, l.Free = clamp(l.Capacity, 0, maxReplicas), clamp(l.Free, 0, maxReplicas)
		r.Lesson = &l
	}
	return r
}

const (
	unschedulablePatience = time.Minute     // that pods may look for a node before their number is learned from
	lessonTime            = 5 * time.Minute // that a first lesson holds; each further one twice as long
	longestLesson         = time.Hour
	settleTime            = time.Minute // that a cluster which came back is not built upon
)

// span is how long a lesson holds at its n-th time.
func span(tries int) time.Duration {
	return min(lessonTime<<clamp(int64(tries)-1, 0, 4), longestLesson)
}

// learn looks at the pods that find no node, given how many replicas are ordered
// there, and returns the lesson in force next; nil: none.
func learn(old *Lesson, s Sight, ordered int64, now time.Time) *Lesson {
	fits := max(min(s.Ready, s.Desired), s.Desired-s.Unschedulable)
	stuck := s.Unschedulable > 0 && ordered > fits && !s.UnschedulableSince.IsZero() && now.Sub(s.UnschedulableSince) >= unschedulablePatience
	if old == nil {
		if !stuck {
			return nil
		}
		return &Lesson{Capacity: fits, Free: max(0, s.Free), At: now, Until: now.Add(span(1)), Tries: 1}
	}
	l := *old
	l.Capacity = max(l.Capacity, min(s.Ready, s.Desired)) // what is ready fits
	holds := now.Before(l.Until)
	switch {
	case stuck && (!holds || l.Raised && fits < l.Capacity):
		tries := min(l.Tries+1, 5)
		return &Lesson{Capacity: fits, Free: max(0, s.Free), At: now, Until: now.Add(span(tries)), Tries: tries}
	case stuck && fits < l.Capacity:
		l.Capacity = fits
	case !holds && (s.Unschedulable == 0 && ordered > old.Capacity && s.Ready >= ordered || now.Sub(l.Until) >= longestLesson && ordered <= l.Capacity):
		return nil // it held more, or it was long ago
	case holds && s.Free > l.Free && now.Sub(l.At) >= span(l.Tries)/5 && fits+s.Free > l.Capacity:
		l.Capacity, l.Free, l.At, l.Raised = fits+s.Free, s.Free, now, true
	case holds && s.Free >= 0 && s.Free < l.Free:
		l.Free = s.Free
	}
	return &l
}

// capacity is what a lesson allows; negative: nothing is known.
func (l *Lesson) capacity(now time.Time) int64 {
	if l == nil || !now.Before(l.Until) {
		return -1
	}
	return l.Capacity
}
