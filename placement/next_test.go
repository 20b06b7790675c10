package placement

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func everywhere(mode Mode) Template {
	return Template{Spread: Spread{Mode: mode, Limits: map[string]Limit{Everywhere: {Weight: 1, Max: -1}}}}
}

func calmSight(cluster string, n int64) Sight {
	return Sight{Cluster: cluster, Present: true, Desired: n, Ready: n, Free: -1}
}

func open(names ...string) []Choice {
	var choices []Choice
	for _, n := range names {
		choices = append(choices, Choice{Cluster: n, Stand: StandOpen})
	}
	return choices
}

func said(s Step) []string {
	var all []string
	for _, o := range s.Orders {
		all = append(all, fmt.Sprintf("%s %s %d>%d", o.Cluster, o.Act, o.Replicas, o.Goal))
	}
	return all
}

func want(t *testing.T, when string, s Step, orders ...string) {
	t.Helper()
	if diff := cmp.Diff(orders, said(s)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestAClusterOfWhichNothingIsReadIsSilent(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	step, m := Next(tmpl, 10, open("a", "b"), []Sight{calmSight("a", 5), calmSight("b", 5)}, Memory{}, epoch)
	want(t, "at first", step, "a Apply 5>5", "b Apply 5>5")
	step, m = Next(tmpl, 10, open("a", "b"), []Sight{calmSight("a", 5)}, m, epoch.Add(time.Second))
	want(t, "b is not read", step, "a Apply 5>5", "b None -1>5")
	if again := epoch.Add(time.Second + DefaultGrace); step.Again != again {
		t.Errorf("to be looked at again at %v, want %v", step.Again, again)
	}
	// A daemon that starts later knows only since when it itself sees nothing.
	late := Sight{Cluster: "b", Silent: epoch.Add(4 * time.Minute), Free: -1}
	step, m = Next(tmpl, 10, open("a", "b"), []Sight{calmSight("a", 5), late}, m, step.Again.Add(-time.Second))
	want(t, "within the grace", step, "a Apply 5>5", "b None -1>5")
	step, _ = Next(tmpl, 10, open("a", "b"), []Sight{calmSight("a", 5), late}, m, step.Again)
	want(t, "after the grace", step, "a Apply 10>10", "b None -1>0")
}

func TestAClusterThatLeftTheFleetIsReplacedAndForgotten(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	_, m := Next(tmpl, 10, open("a", "b"), []Sight{calmSight("a", 5), calmSight("b", 5)}, Memory{}, epoch)
	step, m := Next(tmpl, 10, open("a"), []Sight{calmSight("a", 5)}, m, epoch)
	want(t, "gone", step, "a Apply 10>10", "b None -1>0")
	if _, there := m.Clusters["b"]; there || len(m.Clusters) != 1 {
		t.Errorf("remembered: %v", m.Clusters)
	}
}

func TestLostReplicasDoNotHerd(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	tmpl.Spread.Limits["a"] = Limit{Weight: 2, Max: -1}
	sights := []Sight{calmSight("a", 400), calmSight("b", 200), calmSight("c", 200), {Cluster: "d", Silent: epoch, Free: -1}}
	m := Memory{Replicas: 1000, Clusters: map[string]Recollection{"d": {Ordered: 200, Seen: 200, Silent: epoch.Add(-DefaultGrace)}}}
	step, _ := Next(tmpl, 1000, open("a", "b", "c", "d"), sights, m, epoch)
	want(t, "d is lost", step, "a Apply 500>500", "b Apply 250>250", "c Apply 250>250", "d None -1>0")
}

// TestOrdersNotObeyedYetCount: a was ordered down by 10 and still runs them; they
// cannot be given up for a second time, though b was asked for 20 more in the meantime.
// Nor do those 10 of b count that are ending.
func TestOrdersNotObeyedYetCount(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	tmpl.Spread.Budget = 100
	choices := []Choice{{Cluster: "a", Stand: StandLeaving, Why: "drained"}, {Cluster: "b", Stand: StandOpen}}
	m := Memory{Replicas: 100, Clusters: map[string]Recollection{"a": {Ordered: 50, Seen: 60}, "b": {Ordered: 70, Seen: 50}}}
	b := calmSight("b", 50)
	b.Ready = 60
	step, _ := Next(tmpl, 100, choices, []Sight{calmSight("a", 60), b}, m, epoch)
	want(t, "a has not obeyed", step, "a Apply 50>0", "b Apply 100>100")
}

func TestOrdersFromBeforeAnOutageAreVoid(t *testing.T) {
	m := Memory{Replicas: 45, Clusters: map[string]Recollection{"a": {Ordered: 15, Seen: 20, Silent: epoch.Add(-time.Minute)}, "b": {Ordered: 30, Seen: 30}}}
	step, _ := Next(everywhere(ModeDivide), 45, open("a", "b"), []Sight{calmSight("a", 20), calmSight("b", 30)}, m, epoch)
	want(t, "a is back", step, "a Apply 20>20", "b Apply 30>25")
}

func TestNothingIsRebalancedDuringAnOutage(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	tmpl.Spread.Rebalance = true
	sights := []Sight{calmSight("a", 60), calmSight("b", 20), calmSight("c", 20)}
	_, m := Next(tmpl, 100, open("a", "b", "c"), sights, Memory{}, epoch)
	m.Clusters["a"], m.Clusters["b"] = Recollection{Ordered: 60, Seen: 60}, Recollection{Ordered: 20, Seen: 20}
	sights[2].Silent = epoch
	step, _ := Next(tmpl, 100, open("a", "b", "c"), sights, m, epoch)
	want(t, "c is silent", step, "a Apply 60>60", "b Apply 20>20", "c None -1>20")
}

func TestLessons(t *testing.T) {
	later := epoch.Add
	stuck := Sight{Cluster: "a", Present: true, Desired: 8, Ready: 5, Unschedulable: 3, UnschedulableSince: later(-time.Minute), Free: -1}
	first := &Lesson{Capacity: 5, At: epoch, Until: later(5 * time.Minute), Tries: 1}
	for _, test := range []struct {
		name    string
		old     *Lesson
		sight   func(*Sight)
		ordered int64
		at      time.Duration
		want    *Lesson
	}{
		{"not yet", nil, func(s *Sight) { s.UnschedulableSince = later(-59 * time.Second) }, 8, 0, nil},
		{"the first", nil, func(*Sight) {}, 8, 0, first},
		{"not obeyed yet", first, func(*Sight) {}, 5, time.Second, first},
		{"tried again in vain", first, func(*Sight) {}, 8, 6 * time.Minute,
			&Lesson{Capacity: 5, At: later(6 * time.Minute), Until: later(16 * time.Minute), Tries: 2}},
		{"never longer than an hour", &Lesson{Capacity: 5, Until: epoch, Tries: 5}, func(*Sight) {}, 8, 0,
			&Lesson{Capacity: 5, At: epoch, Until: later(time.Hour), Tries: 5}},
		{"tried again, and there was room", first, func(s *Sight) { s.Ready, s.Unschedulable = 8, 0 }, 8, 6 * time.Minute, nil},
		{"what is ready fits", first, func(s *Sight) { s.Ready, s.Unschedulable = 7, 0 }, 7, 0,
			&Lesson{Capacity: 7, At: epoch, Until: later(5 * time.Minute), Tries: 1}},
		{"less fits", first, func(s *Sight) { s.Desired, s.Ready, s.Unschedulable = 5, 3, 2 }, 5, time.Minute,
			&Lesson{Capacity: 3, At: epoch, Until: later(5 * time.Minute), Tries: 1}},
		{"room shows, too soon", first, func(s *Sight) { s.Desired, s.Unschedulable, s.Free = 5, 0, 2 }, 5, 59 * time.Second, first},
		{"room shows", first, func(s *Sight) { s.Desired, s.Unschedulable, s.Free = 5, 0, 2 }, 5, time.Minute,
			&Lesson{Capacity: 7, Free: 2, At: later(time.Minute), Until: later(5 * time.Minute), Tries: 1, Raised: true}},
		{"room that helps nobody", &Lesson{Capacity: 8, Free: 3, At: epoch, Until: later(5 * time.Minute), Tries: 1, Raised: true},
			func(s *Sight) { s.Free = 3 }, 8, time.Minute,
			&Lesson{Capacity: 5, Free: 3, At: later(time.Minute), Until: later(11 * time.Minute), Tries: 2}},
		{"long ago", first, func(s *Sight) { s.Desired, s.Unschedulable = 5, 0 }, 5, 66 * time.Minute, nil},
	} {
		s := stuck
		test.sight(&s)
		if diff := cmp.Diff(test.want, learn(test.old, s, test.ordered, later(test.at))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestAnAutoscalerOwnsItsReplicas(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	a, b := calmSight("a", 37), calmSight("b", 5)
	a.Scaled, b.Scaled = true, true
	step, m := Next(tmpl, 10, open("a", "b"), []Sight{a, b}, Memory{}, epoch)
	want(t, "whatever they run", step, "a Apply -1>5", "b Apply -1>5")
	choices := []Choice{{Cluster: "a", Stand: StandLeaving, Why: "drained"}, {Cluster: "b", Stand: StandOpen}}
	b.Ready = 4
	step, m = Next(tmpl, 10, choices, []Sight{a, b}, m, epoch)
	want(t, "a drains, b is not ready", step, "a Apply -1>0", "b Apply -1>41")
	b.Ready = 5
	step, m = Next(tmpl, 10, choices, []Sight{a, b}, m, epoch)
	want(t, "b is ready, and has not what is owed", step, "a Apply -1>0", "b Apply -1>41")
	if got := step.Again.Sub(epoch); got != DefaultGrace || !slices.Contains(step.Orders[0].Reasons, "waits until 41 are ready elsewhere, or until "+epoch.Add(DefaultGrace).Format(time.RFC3339)) {
		t.Errorf("to be looked at again after %v; %q", got, step.Orders[0].Reasons)
	}
	late, _ := Next(tmpl, 10, choices, []Sight{a, b}, m, epoch.Add(DefaultGrace))
	want(t, "nobody lets b grow", late, "a Remove 0>0", "b Apply -1>10")
	b.Desired, b.Ready = 41, 41
	step, _ = Next(tmpl, 10, choices, []Sight{a, b}, m, epoch)
	want(t, "b has what is owed", step, "a Remove 0>0", "b Apply -1>41")
	b.Scaled, b.Desired, b.Ready = false, 5, 5
	tmpl.Spread.Budget = 100
	step, m = Next(tmpl, 10, choices, []Sight{a, b}, Memory{}, epoch)
	want(t, "without an autoscaler b is told", step, "a Apply -1>0", "b Apply 42>42")
	a.Scaled = false // its autoscaler has gone before it
	step, _ = Next(tmpl, 10, choices, []Sight{a, b}, m, epoch)
	want(t, "what is owed is owed still", step, "a Apply 37>0", "b Apply 42>42")
}

func TestKindsWithoutReplicas(t *testing.T) {
	tmpl := everywhere(ModeDivide)
	there := func(c string) Sight { return Sight{Cluster: c, Present: true, Free: -1} }
	choices := []Choice{{Cluster: "a", Stand: StandOutside, Why: "where does not name it"}, {Cluster: "b", Stand: StandOpen}, {Cluster: "c", Stand: StandClosed, Why: "taint"}}
	step, m := Next(tmpl, -1, choices, []Sight{there("a"), {Cluster: "b"}, {Cluster: "c"}}, Memory{}, epoch)
	want(t, "b has none yet", step, "a Apply -1>0", "b Apply -1>-1", "c None -1>-1")
	step, _ = Next(tmpl, -1, choices, []Sight{there("a"), there("b"), {Cluster: "c"}}, m, epoch)
	want(t, "b has it", step, "a Remove 0>0", "b Apply -1>-1", "c None -1>-1")
	step, _ = Next(tmpl, -1, choices[:1], []Sight{there("a")}, m, epoch)
	want(t, "nowhere else", step, "a Apply -1>0")
}

// TestWhatRunsStays: without rebalance neither a new cluster nor new weights move
// anything, and of replicas that are added only those are placed.
func TestWhatRunsStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tmpl := Template{Spread: Spread{Mode: ModeDivide, Limits: map[string]Limit{}}}
		var sights []Sight
		var names []string
		var sum int64
		for i := range rapid.IntRange(1, 5).Draw(t, "clusters") {
			name := fmt.Sprintf("c%d", i)
			n := rapid.Int64Range(0, 50).Draw(t, "running")
			tmpl.Spread.Limits[name] = Limit{Weight: rapid.Int64Range(0, 9).Draw(t, "weight"), Max: -1}
			names, sights, sum = append(names, name), append(sights, calmSight(name, n)), sum+n
		}
		tmpl.Spread.Limits["new"] = Limit{Weight: 1 + rapid.Int64Range(0, 9).Draw(t, "weight of the new"), Max: -1}
		more := rapid.Int64Range(0, 20).Draw(t, "more")
		step, _ := Next(tmpl, sum+more, open(append(names, "new")...), append(sights, Sight{Cluster: "new", Free: -1}), Memory{Replicas: sum}, epoch)
		var asked int64
		for _, o := range step.Orders {
			i := slices.Index(names, o.Cluster)
			if i >= 0 && (o.Replicas < sights[i].Desired || o.Goal < sights[i].Desired) {
				t.Errorf("%s runs %d and is ordered %d, in the end %d", o.Cluster, sights[i].Desired, o.Replicas, o.Goal)
			}
			asked += max(0, o.Replicas)
		}
		if asked != sum+more {
			t.Errorf("%d are asked for, want %d", asked, sum+more)
		}
	})
}

// TestNextStandsAnything: whatever members say and whatever was written into the
// status, a step is a step: sorted, with reasons, silent clusters are left alone, no
// object is removed with replicas in it, what was handed in stays as it was, and the
// memory survives being written down.
func TestNextStandsAnything(t *testing.T) {
	number := rapid.OneOf(rapid.Int64Range(0, 20), rapid.SampledFrom([]int64{-1 << 63, -5, -1, maxReplicas, 1<<63 - 1}))
	instant := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "never") {
			return time.Time{}
		}
		return epoch.Add(time.Duration(rapid.IntRange(-7200, 600).Draw(t, "seconds")) * time.Second)
	})
	names := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		tmpl := Template{Spread: Spread{Mode: rapid.SampledFrom([]Mode{"", ModeDivide, ModeFree, ModeDuplicate}).Draw(t, "mode"),
			Rebalance: rapid.Bool().Draw(t, "rebalance"), Budget: number.Draw(t, "budget"), Limits: map[string]Limit{}}}
		m := Memory{Replicas: number.Draw(t, "replicas then"), Cut: number.Draw(t, "cut"), Clusters: map[string]Recollection{}}
		var choices []Choice
		var sights []Sight
		for _, n := range names {
			if rapid.Bool().Draw(t, "limit") {
				tmpl.Spread.Limits[n] = Limit{Weight: number.Draw(t, "weight"), Min: number.Draw(t, "min"), Max: number.Draw(t, "max")}
			}
			if rapid.Bool().Draw(t, "choice") {
				choices = append(choices, Choice{Cluster: n, Stand: rapid.SampledFrom([]Stand{StandOpen, StandClosed, StandLeaving, StandOutside}).Draw(t, "stand")})
			}
			if rapid.Bool().Draw(t, "sight") {
				sights = append(sights, Sight{Cluster: n, Silent: instant.Draw(t, "silent"), Present: rapid.Bool().Draw(t, "present"),
					Desired: number.Draw(t, "desired"), Ready: number.Draw(t, "ready"), Unschedulable: number.Draw(t, "unschedulable"),
					UnschedulableSince: instant.Draw(t, "since"), Free: number.Draw(t, "free"), Scaled: rapid.Bool().Draw(t, "scaled")})
			}
			if rapid.Bool().Draw(t, "memory") {
				r := Recollection{Ordered: number.Draw(t, "ordered"), Seen: number.Draw(t, "seen"), Silent: instant.Draw(t, "silent since"),
					Replaced: rapid.Bool().Draw(t, "replaced"), Back: instant.Draw(t, "back"), Room: number.Draw(t, "room")}
				if rapid.Bool().Draw(t, "lesson") {
					r.Lesson = &Lesson{Capacity: number.Draw(t, "capacity"), Free: number.Draw(t, "free then"), At: instant.Draw(t, "at"),
						Until: instant.Draw(t, "until"), Tries: int(number.Draw(t, "tries")), Raised: rapid.Bool().Draw(t, "raised")}
				}
				m.Clusters[n] = r
			}
		}
		replicas := number.Draw(t, "replicas")
		before := fmt.Sprint(tmpl, choices, sights, string(mustJSON(t, m)))
		step, next := Next(tmpl, replicas, choices, sights, m, epoch)
		if after := fmt.Sprint(tmpl, choices, sights, string(mustJSON(t, m))); after != before {
			t.Errorf("what was handed in has changed:\n%s\n%s", before, after)
		}
		if !slices.IsSortedFunc(step.Orders, func(a, b Order) int { return strings.Compare(a.Cluster, b.Cluster) }) {
			t.Error("not sorted")
		}
		if !step.Again.IsZero() && !step.Again.After(epoch) {
			t.Errorf("to be looked at again at %v, which is over", step.Again)
		}
		for _, o := range step.Orders {
			i := slices.IndexFunc(sights, func(s Sight) bool { return s.Cluster == o.Cluster })
			if len(o.Reasons) == 0 {
				t.Errorf("no reason: %+v", o)
			}
			if (i < 0 || !sights[i].Silent.IsZero()) && o.Act != ActNone {
				t.Errorf("silent: %+v", o)
			}
			if o.Act == ActRemove && replicas >= 0 && tmpl.Spread.Mode != ModeDuplicate && !sights[i].Scaled && (sights[i].Desired > 0 || sights[i].Ready > 0) && sights[i].Present {
				t.Errorf("removed with replicas in it: %+v", sights[i])
			}
			if o.Act == ActApply && (o.Replicas < NotReplicas || o.Replicas > maxReplicas) {
				t.Errorf("out of bounds: %+v", o)
			}
		}
		var read Memory
		if err := json.Unmarshal(mustJSON(t, next), &read); err != nil {
			t.Fatal(err)
		}
		again, _ := Next(tmpl, replicas, choices, sights, next, epoch)
		restarted, _ := Next(tmpl, replicas, choices, sights, read, epoch)
		if !reflect.DeepEqual(again, restarted) {
			t.Errorf("a restart changes the next step:\n%+v\n%+v", again, restarted)
		}
	})
}

func mustJSON(t *rapid.T, m Memory) []byte {
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func BenchmarkNext(b *testing.B) {
	tmpl := everywhere(ModeDivide)
	var names []string
	var sights []Sight
	for i := range 1000 {
		names = append(names, fmt.Sprintf("cluster-%04d", i))
		sights = append(sights, calmSight(names[i], 1000))
	}
	choices := open(names...)
	choices[17].Stand = StandLeaving
	_, m := Next(tmpl, 1_000_000, choices, sights, Memory{}, epoch)
	b.ReportAllocs()
	for b.Loop() {
		Next(tmpl, 1_000_000, choices, sights, m, epoch)
	}
}
