package placement

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// maxReplicas bounds every count and weight here, as Kubernetes' int32 does.
const maxReplicas = math.MaxInt32

// hand is what one claimant holds while replicas are dealt. Its k-th replica has
// the claim weight/k, the first one weight/½: a small hand is not left empty for a
// large one's sake. Claims depend on nobody else, so whoever comes takes only what
// his own claims win, and one replica more changes one hand by one (ADR 14).
type hand struct {
	weight    int64 // more than 0
	low, high int64 // the claims up to low are served already, those beyond high do not exist
	got       int64 // set by deal: low to high
}

// deal gives n replicas to the strongest claims. Of equal claims the earlier hand
// comes first. It returns what no hand could take.
//
// A level is bisected at which fewer than n claims are stronger; those that lie
// just beneath it, at most one a hand, are sorted. All of it is in whole numbers.
func deal(n int64, hands []hand) int64 {
	var room, heaviest, weights int64
	for i := range hands {
		h := &hands[i]
		h.weight = clamp(h.weight, 1, maxReplicas)
		h.high = max(h.low, min(h.high, h.low+max(n, 0)))
		h.got = h.low
		room += h.high - h.low
		heaviest, weights = max(heaviest, h.weight), weights+h.weight
	}
	if n <= 0 {
		return 0
	}
	if room <= n {
		for i := range hands {
			hands[i].got = hands[i].high
		}
		return n - room
	}
	// Claims are counted at the levels 0, 1/scale, 2/scale ...: scale exceeds every
	// weight, so from one level to the next a hand wins one claim at most.
	scale := uint(bits.Len64(uint64(heaviest)))
	// Without bounds a level's claims are weights × level / 2, and one a hand at most
	// on top, so the search begins close beneath the goal; bounds make it longer.
	step := 2 * uint64(len(hands)) << scale / uint64(weights)
	under := uint64(max(n-int64(len(hands)), 0)) * 2 << scale / uint64(weights)
	over := under + step + 1
	for dealt(hands, over, scale) <= n {
		step *= 2
		under, over = over, min(over+step, 1<<63) // where every claim wins, whatever the weights
	}
	for over-under > 1 {
		level := under + (over-under)/2
		if dealt(hands, level, scale) <= n {
			under = level
		} else {
			over = level
		}
	}
	var next []int
	for i := range hands {
		h := &hands[i]
		h.got = h.at(under, scale)
		n -= h.got - h.low
		if h.at(under+1, scale) > h.got {
			next = append(next, i)
		}
	}
	slices.SortFunc(next, func(i, j int) int {
		return cmp.Or(hands[i].claim(hands[j]), cmp.Compare(i, j))
	})
	for _, i := range next[:n] {
		hands[i].got++
	}
	return 0
}

// dealt counts the replicas that are given at a level.
func dealt(hands []hand, level uint64, scale uint) int64 {
	var sum int64
	for i := range hands {
		sum += hands[i].at(level, scale) - hands[i].low
	}
	return sum
}

// at counts the claims of a hand that win at a level: those whose divisor, ½, 2,
// 3, 4 ..., is no more than weight × level / 2. Served ones count in any case.
func (h *hand) at(level uint64, scale uint) int64 {
	hi, lo := bits.Mul64(uint64(h.weight), level)
	x := hi<<(64-scale) | lo>>scale
	switch {
	case x < 1:
		return h.low
	case x < 4:
		return clamp(1, h.low, h.high)
	}
	return clamp(int64(x/2), h.low, h.high)
}

// claim compares the next claims of two hands: negative if h's is stronger.
func (h hand) claim(g hand) int {
	return cmp.Compare(uint64(g.weight)*divisor(h.got+1), uint64(h.weight)*divisor(g.got+1))
}

// divisor is twice what the weight is divided by for the k-th replica.
func divisor(k int64) uint64 {
	if k == 1 {
		return 1
	}
	return 2 * uint64(k)
}

func clamp(n, low, high int64) int64 { return max(low, min(n, high)) }

// byTie compares two clusters by hash, then by name.
func byTie(object, a, b string) int {
	return cmp.Or(cmp.Compare(tie(a, object), tie(b, object)), cmp.Compare(a, b))
}

// tie orders clusters of equal claims differently for every object, so that small
// objects do not all land on the first name. FNV-1a, then mixed, because names
// that differ in one letter must not keep their order for all objects.
func tie(cluster, object string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(cluster) {
		h = (h ^ uint64(cluster[i])) * 1099511628211
	}
	h *= 1099511628211
	for i := range len(object) {
		h = (h ^ uint64(object[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
