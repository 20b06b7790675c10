package health

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"pgregory.net/rapid"
)

// world draws a small fleet and what its vantage points, some of them stale,
// skewed or lying, say of it.
func world(t *rapid.T) (obs []*fleet.Observation, ts []Target) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	regions := names[:rapid.IntRange(1, len(names)).Draw(t, "regions")]
	ts = targets(regions...)
	for i := range ts {
		ts[i].Interval = time.Duration(rapid.IntRange(0, 20).Draw(t, "interval")) * time.Second
	}
	instances := rapid.IntRange(0, 8).Draw(t, "instances")
	for i := range instances {
		for _, to := range append(slices.Clone(regions), "z") {
			if rapid.IntRange(0, 9).Draw(t, "silent") == 0 {
				continue
			}
			obs = append(obs, vote(t, i, regions[i%len(regions)], to))
		}
	}
	return obs, ts
}

func vote(t *rapid.T, instance int, from, to string) *fleet.Observation {
	at := ago(rapid.SampledFrom([]time.Duration{
		0, time.Second, 9 * time.Second, 10 * time.Second, 11 * time.Second, -time.Second, -time.Minute, time.Minute, 7 * time.Hour,
	}).Draw(t, "age"))
	o := &fleet.Observation{
		From: fleet.Vantage{Region: fleet.Region(from)}, By: fmt.Sprint(instance), Target: addr(to),
		OK:      rapid.Bool().Draw(t, "ok"),
		Since:   at.Add(-time.Duration(rapid.IntRange(-5, 90).Draw(t, "since")) * time.Second),
		RTT:     time.Duration(rapid.IntRange(-1, 11000).Draw(t, "rtt")) * time.Millisecond,
		Samples: rapid.IntRange(0, 65).Draw(t, "samples"),
		At:      at,
	}
	if rapid.IntRange(0, 19).Draw(t, "unmeasured") == 0 {
		o.RTT, o.Samples = 0, 0
	}
	if !o.OK {
		o.Error = rapid.SampledFrom([]string{"timeout", "connection refused", ""}).Draw(t, "error")
	}
	return o
}

func TestOrderOfObservationsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		obs = append(obs, obs[:len(obs)/2]...) // told twice
		if len(obs) > 0 {                      // and one instance contradicts itself at the same moment
			twin := *obs[0]
			twin.OK = !twin.OK
			obs = append(obs, &twin)
		}
		verdicts, latency := Judge(obs, ts, noon, Rules{}), Latency(obs, ts, noon, Rules{})
		next, has := NextChange(obs, ts, noon, Rules{})
		shuffled, mixed := slices.Clone(obs), slices.Clone(ts)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if got := Judge(shuffled, mixed, noon, Rules{}); !reflect.DeepEqual(got, verdicts) {
			t.Fatalf("verdicts %v, shuffled %v", verdicts, got)
		}
		if got := Latency(shuffled, mixed, noon, Rules{}); !maps.Equal(got, latency) {
			t.Fatalf("latency %v, shuffled %v", latency, got)
		}
		if n, h := NextChange(shuffled, mixed, noon, Rules{}); h != has || !n.Equal(next) {
			t.Fatalf("next change %v %v, shuffled %v %v", next, has, n, h)
		}
	})
}

func TestNothingChangesBeforeNextChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		verdicts, latency := Judge(obs, ts, noon, Rules{}), Latency(obs, ts, noon, Rules{})
		next, has := NextChange(obs, ts, noon, Rules{})
		last := 48 * time.Hour
		if has {
			last = next.Sub(noon) - 1
		}
		later := noon.Add(time.Duration(rapid.Int64Range(0, int64(last)).Draw(t, "later")))
		for _, now := range []time.Time{later, noon.Add(last)} {
			if got := Judge(obs, ts, now, Rules{}); !reflect.DeepEqual(got, verdicts) {
				t.Fatalf("next change %v %v, but after %v %v became %v", next, has, now.Sub(noon), verdicts, got)
			}
			if got := Latency(obs, ts, now, Rules{}); !maps.Equal(got, latency) {
				t.Fatalf("next change %v %v, but after %v %v became %v", next, has, now.Sub(noon), latency, got)
			}
		}
	})
}

// Following NextChange visits every change and comes to an end.
func TestNextChangeEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		now := noon
		for range 12 * (len(obs) + 1) {
			next, has := NextChange(obs, ts, now, Rules{})
			if !has {
				for a, v := range Judge(obs, ts, now, Rules{}) {
					if v.State != fleet.Unknown || v.Frozen {
						t.Fatalf("nothing is going to change, but %v is %+v", a, v)
					}
				}
				return
			}
			if !next.After(now) {
				t.Fatalf("next change %v is not after %v", next, now)
			}
			now = next
		}
		t.Fatalf("still changing at %v", now)
	})
}

func TestOneOfTwoOrMoreCannotTakeATargetDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(t, "vantage points")
		liar := rapid.IntRange(0, n-1).Draw(t, "liar")
		var obs []*fleet.Observation
		for i := range n {
			o := sees(fmt.Sprint(i), "x", i != liar)
			o.Since = ago(time.Duration(rapid.IntRange(0, 1000).Draw(t, "since")) * time.Second)
			obs = append(obs, o)
		}
		if v := Judge(obs, targets("x"), noon, Rules{})[addr("x")]; v.State != fleet.Healthy || v.Frozen {
			t.Fatalf("one of %d against it: %+v", n, v)
		}
	})
}

func TestStaleIsUnknown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		for a, v := range Judge(obs, ts, noon.Add(2*time.Minute+time.Second), Rules{}) {
			if v.State != fleet.Unknown || v.Frozen || v.Fresh != 0 {
				t.Fatalf("%v, two minutes after anybody looked: %+v", a, v)
			}
		}
	})
}

func TestOneMoreWhoSeesItUpNeverMakesItWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		before := Judge(obs, ts, noon, Rules{})
		o := vote(t, 0, "a", "a")
		o.By, o.OK, o.Error = "newcomer", true, ""
		v := Judge(append(obs, o), ts, noon, Rules{})[addr("a")]
		if rank(v.State) < rank(before[addr("a")].State) {
			t.Fatalf("%+v became %+v with %+v", before[addr("a")], v, o)
		}
	})
}

// What a freeze may do: hold up what is down, and nothing else.
func TestFreezeOnlyHoldsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		obs, ts := world(t)
		frozen := Judge(obs, ts, noon, Rules{})
		plain := Judge(obs, ts, noon, Rules{MassShare: 2}) // no share is above 2
		regions := map[fleet.Region]bool{}
		for _, target := range ts {
			f, p := frozen[target.Addr], plain[target.Addr]
			if !f.Frozen && f != p {
				t.Fatalf("not frozen, but %+v instead of %+v", f, p)
			}
			if f.Frozen {
				regions[target.Region] = true
				if p.State != fleet.Unhealthy || f.State == fleet.Unhealthy || p.Frozen {
					t.Fatalf("frozen %+v where the quorum says %+v", f, p)
				}
			}
		}
		if len(regions) == 1 {
			t.Fatalf("a single region was frozen: %v", regions)
		}
	})
}

func BenchmarkJudge(b *testing.B) {
	var ts []Target
	var obs []*fleet.Observation
	for i := range 100 {
		target := Target{Addr: addr(string(rune(i))), Region: fleet.Region(fmt.Sprint(i))}
		ts = append(ts, target)
		for j := range 100 {
			o := sees(fmt.Sprint(j), string(rune(i)), j != i)
			obs = append(obs, o)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		Judge(obs, ts, noon, Rules{})
	}
}
