package placement

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestMoveStories: each line of an answer is a moment at which an order changed
// something: for each cluster the ready replicas, those ordered and the goal.
func TestMoveStories(t *testing.T) {
	files, err := filepath.Glob("testdata/move-*.txt")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d stories: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			w := &world{t: t}
			tell(t, file, w.play)
		})
	}
}

func (w *world) play(o order) string {
	var c *town
	if len(o.args) > 0 {
		c = w.town(o.args[0])
	}
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		return n
	}
	switch o.verb {
	case "workload":
		w.replicas = number(o.args[0])
		w.template.Spread = Spread{Mode: ModeDivide, Rebalance: o.has("rebalance"), Grace: DefaultGrace, Limits: map[string]Limit{Everywhere: {Weight: 1, Max: -1}}}
		if o.has("duplicate") {
			w.template.Spread.Mode = ModeDuplicate
		}
		if b := o.set["budget"]; b != "" {
			w.template.Spread.Budget = number(b)
		}
		for _, row := range o.rows {
			w.join(row)
		}
	case "join":
		w.join(o.args)
	case "replicas":
		w.replicas, w.hurt = number(o.args[0]), w.now
	case "room":
		c.room, w.hurt = number(o.args[1]), w.now
	case "stand":
		c.stand = Stand(o.args[1])
	case "dies":
		w.lose(c, true)
	case "silent":
		w.lose(c, false)
	case "returns":
		w.find(c)
	case "why":
		var out strings.Builder
		for _, o := range w.step.Orders {
			fmt.Fprintf(&out, "%s %s %d goal %d: %s\n", o.Cluster, o.Act, o.Replicas, o.Goal, strings.Join(o.Reasons, "; "))
		}
		fmt.Fprintf(&out, "without a place: %d\n", w.step.Unplaced)
		return out.String()
	case "run":
		d, err := time.ParseDuration(o.args[0])
		if err != nil {
			w.t.Fatal(err)
		}
		return w.diary(int(d / tick))
	default:
		w.t.Fatalf("nobody knows how to %s", o.verb)
	}
	return "ok"
}

func (w *world) join(row []string) {
	c := &town{name: row[0], stand: StandOpen, room: 1 << 20}
	set := pairs(row[1:])
	if r := set["room"]; r != "" {
		n, err := strconv.ParseInt(r, 10, 64)
		if err != nil {
			w.t.Fatal(err)
		}
		c.room = n
	}
	c.tells = set["tells"] != ""
	w.towns = append(w.towns, c)
}

// diary runs the world and notes the moments at which orders change something.
func (w *world) diary(ticks int) string {
	var out strings.Builder
	least := int64(-1)
	for range ticks {
		w.pass()
		var ready int64
		for _, c := range w.towns {
			ready += c.ready(young)
		}
		if least < 0 || ready < least {
			least = ready
		}
		if w.moved != w.now {
			continue
		}
		fmt.Fprintf(&out, "%7s", w.at())
		for _, c := range w.towns {
			mark, ordered, goal := "", "-", "-"
			if !c.silent.IsZero() {
				mark = "?"
			}
			for _, o := range w.step.Orders {
				if o.Cluster != c.name {
					continue
				}
				goal = fmt.Sprint(o.Goal)
				switch o.Act {
				case ActApply:
					ordered = fmt.Sprint(o.Replicas)
				case ActRemove:
					ordered = "removed"
				}
			}
			fmt.Fprintf(&out, "  %s%s %d/%s>%s", c.name, mark, c.ready(young), ordered, goal)
		}
		out.WriteString("\n")
	}
	fmt.Fprintf(&out, "%7s%s\nfewest ready: %d\n", w.at(), w, least)
	return out.String()
}

// TestMovesAreCalm: whatever befalls the world, readiness never falls by our own
// doing, the budget holds (both are checked at every order), and once the world is
// quiet everything that has a place finds it, and then nothing moves any more.
func TestMovesAreCalm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t}
		most := rapid.SampledFrom([]int64{6, 40, 200}).Draw(t, "scale")
		w.template.Spread = Spread{
			Mode:      rapid.SampledFrom([]Mode{ModeDivide, ModeDivide, ModeFree}).Draw(t, "mode"),
			Rebalance: rapid.Bool().Draw(t, "rebalance"),
			Grace:     5 * time.Minute,
			Limits:    map[string]Limit{},
			Budget:    rapid.Int64Range(0, 5).Draw(t, "budget"),
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "clusters") {
			c := &town{name: fmt.Sprintf("c%d", i), stand: StandOpen, tells: rapid.Bool().Draw(t, "tells")}
			c.room = rapid.Int64Range(0, most).Draw(t, "room")
			w.towns = append(w.towns, c)
			w.template.Spread.Limits[c.name] = Limit{Weight: rapid.SampledFrom([]int64{1, 1, 2, 5}).Draw(t, "weight"), Max: -1}
			l := w.template.Spread.Limits[c.name]
			if rapid.IntRange(0, 3).Draw(t, "min") == 0 {
				l.Min = rapid.Int64Range(0, most/4).Draw(t, "least")
			}
			if rapid.IntRange(0, 3).Draw(t, "max") == 0 {
				l.Max = rapid.Int64Range(0, most).Draw(t, "most")
			}
			w.template.Spread.Limits[c.name] = l
		}
		w.replicas = rapid.Int64Range(0, most).Draw(t, "replicas")
		for range rapid.IntRange(0, 12).Draw(t, "events") {
			w.befall(t, most)
			for range rapid.IntRange(1, 60).Draw(t, "ticks") {
				w.pass()
			}
		}
		w.settle(t)
	})
}

func (w *world) befall(t *rapid.T, most int64) {
	c := rapid.SampledFrom(w.towns).Draw(t, "whom")
	switch rapid.SampledFrom([]string{"dies", "silent", "returns", "returns", "stand", "stand", "replicas", "room"}).Draw(t, "what") {
	case "dies":
		w.lose(c, true)
	case "silent":
		w.lose(c, false)
	case "returns":
		w.find(c)
	case "stand":
		c.stand = rapid.SampledFrom([]Stand{StandOpen, StandOpen, StandClosed, StandLeaving, StandOutside}).Draw(t, "stand")
	case "replicas":
		w.replicas, w.hurt = rapid.Int64Range(0, most).Draw(t, "replicas"), w.now
	case "room":
		c.room, w.hurt = rapid.Int64Range(0, most).Draw(t, "room"), w.now
	}
}

// settle leaves the world alone until nothing moves, or until capacities are tried
// again but once an hour; then watches that nothing else moves, and looks at what
// has become of it.
func (w *world) settle(t *rapid.T) {
	const minute = 6 // ticks
	for start := w.now; w.now-start < 8*60*minute && w.now-max(w.moved, start) < 65*minute; {
		w.pass()
	}
	resting := map[string]int64{}
	for range 65 * minute {
		memory, step, moved := w.memory, w.step, w.moved
		w.pass()
		trying := false
		for _, o := range w.step.Orders {
			l := w.memory.Clusters[o.Cluster].Lesson
			if l != nil && l.Tries == 5 && o.Replicas != l.Capacity {
				trying = true
				continue
			}
			if before, ok := resting[o.Cluster]; ok && before != o.Replicas {
				t.Fatalf("no peace: %s moves from %d to %d\n%s\n%+v", o.Cluster, before, o.Replicas, w, w.step)
			}
			resting[o.Cluster] = o.Replicas
		}
		if !trying && moved == w.moved && w.now-w.moved > 65*minute &&
			(!reflect.DeepEqual(withoutLessons(memory), withoutLessons(w.memory)) || !reflect.DeepEqual(step.Orders, w.step.Orders)) {
			t.Fatalf("in the quiet the memory or the orders still change:\n%+v\n%+v\n%+v\n%+v", memory, w.memory, step.Orders, w.step.Orders)
		}
	}
	for n := 0; w.now-w.moved < 5 || w.trying(); n++ { // a moment between two tries
		if n > 120*minute {
			t.Fatalf("no moment of peace: %s\n%+v", w, w.step)
		}
		w.pass()
	}
	var asked, ready, waited int64
	for _, c := range w.towns {
		if r := w.memory.Clusters[c.name]; !c.silent.IsZero() && !r.Replaced {
			waited += min(r.Ordered, r.Seen)
		}
		if c.silent.IsZero() {
			asked += c.spec
			ready += c.ready(young)
		}
	}
	var room int64
	for _, c := range w.towns {
		switch {
		case !c.silent.IsZero():
		case c.stand == StandOpen:
			room += min(c.room, bound(w.template.Spread.LimitOf(c.name).Max))
		default: // what it has kept
			room += int64(len(c.pods))
			if c.stand != StandClosed && len(c.pods) == 0 && c.present {
				t.Errorf("%s is empty and was not removed", c.name)
			}
		}
	}
	wanted := max(0, w.replicas-waited)
	least, most := min(wanted, room), min(wanted, room)
	if waited > 0 { // nothing that is ready is taken away meanwhile
		most = max(least, w.replicas)
	}
	if asked < least || asked > most || ready != asked || w.step.Unplaced != wanted-least {
		t.Errorf("%d are asked for, %d ready, %d without a place: of %d with room for %d, %d waited for\n%s\n%+v", asked, ready, w.step.Unplaced, w.replicas, room, waited, w, w.step)
	}
}

// trying: some cluster is asked for more than it could hold the last time.
func (w *world) trying() bool {
	for _, r := range w.memory.Clusters {
		if r.Lesson != nil && r.Silent.IsZero() && r.Ordered > r.Lesson.Capacity {
			return true
		}
	}
	return false
}

// withoutLessons: they are forgotten in the quiet.
func withoutLessons(m Memory) Memory {
	clusters := map[string]Recollection{}
	for name, r := range m.Clusters {
		if r.Lesson = nil; !reflect.DeepEqual(r, Recollection{}) {
			clusters[name] = r
		}
	}
	m.Clusters = clusters
	return m
}
