package probe

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

const (
	// batch is how long observations that changed nothing wait for company.
	batch = time.Second
	// patience is how long the first telling waits for every target's first
	// result, so that it does not know less than what was told before a restart.
	patience = 3 * time.Second
)

// run is what Run's goroutine owns.
type run struct {
	*Prober
	watchers sync.WaitGroup // and the teller
	reports  chan report
	watched  map[netip.AddrPort]*watched

	outbox  chan fleet.Update // empty whenever the teller is idle
	told    chan struct{}     // the teller is idle again
	idle    bool
	given   time.Time // when the first targets came; zero: not yet
	begun   bool      // the first, whole update is out
	urgent  bool      // something changed that must not wait
	changed map[netip.AddrPort]bool
	gone    map[netip.AddrPort]bool
}

// watched is a target with its memory.
type watched struct {
	Target
	memory
	seen bool // has reported, be it that nothing could be seen
	lost bool // this host could not probe it the last time
	turn *turn
}

// turn is one goroutine that probes a target the same way all the time.
type turn struct{ cancel context.CancelFunc }

// report is what it says.
type report struct {
	turn   *turn
	addr   netip.AddrPort
	result result
	at     time.Time
}

// Run probes until ctx ends; then it returns nil. What was told stays told and
// grows old by itself. It is called once.
func (p *Prober) Run(ctx context.Context) error {
	r := &run{
		Prober: p, reports: make(chan report), watched: map[netip.AddrPort]*watched{},
		outbox: make(chan fleet.Update, 1), told: make(chan struct{}), idle: true,
		changed: map[netip.AddrPort]bool{}, gone: map[netip.AddrPort]bool{},
	}
	defer r.watchers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.watchers.Go(func() { r.teller(ctx) })
	tick := time.NewTicker(batch)
	defer tick.Stop()
	for {
		due := false
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake: // new targets
			r.replace(ctx, p.taken())
		case rep := <-r.reports: // a probe has ended
			r.observe(rep)
		case <-r.told: // the last update was taken
			r.idle = true
		case <-tick.C: // what waited for company goes
			due = true
		}
		r.tell(due || r.urgent)
	}
}

// replace takes over a set of targets.
func (r *run) replace(ctx context.Context, targets []Target) {
	if r.given.IsZero() {
		r.given = time.Now()
	}
	left := make(map[netip.AddrPort]bool, len(r.watched))
	for addr := range r.watched {
		left[addr] = true
	}
	for _, t := range targets {
		delete(left, t.Addr)
		w := r.watched[t.Addr]
		if w != nil && w.Target == t {
			continue
		}
		if w == nil {
			w = &watched{}
			r.watched[t.Addr] = w
			delete(r.gone, t.Addr)
		} else if w.Check == t.Check {
			w.Target = t // only its names are new
			continue
		} else {
			w.turn.cancel()
		}
		w.Target = t
		w.turn = r.start(ctx, t)
	}
	for addr := range left {
		r.watched[addr].turn.cancel()
		delete(r.watched, addr)
		delete(r.changed, addr)
		r.gone[addr] = true
		r.urgent = true
	}
	r.show()
}

// start begins to probe a target.
func (r *run) start(ctx context.Context, t Target) *turn {
	ctx, cancel := context.WithCancel(ctx)
	this := &turn{cancel: cancel}
	phase := phaseOf(r.cfg.Instance, t.Addr.String())
	r.watchers.Go(func() {
		timer := time.NewTimer(firstWait(t.Check.Interval, phase))
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			res, ok := r.once(ctx, t)
			if !ok {
				return
			}
			at := time.Now()
			select {
			case <-ctx.Done():
				return
			case r.reports <- report{turn: this, addr: t.Addr, result: res, at: at}:
			}
			timer.Reset(nextWait(time.Now(), t.Check.Interval, phase, rand.Float64()))
		}
	})
	return this
}

// once probes as soon as there is room. It reports false when ctx ended, which
// says nothing of the target.
func (r *run) once(ctx context.Context, t Target) (result, bool) {
	select {
	case <-ctx.Done():
		return result{}, false
	case r.slots <- struct{}{}:
	}
	defer func() { <-r.slots }()
	res := r.check(ctx, t)
	return res, ctx.Err() == nil
}

// observe takes in what a probe found.
func (r *run) observe(rep report) {
	w := r.watched[rep.addr]
	if w == nil || w.turn != rep.turn {
		return // was cancelled while it reported
	}
	r.metrics.count(w.Check.Kind, rep.result.outcome)
	w.seen = true
	log := r.log.With("target", w.Addr, "region", w.Region, "cluster", w.Cluster)
	if lost := rep.result.outcome == outcomeOwn; lost != w.lost {
		w.lost = lost
		if lost {
			log.Error("cannot probe gateway; its observation grows old", "error", rep.result.err)
		} else {
			log.Info("can probe gateway again")
		}
	}
	if w.lost {
		return // whoever cannot look has no vote
	}
	r.changed[rep.addr] = true
	if !w.observe(rep.result, w.Check, rep.at) {
		return
	}
	r.urgent = true
	if w.ok {
		log.Info("gateway is up as seen from here", "rtt", w.rtt.told)
	} else {
		log.Warn("gateway is down as seen from here", "error", w.err)
	}
}

// tell hands what is new to the teller, if it is due and the teller is idle. If
// it is not idle, newer results replace the ones that wait.
func (r *run) tell(due bool) {
	switch {
	case !r.idle || !due && r.begun:
		return
	case !r.begun && !r.ready():
		return
	case r.begun && len(r.changed)+len(r.gone) == 0:
		r.urgent = false
		return
	}
	u := fleet.Update{Source: r.cfg.Source, Whole: !r.begun}
	for addr := range r.changed {
		w := r.watched[addr]
		u.Put = append(u.Put, fleet.NewFact(r.name(addr), w.observation(r.cfg.Instance, r.cfg.At, w.Target)))
	}
	for addr := range r.gone {
		if r.begun {
			u.Gone = append(u.Gone, fleet.FactName{Kind: fleet.KindObservation, Name: r.name(addr)})
		}
	}
	slices.SortFunc(u.Put, func(a, b fleet.Fact) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(u.Gone, func(a, b fleet.FactName) int { return strings.Compare(a.Name, b.Name) })
	clear(r.changed)
	clear(r.gone)
	r.begun, r.urgent, r.idle = true, false, false
	r.show()
	r.outbox <- u // never blocks
}

// ready reports whether the first telling may go out.
func (r *run) ready() bool {
	if r.given.IsZero() {
		return false
	}
	if time.Since(r.given) >= patience {
		return true
	}
	for _, w := range r.watched {
		if !w.seen {
			return false
		}
	}
	return true
}

// teller tells in a goroutine of its own, so that a busy keeper of facts never
// delays a probe.
func (r *run) teller(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-r.outbox:
			r.cfg.Tell(ctx, u)
		}
		select {
		case <-ctx.Done():
			return
		case r.told <- struct{}{}:
		}
	}
}

// name is the name of a target's fact.
func (r *run) name(addr netip.AddrPort) string { return r.cfg.Instance + "/" + addr.String() }

// show gives the metrics what they show.
func (r *run) show() {
	rows := make([]row, 0, len(r.watched))
	for _, w := range r.watched {
		rows = append(rows, row{addr: w.Addr, region: w.Region, cluster: w.Cluster, known: w.known, up: w.ok, rtt: w.rtt.told})
	}
	r.metrics.show(rows)
}
