package placement

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDivideStory(t *testing.T) {
	tell(t, "testdata/divide.txt", func(o order) string {
		replicas, err := strconv.ParseInt(o.args[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var seats []Seat
		for _, row := range o.rows {
			seats = append(seats, seatOf(t, row))
		}
		d := Divide("default/shop", replicas, o.has("rebalance"), seats)
		var out strings.Builder
		for _, p := range d.Parts {
			fmt.Fprintf(&out, "%s %d", p.Cluster, p.Replicas)
			if p.Overflow > 0 {
				fmt.Fprintf(&out, ", overflow %d", p.Overflow)
			}
			fmt.Fprintf(&out, ": %s\n", strings.Join(p.Reasons(), "; "))
		}
		fmt.Fprintf(&out, "without a place: %d\n", d.Unplaced)
		return out.String()
	})
}

func seatOf(t *testing.T, row []string) Seat {
	s := Seat{Cluster: row[0], Limit: Limit{Max: -1}, Capacity: -1}
	for key, value := range pairs(row[1:]) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch key {
		case "weight":
			s.Weight = n
		case "min":
			s.Min = n
		case "max":
			s.Max = n
		case "capacity":
			s.Capacity = n
		case "running":
			s.Running = n
		default:
			t.Fatalf("a seat has no %s", key)
		}
	}
	return s
}

// drawSeats draws a table with every kind of bound; most are small, so that they meet.
func drawSeats(t *rapid.T, most int64) []Seat {
	number := func(label string, none int64) int64 {
		if rapid.IntRange(0, 2).Draw(t, "has "+label) > 0 {
			return none
		}
		return rapid.Int64Range(0, most).Draw(t, label)
	}
	seats := make([]Seat, rapid.IntRange(0, 8).Draw(t, "clusters"))
	for i := range seats {
		weight := rapid.OneOf(rapid.SampledFrom([]int64{0, 1, 1, 2, 3, 7, 100, maxReplicas}), rapid.Int64Range(1, 60))
		seats[i] = Seat{
			Cluster:  fmt.Sprintf("c%d", i),
			Limit:    Limit{Weight: weight.Draw(t, "weight"), Min: number("min", 0), Max: number("max", -1)},
			Capacity: number("capacity", -1),
			Running:  number("running", 0),
		}
	}
	return seats
}

func high(s Seat) int64 { return min(bound(s.Max), bound(s.Capacity)) }

// room is what a seat can take.
func room(s Seat, rebalance bool) int64 {
	switch {
	case s.Weight > 0:
		return high(s)
	case rebalance:
		return min(s.Min, high(s))
	default:
		return min(max(s.Min, s.Running), high(s))
	}
}

func replicasOf(d Division) map[string]int64 {
	m := map[string]int64{}
	for _, p := range d.Parts {
		m[p.Cluster] = p.Replicas
	}
	return m
}

func TestDivideHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int64{4, 30, 1000, maxReplicas}).Draw(t, "scale")
		seats := drawSeats(t, most)
		n := rapid.Int64Range(0, most).Draw(t, "replicas")
		rebalance := rapid.Bool().Draw(t, "rebalance")
		d := Divide("default/shop", n, rebalance, seats)

		var placed, rooms, running, mins int64
		for i, p := range d.Parts {
			if p.Cluster != seats[i].Cluster {
				t.Fatalf("part %d is %s's", i, p.Cluster)
			}
			placed += p.Replicas
			rooms = min(rooms+room(p.Seat, rebalance), maxReplicas)
			mins += min(p.Min, high(p.Seat))
			running += max(min(p.Running, high(p.Seat)), min(p.Min, high(p.Seat)))
			if p.Replicas > high(p.Seat) || p.Replicas < 0 {
				t.Errorf("%s gets %d, more than it may", p.Cluster, p.Replicas)
			}
			if p.Overflow > 0 && (p.Capacity < 0 || p.Replicas > p.Capacity) {
				t.Errorf("%s overflows by %d", p.Cluster, p.Overflow)
			}
			if len(p.Reasons()) == 0 {
				t.Errorf("%s gets %d for no reason", p.Cluster, p.Replicas)
			}
		}
		if placed != min(n, rooms) || d.Unplaced != n-placed {
			t.Errorf("%d placed, %d not, of %d with room for %d", placed, d.Unplaced, n, rooms)
		}
		for _, p := range d.Parts {
			if n >= mins && p.Replicas < min(p.Min, high(p.Seat)) {
				t.Errorf("%s gets %d, less than its minimum of %d", p.Cluster, p.Replicas, p.Min)
			}
			if !rebalance && n >= running && p.Replicas < min(p.Running, high(p.Seat)) {
				t.Errorf("%s loses some of the %d that run there", p.Cluster, p.Running)
			}
		}
	})
}

// TestDivideIsCalm: the order of the clusters, another run, one replica more, one
// cluster more and the absence of a cluster with just its part change what they must.
func TestDivideIsCalm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int64{4, 30, 1000}).Draw(t, "scale")
		seats := drawSeats(t, most)
		n := rapid.Int64Range(0, most).Draw(t, "replicas")
		rebalance := rapid.Bool().Draw(t, "rebalance")
		before := replicasOf(Divide("default/shop", n, rebalance, seats))

		again := replicasOf(Divide("default/shop", n, rebalance, rapid.Permutation(seats).Draw(t, "order")))
		for c, r := range before {
			if again[c] != r {
				t.Errorf("%s gets %d, and %d in another order", c, r, again[c])
			}
		}

		more := replicasOf(Divide("default/shop", n+1, rebalance, seats))
		var grown int64
		for c, r := range before {
			if more[c] < r || more[c] > r+1 {
				t.Errorf("one replica more takes %s from %d to %d", c, r, more[c])
			}
			grown += more[c] - r
		}
		if grown > 1 {
			t.Errorf("one replica more adds %d", grown)
		}
		if len(seats) == 0 {
			return
		}

		last := seats[len(seats)-1]
		without := replicasOf(Divide("default/shop", n, rebalance, seats[:len(seats)-1]))
		for c, r := range without {
			if before[c] > r {
				t.Errorf("%s comes, and %s grows from %d to %d", last.Cluster, c, r, before[c])
			}
		}
		rest := replicasOf(Divide("default/shop", n-before[last.Cluster], rebalance, seats[:len(seats)-1]))
		for c, r := range rest {
			if before[c] != r {
				t.Errorf("with %s away and its %d not counted, %s changes from %d to %d", last.Cluster, before[last.Cluster], c, before[c], r)
			}
		}
	})
}

// TestDivideIsAsDealt deals one replica at a time, always to the strongest claim,
// in fractions without rounding.
func TestDivideIsAsDealt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int64{4, 30, 120}).Draw(t, "scale")
		seats := drawSeats(t, most)
		n := rapid.Int64Range(0, most).Draw(t, "replicas")
		rebalance := rapid.Bool().Draw(t, "rebalance")
		got, want := replicasOf(Divide("default/shop", n, rebalance, seats)), dealOneByOne("default/shop", n, rebalance, seats)
		for c, r := range want {
			if got[c] != r {
				t.Errorf("%s gets %d; one by one it would be %d", c, got[c], r)
			}
		}
	})
}

func dealOneByOne(object string, n int64, rebalance bool, seats []Seat) map[string]int64 {
	seats = slices.Clone(seats)
	slices.SortFunc(seats, func(a, b Seat) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(tie(a.Cluster, object), tie(b.Cluster, object)))
	})
	got, least, kept := map[string]int64{}, map[string]int64{}, map[string]int64{}
	for _, s := range seats {
		for got[s.Cluster] < s.Min && got[s.Cluster] < high(s) && n > 0 {
			got[s.Cluster]++
			n--
		}
		least[s.Cluster] = got[s.Cluster]
	}
	give := func(weight func(Seat) int64, number func(Seat) int64, may func(Seat) bool, gave func(Seat)) {
		for ; n > 0; n-- {
			best, strongest := -1, new(big.Rat)
			for i, s := range seats {
				if weight(s) == 0 || !may(s) {
					continue
				}
				claim := big.NewRat(weight(s), number(s))
				if number(s) == 1 {
					claim = big.NewRat(2*weight(s), 1)
				}
				if best < 0 || claim.Cmp(strongest) > 0 {
					best, strongest = i, claim
				}
			}
			if best < 0 {
				return
			}
			got[seats[best].Cluster]++
			gave(seats[best])
		}
	}
	if !rebalance {
		for _, weight := range []func(Seat) int64{
			func(s Seat) int64 { return s.Weight },
			func(s Seat) int64 { return 1 - min(s.Weight, 1) },
		} {
			give(weight, func(s Seat) int64 { return kept[s.Cluster] + 1 },
				func(s Seat) bool { return got[s.Cluster] < min(s.Running, high(s)) },
				func(s Seat) { kept[s.Cluster]++ })
		}
	}
	// Those kept stand for the claims that their cluster would win first.
	give(func(s Seat) int64 { return s.Weight }, func(s Seat) int64 { return got[s.Cluster] - least[s.Cluster] + 1 },
		func(s Seat) bool { return got[s.Cluster] < high(s) }, func(Seat) {})
	return got
}

func TestSmallWorkloadsDoNotHerd(t *testing.T) {
	first := map[string]int{}
	var seats []Seat
	for _, c := range []string{"a", "b", "c", "d", "e"} {
		seats = append(seats, Seat{Cluster: c, Limit: Limit{Weight: 1, Max: -1}, Capacity: -1})
	}
	const workloads = 5000
	for i := range workloads {
		for _, p := range Divide(fmt.Sprintf("default/app-%d", i), 1, false, seats).Parts {
			first[p.Cluster] += int(p.Replicas)
		}
	}
	for c, n := range first {
		if n < workloads/5*9/10 || n > workloads/5*11/10 {
			t.Errorf("%d of %d workloads of one replica land on %s", n, workloads, c)
		}
	}
}

func manySeats(n int) []Seat {
	seats := make([]Seat, n)
	for i := range seats {
		seats[i] = Seat{Cluster: fmt.Sprintf("cluster-%04d", i), Limit: Limit{Weight: int64(1 + i*7919%1000), Min: int64(i % 3), Max: -1}, Capacity: -1, Running: int64(i * 31 % 1500)}
		if i%5 == 0 {
			seats[i].Max = 1500
		}
		if i%7 == 0 {
			seats[i].Capacity = 700
		}
	}
	return seats
}

func BenchmarkDivide(b *testing.B) {
	for _, rebalance := range []bool{false, true} {
		b.Run(fmt.Sprintf("1000000 over 1000 rebalance=%t", rebalance), func(b *testing.B) {
			seats := manySeats(1000)
			b.ReportAllocs()
			for b.Loop() {
				Divide("default/shop", 1_000_000, rebalance, seats)
			}
		})
	}
}

func TestDivideAllocatesLittle(t *testing.T) {
	few, many := manySeats(10), manySeats(1000)
	small := testing.AllocsPerRun(10, func() { Divide("default/shop", 10_000, false, few) })
	large := testing.AllocsPerRun(10, func() { Divide("default/shop", 1_000_000, false, many) })
	if large > small+30 {
		t.Errorf("%v allocations for 1,000 clusters, %v for 10", large, small)
	}
}
