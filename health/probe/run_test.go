package probe

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
)

// stage is a world of targets without sockets, and a keeper of facts. It lives
// in a synctest bubble.
type stage struct {
	*Prober
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	began  time.Time

	mu      sync.Mutex
	play    map[netip.AddrPort]result        // what a probe of the address finds; absent: good
	takes   map[netip.AddrPort]time.Duration // and how long it takes
	busy    time.Duration                    // how long the keeper takes over an update
	probed  map[netip.AddrPort]int
	flying  int
	most    int // probes at once
	updates []heard
}

type heard struct {
	fleet.Update
	at time.Duration // since the beginning
}

func newStage(t *testing.T) *stage {
	s := &stage{
		t: t, began: time.Now(),
		play: map[netip.AddrPort]result{}, takes: map[netip.AddrPort]time.Duration{}, probed: map[netip.AddrPort]int{},
	}
	s.Prober = New(Config{
		Instance: "eu-1", Source: "eu-1/probe", At: fleet.Vantage{Region: "eu"},
		Registerer: prometheus.NewPedanticRegistry(),
		Tell: func(ctx context.Context, u fleet.Update) {
			s.mu.Lock()
			busy := s.busy
			s.mu.Unlock()
			pause(ctx, busy)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.updates = append(s.updates, heard{u, time.Since(s.began)})
		},
	})
	s.check = s.probe
	s.ctx, s.cancel = context.WithCancel(t.Context())
	return s
}

func pause(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *stage) probe(ctx context.Context, t Target) result {
	s.mu.Lock()
	s.probed[t.Addr]++
	s.flying++
	s.most = max(s.most, s.flying)
	takes := s.takes[t.Addr]
	s.mu.Unlock()
	pause(ctx, takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	if r, ok := s.play[t.Addr]; ok {
		return r
	}
	return good
}

// run starts the prober; the test ends when it has come to its end.
func (s *stage) run() {
	done := make(chan error, 1)
	go func() { done <- s.Run(s.ctx) }()
	s.t.Cleanup(func() {
		s.cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
}

// after lets time pass and returns what was told meanwhile.
func (s *stage) after(d time.Duration) []heard {
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.updates
	s.updates = nil
	return told
}

func (s *stage) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// probes is how often an address has been probed.
func (s *stage) probes(addr netip.AddrPort) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probed[addr]
}

func some(n int) []Target {
	var ts []Target
	for i := range n {
		ts = append(ts, Target{
			Addr:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80),
			Region: fleet.Region(fmt.Sprintf("r%d", i)), Cluster: fmt.Sprintf("c%d", i),
		})
	}
	return ts
}

func observations(told []heard) (obs []*fleet.Observation) {
	for _, u := range told {
		for _, f := range u.Put {
			obs = append(obs, f.Value.(*fleet.Observation))
		}
	}
	return obs
}

func TestFirstTellingIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(3)
		s.set(func() { s.play[ts[1].Addr] = awful })
		s.Update(ts)
		s.run()
		told := s.after(1100 * time.Millisecond)
		if len(told) == 0 {
			t.Fatal("nothing told, although every target was probed")
		}
		first := told[0]
		if !first.Whole || first.Source != "eu-1/probe" || len(first.Put) != 3 || len(first.Gone) != 0 || first.Stale != "" {
			t.Fatalf("told first: %+v", first)
		}
		for i, f := range first.Put {
			o := f.Value.(*fleet.Observation)
			if f.Kind != fleet.KindObservation || f.Name != "eu-1/"+ts[i].Addr.String() || o.Target != ts[i].Addr || o.By != "eu-1" || o.From.Region != "eu" {
				t.Errorf("fact %d: %q %+v", i, f.Name, o)
			}
			if o.OK != (i != 1) || o.OK == (o.Error != "") {
				t.Errorf("fact %d: up is %v, error %q", i, o.OK, o.Error)
			}
		}
		for _, u := range s.after(time.Minute) {
			if u.Whole {
				t.Errorf("a second whole telling after %v", u.at)
			}
		}
	})
}

func TestSaysNothingBeforeItHasTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.run()
		if told := s.after(time.Minute); len(told) != 0 {
			t.Fatalf("told %+v", told)
		}
		s.Update(nil)
		told := s.after(time.Minute)
		if len(told) != 1 || !told[0].Whole || len(told[0].Put) != 0 {
			t.Fatalf("no targets are a whole truth, told once; told %+v", told)
		}
	})
}

func TestSlowTargetDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(20)
		slow := ts[0].Addr
		s.set(func() { s.takes[slow] = maxTimeout })
		s.Update(ts)
		s.run()
		told := s.after(4 * time.Second)
		if first := told[0]; !first.Whole || len(first.Put) != 19 || first.at < patience || first.at > patience+batch {
			t.Errorf("the first telling at %v, whole %v, has %d facts; want the 19 quick ones after %v", first.at, first.Whole, len(first.Put), patience)
		}
		s.after(36 * time.Second)
		for _, target := range ts[1:] {
			if n := s.probes(target.Addr); n < 19 || n > 22 {
				t.Errorf("%v probed %d times in 40s, want about 20", target.Addr, n)
			}
		}
		if n := s.probes(slow); n < 5 || n > 7 {
			t.Errorf("the slow target was probed %d times in 40s at 5s each, want every third slot", n)
		}
	})
}

func TestChangeIsToldAtOnceAndTheRestOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(30)
		s.Update(ts)
		s.run()
		s.after(10 * time.Second)
		quiet := s.after(20 * time.Second)
		if n := len(quiet); n > 20 || n < 18 {
			t.Errorf("%d updates in 20 quiet seconds", n)
		}
		if n := len(observations(quiet)); n < 280 || n > 320 {
			t.Errorf("%d observations in 20s of 30 targets at 2s", n)
		}
		down := ts[7].Addr
		fell := time.Now()
		s.set(func() { s.play[down] = awful })
		var change *fleet.Observation
		for _, u := range s.after(10 * time.Second) {
			for _, o := range observations([]heard{u}) {
				if o.Target == down && !o.OK && change == nil {
					change = o
					if at := s.began.Add(u.at); !at.Equal(o.At) {
						t.Errorf("the fall was seen at %v and told at %v", o.At, at)
					}
				}
				if o.Target != down && !o.OK {
					t.Errorf("%v is told to be down", o.Target)
				}
			}
		}
		if change == nil {
			t.Fatal("the fall was not told in 10s")
		}
		if took := change.Since.Sub(fell); took < 4*time.Second || took > 6500*time.Millisecond || !change.Since.Equal(change.At) || change.Error != awful.err {
			t.Errorf("3 misses at 2s took %v: %+v", took, change)
		}
	})
}

func TestVanishedTargetsAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(3)
		s.Update(ts)
		s.run()
		s.after(5 * time.Second)
		gone := ts[1]
		s.Update([]Target{ts[2], ts[0]})
		told := s.after(0)
		if len(told) == 0 || len(told[0].Gone) != 1 || told[0].Gone[0] != (fleet.FactName{Kind: fleet.KindObservation, Name: "eu-1/" + gone.Addr.String()}) {
			t.Fatalf("told %+v, want %v gone at once", told, gone.Addr)
		}
		probes := s.probes(gone.Addr)
		for _, o := range observations(s.after(time.Minute)) {
			if o.Target == gone.Addr {
				t.Errorf("observed after it was gone: %+v", o)
			}
		}
		if n := s.probes(gone.Addr); n != probes {
			t.Errorf("probed %d times after it was gone", n-probes)
		}
		s.set(func() { s.play[gone.Addr] = awful })
		s.Update(ts)
		back := slices.DeleteFunc(observations(s.after(2*time.Second)), func(o *fleet.Observation) bool { return o.Target != gone.Addr })
		if len(back) == 0 || back[0].OK || back[0].RTT != 0 {
			t.Errorf("a target that came back is a new one, its first result decides: %+v", back)
		}
	})
}

// Targets come and go while their results wait for a busy keeper.
func TestVanishedWhileTheKeeperIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(30)
		s.Update(ts)
		s.run()
		s.after(10 * time.Second)
		s.set(func() { s.busy = 10 * time.Second })
		s.after(3 * time.Second) // every target has a result that waits
		s.Update(ts[:10])
		s.after(time.Second)
		s.Update(ts[:20]) // ten of those that went are back
		told := s.after(30 * time.Second)
		gone, put := map[string]bool{}, map[string]bool{}
		for _, f := range told[1].Gone { // the one that waited
			gone[f.Name] = true
		}
		for _, f := range told[1].Put {
			put[f.Name] = true
		}
		for i, target := range ts {
			name := "eu-1/" + target.Addr.String()
			if gone[name] != (i >= 20) || put[name] != (i < 20) {
				t.Errorf("target %d: gone is %v, put is %v", i, gone[name], put[name])
			}
		}
	})
}

// A result that was on its way when its check was replaced is of the old check.
func TestLateReportIsNotTaken(t *testing.T) {
	target := some(1)[0]
	old, now := &turn{}, &turn{}
	w := &watched{Target: target, turn: now}
	r := &run{Prober: New(Config{}), watched: map[netip.AddrPort]*watched{target.Addr: w}, changed: map[netip.AddrPort]bool{}}
	r.observe(report{turn: old, addr: target.Addr, result: awful, at: noon})
	if w.known || len(r.changed) != 0 {
		t.Errorf("took the old check's result: %+v", w.memory)
	}
	r.observe(report{turn: now, addr: target.Addr, result: good, at: noon})
	if !w.ok || !r.changed[target.Addr] {
		t.Errorf("did not take the new check's result: %+v", w.memory)
	}
}

// A new check, wrong perhaps, does not take a fleet down at its first probe.
func TestNewCheckKeepsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(1)
		s.Update(ts)
		s.run()
		s.after(10 * time.Second)
		s.set(func() { s.play[ts[0].Addr] = awful })
		changed := slices.Clone(ts)
		changed[0].Check.Path = "/wrong"
		changed[0].Check.Interval = time.Second
		s.Update(changed)
		began := time.Now()
		probes := s.probes(ts[0].Addr)
		obs := observations(s.after(10 * time.Second))
		i := slices.IndexFunc(obs, func(o *fleet.Observation) bool { return !o.OK })
		if i < 0 || obs[i].Since.Sub(began) < time.Second || obs[i].Samples == 0 || obs[i].RTT == 0 {
			t.Fatalf("after the check changed: fact %d of %+v", i, obs)
		}
		if n := s.probes(ts[0].Addr) - probes; n < 9 || n > 12 {
			t.Errorf("%d probes in 10s at an interval of 1s", n)
		}
		probes = s.probes(ts[0].Addr)
		changed[0].Region, changed[0].Cluster = "elsewhere", "other" // names only: the same probes go on
		s.Update(slices.Clone(changed))
		if told := s.after(0); len(told) != 0 {
			t.Errorf("a new name is no news: %+v", told)
		}
		s.after(500 * time.Millisecond)
		if n := s.probes(ts[0].Addr) - probes; n > 1 {
			t.Errorf("%d probes in half a second at an interval of 1s", n)
		}
	})
}

func TestOwnTroubleIsNoVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(2)
		s.Update(ts)
		s.run()
		s.after(10 * time.Second)
		s.set(func() {
			s.play[ts[0].Addr] = result{outcome: outcomeOwn, err: "this host cannot probe: too many open files"}
		})
		for _, o := range observations(s.after(30 * time.Second)) {
			if o.Target == ts[0].Addr && time.Since(o.At) < 29*time.Second {
				t.Errorf("told what it could not see: %+v", o)
			}
		}
		s.set(func() { delete(s.play, ts[0].Addr) })
		if obs := observations(s.after(4 * time.Second)); !slices.ContainsFunc(obs, func(o *fleet.Observation) bool { return o.Target == ts[0].Addr && o.OK }) {
			t.Errorf("does not see again: %+v", obs)
		}
	})
}

func TestBusyKeeperDelaysNoProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(5)
		s.Update(ts)
		s.run()
		s.after(10 * time.Second)
		s.set(func() { s.busy = 30 * time.Second })
		s.after(2 * time.Second) // by now the keeper is busy
		probes := s.probes(ts[0].Addr)
		s.after(26 * time.Second)
		if n := s.probes(ts[0].Addr) - probes; n < 12 {
			t.Errorf("%d probes in 26s while the keeper was busy", n)
		}
		s.set(func() { s.busy = 0 })
		told := s.after(4500 * time.Millisecond)
		if len(told) < 2 {
			t.Fatalf("told %d updates after the keeper was free", len(told))
		}
		latest := told[1] // the one after that over which it was busy
		if len(latest.Put) != 5 {
			t.Errorf("%d facts waited, want the newest of each of 5 targets", len(latest.Put))
		}
		for _, o := range observations([]heard{latest}) {
			if age := s.began.Add(latest.at).Sub(o.At); age > 2500*time.Millisecond {
				t.Errorf("told an observation of %v ago", age)
			}
		}
	})
}

// Ten seconds after its end a stopped prober has told nothing more: its facts
// grow old, they are not gone.
func TestEndTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.set(func() { s.busy = time.Hour }) // and the keeper is busy
		s.Update(some(3))
		s.run()
		s.after(5 * time.Second)
		s.cancel()
		for _, u := range s.after(10 * time.Second) {
			if len(u.Gone) != 0 {
				t.Errorf("told at the end: %+v", u)
			}
		}
	})
}

func TestProbesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(600)
		s.set(func() {
			for _, target := range ts {
				s.takes[target.Addr] = time.Second
			}
		})
		s.Update(ts)
		s.run()
		s.after(20 * time.Second)
		s.mu.Lock()
		most := s.most
		s.mu.Unlock()
		if most != inFlight {
			t.Errorf("%d probes at once, want as many as allowed, %d", most, inFlight)
		}
		for _, target := range ts { // 600 probes of 1s with 256 at once: each every 2.4s
			if n := s.probes(target.Addr); n < 4 {
				t.Errorf("%v was probed %d times in 20s", target.Addr, n)
			}
		}
	})
}

func TestTargetsAreMadeSane(t *testing.T) {
	p := New(Config{})
	a, b := some(2)[0], some(2)[1]
	again := a
	again.Cluster = "second"
	a.Check = fleet.Check{Kind: fleet.CheckGRPC, Interval: time.Nanosecond, Timeout: time.Hour, Rise: -1, Fall: 1 << 40}
	p.Update([]Target{b, a, again})
	got := p.taken()
	if len(got) != 2 || got[0].Addr != a.Addr || got[0].Cluster != "c0" {
		t.Fatalf("taken over: %+v", got)
	}
	want := fleet.Check{Kind: fleet.CheckGRPC, Interval: 100 * time.Millisecond, Timeout: 5 * time.Second, Rise: 2, Fall: 100}
	if got[0].Check != want {
		t.Errorf("check %+v, want %+v", got[0].Check, want)
	}
	if got[1].Check != fleet.DefaultCheck() {
		t.Errorf("the zero check became %+v", got[1].Check)
	}
	p.Update(some(maxTargets + 10))
	if n := len(p.taken()); n != maxTargets {
		t.Errorf("%d targets taken over, want %d", n, maxTargets)
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		ts := some(3)
		ts[2].Region = "r0"
		ts[1].Region, ts[1].Cluster = "\xff", "\xff"
		s.set(func() {
			s.play[ts[1].Addr] = awful
			s.play[ts[2].Addr] = result{outcome: outcomeOK, rtt: 5 * time.Millisecond}
		})
		s.Update(ts)
		s.run()
		s.after(1100 * time.Millisecond)
		got := gather(t, s.cfg.Registerer.(*prometheus.Registry))
		for series, want := range map[string]float64{
			`meridian_probe_targets`:                                    3,
			`meridian_probe_up cluster=c0 region=r0 target=10.0.0.0:80`: 1,
			`meridian_probe_up cluster=? region=? target=10.0.0.1:80`:   0,
			`meridian_probe_up cluster=c2 region=r0 target=10.0.0.2:80`: 1,
			`meridian_probe_rtt_seconds region=r0`:                      0.005,
			`meridian_probes_total kind=http result=ok`:                 float64(s.probes(ts[0].Addr) + s.probes(ts[2].Addr)),
			`meridian_probes_total kind=http result=connect`:            float64(s.probes(ts[1].Addr)),
		} {
			if v, ok := got[series]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", series, v, ok, want)
			}
		}
		if len(got) != 7 {
			t.Errorf("%d series: %v", len(got), slices.Sorted(maps.Keys(got)))
		}
		s.Update(ts[:1])
		s.after(0)
		if got := gather(t, s.cfg.Registerer.(*prometheus.Registry)); got["meridian_probe_targets"] != 1 || len(got) != 5 {
			t.Errorf("after two targets vanished: %v", got)
		}
	})
}

func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			all[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}
