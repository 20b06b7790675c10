package placement

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

func equalSeats(names ...string) []Seat {
	var seats []Seat
	for _, n := range names {
		seats = append(seats, Seat{Cluster: n, Limit: Limit{Weight: 1, Max: -1}, Capacity: -1})
	}
	return seats
}

func TestDivideJob(t *testing.T) {
	weighted := equalSeats("a", "b")
	weighted[1].Weight = 3
	for _, test := range []struct {
		name     string
		job      Job
		seats    []Seat
		had      map[string]int64
		want     []JobPart
		unplaced int64
	}{
		{"both by weight", Job{Parallelism: 8, Completions: 100}, weighted, nil, []JobPart{{"a", 2, 25}, {"b", 6, 75}}, 0},
		{"a queue has no completions", Job{Parallelism: 8, Completions: -1}, weighted, nil, []JobPart{{"a", 2, -1}, {"b", 6, -1}}, 0},
		{"no more pods than work", Job{Parallelism: 50, Completions: 4}, equalSeats("a", "b"), nil, []JobPart{{"a", 2, 2}, {"b", 2, 2}}, 0},
		{"paused", Job{Parallelism: 0, Completions: 4}, equalSeats("a"), nil, []JobPart{{"a", 0, 0}}, 4},
		{"a cluster comes when all has been given", Job{Parallelism: 4, Completions: 10}, equalSeats("a", "b"), map[string]int64{"a": 10},
			[]JobPart{{"a", 2, 10}, {"b", 0, 0}}, 0},
		{"a lost cluster's work goes to one without a Job", Job{Parallelism: 4, Completions: 10}, equalSeats("b", "c"), map[string]int64{"b": 5},
			[]JobPart{{"b", 2, 5}, {"c", 2, 5}}, 0},
		{"a lost cluster's work, and all have a Job", Job{Parallelism: 4, Completions: 10}, equalSeats("b"), map[string]int64{"b": 5},
			[]JobPart{{"b", 4, 5}}, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, unplaced, problems := DivideJob(fleet.Origin{}, "default/sum", test.job, test.seats, test.had)
			if diff := cmp.Diff(test.want, got); diff != "" || unplaced != test.unplaced || len(problems) > 0 {
				t.Errorf("%d unplaced, want %d; %v\n%s", unplaced, test.unplaced, problems, diff)
			}
		})
	}
	if parts, _, problems := DivideJob(fleet.Origin{Name: "sum"}, "default/sum", Job{Indexed: true}, weighted, nil); len(parts) > 0 || len(problems) != 1 || problems[0].About.Name != "sum" {
		t.Errorf("an Indexed Job: %v, %v", parts, problems)
	}
}

func TestDivideJobHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seats := drawSeats(t, 30)
		j := Job{Parallelism: rapid.Int64Range(1, 40).Draw(t, "parallelism"), Completions: rapid.Int64Range(0, 200).Draw(t, "completions")}
		parts, unplaced, _ := DivideJob(fleet.Origin{}, "default/sum", j, seats, nil)
		sum := unplaced
		had := map[string]int64{}
		for _, p := range parts {
			sum += p.Completions
			if p.Completions < p.Parallelism || p.Parallelism == 0 && p.Completions != 0 {
				t.Errorf("%+v", p)
			}
			if p.Completions > 0 {
				had[p.Cluster] = p.Completions
			}
		}
		if sum != j.Completions {
			t.Errorf("%d completions become %d", j.Completions, sum)
		}
		again, left, _ := DivideJob(fleet.Origin{}, "default/sum", j, append(seats, Seat{Cluster: "new", Limit: Limit{Weight: 5, Max: -1}, Capacity: -1}), had)
		for _, p := range again {
			if p.Cluster == "new" {
				left += p.Completions
			} else if p.Completions != had[p.Cluster] {
				t.Errorf("%s has %d completions, and is given %d", p.Cluster, had[p.Cluster], p.Completions)
			}
		}
		if left != unplaced {
			t.Errorf("the new cluster and nobody get %d of the %d left", left, unplaced)
		}
	})
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
