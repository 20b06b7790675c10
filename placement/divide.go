package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// Seat is one cluster at the table when replicas are divided.
type Seat struct {
	Cluster string // each name once
	Limit
	Capacity int64 // replicas of this workload that fit there, those that run included; negative: not known
	Running  int64 // stay where they are unless Spread.Rebalance
}

// Part is what a cluster gets in a division, and why. Counts above 2³¹-1, which
// Kubernetes cannot say, are taken for 2³¹-1.
type Part struct {
	Seat
	Replicas int64
	Overflow int64 // that fell to it and that its capacity could not hold; may be tried there again once there is room
	Least    int64 // of Replicas: given as minimum
	Kept     int64 // of Replicas: beyond Least, because they run there
}

// Division is a workload's replicas over clusters.
type Division struct {
	Parts    []Part // every seat's, sorted by cluster
	Unplaced int64  // that no cluster could take
}

// Divide divides replicas over seats, as Federation's replica preferences did:
// minimums first, heavier clusters before lighter ones; then, unless rebalance,
// what runs stays where it runs, up to maximum and capacity; then the rest by
// weight. See deal for the rounding. Ties are broken by a hash of the names of
// cluster and object.
//
// The order of the seats does not matter. It takes O(n log n) for n seats.
func Divide(object string, replicas int64, rebalance bool, seats []Seat) Division {
	t := newTable(object, seats)
	replicas = clamp(replicas, 0, maxReplicas)
	d := Division{Parts: make([]Part, len(seats))}
	d.Unplaced = t.divide(replicas, rebalance)
	for i, c := range t.chairs {
		d.Parts[i] = Part{Seat: c.Seat, Replicas: c.least + c.kept + c.dealt, Least: c.least, Kept: c.kept}
	}
	if t.forgetCapacity() {
		t.divide(replicas, rebalance)
		for i, c := range t.chairs {
			if over := c.least + c.kept + c.dealt - c.Capacity; c.Capacity >= 0 && over > 0 {
				d.Parts[i].Overflow = over
			}
			if !rebalance { // then only what found no other place needs another try
				d.Parts[i].Overflow = min(d.Parts[i].Overflow, d.Unplaced)
			}
		}
	}
	slices.SortFunc(d.Parts, func(a, b Part) int { return cmp.Compare(a.Cluster, b.Cluster) })
	return d
}

// table is a division while it is made. Its chairs stand heaviest first, equal
// ones by hash.
type table struct {
	chairs []chair
	hands  []hand
	at     []int // the chair of each hand
}

type chair struct {
	Seat
	tie                uint64
	high               int64 // the lower of maximum and capacity
	least, kept, dealt int64
}

func newTable(object string, seats []Seat) *table {
	t := &table{chairs: make([]chair, len(seats)), hands: make([]hand, 0, len(seats)), at: make([]int, 0, len(seats))}
	for i, s := range seats {
		s.Weight, s.Min, s.Running = clamp(s.Weight, 0, maxReplicas), clamp(s.Min, 0, maxReplicas), clamp(s.Running, 0, maxReplicas)
		t.chairs[i] = chair{Seat: s, tie: tie(s.Cluster, object), high: min(bound(s.Max), bound(s.Capacity))}
	}
	slices.SortFunc(t.chairs, func(a, b chair) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.tie, b.tie), cmp.Compare(a.Cluster, b.Cluster))
	})
	return t
}

// bound reads a count whose negative values mean no bound.
func bound(n int64) int64 {
	if n < 0 {
		return maxReplicas
	}
	return min(n, maxReplicas)
}

// forgetCapacity says whether there was any.
func (t *table) forgetCapacity() (any bool) {
	for i := range t.chairs {
		c := &t.chairs[i]
		any = any || c.Capacity >= 0
		c.high = bound(c.Max)
	}
	return any
}

// divide sets every chair's counts and returns what found no place.
func (t *table) divide(replicas int64, rebalance bool) int64 {
	for i := range t.chairs {
		c := &t.chairs[i]
		c.least = min(c.Min, c.high, replicas)
		c.kept, c.dealt = 0, 0
		replicas -= c.least
	}
	if !rebalance {
		// Where more runs than is wanted, the weights say who keeps how much of it;
		// those without weight keep what is left.
		replicas = t.keep(replicas, func(c *chair) int64 { return c.Weight })
		replicas = t.keep(replicas, func(c *chair) int64 {
			if c.Weight == 0 {
				return 1
			}
			return 0
		})
	}
	t.lay(func(c *chair) (hand, bool) {
		return hand{weight: c.Weight, low: c.kept, high: c.high - c.least}, c.Weight > 0
	})
	replicas = deal(replicas, t.hands)
	for i, h := range t.hands {
		t.chairs[t.at[i]].dealt = h.got - h.low
	}
	return replicas
}

// keep lets running replicas stay and returns what is left to be given.
func (t *table) keep(replicas int64, weight func(*chair) int64) int64 {
	t.lay(func(c *chair) (hand, bool) {
		h := hand{weight: weight(c), high: min(c.Running, c.high) - c.least}
		return h, h.weight > 0 && h.high > 0
	})
	replicas = deal(replicas, t.hands)
	for i, h := range t.hands {
		t.chairs[t.at[i]].kept = h.got
	}
	return replicas
}

// lay puts out the hands of those chairs that take part.
func (t *table) lay(of func(*chair) (hand, bool)) {
	t.hands, t.at = t.hands[:0], t.at[:0]
	for i := range t.chairs {
		if h, ok := of(&t.chairs[i]); ok {
			t.hands, t.at = append(t.hands, h), append(t.at, i)
		}
	}
}

// Reasons says in short sentences why a cluster gets what it gets: what made it
// that many, then what kept it from more. They are made when asked for.
func (p Part) Reasons() []string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	switch {
	case p.Least > 0 && p.Least < p.Min:
		say("%d of its minimum of %d", p.Least, p.Min)
	case p.Least > 0:
		say("its minimum of %d", p.Least)
	}
	if p.Kept > 0 {
		say("%d that run there and stay", p.Kept)
	}
	if dealt := p.Replicas - p.Least - p.Kept; dealt > 0 {
		say("%d by its weight of %d", dealt, p.Weight)
	}
	switch {
	case p.Max >= 0 && p.Replicas == p.Max && (p.Capacity < 0 || p.Capacity >= p.Max):
		say("no more than its maximum of %d", p.Max)
	case p.Overflow > 0:
		say("room for %d of the %d that fall to it", p.Capacity, p.Capacity+p.Overflow)
	case p.Capacity >= 0 && p.Replicas == p.Capacity:
		say("room for no more than %d", p.Capacity)
	case p.Weight == 0:
		say("no more: its weight is 0")
	case p.Replicas == 0:
		say("none of the replicas falls to it")
	}
	return why
}
