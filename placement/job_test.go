package placement

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func aJob(spec string) Template {
	return Template{Object: object(unfailing{}, []byte("{apiVersion: batch/v1, kind: Job, metadata: {name: sum, namespace: shop}, spec: {"+spec+"}}")),
		Spread: Spread{Mode: ModeDivide, Grace: DefaultGrace}}
}

// told are the orders of a step in short.
func told(step JobStep) string {
	var out []string
	for _, o := range step.Orders {
		text := fmt.Sprintf("%s %s", o.Cluster, o.Act)
		if o.Act == ActApply {
			text += fmt.Sprintf(" %d/%d", o.Parallelism, o.Completions)
		}
		for mark, is := range map[string]bool{"!": o.Begin, ".": o.Over, "?": o.Held} {
			if is {
				text += mark
			}
		}
		out = append(out, text)
	}
	if step.Unplaced > 0 {
		out = append(out, fmt.Sprintf("%d unplaced", step.Unplaced))
	}
	if step.Problem != "" {
		out = append(out, step.Problem[:14])
	}
	return strings.Join(out, ", ")
}

func TestNextJob(t *testing.T) {
	long := epoch.Add(-time.Hour)
	runs := func(given, done int64) Stint { return Stint{UID: "u", Given: given, Done: done, Pods: 2} }
	seen := func(c string, given, done int64) JobSight {
		return JobSight{Cluster: c, UID: "u", Parallelism: 2, Completions: given, Succeeded: done, Over: given == done}
	}
	for _, test := range []struct {
		name    string
		spec    string
		weights map[string]Limit
		choices []Choice
		sights  []JobSight
		before  map[string]Stint
		want    string
	}{
		{"both by weight", "parallelism: 8, completions: 100", map[string]Limit{"a": {Weight: 1, Max: -1}, "b": {Weight: 3, Max: -1}}, open("a", "b"),
			[]JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "a Apply 2/25!, b Apply 6/75!"},
		{"a queue has no completions", "parallelism: 8", nil, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "a Apply 4/-1!, b Apply 4/-1!"},
		{"what says nothing is one pod", "", nil, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "a None, b Apply 1/1!"},
		{"no more pods than work", "parallelism: 50, completions: 4", nil, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "a Apply 2/2!, b Apply 2/2!"},
		{"paused", "parallelism: 0, completions: 4", nil, open("a"), []JobSight{{Cluster: "a"}}, nil, "a None, 4 unplaced"},
		{"a cluster comes when all has been given", "parallelism: 2, completions: 10", nil, open("a", "b"), []JobSight{seen("a", 10, 3), {Cluster: "b"}},
			map[string]Stint{"a": runs(10, 3)}, "a Apply 2/10, b None"},
		{"what is over is left alone", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{seen("a", 5, 5), seen("b", 5, 1)},
			map[string]Stint{"a": runs(5, 4), "b": runs(5, 1)}, "a Apply 2/5., b Apply 2/5"},
		{"what is over and gone is not begun again", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{{Cluster: "a"}, seen("b", 5, 1)},
			map[string]Stint{"a": {UID: "u", Given: 5, Done: 5, Pods: 2, Over: true}, "b": runs(5, 1)}, "a None., b Apply 2/5"},
		{"what was deleted is begun again without what was done", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{{Cluster: "a"}, seen("b", 5, 1)},
			map[string]Stint{"a": runs(5, 4), "b": runs(5, 1)}, "a Apply 1/1!, b Apply 2/5"},
		{"a silent cluster is waited for", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{{Cluster: "a", Silent: epoch.Add(-time.Minute)}, {Cluster: "b"}},
			map[string]Stint{"a": runs(10, 4)}, "a None?, b None"},
		{"and then replaced, but for what it has done", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{{Cluster: "a", Silent: long}, {Cluster: "b"}},
			map[string]Stint{"a": runs(10, 4)}, "a None, b Apply 4/6!"},
		{"by whoever is through", "parallelism: 4, completions: 10", nil, open("a", "b", "c"), []JobSight{{Cluster: "a", Silent: long}, seen("b", 3, 2), seen("c", 3, 3)},
			map[string]Stint{"a": runs(4, 1), "b": runs(3, 2), "c": runs(3, 3)}, "a None?, b Apply 2/3, c Remove."},
		{"it comes back too late", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{seen("a", 5, 3), seen("b", 8, 1)},
			map[string]Stint{"a": {UID: "u", Given: 5, Done: 2, Pods: 2, Void: true, Silent: long}, "b": runs(8, 1)}, "a Remove, b Apply 4/8"},
		{"it comes back, and is through", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{seen("a", 5, 5), seen("b", 8, 1)},
			map[string]Stint{"a": {UID: "u", Given: 5, Done: 2, Pods: 2, Void: true, Silent: long}, "b": runs(8, 1)}, "a Apply 2/5., b Apply 2/8"},
		{"a cluster is left when it is through", "parallelism: 4, completions: 10", nil, []Choice{{Cluster: "a", Stand: StandLeaving}, {Cluster: "b", Stand: StandOutside}, {Cluster: "c", Stand: StandOpen}},
			[]JobSight{seen("a", 5, 3), seen("b", 5, 5), {Cluster: "c"}}, map[string]Stint{"a": runs(5, 3), "b": runs(5, 5)}, "a Apply 2/5, b Remove., c None"},
		{"more is wanted: by whoever is through", "parallelism: 4, completions: 12", nil, open("a", "b"), []JobSight{seen("a", 5, 5), seen("b", 5, 1)},
			map[string]Stint{"a": runs(5, 5), "b": runs(5, 1)}, "a Remove., b Apply 2/5"},
		{"less is wanted: what is given stays", "parallelism: 4, completions: 6", nil, open("a", "b"), []JobSight{seen("a", 5, 2), seen("b", 5, 1)},
			map[string]Stint{"a": runs(5, 2), "b": runs(5, 1)}, "a Apply 2/5, b Apply 2/5"},
		{"what failed has failed", "parallelism: 4, completions: 10", nil, open("a", "b"), []JobSight{{Cluster: "a", UID: "u", Completions: 5, Succeeded: 1, Over: true, Broken: true}, {Cluster: "b"}},
			map[string]Stint{"a": runs(5, 1)}, "a Apply 2/5., b None"},
		{"indexes are not divided", "parallelism: 2, completions: 4, completionMode: Indexed", nil, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "an Indexed Job"},
		{"but done by one cluster", "parallelism: 2, completions: 4, completionMode: Indexed", nil, append(open("a"), Choice{Cluster: "b", Stand: StandOutside}), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, "a Apply 2/-1!"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tmpl := aJob(test.spec)
			tmpl.Spread.Limits = test.weights
			saved := maps.Clone(test.before)
			step, after := NextJob(tmpl, test.choices, test.sights, test.before, epoch)
			if got := told(step); got != test.want {
				t.Errorf("%s\nwant %s\n%+v", got, test.want, after)
			}
			if diff := cmp.Diff(saved, test.before); diff != "" {
				t.Errorf("the memory was changed: %s", diff)
			}
			again, same := NextJob(tmpl, test.choices, test.sights, after, epoch)
			if diff := cmp.Diff(after, same); diff != "" || told(again) != told(step) {
				t.Errorf("it is not calm: %s %s", told(again), diff)
			}
		})
	}
}

func TestNextJobDuplicate(t *testing.T) {
	tmpl := aJob("completions: 3, ttlSecondsAfterFinished: 1")
	tmpl.Spread.Mode = ModeDuplicate
	step, m := NextJob(tmpl, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, nil, epoch)
	if got := told(step); got != "a Apply 1/-1!, b Apply 1/-1!" || !step.Orders[0].Whole {
		t.Error(got)
	}
	seen := []JobSight{{Cluster: "a", UID: "1", Completions: 3, Succeeded: 3, Over: true}, {Cluster: "b", UID: "2", Completions: 3, Succeeded: 1}}
	_, m = NextJob(tmpl, open("a", "b"), seen, m, epoch)
	step, _ = NextJob(tmpl, open("a", "b"), []JobSight{{Cluster: "a"}, {Cluster: "b"}}, m, epoch)
	if got := told(step); got != "a None., b Apply 1/-1!" {
		t.Errorf("a is over, b was deleted: %s", got)
	}
}

// yard is a world of clusters that do a Job.
type yard struct {
	t        judge
	template Template
	places   []*ground
	memory   map[string]Stint
	now      time.Time
	wanted   int64
	unseen   int64 // completions that nobody could know of: done in silence, or right before the Job was deleted
	serial   int
}

// ground is one cluster of a yard.
type ground struct {
	name   string
	stand  Stand
	silent time.Time
	dead   bool // nothing runs while it is silent
	uid    string
	given  int64
	pods   int64
	done   int64 // by the Job that is there
	seen   int64 // of done, when it last answered
	ever   int64 // by all Jobs that there were
}

// work lets each cluster's pods succeed, as far as it has any.
func (y *yard) work(most int64) {
	for _, g := range y.places {
		if g.uid == "" || g.dead {
			continue
		}
		n := min(most, g.pods, g.given-g.done)
		g.done += n
		g.ever += n
	}
}

func (y *yard) look() (sights []JobSight, choices []Choice) {
	for _, g := range y.places {
		choices = append(choices, Choice{Cluster: g.name, Stand: g.stand})
		if !g.silent.IsZero() {
			sights = append(sights, JobSight{Cluster: g.name, Silent: g.silent})
			continue
		}
		y.unseen += y.taken(g)
		g.seen = g.done
		sights = append(sights, JobSight{Cluster: g.name, UID: g.uid, Parallelism: g.pods, Completions: g.given, Succeeded: g.done, Over: g.uid != "" && g.done == g.given})
	}
	return sights, choices
}

// taken are completions that were done after somebody else had been given them.
func (y *yard) taken(g *ground) int64 {
	if y.memory[g.name].Void && g.uid != "" {
		return g.done - g.seen
	}
	return 0
}

func (y *yard) pass() {
	sights, choices := y.look()
	step, after := NextJob(y.template, choices, sights, y.memory, y.now)
	data, err := json.Marshal(after)
	if err != nil {
		y.t.Fatal(err)
	}
	y.memory = map[string]Stint{}
	if err := json.Unmarshal(data, &y.memory); err != nil {
		y.t.Fatal(err)
	}
	var pods, claims int64
	for _, o := range step.Orders {
		g := y.places[slices.IndexFunc(y.places, func(g *ground) bool { return g.name == o.Cluster })]
		if !g.silent.IsZero() && o.Act != ActNone {
			y.t.Errorf("%s is silent and told to %s", o.Cluster, o.Act)
		}
		if len(o.Reasons) == 0 {
			y.t.Errorf("no reason: %+v", o)
		}
		switch o.Act {
		case ActApply:
			if g.uid == "" && o.Begin {
				y.serial++
				g.uid, g.given, g.done, g.seen = fmt.Sprint(y.serial), o.Completions, 0, 0
			}
			if g.uid != "" && g.given != o.Completions {
				y.t.Errorf("%s has %d completions, which cannot be changed, and is told %d", g.name, g.given, o.Completions)
			}
			if !o.Over {
				g.pods = o.Parallelism
				pods += g.pods
			} else if g.done < g.given {
				y.t.Errorf("%s is over with %d of %d", g.name, g.done, g.given)
			}
		case ActRemove:
			if g.done < g.given && !y.memory[g.name].Void {
				y.t.Errorf("%s has done %d of %d, and is taken its Job", g.name, g.done, g.given)
			}
			y.unseen += y.taken(g)
			g.uid = ""
		}
	}
	for _, m := range y.memory {
		claims += m.claim()
	}
	if most := JobOf(y.template.Object).Parallelism; pods > most {
		y.t.Errorf("%d pods may run at one time, and %d do", most, pods)
	}
	if claims > y.wanted+y.unseen {
		y.t.Fatalf("%d completions are given, of %d and %d that nobody saw: %+v", claims, y.wanted, y.unseen, y.memory)
	}
}

func (y *yard) ever() (n int64) {
	for _, g := range y.places {
		n += g.ever
	}
	return n
}

// Whatever happens to the clusters, no completion is done twice but those that nobody
// saw, and all are done in the end.
func TestJobsNeverExceedTheirCompletions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y := &yard{t: t, now: epoch, wanted: rapid.Int64Range(1, 24).Draw(t, "completions"), memory: map[string]Stint{}}
		y.template = aJob(fmt.Sprintf("parallelism: %d, completions: %d", rapid.Int64Range(1, 12).Draw(t, "parallelism"), y.wanted))
		for i := range rapid.IntRange(1, 5).Draw(t, "clusters") {
			y.places = append(y.places, &ground{name: fmt.Sprintf("c%d", i), stand: StandOpen})
		}
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			g := rapid.SampledFrom(y.places).Draw(t, "where")
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				if g.silent.IsZero() {
					g.silent, g.dead = y.now, rapid.Bool().Draw(t, "dead")
				}
			case 1:
				g.silent, g.dead = time.Time{}, false
			case 2: // somebody deletes the Job, or its time after the end is over
				if g.silent.IsZero() && g.uid != "" {
					y.unseen += g.done - g.seen
					g.uid = ""
				}
			case 3:
				g.stand = rapid.SampledFrom([]Stand{StandOpen, StandOpen, StandClosed, StandLeaving, StandOutside}).Draw(t, "stand")
			case 4:
				y.wanted += rapid.Int64Range(0, 2).Draw(t, "more")
				y.template = aJob(fmt.Sprintf("parallelism: %d, completions: %d", rapid.Int64Range(1, 12).Draw(t, "parallelism"), y.wanted))
			default:
				y.work(rapid.Int64Range(1, 4).Draw(t, "each"))
			}
			y.now = y.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 10 * time.Minute}).Draw(t, "later"))
			y.pass()
		}
		for i, g := range y.places { // the first one at least stays
			if i == 0 || rapid.Bool().Draw(t, "returns") {
				g.silent, g.dead, g.stand = time.Time{}, false, StandOpen
			}
		}
		for range 150 {
			y.work(3)
			y.now = y.now.Add(time.Minute)
			y.pass()
		}
		var hidden int64 // done in silence, and never told
		for _, g := range y.places {
			if !g.silent.IsZero() {
				hidden += g.done - g.seen
			}
		}
		switch done := y.ever(); {
		case done-hidden < y.wanted:
			t.Errorf("%d of %d are done: %+v", done, y.wanted, y.memory)
		case done > y.wanted+y.unseen+hidden:
			t.Errorf("%d are done of %d, with %d that nobody saw", done, y.wanted, y.unseen+hidden)
		}
		before := y.memory
		y.pass()
		if diff := cmp.Diff(before, y.memory); diff != "" {
			t.Errorf("it is not calm: %s", diff)
		}
	})
}
