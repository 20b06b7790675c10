// Package hub is the one owner of facts: it keeps what sources tell, makes a
// Snapshot of it and gives the Plan to the voices.
package hub

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/health"
)

// Config is what a Hub needs.
type Config struct {
	// Instance names this process; sources whose name begins with it are its own.
	Instance string
	// Dir is where the last known good facts are kept over restarts; empty
	// keeps them in memory only.
	Dir string
	// Rules of the quorum; the zero value means the defaults.
	Rules health.Rules
	// Voices are told every new Plan, in order, by the hub's goroutine. They
	// must not block: keep the pointer and wake whoever works on it.
	Voices     []func(*steer.Plan)
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Hub owns the facts.
type Hub struct {
	cfg     Config
	updates chan telling
	plan    atomic.Pointer[steer.Plan]
	ledger  *Ledger // of Run's goroutine
	kept    []fleet.Update
	keeper  *keeper
	metrics *metrics
}

// New makes a hub with the facts that Dir remembers. They are in force at once,
// marked stale until their source speaks again. A memory that cannot be read is
// logged and moved aside; the hub works without it. A Dir that cannot be
// written to is an error.
func New(cfg Config) (*Hub, error) {
	h := &Hub{
		cfg:     cfg,
		updates: make(chan telling, 64),
		ledger:  NewLedger(cfg.Rules),
		keeper:  newKeeper(cfg.Dir, cfg.Log),
		metrics: newMetrics(cfg.Registerer),
	}
	if err := h.keeper.usable(); err != nil {
		return nil, err
	}
	now := time.Now()
	h.kept = h.keeper.load(now)
	for _, u := range h.kept {
		h.ledger.Tell(u, now)
	}
	h.plan.Store(steer.New(h.ledger.Snapshot(now)))
	return h, nil
}

// Tell takes an update. It blocks while the hub is busy and gives up with ctx.
func (h *Hub) Tell(ctx context.Context, u fleet.Update) {
	select {
	case h.updates <- telling{Update: u}:
	case <-ctx.Done():
	}
}

// telling is an update on its way; saved, unless nil, hears when it is on disk.
type telling struct {
	fleet.Update
	saved chan<- error
}

// Order takes an update and returns when it is in force and on disk: nobody
// tells an order again after a crash.
func (h *Hub) Order(ctx context.Context, u fleet.Update) error {
	saved := make(chan error, 1)
	select {
	case h.updates <- telling{u, saved}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Plan is the newest plan, never nil.
func (h *Hub) Plan() *steer.Plan { return h.plan.Load() }

// Remembered is what the disk remembered at the start, one update per source.
func (h *Hub) Remembered() []fleet.Update { return h.kept }

// saveEvery bounds how often facts are written to disk; a crash loses at most
// that much, and sources tell everything again anyway. Orders are not told again.
const saveEvery = 5 * time.Second

// Run owns the book until ctx ends. Its select waits for:
//   - an update: it and all others that wait are applied, then one Snapshot is built;
//   - the moment when time alone changes a verdict (freshness, freeze);
//   - the next save to disk, and the scribe that is ready for it.
func (h *Hub) Run(ctx context.Context) error {
	l := h.ledger
	pages, written := make(chan page), make(chan error, 1)
	go func() { written <- h.scribe(pages) }()
	var next *page // that the scribe has not come to yet
	judge := time.NewTimer(0)
	defer judge.Stop()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	for {
		var orders []chan<- error
		var ready chan<- page
		var p page
		if next != nil {
			ready, p = pages, *next
		}
		select {
		case <-ctx.Done():
			pages <- *h.turn(next, h.takeWaiting(l, nil))
			close(pages)
			return <-written
		case ready <- p:
			next = nil
			continue
		case u := <-h.updates:
			orders = h.take(l, u, orders)
		case <-judge.C:
		case <-save.C:
			next = h.turn(next, nil)
			continue
		}
		orders = h.takeWaiting(l, orders)
		now := time.Now()
		h.publish(l.Snapshot(now))
		if len(orders) > 0 {
			next = h.turn(next, orders)
		}
		if due, ok := l.NextChange(); ok {
			judge.Reset(max(due.Sub(now), 10*time.Millisecond))
		}
	}
}

// takeWaiting takes every update that waits, so that a burst costs one build.
func (h *Hub) takeWaiting(l *Ledger, orders []chan<- error) []chan<- error {
	for {
		select {
		case u := <-h.updates:
			orders = h.take(l, u, orders)
		default:
			return orders
		}
	}
}

// take takes an update and adds whoever waits for it to be saved to orders.
func (h *Hub) take(l *Ledger, u telling, orders []chan<- error) []chan<- error {
	before := l.stale(u.Source)
	l.Tell(u.Update, time.Now())
	h.metrics.updates.Inc()
	switch after := l.stale(u.Source); {
	case before == after:
	case after != "":
		h.cfg.Log.Warn("source is stale, its last facts stay in force", "source", u.Source, "why", after)
	default:
		h.cfg.Log.Info("source is fresh again", "source", u.Source)
	}
	if u.saved != nil {
		orders = append(orders, u.saved)
	}
	return orders
}

func (h *Hub) publish(s *fleet.Snapshot) {
	if s == h.plan.Load().Snapshot {
		return
	}
	p := steer.New(s)
	h.plan.Store(p)
	h.metrics.snapshot(s)
	for _, v := range h.cfg.Voices {
		v(p)
	}
}

// Source names a sense of an instance: "eu-1/file/cluster-a".
func Source(instance, sense, detail string) string {
	if detail == "" {
		return fmt.Sprintf("%s/%s", instance, sense)
	}
	return fmt.Sprintf("%s/%s/%s", instance, sense, detail)
}
