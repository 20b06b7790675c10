package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/bench/role"
)

const (
	poll     = 50 * time.Millisecond
	quiet    = 3 * time.Second  // without a write; a status waits for a second at most
	patience = 15 * time.Minute // for any one step
)

// span is what happened between two moments.
type span struct {
	cpu       time.Duration
	mallocs   uint64
	allocated uint64
	wall      time.Duration
	peak      int64
	counts    reply
}

// during measures what goes on from now on until what is waited for has come.
func (b *bench) during(which int, wait func() (reply, error)) (s span, err error) {
	if _, err := b.servers.Ask(command{Do: "arm"}); err != nil {
		return s, err
	}
	before, err := b.applier.Ask(command{Do: "usage"})
	if err != nil {
		return s, err
	}
	began := time.Now()
	if _, err = wait(); err != nil {
		return s, err
	}
	s.wall = time.Since(began)
	after, err := b.applier.Ask(command{Do: "usage"})
	if err != nil {
		return s, err
	}
	s.cpu, s.peak = after.CPU-before.CPU, after.Peak
	s.mallocs, s.allocated = after.Mallocs-before.Mallocs, after.Allocated-before.Allocated
	s.counts, err = b.servers.Ask(command{Do: "counts", Which: which})
	return s, err
}

// until polls the servers.
func (b *bench) until(come func(reply) bool) (reply, error) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		r, err := b.servers.Ask(command{Do: "counts", Which: -1})
		if err != nil || come(r) {
			return r, err
		}
	}
	return reply{}, fmt.Errorf("not within %s", patience)
}

// still waits until nothing has been written for a while, and everything is placed.
func (b *bench) still() (reply, error) {
	since := time.Now()
	return b.until(func(r reply) bool {
		last := time.Unix(0, max(r.Host.Last, r.Members.Last))
		if last.Before(since) {
			last = since
		}
		return r.N == b.templates && time.Since(last) > quiet
	})
}

// mark begins the next of the profiles.
func (b *bench) mark(name string) error {
	_, err := b.applier.Ask(command{Do: "profile", Name: name})
	return err
}

func (b *bench) first() error {
	if err := b.mark("first"); err != nil {
		return err
	}
	began := time.Now()
	s, err := b.during(-1, func() (reply, error) {
		if r, err := b.applier.Ask(command{Do: "begin"}); err != nil {
			return r, err
		}
		return b.still()
	})
	if err != nil {
		return err
	}
	m, h := s.counts.Members, s.counts.Host
	n := b.templates * b.clusters
	b.say("\nfirst full pass: %.1f s until the members have it, %.1f s until the host's statuses say so", since(began, m.Last), since(began, h.Last))
	b.say("  CPU %.1f s, of which a bare client's %d writes would be %.1f s (x%.1f); %.0f kB and %.0f allocations per object",
		s.cpu.Seconds(), n, b.bare.Seconds()*float64(n), s.cpu.Seconds()/b.bare.Seconds()/float64(n), float64(s.allocated)/float64(n)/1e3, float64(s.mallocs)/float64(n))
	b.say("  peak memory %.0f MB (%.1f kB per object)", float64(s.peak)/1e6, float64(s.peak)/float64(n)/1e3)
	b.say("  members: %d writes, %d other reads, %d watches; host: %d writes (%d of them Events), %d reads", m.Writes, m.Reads, m.Watches, h.Writes, h.Events, h.Reads)
	if b.rate == 0 {
		b.say("  at the 50 requests a second that meridiand allows itself for each API server: %d s for a member, %d s for the host",
			(m.Writes+m.Reads)/b.clusters/50, (h.Writes+h.Reads)/50)
	}
	b.goal(m.Writes == n, true, "each object is written once (%d writes of %d objects)", m.Writes, n)
	return nil
}

func since(began time.Time, at int64) float64 { return time.Unix(0, at).Sub(began).Seconds() }

func (b *bench) steady() error {
	if err := b.mark("steady"); err != nil {
		return err
	}
	s, err := b.during(-1, func() (reply, error) {
		wait := time.NewTimer(b.while)
		<-wait.C
		return reply{}, nil
	})
	if err != nil {
		return err
	}
	m, h := s.counts.Members, s.counts.Host
	b.say("\nsteady state of %s: %.1f %% of a CPU, %d pulses of members, %d requests for the lease, %d other reads",
		b.while, 100*s.cpu.Seconds()/s.wall.Seconds(), m.Pulses, h.Leases, m.Reads+h.Reads)
	b.goal(m.Writes+h.Writes == 0, true, "no writes in a steady state (%d to members, %d to the host)", m.Writes, h.Writes)
	return nil
}

// stir has members say things that are no news.
func (b *bench) stir() error {
	if err := b.mark("stir"); err != nil {
		return err
	}
	n := 0
	s, err := b.during(-1, func() (reply, error) {
		r, err := b.servers.Ask(command{Do: "stir", Which: min(200, b.templates)})
		if n = r.N; err != nil {
			return r, err
		}
		return b.still()
	})
	if err != nil {
		return err
	}
	b.say("\n%d watch events that are no news: %.0f µs of CPU, %.0f allocations and %.1f kB for each", n,
		float64(s.cpu.Microseconds())/float64(n), float64(s.mallocs)/float64(n), float64(s.allocated)/float64(n)/1e3)
	w := s.counts.Members.Writes + s.counts.Host.Writes
	b.goal(w == 0, true, "no writes for no news (%d)", w)
	return nil
}

// changes has one workload change, in peace, and then while there is news for which
// every workload is thought about.
func (b *bench) changes() error {
	if err := b.mark("change"); err != nil {
		return err
	}
	for _, at := range []int{0, isMap} {
		for _, busy := range []bool{false, true} {
			if err := b.change(at, busy); err != nil {
				return err
			}
		}
	}
	return nil
}

// change has workloads of the kind at this place of a template's five change.
func (b *bench) change(at int, busy bool) error {
	var all []span
	var late []time.Duration
	foreign, writes := 0, 0
	for round := range b.rounds {
		which := (at + ofFive*(round*37+1)) % (b.templates / ofFive * ofFive)
		var began int64
		s, err := b.during(which, func() (reply, error) {
			if busy {
				if r, err := b.applier.Ask(command{Do: "news"}); err != nil {
					return r, err
				}
			}
			b.variant++
			r, err := b.servers.Ask(command{Do: "change", Which: which, Variant: b.variant})
			if began = r.At; err != nil {
				return r, err
			}
			return b.still()
		})
		if err != nil {
			return err
		}
		all, late = append(all, s), append(late, time.Duration(s.counts.Members.Last-began))
		foreign, writes = foreign+s.counts.Foreign, writes+s.counts.Members.Writes
	}
	of := func(f func(span) float64) float64 { return median(all, f) }
	when := ""
	if busy {
		when = " while everything is thought about"
	}
	b.say("\none %s changes%s (%d times): in all clusters after %.0f ms (slowest %.0f ms)", template(at, 0)["kind"], when, b.rounds,
		median(late, func(d time.Duration) float64 { return d.Seconds() * 1e3 }), slices.Max(late).Seconds()*1e3)
	b.say("  %.1f ms of CPU over %.1f s; %.0f writes to members, %.0f other requests to them, %.0f writes to the host; %.0f kB written, %.0f kB said of it",
		of(func(s span) float64 { return float64(s.cpu.Microseconds()) / 1e3 }), of(func(s span) float64 { return s.wall.Seconds() }),
		of(func(s span) float64 { return float64(s.counts.Members.Writes) }), of(func(s span) float64 { return float64(s.counts.Members.Reads) }),
		of(func(s span) float64 { return float64(s.counts.Host.Writes) }),
		of(func(s span) float64 { return float64(s.counts.Members.In+s.counts.Host.In) / 1e3 }), of(func(s span) float64 { return float64(s.counts.Members.Out+s.counts.Host.Out) / 1e3 }))
	b.goal(foreign == 0 && writes == b.rounds*b.clusters, true, "a change costs its own writes only (%d to members for %d, %d to other workloads)", writes, b.rounds*b.clusters, foreign)
	b.goal(slices.Max(late) <= time.Second, false, "a change is in all clusters within 1 s")
	return nil
}

func (b *bench) restart() error {
	for _, away := range []time.Duration{time.Second, 8 * time.Second} {
		if err := b.mark("restart-" + away.String()); err != nil {
			return err
		}
		s, err := b.during(-1, func() (reply, error) {
			if r, err := b.servers.Ask(command{Do: "down", Which: 0}); err != nil {
				return r, err
			}
			wait := time.NewTimer(away)
			<-wait.C
			if r, err := b.servers.Ask(command{Do: "up", Which: 0}); err != nil {
				return r, err
			}
			if r, err := b.until(func(r reply) bool { return r.Members.Watches >= watched }); err != nil {
				return r, err
			}
			return b.still()
		})
		if err != nil {
			return err
		}
		m, h := s.counts.Members, s.counts.Host
		b.say("\na member of %d objects is away for %s: %.2f s of CPU, %.1f MB listed, %d watches, %d other reads, %d writes to the host",
			b.templates, away, s.cpu.Seconds(), float64(m.Out)/1e6, m.Watches, m.Reads, h.Writes)
		b.goal(m.Writes == 0, true, "a member that comes back as it was is not written to (%d)", m.Writes)
	}
	return nil
}

// watched are the kinds that are watched in a member: those that are placed, pods and
// autoscalers.
const watched = 5

// again has another Applier take over.
func (b *bench) again() error {
	b.applier.Stop()
	var err error
	if b.applier, err = role.Start[command, reply](command{Do: "ready"}, b.arguments("carry")...); err != nil {
		return err
	}
	if err := b.mark("again"); err != nil {
		return err
	}
	s, err := b.during(-1, func() (reply, error) {
		if r, err := b.applier.Ask(command{Do: "begin"}); err != nil {
			return r, err
		}
		if r, err := b.until(func(r reply) bool { return r.Members.Watches >= watched*b.clusters }); err != nil {
			return r, err
		}
		return b.rest()
	})
	if err != nil {
		return err
	}
	m, h := s.counts.Members, s.counts.Host
	n := b.templates * b.clusters
	b.say("\na new start with everything in place: %.1f s of CPU over %.1f s, peak memory %.0f MB (%.1f kB per object), %.1f MB listed", s.cpu.Seconds(), s.wall.Seconds(), float64(s.peak)/1e6, float64(s.peak)/float64(n)/1e3, float64(m.Out+h.Out)/1e6)
	b.goal(m.Writes+h.Writes == 0, true, "a new start writes nothing (%d to members, %d to the host)", m.Writes, h.Writes)
	return b.mark("")
}

// rest waits until the Applier has nothing left to do, which it has when it used less
// than a tenth of a CPU for a while.
func (b *bench) rest() (reply, error) {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	last, err := b.applier.Ask(command{Do: "usage"})
	for err == nil {
		<-tick.C
		var r reply
		if r, err = b.applier.Ask(command{Do: "usage"}); err == nil && r.CPU-last.CPU < quiet/10 {
			return r, nil
		}
		last = r
	}
	return reply{}, err
}

func median[T any](list []T, of func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = of(v)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
