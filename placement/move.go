package placement

import "time"

// Next decides the next step of a workload over many clusters: first Divide says
// where its replicas belong, then each cluster goes only as far towards that as is
// safe by what is seen to be ready. replicas is what is wanted over all, in mode
// duplicate in each cluster; negative for a kind that has none.
//
//   - A silent cluster keeps its replicas in the count until its grace is over; then
//     they are placed elsewhere in addition. It is never given orders. While most
//     clusters are silent they wait longer, and not at all where it is to be left.
//   - A source shrinks only by what is ready elsewhere beyond the wanted number. What
//     is silent, has just come back or is not obeyed yet counts as not ready.
//   - At most Spread.Budget replicas are on the move: asked for beyond the wanted
//     number, or still ending. Replicas that are missing need no budget.
//   - An object is removed only once it is empty, and in mode duplicate once the
//     others are ready.
//   - Where an autoscaler owns the replicas, a cluster is left as a whole, once as many
//     are ready elsewhere as were ready over all when that began; or, where nobody lets
//     the others grow, when the grace is over and the others have what they want.
//
// A workload whose autoscaler owns the replicas needs limits with a Min of at least
// 1, since an autoscaler does nothing where there are 0.
//
// Nothing that was handed in is changed.
func Next(t Template, replicas int64, choices []Choice, sights []Sight, m Memory, now time.Time) (Step, Memory) {
	grace := t.Spread.Grace
	if grace <= 0 {
		grace = DefaultGrace
	}
	s := &stage{posts: posts(choices, sights, m, grace, now), spread: t.Spread, object: nameOf(t), most: mostOf(t), now: now, grace: grace}
	replicas = clamp(replicas, NotReplicas, maxReplicas)
	owed := s.owe()
	if replicas < 0 || t.Spread.Mode == ModeDuplicate {
		s.duplicate(replicas)
	} else {
		s.cut = clamp(m.Cut, 0, maxReplicas) + max(0, min(m.Replicas, maxReplicas)-replicas)
		s.place(max(replicas, owed))
		s.shrink()
		s.grow()
	}
	return s.step(), s.memory(replicas)
}

func nameOf(t Template) string {
	if t.Object == nil {
		return t.Origin.Namespace + "/" + t.Origin.Name
	}
	return t.Object.GetNamespace() + "/" + t.Object.GetName()
}

// mostOf is how many replicas of a workload one cluster can have.
func mostOf(t Template) int64 {
	if t.Object != nil && kindOf(t.Object) == kindStatefulSet {
		return OrdinalBlock
	}
	return maxReplicas
}

// stage is a step while it is made.
type stage struct {
	posts  []*post
	spread Spread
	object string
	most   int64 // replicas that one cluster can have, whatever its limit
	now    time.Time
	grace  time.Duration

	wanted   int64 // replicas of those clusters that can be given orders
	floor    int64 // ready ones that must be left
	asked    int64 // replicas that they are asked for at the moment
	budget   int64
	cut      int64
	unplaced int64
}

// mine are the posts whose replicas can be ordered.
func (s *stage) mine(yield func(*post) bool) {
	for _, p := range s.posts {
		if !p.silent() && !p.Scaled && !yield(p) {
			return
		}
	}
}

// place divides the replicas over the clusters that answer and sets the goals.
func (s *stage) place(replicas int64) {
	s.wanted, s.floor = replicas, replicas
	calm := true
	var seats []Seat
	free := s.rooms()
	for _, p := range s.posts {
		switch {
		case p.silent():
			if !p.Replaced {
				p.goal = p.have
				s.wanted -= p.have
				calm = calm && p.have == 0
			}
		case p.leaves():
		default:
			calm = calm && p.believed
			if seat := s.seat(p, free); p.open() || p.have > 0 {
				seats = append(seats, seat)
			}
		}
	}
	s.wanted = max(0, s.wanted)
	d := Divide(s.object, s.wanted, s.spread.Rebalance && calm, seats)
	at := 0
	for _, p := range s.posts {
		if at < len(d.Parts) && d.Parts[at].Cluster == p.Choice.Cluster {
			p.part, p.goal = &d.Parts[at], d.Parts[at].Replicas
			p.part.Max = s.spread.LimitOf(p.Choice.Cluster).Max // not what a closed cluster's was made for the division
			at++
		}
	}
	s.stay(d.Unplaced)
	for _, p := range s.posts {
		if p.Scaled && !p.silent() {
			s.wanted -= p.goal
			s.floor -= p.goal
		}
	}
	s.wanted, s.floor = max(0, s.wanted-s.unplaced), max(0, s.floor-s.unplaced)
	s.budget = s.spread.Budget
	if s.budget <= 0 {
		s.budget = max(1, replicas/10)
	}
}

// stay lets clusters that are left keep what has no place elsewhere: it is better
// served there than nowhere.
func (s *stage) stay(homeless int64) {
	var hands []hand
	var at []*post
	for p := range s.mine {
		if n := p.standing(); p.leaves() && n > 0 {
			hands, at = append(hands, hand{weight: n, high: n}), append(at, p)
		}
	}
	s.unplaced = deal(homeless, hands)
	for i, h := range hands {
		at[i].goal = h.got
	}
}

// rooms brings the weights of mode free up to date, and says whether any room is
// known. A weight stays until the room differs from it by a fifth: rooms breathe.
func (s *stage) rooms() bool {
	if s.spread.Mode != ModeFree {
		return false
	}
	var known bool
	for _, p := range s.posts {
		if p.silent() || p.Free < 0 {
			known = known || p.Room > 0
			continue
		}
		if room := p.have + p.Free; p.Room == 0 || max(room-p.Room, p.Room-room) > p.Room/5 {
			p.Room = room
		}
		known = true
	}
	return known
}

func (s *stage) seat(p *post, free bool) Seat {
	seat := Seat{Cluster: p.Choice.Cluster, Limit: s.spread.LimitOf(p.Choice.Cluster), Capacity: p.Lesson.capacity(s.now), Running: p.have}
	if free && seat.Weight > 0 {
		seat.Weight = max(1, p.Room) // of unknown room: what finds no place elsewhere is tried there
		if p.Free >= 0 {
			seat.Capacity = min(bound(seat.Capacity), p.have+p.Free)
		}
	}
	seat.Max = min(bound(seat.Max), s.most)
	if p.Stand == StandClosed {
		seat.Max = min(bound(seat.Max), p.have)
	}
	return seat
}

// shrink lets clusters above their goal go down as far as is safe.
func (s *stage) shrink() {
	var ready, ending int64
	for p := range s.mine {
		p.to = p.have
		if p.goal < p.to && p.believed {
			// Pods without a node serve nobody, and others are asked for in their place.
			p.to = max(p.goal, p.standing())
		}
		s.asked += p.to
		ending += max(0, p.Ready-p.to)
		if p.believed {
			ready += min(p.ready, p.to)
		}
	}
	s.take(s.asked-s.wanted, func(p *post) int64 { return p.to - max(p.goal, p.ready) })
	pace := max(0, s.budget-ending) + s.cut
	s.take(min(ready-s.floor, s.asked-s.wanted, pace), func(p *post) int64 { return p.to - p.goal })
	s.cut = max(0, min(s.cut, s.asked-s.wanted))
}

// take shrinks clusters by n in all, each by no more than excess says: first those
// that are left, then the others, in proportion.
func (s *stage) take(n int64, excess func(*post) int64) {
	for _, leaving := range []bool{true, false} {
		if n <= 0 {
			return
		}
		given := s.share(n, func(p *post) int64 {
			if p.leaves() != leaving || !p.believed {
				return 0
			}
			return excess(p)
		}, -1)
		n -= given
		s.asked -= given
	}
}

// grow lets clusters below their goal go up: by all that is missing, and by what
// the budget allows beyond.
func (s *stage) grow() {
	ending := int64(0)
	for p := range s.mine {
		ending += max(0, p.Ready-p.to)
	}
	missing, beyond := max(0, s.wanted-s.asked), max(0, s.asked-s.wanted)
	s.asked += s.share(missing+max(0, s.budget-ending-beyond), func(p *post) int64 { return p.goal - p.to }, 1)
}

// share changes the clusters by n in all, in proportion to how much each may
// change, and returns by how many it did.
func (s *stage) share(n int64, may func(*post) int64, sign int64) int64 {
	var hands []hand
	var at []*post
	for p := range s.mine {
		if k := may(p); k > 0 {
			hands, at = append(hands, hand{weight: k, high: k}), append(at, p)
		}
	}
	var sum int64
	deal(n, hands)
	for i, h := range hands {
		at[i].to += sign * h.got
		sum += h.got
	}
	return sum
}

// duplicate gives every cluster as many. What leaves waits until those that stay
// are there and ready.
func (s *stage) duplicate(replicas int64) {
	for _, p := range s.posts {
		p.goal, p.to = replicas, replicas
		if p.leaves() {
			p.goal = 0
		}
	}
}

// owe remembers how many replicas were ready when a cluster began to be left in which an
// autoscaler says how many, since the author's number says little then. It returns how
// many are owed elsewhere.
func (s *stage) owe() (owed int64) {
	var ready int64
	for _, p := range s.posts {
		if !p.silent() {
			ready += min(p.Ready, p.Desired)
		}
	}
	for _, p := range s.posts {
		switch r := &p.Recollection; {
		case p.silent():
		case !p.leaves() || !p.Present:
			r.Owed, r.Leaves = 0, time.Time{}
		case p.Scaled && r.Leaves.IsZero():
			r.Owed, r.Leaves = ready, s.now
		}
		if p.owes(s.now, s.grace) {
			owed = max(owed, p.Owed)
		}
	}
	return owed
}

// owes: others are to be ready for what it has, and there is time still.
func (p *post) owes(now time.Time, grace time.Duration) bool {
	return !p.Leaves.IsZero() && now.Sub(p.Leaves) < grace
}

// relieved: what an autoscaler had wanted in a cluster that is left is ready elsewhere.
func (s *stage) relieved(leaving *post) bool {
	if !leaving.owes(s.now, s.grace) {
		return true
	}
	var ready int64
	for _, p := range s.posts {
		if !p.silent() && !p.leaves() && p.believed {
			ready += min(p.Ready, p.Desired)
		}
	}
	return ready >= leaving.Owed
}

// othersReady: some cluster keeps the workload, and all that answer have it ready.
func (s *stage) othersReady() bool {
	var some bool
	for _, p := range s.posts {
		if p.silent() || p.leaves() || !p.open() && !p.Present {
			continue
		}
		if !p.Present || !p.believed || p.Ready < max(p.to, 0) || p.Scaled && p.Ready < p.Desired {
			return false
		}
		some = true
	}
	return some
}

// memory is what the next step has to know.
func (s *stage) memory(replicas int64) Memory {
	m := Memory{Replicas: max(replicas, 0), Cut: s.cut}
	for _, p := range s.posts {
		if p.worthRemembering() {
			if m.Clusters == nil {
				m.Clusters = map[string]Recollection{}
			}
			m.Clusters[p.Choice.Cluster] = p.Recollection
		}
	}
	return m
}
