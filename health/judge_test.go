package health

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

func addr(region string) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, region[0]}), 80)
}

// targets makes one gateway in each region.
func targets(regions ...string) []Target {
	var ts []Target
	for _, r := range regions {
		ts = append(ts, Target{Addr: addr(r), Region: fleet.Region(r)})
	}
	return ts
}

// sees is what the instance in a region saw a second ago, unchanged for an hour.
func sees(by, target string, ok bool) *fleet.Observation {
	o := &fleet.Observation{
		From: fleet.Vantage{Region: fleet.Region(by)}, By: by, Target: addr(target),
		OK: ok, Since: ago(time.Hour), RTT: 20 * time.Millisecond, Samples: 64, At: ago(time.Second),
	}
	if !ok {
		o.Error = "timeout"
	}
	return o
}

// saw says the same of the target going down (or up) some time ago.
func saw(by, target string, ok bool, since time.Duration) *fleet.Observation {
	o := sees(by, target, ok)
	o.Since = ago(since)
	return o
}

func all(by []string, target string, ok bool, since time.Duration) []*fleet.Observation {
	var obs []*fleet.Observation
	for _, b := range by {
		obs = append(obs, saw(b, target, ok, since))
	}
	return obs
}

func TestQuorum(t *testing.T) {
	for _, tc := range []struct {
		up, fresh int
		want      fleet.State
	}{
		{0, 0, fleet.Unknown},
		{0, 1, fleet.Unhealthy}, // who stands alone is believed
		{1, 1, fleet.Healthy},
		{1, 2, fleet.Healthy},
		{0, 2, fleet.Unhealthy},
		{1, 3, fleet.Healthy},
		{0, 3, fleet.Unhealthy},
		{1, 5, fleet.Healthy},   // 20 %: the local probe alone holds up a region nobody else reaches
		{1, 6, fleet.Unhealthy}, // 16.7 %: one of six no longer does
		{2, 12, fleet.Healthy},  // 16.7 %, but two
		{2, 100, fleet.Healthy},
		{1, 100, fleet.Unhealthy},
	} {
		if got := (Rules{}).filled().quorum(tc.up, tc.fresh); got != tc.want {
			t.Errorf("%d of %d up: %v, want %v", tc.up, tc.fresh, got, tc.want)
		}
	}
}

func TestJudge(t *testing.T) {
	tests := []struct {
		name string
		obs  []*fleet.Observation
		want fleet.Verdict
	}{
		{
			name: "nobody has looked",
			want: fleet.Verdict{Detail: "no vantage point has looked at it yet"},
		},
		{
			name: "everybody sees it up",
			obs:  []*fleet.Observation{sees("a", "x", true), sees("b", "x", true)},
			want: fleet.Verdict{State: fleet.Healthy, Up: 2, Fresh: 2, Detail: "2 of 2 vantage points see it up"},
		},
		{
			name: "one of three has trouble of its own",
			obs:  []*fleet.Observation{sees("a", "x", true), sees("b", "x", true), sees("c", "x", false)},
			want: fleet.Verdict{State: fleet.Healthy, Up: 2, Fresh: 3, Detail: "2 of 3 vantage points see it up: timeout (1)"},
		},
		{
			name: "nobody sees it up, errors counted, most frequent first",
			obs: []*fleet.Observation{
				sees("a", "x", false), func() *fleet.Observation {
					o := sees("b", "x", false)
					o.Error = "connection refused"
					return o
				}(), func() *fleet.Observation {
					o := sees("c", "x", false)
					o.Error = "connection refused"
					return o
				}(),
			},
			want: fleet.Verdict{State: fleet.Unhealthy, Fresh: 3, Detail: "0 of 3 vantage points see it up: connection refused (2), timeout (1)"},
		},
		{
			name: "alone",
			obs:  []*fleet.Observation{sees("a", "x", false)},
			want: fleet.Verdict{State: fleet.Unhealthy, Fresh: 1, Detail: "0 of 1 vantage point sees it up: timeout (1)"},
		},
		{
			name: "the down vote is stale, so it is unknown and not down",
			obs: []*fleet.Observation{func() *fleet.Observation {
				o := sees("a", "x", false)
				o.At = ago(10*time.Second + 1)
				return o
			}()},
			want: fleet.Verdict{Detail: "its only vantage point has not looked at it lately"},
		},
		{
			name: "ten seconds old is still fresh",
			obs: []*fleet.Observation{func() *fleet.Observation {
				o := sees("a", "x", true)
				o.At = ago(10 * time.Second)
				return o
			}()},
			want: fleet.Verdict{State: fleet.Healthy, Up: 1, Fresh: 1, Detail: "1 of 1 vantage point sees it up"},
		},
		{
			name: "an observation from the far future counts for nothing",
			obs: []*fleet.Observation{func() *fleet.Observation {
				o := sees("a", "x", false)
				o.At = noon.Add(time.Hour)
				return o
			}(), sees("b", "x", true)},
			want: fleet.Verdict{State: fleet.Healthy, Up: 1, Fresh: 1, Detail: "1 of 1 vantage point sees it up"},
		},
		{
			name: "one instance votes once, with its newest word",
			obs: []*fleet.Observation{func() *fleet.Observation {
				o := sees("a", "x", false)
				o.At = ago(5 * time.Second)
				return o
			}(), sees("a", "x", true)},
			want: fleet.Verdict{State: fleet.Healthy, Up: 1, Fresh: 1, Detail: "1 of 1 vantage point sees it up"},
		},
		{
			name: "what was seen of others is not looked at",
			obs:  []*fleet.Observation{sees("a", "y", false)},
			want: fleet.Verdict{Detail: "no vantage point has looked at it yet"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(tc.obs, targets("x"), noon, Rules{})
			if len(got) != 1 || got[addr("x")] != tc.want {
				t.Errorf("got %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestJudgeRareProbesStayFreshLonger(t *testing.T) {
	o := sees("a", "x", true)
	o.At = ago(50 * time.Second)
	ts := targets("x")
	ts[0].Interval = 20 * time.Second
	if got := Judge([]*fleet.Observation{o}, ts, noon, Rules{})[addr("x")]; got.State != fleet.Healthy {
		t.Errorf("probed every 20s, seen up 50s ago: %+v, want healthy", got)
	}
	ts[0].Interval = 10 * time.Second
	if got := Judge([]*fleet.Observation{o}, ts, noon, Rules{})[addr("x")]; got.State != fleet.Unknown {
		t.Errorf("probed every 10s, seen up 50s ago: %+v, want unknown", got)
	}
}

func TestDetailBoundsWhatStrangersSay(t *testing.T) {
	var obs []*fleet.Observation
	for i := range 9 {
		o := sees(fmt.Sprint(i), "x", false)
		o.Error = fmt.Sprintf("%d\r\n\x00%s", i, strings.Repeat("é", 4000))
		obs = append(obs, o)
	}
	got := Judge(obs, targets("x"), noon, Rules{})[addr("x")].Detail
	if len(got) > 500 || strings.ContainsAny(got, "\r\n\x00") || !strings.Contains(got, "otherwise (6)") {
		t.Errorf("detail of %d bytes: %q", len(got), got)
	}
}

// One of five vantage points loses its network: it sees every target but its own
// go down, while the others lose sight of its gateway. Nothing changes.
func TestOneOfFiveVantagePointsIsCutOff(t *testing.T) {
	regions := []string{"a", "b", "c", "d", "e"}
	var obs []*fleet.Observation
	for _, from := range regions {
		for _, to := range regions {
			cut := (from == "e") != (to == "e")
			obs = append(obs, saw(from, to, !cut, 20*time.Second))
		}
	}
	for a, v := range Judge(obs, targets(regions...), noon, Rules{}) {
		if v.State != fleet.Healthy || v.Frozen {
			t.Errorf("%v: %+v, want healthy and not frozen", a, v)
		}
	}
}

func TestMassFailure(t *testing.T) {
	by := []string{"a", "b", "c"}
	join := func(parts ...[]*fleet.Observation) (obs []*fleet.Observation) {
		for _, p := range parts {
			obs = append(obs, p...)
		}
		return obs
	}
	const down, up = false, true
	const s = time.Second
	tests := []struct {
		name    string
		regions []string
		obs     []*fleet.Observation
		want    map[string]string // "healthy", "healthy frozen", ...
	}{
		{
			name:    "three of five fall within the window: frozen as they were",
			regions: []string{"a", "b", "c", "d", "e"},
			obs: join(all(by, "a", down, 10*s), all(by, "b", down, 20*s), all(by, "c", down, 59*s),
				all(by, "d", up, time.Hour), all(by, "e", up, time.Hour)),
			want: map[string]string{"a": "healthy frozen", "b": "healthy frozen", "c": "healthy frozen", "d": "healthy", "e": "healthy"},
		},
		{
			name:    "the third fell before the window: two of the remaining four are no mass",
			regions: []string{"a", "b", "c", "d", "e"},
			obs: join(all(by, "a", down, 10*s), all(by, "b", down, 20*s), all(by, "c", down, 60*s),
				all(by, "d", up, time.Hour), all(by, "e", up, time.Hour)),
			want: map[string]string{"a": "unhealthy", "b": "unhealthy", "c": "unhealthy", "d": "healthy", "e": "healthy"},
		},
		{
			name:    "what was down long ago stays down in a mass failure",
			regions: []string{"a", "b", "c"},
			obs:     join(all(by, "a", down, time.Hour), all(by, "b", down, 5*s), all(by, "c", down, 5*s)),
			want:    map[string]string{"a": "unhealthy", "b": "healthy frozen", "c": "healthy frozen"},
		},
		{
			name:    "the only region is never frozen: all down means all up, and says so",
			regions: []string{"a"},
			obs:     all(by, "a", down, 5*s),
			want:    map[string]string{"a": "unhealthy"},
		},
		{
			name:    "one of two dies: down at once",
			regions: []string{"a", "b"},
			obs:     join(all(by, "a", down, 5*s), all(by, "b", up, time.Hour)),
			want:    map[string]string{"a": "unhealthy", "b": "healthy"},
		},
		{
			name:    "the second of two dies later: down at once, as the first was",
			regions: []string{"a", "b"},
			obs:     join(all(by, "a", down, 5*s), all(by, "b", down, time.Hour)),
			want:    map[string]string{"a": "unhealthy", "b": "unhealthy"},
		},
		{
			name:    "both of two die together: both stay up, as Panic would have it",
			regions: []string{"a", "b"},
			obs:     join(all(by, "a", down, 5*s), all(by, "b", down, 6*s)),
			want:    map[string]string{"a": "healthy frozen", "b": "healthy frozen"},
		},
		{
			name:    "regions that were never seen up did not fall",
			regions: []string{"a", "b", "c"},
			obs: join(all(by, "a", up, time.Hour), func() []*fleet.Observation {
				obs := join(all(by, "b", down, 5*s), all(by, "c", down, 5*s))
				for _, o := range obs {
					o.RTT, o.Samples = 0, 0
				}
				return obs
			}()),
			want: map[string]string{"a": "healthy", "b": "unhealthy", "c": "unhealthy"},
		},
		{
			name:    "the quorum is lost with the last vote that mattered, not the first",
			regions: []string{"a", "b", "c"},
			obs: join(
				[]*fleet.Observation{saw("a", "a", down, 500*s), saw("b", "a", down, 400*s), saw("c", "a", down, 3*s)},
				[]*fleet.Observation{saw("a", "b", down, 500*s), saw("b", "b", down, 4*s), saw("c", "b", down, 300*s)},
				all(by, "c", up, time.Hour)),
			want: map[string]string{"a": "healthy frozen", "b": "healthy frozen", "c": "healthy"},
		},
		{
			name:    "recovery counts at once, and ends the mass",
			regions: []string{"a", "b", "c"},
			obs:     join(all(by, "a", down, 5*s), all(by, "b", up, 1*s), all(by, "c", up, time.Hour)),
			want:    map[string]string{"a": "unhealthy", "b": "healthy", "c": "healthy"},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(tc.obs, targets(tc.regions...), noon, Rules{})
			for r, want := range tc.want {
				v := got[addr(r)]
				text := v.State.String()
				if v.Frozen {
					text += " frozen"
				}
				if text != want {
					t.Errorf("region %s: %s, want %s (%s)", r, text, want, v.Detail)
				}
				if v.Frozen && !strings.HasPrefix(v.Detail, "held as it was, since ") {
					t.Errorf("region %s: a frozen verdict does not say why: %q", r, v.Detail)
				}
			}
		})
	}
}

// A region falls with the last of its gateways; one that died alone before is
// not brought back by a freeze.
func TestMassFailureCountsRegionsNotGateways(t *testing.T) {
	ts := targets("a", "b", "c")
	second := Target{Addr: netip.MustParseAddrPort("192.0.2.250:80"), Region: "a"}
	ts = append(ts, second)
	old := sees("p", "a", false)
	old.Target = second.Addr
	obs := []*fleet.Observation{saw("p", "a", false, 2*time.Second), saw("p", "b", false, 2*time.Second), sees("p", "c", true), old}
	got := Judge(obs, ts, noon, Rules{})
	if v := got[addr("a")]; v.State != fleet.Healthy || !v.Frozen {
		t.Errorf("the gateway that fell with its region: %+v, want frozen healthy", v)
	}
	if v := got[second.Addr]; v.State != fleet.Unhealthy || v.Frozen {
		t.Errorf("the gateway that died an hour before: %+v, want unhealthy", v)
	}

	alive := sees("p", "a", true)
	alive.Target = second.Addr
	got = Judge([]*fleet.Observation{obs[0], obs[1], obs[2], alive}, ts, noon, Rules{})
	if v := got[addr("b")]; v.State != fleet.Unhealthy || v.Frozen {
		t.Errorf("one region of three fell, the other has a gateway left: %+v, want unhealthy", v)
	}
}

func TestRegionVerdict(t *testing.T) {
	healthy := fleet.Verdict{State: fleet.Healthy, Up: 3, Fresh: 3}
	frozen := fleet.Verdict{State: fleet.Healthy, Frozen: true}
	unhealthy := fleet.Verdict{State: fleet.Unhealthy, Fresh: 3}
	unknown := fleet.Verdict{}
	for _, tc := range []struct {
		name string
		in   []fleet.Verdict
		want fleet.Verdict
	}{
		{"none", nil, fleet.Verdict{Detail: "the region has no gateway to judge it by"}},
		{"one up is enough", []fleet.Verdict{unhealthy, healthy, unknown}, healthy},
		{"unknown before unhealthy", []fleet.Verdict{unhealthy, unknown}, unknown},
		{"seen before frozen", []fleet.Verdict{frozen, healthy, frozen}, healthy},
		{"all down", []fleet.Verdict{unhealthy, unhealthy}, unhealthy},
	} {
		if got := RegionVerdict(tc.in); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

// A prober whose clock runs ahead cannot keep a fall in the window for ever.
func TestSinceIsNotAfterTheLastLook(t *testing.T) {
	ts := targets("a", "b")
	for i := range ts { // not probed for two minutes, which is fresh enough at this interval
		ts[i].Interval = time.Minute
	}
	obs := []*fleet.Observation{saw("p", "a", false, -time.Hour), saw("p", "b", false, -time.Hour)}
	for _, o := range obs {
		o.At = ago(2 * time.Minute)
	}
	for a, v := range Judge(obs, ts, noon, Rules{}) {
		if v.State != fleet.Unhealthy || v.Frozen {
			t.Errorf("%v: %+v, want unhealthy and not frozen", a, v)
		}
	}
}

// Six vantage points: five lost sight of both regions just now; the sixth began
// to look while they fell. It is no witness of the time before.
func TestNewcomerIsNoWitnessOfTheTimeBefore(t *testing.T) {
	var obs []*fleet.Observation
	for _, target := range []string{"a", "b"} {
		obs = append(obs, saw("6", target, true, 5*time.Second), saw("1", target, false, 5*time.Second))
		obs = append(obs, all([]string{"2", "3", "4", "5"}, target, false, 90*time.Second)...)
	}
	// Just before, one of five saw them up, which is 20 % and healthy.
	for a, v := range Judge(obs, targets("a", "b"), noon, Rules{}) {
		if v.State != fleet.Healthy || !v.Frozen {
			t.Errorf("%v: %+v, want frozen healthy", a, v)
		}
	}
}

func TestNextChange(t *testing.T) {
	fell := func(since, age time.Duration) (obs []*fleet.Observation) {
		for _, target := range []string{"a", "b"} {
			o := saw("p", target, false, since)
			o.At = ago(age)
			obs = append(obs, o)
		}
		return obs
	}
	for _, tc := range []struct {
		name string
		obs  []*fleet.Observation
		want time.Duration // from now; 0: never
	}{
		{"nothing known", nil, 0},
		{"an observation stops being fresh", fell(2*time.Minute, 3*time.Second), 7*time.Second + 1},
		{"the freeze ends before that", fell(55*time.Second, 3*time.Second), 5 * time.Second},
		{"a stale measurement halves", fell(24*time.Hour, 7*time.Hour+time.Minute), 59 * time.Minute},
		{"a measurement that is gone", fell(24*time.Hour, 13*time.Hour), 0},
	} {
		next, has := NextChange(tc.obs, targets("a", "b"), noon, Rules{})
		if has != (tc.want != 0) || has && next.Sub(noon) != tc.want {
			t.Errorf("%s: %v %v, want %v", tc.name, next.Sub(noon), has, tc.want)
		}
	}
}
