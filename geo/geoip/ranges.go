package geoip

import "sort"

// ranges gives each of 2^width keys a value, as runs of equal values: run i goes
// from starts[i] up to the next start. Neighbouring runs differ in value, so a
// run is as wide as can be. The value 0 means unknown. Immutable.
type ranges[K uint32 | uint64] struct {
	width  int
	starts []K // ascending, the first is 0
	values []uint32
	// index narrows the search: index[t] is the run of the first key whose upper
	// 16 bits are t. Nil for few runs.
	index []uint32
}

const (
	indexBits = 16
	indexFrom = 4096 // runs, from which on an index of 256 KiB pays
)

// run finds the value of a key and the run [lo, hi) around it.
func (r *ranges[K]) run(key uint64) (value uint32, lo, hi uint64) {
	a, b := 0, len(r.starts)-1 // the run sought is in [a, b]
	if r.index != nil {
		t := key >> (r.width - indexBits)
		a, b = int(r.index[t]), int(r.index[t+1])
	}
	for a < b {
		m := int(uint(a+b+1) >> 1)
		if uint64(r.starts[m]) <= key {
			a = m
		} else {
			b = m - 1
		}
	}
	hi = 1 << r.width
	if a+1 < len(r.starts) {
		hi = uint64(r.starts[a+1])
	}
	return r.values[a], uint64(r.starts[a]), hi
}

// span is the keys from lo up to but not including hi.
type span struct{ lo, hi uint64 }

// builder makes ranges from spans that come in ascending order.
type builder[K uint32 | uint64] struct {
	r    ranges[K]
	end  uint64 // keys below have been decided
	cuts []span // ascending, that stay unknown whatever is added
}

func newBuilder[K uint32 | uint64](width int, cuts []span) *builder[K] {
	return &builder[K]{r: ranges[K]{width: width}, cuts: cuts}
}

// add gives the keys in [lo, hi) a value. Of keys that have been decided before,
// the first decision holds.
func (b *builder[K]) add(lo, hi uint64, value uint32) {
	for len(b.cuts) > 0 && b.cuts[0].hi <= lo {
		b.cuts = b.cuts[1:]
	}
	for _, c := range b.cuts {
		if c.lo >= hi {
			break
		}
		b.put(lo, min(c.lo, hi), value)
		lo = max(lo, c.hi)
	}
	b.put(lo, hi, value)
}

func (b *builder[K]) put(lo, hi uint64, value uint32) {
	lo = max(lo, b.end)
	if lo >= hi {
		return
	}
	if lo > b.end {
		b.push(b.end, 0)
	}
	b.push(lo, value)
	b.end = hi
}

func (b *builder[K]) push(start uint64, value uint32) {
	if n := len(b.r.values); n > 0 && b.r.values[n-1] == value {
		return
	}
	b.r.starts = append(b.r.starts, K(start))
	b.r.values = append(b.r.values, value)
}

// finish gives the ranges. The builder is used up.
func (b *builder[K]) finish() ranges[K] {
	if end := uint64(1) << b.r.width; b.end < end {
		b.push(b.end, 0)
	}
	r := b.r
	if len(r.starts) < indexFrom {
		return r
	}
	r.index = make([]uint32, 1<<indexBits+1)
	at := 0
	for t := range r.index {
		first := uint64(t) << (r.width - indexBits)
		at += sort.Search(len(r.starts)-at, func(i int) bool { return uint64(r.starts[at+i]) > first })
		at-- // the last run that starts at or before first; the first run starts at 0
		r.index[t] = uint32(at)
	}
	return r
}

// known is the number of runs of which something is known.
func (r *ranges[K]) known() (runs int) {
	for _, v := range r.values {
		if v != 0 {
			runs++
		}
	}
	return runs
}
