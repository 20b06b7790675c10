package geoip

import (
	"testing"

	"pgregory.net/rapid"
)

// The table agrees with a plain array, and its runs are as wide as can be.
func TestRangesAgainstArray(t *testing.T) {
	const width, keys = 24, 1 << 24
	rapid.Check(t, func(t *rapid.T) {
		// Spans lie in a small window, so that they touch, and the array is small.
		const window = 300
		base := rapid.Uint64Range(0, keys-window).Draw(t, "base")
		var model [window]uint32
		var cuts []span
		if rapid.Bool().Draw(t, "cut") {
			lo := rapid.Uint64Range(0, window-1).Draw(t, "cut lo")
			cuts = append(cuts, span{base + lo, base + rapid.Uint64Range(lo+1, window).Draw(t, "cut hi")})
		}
		b := newBuilder[uint32](width, cuts)
		at := uint64(0)
		for at < window && rapid.IntRange(0, 9).Draw(t, "more") > 0 {
			lo := at + rapid.Uint64Range(0, 3).Draw(t, "gap")
			hi := lo + rapid.Uint64Range(1, 40).Draw(t, "length")
			lo, hi = min(lo, window), min(hi, window)
			v := rapid.Uint32Range(0, 3).Draw(t, "value")
			b.add(base+lo, base+hi, v)
			for k := lo; k < hi; k++ {
				if len(cuts) == 0 || base+k < cuts[0].lo || base+k >= cuts[0].hi {
					model[k] = v
				}
			}
			at = hi
		}
		r := b.finish()
		of := func(key uint64) uint32 {
			if key < base || key >= base+window {
				return 0
			}
			return model[key-base]
		}
		for key := max(base, 1) - 1; key < min(base+window+1, keys); key++ {
			v, lo, hi := r.run(key)
			if v != of(key) || lo > key || key >= hi {
				t.Fatalf("key %d: value %d in [%d,%d), want value %d", key, v, lo, hi, of(key))
			}
			if lo > 0 && of(lo-1) == v || hi < keys && of(hi) == v {
				t.Fatalf("key %d: run [%d,%d) of %d could be wider", key, lo, hi, v)
			}
		}
	})
}

// With so many runs that there is an index, every key is still found.
func TestRangesIndex(t *testing.T) {
	const width = 24
	b := newBuilder[uint32](width, nil)
	for i := range uint64(3 * indexFrom) {
		lo := i * 1361 // over all of the space, straddling the index's steps
		b.add(lo, lo+100+i%1200, uint32(i%7+1))
	}
	r := b.finish()
	if r.index == nil {
		t.Fatal("no index was made")
	}
	bare := r
	bare.index = nil
	for key := uint64(0); key < 1<<width; key += 97 {
		v, lo, hi := r.run(key)
		if w, a, z := bare.run(key); v != w || lo != a || hi != z {
			t.Fatalf("key %d: with index %d [%d,%d), without %d [%d,%d)", key, v, lo, hi, w, a, z)
		}
	}
	for _, key := range []uint64{0, 1, 255, 256, 1<<width - 1} {
		if _, lo, hi := r.run(key); lo > key || key >= hi {
			t.Errorf("key %d: run [%d,%d) does not hold it", key, lo, hi)
		}
	}
}
