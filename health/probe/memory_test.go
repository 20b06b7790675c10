package probe

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"pgregory.net/rapid"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	good  = result{outcome: outcomeOK, rtt: 20 * time.Millisecond}
	awful = result{outcome: outcomeConnect, err: "connection refused"}
)

// A diary: one character a probe, + good, - bad; and below what is told after it.
func TestRiseAndFall(t *testing.T) {
	check := fleet.Check{Rise: 2, Fall: 3}
	for _, tc := range []struct{ name, seen, told string }{
		{"the first good result decides at once", "+", "+"},
		{"the first bad result decides at once", "-", "-"},
		{"three in a row make it fall", "+---", "+++-"},
		{"two do not", "+--+--+", "+++++++"},
		{"two in a row make it rise", "-++", "--+"},
		{"one does not", "-+-+-", "-----"},
		{"there and back", "+---++---", "+++--+++-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m memory
			was := byte(0)
			for i := range tc.seen {
				at, r := noon.Add(time.Duration(i)*time.Second), good
				if tc.seen[i] == '-' {
					r = awful
				}
				changed := m.observe(r, check, at)
				o := m.observation("eu-1", fleet.Vantage{Region: "eu"}, Target{})
				if want := tc.told[i] == '+'; o.OK != want || !o.At.Equal(at) {
					t.Fatalf("probe %d: told %v at %v, want %v at %v", i, o.OK, o.At, want, at)
				}
				if want := tc.told[i] != was; changed != want || want != o.Since.Equal(at) {
					t.Fatalf("probe %d: changed %v since %v, want %v", i, changed, o.Since, want)
				}
				if (o.Error == "") != o.OK {
					t.Fatalf("probe %d: up is %v with error %q", i, o.OK, o.Error)
				}
				was = tc.told[i]
			}
		})
	}
}

func TestObservation(t *testing.T) {
	target := Target{Addr: netip.MustParseAddrPort("192.0.2.1:80"), Region: "us"}
	from := fleet.Vantage{Region: "eu", Zone: "eu-a"}
	var m memory
	m.observe(good, fleet.DefaultCheck(), noon)
	first := m.observation("eu-1", from, target)
	for i := range 3 {
		m.observe(awful, fleet.DefaultCheck(), noon.Add(time.Duration(i+1)*time.Second))
	}
	want := fleet.Observation{
		From: from, By: "eu-1", Target: target.Addr, OK: true, Since: noon, RTT: 20 * time.Millisecond, Samples: 1, At: noon,
	}
	if *first != want {
		t.Errorf("told first\n%+v, want\n%+v", *first, want)
	}
	want.OK, want.Error, want.Since, want.At = false, "connection refused", noon.Add(3*time.Second), noon.Add(3*time.Second)
	if got := m.observation("eu-1", from, target); *got != want {
		t.Errorf("after the fall\n%+v, want\n%+v", *got, want)
	}
}

func TestSmoother(t *testing.T) {
	const ms = time.Millisecond
	feed := func(s *smoother, n int, rtt time.Duration) {
		for range n {
			s.add(rtt)
		}
	}
	t.Run("samples are told in powers of two up to 64", func(t *testing.T) {
		var s smoother
		for n := 1; n <= 500; n++ {
			s.add(20 * ms)
			want := min(1<<int(math.Log2(float64(n))), 64)
			if s.toldSamples != want || s.told != 20*ms {
				t.Fatalf("after %d: told %v by %d samples, want 20ms by %d", n, s.told, s.toldSamples, want)
			}
		}
	})
	t.Run("a spike is clipped", func(t *testing.T) {
		var s smoother
		feed(&s, 64, 100*ms)
		s.add(5 * time.Second)
		if want := time.Duration(100 * float64(ms) * math.Pow(1.5, 0.1)); s.told != 100*ms || math.Abs(math.Exp(s.ln)/float64(want)-1) > 1e-6 {
			t.Errorf("told %v, smoothed %v, want 100ms and %v", s.told, time.Duration(math.Exp(s.ln)), want)
		}
	})
	t.Run("told anew outside a tenth, not inside", func(t *testing.T) {
		var s smoother
		feed(&s, 64, 100*ms)
		feed(&s, 200, 109*ms)
		if s.told != 100*ms {
			t.Errorf("9 %% more: told %v", s.told)
		}
		feed(&s, 200, 130*ms)
		if s.told < 115*ms || s.told > 131*ms {
			t.Errorf("30 %% more: told %v", s.told)
		}
	})
	t.Run("a millisecond says nothing on a short path", func(t *testing.T) {
		var s smoother
		feed(&s, 64, 300*time.Microsecond)
		feed(&s, 200, 1200*time.Microsecond)
		if s.told != 300*time.Microsecond {
			t.Errorf("told %v", s.told)
		}
	})
	t.Run("no round trip at all", func(t *testing.T) {
		var s smoother
		for _, d := range []time.Duration{0, -1, 10*time.Second + 1, math.MaxInt64} {
			s.add(d)
		}
		if s != (smoother{}) {
			t.Errorf("took in %+v", s)
		}
	})
}

func TestSmootherStaysAmongItsSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s smoother
		lo, hi := time.Duration(math.MaxInt64), time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			d := time.Duration(rapid.Int64Range(1000, int64(maxRTT)).Draw(t, "rtt"))
			lo, hi = min(lo, d), max(hi, d)
			s.add(d)
			if s.told < lo-time.Microsecond || s.told > hi+time.Microsecond {
				t.Fatalf("told %v of samples from %v to %v", s.told, lo, hi)
			}
			smooth := time.Duration(math.Exp(s.ln))
			if (smooth - s.told).Abs() > max(tellBand, s.told/10)+2*time.Microsecond {
				t.Fatalf("told %v for %v", s.told, smooth)
			}
			if s.toldSamples&(s.toldSamples-1) != 0 || s.toldSamples < 1 || s.toldSamples > maxSamples {
				t.Fatalf("told %d samples", s.toldSamples)
			}
		}
	})
}

func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := time.Duration(rapid.Int64Range(int64(minInterval), int64(maxInterval)).Draw(t, "interval"))
		phase := phaseOf(rapid.String().Draw(t, "instance"), rapid.String().Draw(t, "target"))
		if phase < 0 || phase >= 1 {
			t.Fatalf("phase %v", phase)
		}
		if w := firstWait(interval, phase); w < 0 || w >= time.Second {
			t.Fatalf("first probe after %v", w)
		}
		now := time.Unix(0, rapid.Int64Range(-1<<60, 1<<60).Draw(t, "now"))
		w := nextWait(now, interval, phase, 0)
		if w <= 0 || w > interval {
			t.Fatalf("next probe after %v at an interval of %v", w, interval)
		}
		if again := nextWait(now.Add(w), interval, phase, 0); again != interval {
			t.Fatalf("a probe at its slot is followed by one after %v, want %v", again, interval)
		}
		if late := nextWait(now, interval, phase, 1) - w; late < 0 || late > interval/10 {
			t.Fatalf("late by %v at an interval of %v", late, interval)
		}
	})
}

// The phases of many targets, and of many instances at one target, are spread.
func TestPhasesAreSpread(t *testing.T) {
	var byTarget, byInstance [10]int
	for i := range 1000 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 443).String()
		byTarget[int(phaseOf("eu-1", addr)*10)]++
		byInstance[int(phaseOf("eu-"+addr, "192.0.2.1:443")*10)]++
	}
	for i := range 10 {
		for _, n := range []int{byTarget[i], byInstance[i]} {
			if n < 60 || n > 140 { // 100 expected, four sigma are 38
				t.Errorf("tenth %d of the interval: %d of 1000", i, n)
			}
		}
	}
}
