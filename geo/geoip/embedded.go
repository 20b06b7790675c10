package geoip

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"unsafe"

	"github.com/phuslu/iploc"

	"github.com/meridian-lb/meridian/fleet"
)

// EmbeddedVersion is the version of the country data inside the program.
const EmbeddedVersion = iploc.Version

// embeddedLayer is the layer of the embedded country data. The first call makes it, in
// about half a second of one core; it is the same for the whole process.
var embeddedLayer = sync.OnceValue(func() *layer {
	b := newLayerBuilder(true)
	values := map[string]uint32{}
	value := func(code string) uint32 {
		v, ok := values[code]
		if !ok {
			v = b.place(fleet.Location{Place: centroid(code), Country: code, Layer: LayerEmbedded})
			values[code] = v
		}
		return v
	}
	scan(grain4, iploc4, func(lo, hi uint64, code string) { b.v4.add(lo, hi, value(code)) })
	scan(grain6, iploc6, func(lo, hi uint64, code string) { b.v6.add(lo, hi, value(code)) })
	return b.finish()
})

func iploc4(key uint64) string {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], uint32(key<<(32-grain4)))
	return iploc.IPCountry(netip.AddrFrom4(a))
}

func iploc6(key uint64) string {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], key<<(64-grain6))
	return iploc.IPCountry(netip.AddrFrom16(a))
}

// scan finds all runs of a table that can only be asked key by key.
//
// The library answers with a substring of one text that has two letters for each
// of its runs, in order. So it is the place of the answer in memory, not the
// letters, that names the run: two keys with the same place have no other run
// between them, and the end of a run can be found by doubling steps and halving.
// (With the letters alone this would step over the B of A B A.)
func scan(width int, country func(key uint64) string, found func(lo, hi uint64, code string)) {
	for lo, end := uint64(0), uint64(1)<<width; lo < end; {
		code := country(lo)
		inside := func(key uint64) bool { return unsafe.StringData(country(key)) == unsafe.StringData(code) } //nolint:gosec // only compared, never read through
		last, beyond, step := lo, lo+1, uint64(1)
		for beyond < end && inside(beyond) {
			last, step = beyond, 2*step
			beyond = last + step
		}
		for beyond = min(beyond, end); beyond-last > 1; {
			if m := last + (beyond-last)/2; inside(m) {
				last = m
			} else {
				beyond = m
			}
		}
		found(lo, beyond, code)
		lo = beyond
	}
}
