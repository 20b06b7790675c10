package placement

import (
	"cmp"
	"slices"
	"time"
)

// Sight is what is known of a workload in one cluster.
type Sight struct {
	Cluster string
	Silent  time.Time // since when it does not answer, or what it says cannot be read; zero: it answers

	Present bool  // the object is there, and ours
	Desired int64 // its spec.replicas
	Ready   int64 // of its pods

	Unschedulable      int64     // pods that no node takes, or that a quota forbids
	UnschedulableSince time.Time // the eldest of them

	Free   int64 // such pods that would find room beside those there are; negative: not known
	Scaled bool  // an autoscaler there owns the replicas
}

// checked is a sight that can be believed: members say what they like.
func (s Sight) checked() Sight {
	if !s.Present {
		s.Desired, s.Ready, s.Unschedulable = 0, 0, 0
	}
	s.Desired, s.Ready = clamp(s.Desired, 0, maxReplicas), clamp(s.Ready, 0, maxReplicas)
	s.Unschedulable, s.Free = clamp(s.Unschedulable, 0, maxReplicas), clamp(s.Free, -1, maxReplicas)
	return s
}

// post is one cluster during a step.
type post struct {
	Choice
	Sight
	Recollection
	known bool // it is a cluster of the fleet still

	missing  int   // clusters that are silent as it is, where that is most of asked; else 0
	asked    int   // clusters that could answer
	have     int64 // ordered there, obeyed or not; of a silent one: what it surely had
	ready    int64 // of have
	believed bool  // it answers, and not just since a moment
	goal, to int64 // where it is heading; what it is ordered now
	part     *Part
}

func (p *post) silent() bool { return !p.Recollection.Silent.IsZero() }

// open: it may get something new.
func (p *post) open() bool { return p.Stand == StandOpen }

// leaves: what it has must go.
func (p *post) leaves() bool { return p.Stand == StandLeaving || p.Stand == StandOutside }

// standing are the replicas of have that have a node, or that may find one still.
func (p *post) standing() int64 { return min(p.have, max(p.ready, p.Desired-p.Unschedulable)) }

// posts brings together what is known of each cluster, sorted by name. A cluster
// that nobody speaks of is silent: a failure to read is never a deletion.
func posts(choices []Choice, sights []Sight, m Memory, grace time.Duration, now time.Time) []*post {
	byName := map[string]*post{}
	at := func(name string) *post {
		p, ok := byName[name]
		if !ok {
			p = &post{Choice: Choice{Cluster: name, Stand: StandOutside, Why: "it is no cluster of the fleet any more"},
				Sight: Sight{Cluster: name, Silent: now, Free: -1}, Recollection: m.Clusters[name].checked()}
			byName[name] = p
		}
		return p
	}
	for name := range m.Clusters {
		at(name)
	}
	for _, c := range choices {
		p := at(c.Cluster)
		p.Choice, p.known = c, true
	}
	for _, s := range sights {
		p := at(s.Cluster)
		_, met := m.Clusters[s.Cluster]
		p.Sight = s.checked()
		if !met {
			p.Ordered, p.Seen = p.Desired, p.Desired
		}
	}
	list := make([]*post, 0, len(byName))
	for _, p := range byName {
		p.recall(now)
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *post) int { return cmp.Compare(a.Choice.Cluster, b.Choice.Cluster) })
	mourn(list, grace, now)
	return list
}

// recall brings the memory of a cluster up to date with what is seen of it.
func (p *post) recall(now time.Time) {
	r := &p.Recollection
	if since := p.Sight.Silent; !since.IsZero() {
		if r.Silent.IsZero() || since.Before(r.Silent) {
			r.Silent = since
		}
		r.Back = time.Time{}
		p.have = min(r.Ordered, r.Seen)
		p.ready = 0
		return
	}
	if !r.Silent.IsZero() { // orders of old are void: it goes on with what it has
		r.Silent, r.Back, r.Ordered = time.Time{}, now, p.Desired
	}
	r.Replaced = false
	if !r.Back.IsZero() && now.Sub(r.Back) >= settleTime {
		r.Back = time.Time{}
	}
	r.Seen = p.Desired
	if p.Scaled {
		r.Ordered = p.Desired
	}
	r.Lesson = learn(r.Lesson, p.Sight, r.Ordered, now)
	p.have, p.ready = r.Ordered, min(p.Ready, p.Desired, r.Ordered)
	p.believed = r.Back.IsZero()
}

// worthRemembering: clusters that have nothing are not.
func (p *post) worthRemembering() bool {
	if !p.known && p.Replaced {
		return false // it left the fleet, and its replicas are placed elsewhere
	}
	r := p.Recollection
	return p.Present || r.Ordered > 0 || r.Seen > 0 || r.Lesson != nil || r.Room > 0 || !r.Back.IsZero()
}

// firstAfter is the earlier of two instants, of those that are still to come.
func firstAfter(now, a, b time.Time) time.Time {
	if b.IsZero() || !b.After(now) || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// again is when a cluster is to be looked at though nothing changed; zero: never.
func (p *post) again(grace time.Duration, now time.Time) time.Time {
	var t time.Time
	if p.silent() {
		return firstAfter(now, t, p.Recollection.Silent.Add(grace))
	}
	if p.owes(now, grace) {
		t = firstAfter(now, t, p.Leaves.Add(grace))
	}
	if !p.Back.IsZero() {
		t = firstAfter(now, t, p.Back.Add(settleTime))
	}
	if p.Unschedulable > 0 && !p.UnschedulableSince.IsZero() {
		t = firstAfter(now, t, p.UnschedulableSince.Add(unschedulablePatience))
	}
	if l := p.Lesson; l != nil {
		t = firstAfter(now, t, l.Until)
		t = firstAfter(now, t, l.Until.Add(longestLesson))
		if p.Free > l.Free {
			t = firstAfter(now, t, l.At.Add(span(l.Tries)/5))
		}
	}
	return t
}
