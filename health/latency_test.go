package health

import (
	"maps"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

func measuredBy(by, from, to string, rtt time.Duration, samples int, age time.Duration) *fleet.Observation {
	o := sees(by, to, true)
	o.From.Region = fleet.Region(from)
	o.RTT, o.Samples, o.At = rtt, samples, ago(age)
	return o
}

func TestLatency(t *testing.T) {
	const ms, s, h = time.Millisecond, time.Second, time.Hour
	pair := fleet.PairOfRegions{From: "a", To: "x"}
	down := measuredBy("a2", "a", "x", 5*ms, 64, s)
	down.OK = false
	for _, tc := range []struct {
		name string
		obs  []*fleet.Observation
		want fleet.Latency
	}{
		{"nothing", nil, fleet.Latency{}},
		{
			"the shortest of a region's instances, with its own samples",
			[]*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, s), measuredBy("a2", "a", "x", 20*ms, 4, s)},
			fleet.Latency{pair: {Time: 20 * ms, Samples: 4}},
		},
		{
			"what is down now does not shorten what is up",
			[]*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, s), down},
			fleet.Latency{pair: {Time: 30 * ms, Samples: 64}},
		},
		{
			"but stays measured when it is all there is",
			[]*fleet.Observation{down},
			fleet.Latency{pair: {Time: 5 * ms, Samples: 64}},
		},
		{
			"fresh wins over shorter and old",
			[]*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, s), measuredBy("a2", "a", "x", 20*ms, 64, h)},
			fleet.Latency{pair: {Time: 30 * ms, Samples: 64}},
		},
		{"kept at full weight for six hours", []*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, 6*h-1)}, fleet.Latency{pair: {Time: 30 * ms, Samples: 64}}},
		{"then halves", []*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, 6*h)}, fleet.Latency{pair: {Time: 30 * ms, Samples: 32}}},
		{"every hour", []*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, 8*h+1)}, fleet.Latency{pair: {Time: 30 * ms, Samples: 8}}},
		{"until nothing is left", []*fleet.Observation{measuredBy("a1", "a", "x", 30*ms, 64, 12*h)}, fleet.Latency{}},
		{"zero", []*fleet.Observation{measuredBy("a1", "a", "x", 0, 64, s)}, fleet.Latency{}},
		{"negative", []*fleet.Observation{measuredBy("a1", "a", "x", -ms, 64, s)}, fleet.Latency{}},
		{"ten seconds", []*fleet.Observation{measuredBy("a1", "a", "x", 10*s, 64, s)}, fleet.Latency{pair: {Time: 10 * s, Samples: 64}}},
		{"above ten seconds", []*fleet.Observation{measuredBy("a1", "a", "x", 10*s+1, 64, s)}, fleet.Latency{}},
		{"without a sample", []*fleet.Observation{measuredBy("a1", "a", "x", ms, 0, s)}, fleet.Latency{}},
		{"boasting", []*fleet.Observation{measuredBy("a1", "a", "x", ms, 1<<40, s)}, fleet.Latency{pair: {Time: ms, Samples: 64}}},
		{"from nowhere in particular", []*fleet.Observation{measuredBy("a1", "", "x", ms, 1, s)}, fleet.Latency{}},
		{"from the future", []*fleet.Observation{measuredBy("a1", "a", "x", ms, 1, -h)}, fleet.Latency{}},
		{"of a stranger", []*fleet.Observation{measuredBy("a1", "a", "y", ms, 1, s)}, fleet.Latency{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Latency(tc.obs, targets("x"), noon, Rules{}); !maps.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
