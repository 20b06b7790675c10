package placement

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A world of clusters in small: they obey late, pods take a while to become ready
// or find no node, clusters fall silent with or without their pods, and return.

const (
	tick    = 10 * time.Second
	obeying = 2 // ticks from an order to the obedience
	young   = 3 // ticks from a pod's birth until it is ready
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

type town struct {
	name    string
	stand   Stand
	room    int64 // pods that fit
	tells   bool  // how much room is free
	silent  time.Time
	dead    bool // its pods are gone while it is silent
	present bool
	spec    int64
	pods    []int // ticks since each was born, eldest first
	stuck   time.Time
	orders  []dated
	seen    Sight // as last told
}

type dated struct {
	due int
	Order
}

// judge is a test, of testing or of rapid.
type judge interface {
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

type world struct {
	t        judge
	template Template
	replicas int64
	towns    []*town
	memory   Memory
	step     Step
	now      int // in ticks
	hurt     int // the last tick with an outage or a change by the author
	moved    int // the last tick at which an order changed something
}

func (w *world) clock() time.Time { return epoch.Add(time.Duration(w.now) * tick) }

func (w *world) town(name string) *town {
	for _, c := range w.towns {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (c *town) ready(age int) (n int64) {
	for _, born := range c.pods {
		if born >= age {
			n++
		}
	}
	return n
}

// fit lets pods die and be born until the cluster has what is asked for, or what
// fits; those that are not ready die first.
func (c *town) fit(now time.Time) {
	want := c.spec
	if !c.present {
		want = 0
	}
	if n := min(want, c.room); int64(len(c.pods)) > n {
		c.pods = c.pods[:n]
	}
	for int64(len(c.pods)) < min(want, c.room) {
		c.pods = append(c.pods, 0)
	}
	if want <= c.room {
		c.stuck = time.Time{}
	} else if c.stuck.IsZero() {
		c.stuck = now
	}
}

func (c *town) sight() Sight {
	if !c.silent.IsZero() {
		s := c.seen
		s.Cluster, s.Silent = c.name, c.silent
		return s
	}
	s := Sight{Cluster: c.name, Present: c.present, Ready: c.ready(young), Free: -1, UnschedulableSince: c.stuck}
	if c.present {
		s.Desired = c.spec
		s.Unschedulable = max(0, c.spec-c.room)
	}
	if c.tells {
		s.Free = c.room - int64(len(c.pods))
	}
	c.seen = s
	return s
}

// pass lets one tick pass: clusters obey, pods age, and the next step is asked for.
func (w *world) pass() {
	w.now++
	for _, c := range w.towns {
		if !c.dead {
			for i := range c.pods {
				c.pods[i]++
			}
			c.fit(w.clock())
		}
	}
	for _, c := range w.towns {
		if c.silent.IsZero() {
			for len(c.orders) > 0 && c.orders[0].due <= w.now {
				w.obey(c, c.orders[0].Order)
				c.orders = c.orders[1:]
			}
		}
	}
	w.ask()
}

// counted are the ready replicas that the decision may count on: pods that are
// ready since before the order, and what silent clusters had until their grace is over.
func (w *world) counted() (n int64) {
	for _, c := range w.towns {
		switch {
		case c.silent.IsZero():
			n += c.ready(young + obeying)
		case w.clock().Sub(c.silent) < w.template.Spread.Grace:
			n += c.seen.Ready
		}
	}
	return n
}

func (w *world) obey(c *town, o Order) {
	before := w.counted()
	switch o.Act {
	case ActRemove:
		if c.present && c.spec > 0 && w.template.Spread.Mode != ModeDuplicate {
			w.t.Errorf("%v: removed from %s with %d replicas", w.at(), c.name, c.spec)
		}
		c.present, c.spec = false, 0
	case ActApply:
		c.present, c.spec = true, o.Replicas
	}
	c.fit(w.clock())
	after := w.counted()
	// Nothing is asked of a step that an outage, or the author, has overtaken.
	if w.now-w.hurt > obeying+1 && after < min(before, w.wanted()) {
		w.t.Errorf("%v: %s obeys %s %d, and of %d ready replicas %d are left; %d are wanted", w.at(), c.name, o.Act, o.Replicas, before, after, w.wanted())
	}
}

// wanted is what can be had.
func (w *world) wanted() int64 {
	var room int64
	for _, c := range w.towns {
		l := w.template.Spread.LimitOf(c.name)
		switch {
		case !c.silent.IsZero():
			room += int64(len(c.pods))
		case c.stand != StandOpen:
			room += int64(len(c.pods))
		case l.Weight > 0:
			room += min(c.room, bound(l.Max))
		default:
			room += min(c.room, bound(l.Max), max(l.Min, int64(len(c.pods))))
		}
	}
	return min(w.replicas, room)
}

// ask asks for the next step, now and then after a restart: the memory goes by way of JSON.
func (w *world) ask() {
	var sights []Sight
	var choices []Choice
	for _, c := range w.towns {
		sights = append(sights, c.sight())
		choices = append(choices, Choice{Cluster: c.name, Stand: c.stand})
	}
	m := w.memory
	if w.now%7 == 0 {
		data, err := json.Marshal(w.memory)
		if err != nil {
			w.t.Fatal(err)
		}
		m = Memory{}
		if err := json.Unmarshal(data, &m); err != nil {
			w.t.Fatal(err)
		}
	}
	w.step, w.memory = Next(w.template, w.replicas, choices, sights, m, w.clock())
	if len(w.memory.Clusters) > len(w.towns) {
		w.t.Errorf("%v: the memory has grown to %d clusters of %d", w.at(), len(w.memory.Clusters), len(w.towns))
	}
	w.checkOrders(sights, m)
	for _, o := range w.step.Orders {
		c := w.town(o.Cluster)
		if o.Act == ActNone {
			continue
		}
		last, present := c.spec, c.present
		if n := len(c.orders); n > 0 {
			last, present = c.orders[n-1].Replicas, c.orders[n-1].Act == ActApply
		}
		if last != o.Replicas || present != (o.Act == ActApply) {
			c.orders = append(c.orders, dated{w.now + obeying, o})
			w.moved = w.now
		}
	}
}

// checkOrders: the budget holds, and silent clusters are left alone.
func (w *world) checkOrders(sights []Sight, before Memory) {
	if w.template.Spread.Mode == ModeDuplicate {
		return
	}
	budget := w.template.Spread.Budget
	if budget == 0 {
		budget = max(1, w.replicas/10)
	}
	var asked, had, counted int64
	for _, s := range sights {
		i := slices.IndexFunc(w.step.Orders, func(o Order) bool { return o.Cluster == s.Cluster })
		if !s.Silent.IsZero() {
			if i >= 0 && w.step.Orders[i].Act != ActNone {
				w.t.Errorf("%v: %s is silent and given an order", w.at(), s.Cluster)
			}
			r := w.memory.Clusters[s.Cluster]
			if due := w.replaceable(s.Cluster, before); r.Ordered > 0 && r.Replaced != due {
				w.t.Errorf("%v: %s is silent, and that it is replaced is %v, want %v\n%s", w.at(), s.Cluster, r.Replaced, due, w)
			}
			if !r.Replaced {
				counted += min(r.Ordered, r.Seen)
			}
			continue
		}
		if i >= 0 && w.step.Orders[i].Act == ActApply {
			asked += w.step.Orders[i].Replicas
		}
		if r, met := before.Clusters[s.Cluster]; met && r.Silent.IsZero() {
			had += r.Ordered
		} else {
			had += s.Desired
		}
	}
	if asked > max(had, max(0, w.replicas-counted)+budget) {
		w.t.Errorf("%v: %d replicas are asked for, before %d, of %d with %d silent and a budget of %d", w.at(), asked, had, w.replicas, counted, budget)
	}
}

// replaceable says whether a silent cluster's replicas are to be placed elsewhere, in
// other words than mourn does: without order, one cluster after the other.
func (w *world) replaceable(name string, before Memory) bool {
	c, r := w.town(name), before.Clusters[name]
	since := func(c *town) time.Time {
		if t := before.Clusters[c.name].Silent; !t.IsZero() && t.Before(c.silent) {
			return t
		}
		return c.silent
	}
	switch {
	case r.Replaced && !r.Silent.IsZero() || c.stand == StandLeaving || c.stand == StandOutside:
		return true
	case w.clock().Sub(since(c)) < w.template.Spread.Grace:
		return false
	}
	silent, answer := 0, 0
	for _, other := range w.towns {
		switch o := before.Clusters[other.name]; {
		case other.silent.IsZero() && w.memory.Clusters[other.name].Back.IsZero():
			answer++
		case other.silent.IsZero(), !since(other).Before(since(c).Add(-w.template.Spread.Grace)), min(o.Ordered, o.Seen) > 0 && !w.memory.Clusters[other.name].Replaced:
			silent++
		}
	}
	return silent < 2 || silent <= answer
}

func (w *world) at() time.Duration { return time.Duration(w.now) * tick }

func (w *world) lose(c *town, dead bool) {
	if c.silent.IsZero() {
		c.silent, c.dead, w.hurt = w.clock(), dead, w.now
		if dead {
			c.pods = nil
		}
	}
}

// find lets a cluster answer again. Orders that never arrived are void.
func (w *world) find(c *town) {
	if !c.silent.IsZero() {
		c.silent, c.dead, c.orders, w.hurt = time.Time{}, false, nil, w.now
		c.fit(w.clock())
	}
}

func (w *world) String() string {
	var out string
	for _, c := range w.towns {
		s := "  "
		if !c.silent.IsZero() {
			s = "  ?"
		}
		out += fmt.Sprintf("%s%s %d/%d", s, c.name, c.ready(young), c.spec)
	}
	return out
}
