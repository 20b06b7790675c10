package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/placement"
)

// The division that is measured, and its goal.
const (
	seatCount    = 1000
	replicaCount = 1_000_000
	divideGoal   = 2 * time.Millisecond
)

// divisions prints what a large division costs, beside sorting as many numbers as there
// are clusters, which it cannot do without.
func divisions(out io.Writer) error {
	chance := rand.New(rand.NewPCG(1, 2)) // the same in every run
	numbers := make([]uint64, seatCount)
	for i := range numbers {
		numbers[i] = chance.Uint64()
	}
	again := make([]uint64, seatCount)
	floor, _ := best(func() {
		copy(again, numbers)
		slices.Sort(again)
	})
	_, _ = fmt.Fprintf(out, "%d replicas over %d clusters; sorting %d numbers takes %.0f µs\n", replicaCount, seatCount, seatCount, micros(floor))
	plain, mixed := seats(chance, false), seats(chance, true)
	settled := slices.Clone(mixed)
	for _, p := range placement.Divide("shop/web", replicaCount, false, mixed).Parts {
		settled[slices.IndexFunc(settled, func(s placement.Seat) bool { return s.Cluster == p.Cluster })].Running = p.Replicas
	}
	worst := time.Duration(0)
	for _, c := range []struct {
		name  string
		seats []placement.Seat
	}{{"by weight alone", plain}, {"with minimums, maximums, capacity and what runs", mixed}, {"as it is already", settled}} {
		var d placement.Division
		took, mallocs := best(func() { d = placement.Divide("shop/web", replicaCount, false, c.seats) })
		sum := d.Unplaced
		for _, p := range d.Parts {
			sum += p.Replicas
		}
		if sum != replicaCount {
			return fmt.Errorf("%s: %d replicas of %d are accounted for", c.name, sum, replicaCount)
		}
		worst = max(worst, took)
		_, _ = fmt.Fprintf(out, "  %-48s %5.0f µs, x%.1f, %d allocations\n", c.name, micros(took), float64(took)/float64(floor), mallocs)
	}
	verdict := "met"
	if worst > divideGoal {
		verdict = "MISSED"
	}
	_, _ = fmt.Fprintf(out, "goal: a division takes at most %s: %s (%.2f ms)\n", divideGoal, verdict, micros(worst)/1e3)
	return nil
}

func seats(chance *rand.Rand, mixed bool) []placement.Seat {
	list := make([]placement.Seat, seatCount)
	for i := range list {
		s := placement.Seat{Cluster: fmt.Sprintf("cluster-%04d", i), Limit: placement.Limit{Weight: 1 + chance.Int64N(100), Max: -1}, Capacity: -1}
		if mixed {
			s.Min, s.Running = chance.Int64N(20), chance.Int64N(2*replicaCount/seatCount)
			if chance.IntN(3) == 0 {
				s.Max = chance.Int64N(2 * replicaCount / seatCount)
			}
			if chance.IntN(3) == 0 {
				s.Capacity = chance.Int64N(3 * replicaCount / seatCount)
			}
		}
		list[i] = s
	}
	return list
}

// best is the shortest of many times, and how often memory was asked for.
func best(do func()) (took time.Duration, mallocs uint64) {
	took = time.Hour
	for range 50 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		do()
		took = min(took, time.Since(began))
		runtime.ReadMemStats(&after)
		mallocs = after.Mallocs - before.Mallocs
	}
	return took, mallocs
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
