package placement

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func equalSeats(names ...string) []Seat {
	var seats []Seat
	for _, n := range names {
		seats = append(seats, Seat{Cluster: n, Limit: Limit{Weight: 1, Max: -1}, Capacity: -1})
	}
	return seats
}

func TestOrdinals(t *testing.T) {
	part := func(c string, n int64) Part { return Part{Seat: Seat{Cluster: c}, Replicas: n} }
	got, starts := Ordinals([]Part{part("b", 3), part("a", 2), part("c", 0)}, nil)
	if diff := cmp.Diff([]OrdinalPart{{"a", 0, 2}, {"b", 1000, 3}}, got); diff != "" {
		t.Error("at first:", diff)
	}
	got, starts = Ordinals([]Part{part("b", 900), part("a", 0), part("aa", 1), part("c", 2000)}, starts)
	if diff := cmp.Diff([]OrdinalPart{{"a", 0, 0}, {"aa", 2000, 1}, {"b", 1000, 900}, {"c", 3000, 1000}}, got); diff != "" {
		t.Error("grown:", diff)
	}
	delete(starts, "b") // gone from there
	got, _ = Ordinals([]Part{part("aa", 1), part("c", 5), part("d", 5)}, starts)
	if diff := cmp.Diff([]OrdinalPart{{"aa", 2000, 1}, {"c", 3000, 5}, {"d", 1000, 5}}, got); diff != "" {
		t.Error("a free block is given again:", diff)
	}
	got, _ = Ordinals([]Part{part("a", 1), part("b", 1)}, map[string]int64{"a": 1000, "b": 1000, "x": -7})
	if diff := cmp.Diff([]OrdinalPart{{"a", 1000, 1}, {"b", 0, 1}}, got); diff != "" {
		t.Error("two with one block:", diff)
	}
}

func TestBegun(t *testing.T) {
	for _, test := range []struct {
		name         string
		starts, live map[string]int64
		begun        map[string]int64
		renamed      []string
	}{
		{"nothing", nil, nil, map[string]int64{}, nil},
		{"what was given stays, whatever the cluster says", map[string]int64{"a": 1000}, map[string]int64{"a": 7}, map[string]int64{"a": 1000}, nil},
		{"who has it counts as given", nil, map[string]int64{"b": 0}, map[string]int64{"b": 0}, nil},
		{"two with one block", map[string]int64{"c": 2000}, map[string]int64{"a": 0, "b": 0, "d": 2000}, map[string]int64{"a": 0, "c": 2000}, []string{"b", "d"}},
		{"no block at all", nil, map[string]int64{"a": 5, "b": -1000}, map[string]int64{}, []string{"a", "b"}},
	} {
		begun, renamed := Begun(test.starts, test.live)
		if diff := cmp.Diff(test.begun, begun) + cmp.Diff(test.renamed, renamed); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// Whatever comes and goes, and however late clusters obey, no two have a pod of one name.
func TestOrdinalsNeverOverlap(t *testing.T) {
	type held struct{ start, replicas int64 }
	rapid.Check(t, func(t *rapid.T) {
		starts, has := map[string]int64(nil), map[string]held{}
		first := map[string]int64{}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			var parts []Part
			for i := range rapid.IntRange(0, 7).Draw(t, "clusters") {
				if rapid.Bool().Draw(t, "takes part") {
					parts = append(parts, Part{Seat: Seat{Cluster: fmt.Sprintf("c%d", i)}, Replicas: rapid.SampledFrom([]int64{0, 1, 2, 999, 1000, 5000}).Draw(t, "replicas")})
				}
			}
			var given []OrdinalPart
			given, starts = Ordinals(parts, starts)
			for _, g := range given {
				if s, met := first[g.Cluster]; met && s != g.Start {
					t.Errorf("%s began with %d and begins with %d now", g.Cluster, s, g.Start)
				}
				first[g.Cluster] = g.Start
				if rapid.Bool().Draw(t, "obeys") {
					has[g.Cluster] = held{g.Start, g.Replicas}
				}
			}
			for a, x := range has {
				for b, y := range has {
					if a != b && x.start < y.start+y.replicas && y.start < x.start+x.replicas {
						t.Errorf("%s has %+v and %s has %+v", a, x, b, y)
					}
				}
			}
		}
	})
}

// No cluster is given more than it has ordinals for.
func TestNextStatefulSet(t *testing.T) {
	tmpl := Template{Object: object(t, []byte("{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db, namespace: shop}}")), Spread: Spread{Mode: ModeDivide}}
	step, _ := Next(tmpl, 1500, open("a", "b"), []Sight{{Cluster: "a", Free: -1}, {Cluster: "b", Free: -1, Silent: epoch}}, Memory{}, epoch)
	if o := step.Orders[0]; o.Replicas != OrdinalBlock {
		t.Errorf("%+v", o)
	}
	if len(step.Orders) != 2 {
		t.Errorf("%+v", step)
	}
}

func TestDivideScale(t *testing.T) {
	seats := equalSeats("a", "b", "c")
	seats[2].Max = 0
	got, unplaced := DivideScale("default/shop", 1, 10, true, seats)
	if diff := cmp.Diff([]ScalePart{{"a", 1, 5}, {"b", 1, 5}, {"c", 0, 0}}, got); diff != "" || unplaced != 0 {
		t.Error(unplaced, diff)
	}
	rapid.Check(t, func(t *rapid.T) {
		seats := drawSeats(t, 40)
		least := rapid.Int64Range(0, 30).Draw(t, "min")
		most := rapid.Int64Range(least, 100).Draw(t, "max")
		parts, unplaced := DivideScale("default/shop", least, most, rapid.Bool().Draw(t, "rebalance"), seats)
		sum := unplaced
		for _, p := range parts {
			sum += p.Max
			if p.Min > p.Max || least > 0 && p.Max > 0 && p.Min == 0 || least == 0 && p.Min > 0 {
				t.Errorf("%+v", p)
			}
		}
		if sum != most {
			t.Errorf("a maximum of %d becomes %d", most, sum)
		}
	})
}

func ExampleOrdinals() {
	parts := Divide("default/db", 5, false, equalSeats("paris", "tokyo")).Parts
	given, _ := Ordinals(parts, nil)
	for _, g := range given {
		fmt.Printf("%s: db-%d to db-%d\n", g.Cluster, g.Start, g.Start+g.Replicas-1)
	}
	// Output:
	// paris: db-0 to db-2
	// tokyo: db-1000 to db-1001
}
