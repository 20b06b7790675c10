package geoip

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/meridian-lb/meridian/fleet"
)

// Layer names, as they stand in fleet.Location.Layer, in order of precedence.
const (
	LayerNetwork  = "network"  // an operator's own network
	LayerCity     = "city"     // the City database
	LayerCountry  = "country"  // the Country database
	LayerEmbedded = "embedded" // the country table inside the program
	LayerDefault  = "default"  // nobody knew
)

// The layers by number; a smaller one wins.
const (
	inNetworks = iota
	inCity
	inCountry
	inEmbedded
	inNone // nobody knew; also the number of layers
)

// layerNames are the names by number.
func layerNames() [inNone + 1]string {
	return [...]string{LayerNetwork, LayerCity, LayerCountry, LayerEmbedded, LayerDefault}
}

// layer is what one source knows of all addresses. Immutable.
type layer struct {
	v4     ranges[uint32]
	v6     ranges[uint64]
	places []fleet.Location // by value of the ranges, without Prefix; the first means unknown
}

// run finds what the layer knows of an address and the keys around it of which
// it knows the same.
func (y *layer) run(v view) (value uint32, lo, hi uint64) {
	if v.width == grain4 {
		return y.v4.run(v.key)
	}
	return y.v6.run(v.key)
}

// runs counts the runs of which something is known.
func (y *layer) runs() int { return y.v4.known() + y.v6.known() }

// table is all layers at one moment; nil stands for one that is not there. Immutable.
type table [inNone]*layer

// locate asks the layers in order. The prefix lies in the run of the layer that
// knew and in the runs of ignorance of all layers above: no address in it is
// known better. It is the widest such prefix, since a Location names its layer.
func (t *table) locate(v view) (loc fleet.Location, which int) {
	lo, hi := uint64(0), uint64(1)<<v.width
	loc.Layer, which = LayerDefault, inNone
	for i, y := range t {
		if y == nil {
			continue
		}
		value, a, b := y.run(v)
		lo, hi = max(lo, a), min(hi, b)
		if value != 0 {
			loc, which = y.places[value], i
			break
		}
	}
	loc.Prefix = v.widest(lo, hi)
	return loc, which
}

// layerBuilder makes a layer from prefixes in ascending order of each family.
type layerBuilder struct {
	v4     *builder[uint32]
	v6     *builder[uint64]
	places []fleet.Location
	ids    map[fleet.Location]uint32
}

// newLayerBuilder begins a layer; with public set, what is said of addresses
// that are nobody's on the internet is not believed.
func newLayerBuilder(public bool) *layerBuilder {
	var cut4, cut6 []span
	if public {
		cut4, cut6 = bogons4(), bogons6()
	}
	return &layerBuilder{
		v4:     newBuilder[uint32](grain4, cut4),
		v6:     newBuilder[uint64](grain6, cut6),
		places: make([]fleet.Location, 1),
		ids:    map[fleet.Location]uint32{},
	}
}

// place is the value that stands for a location; 0 when it says no place.
func (b *layerBuilder) place(loc fleet.Location) uint32 {
	if !sane(loc.Place) {
		return 0
	}
	id, ok := b.ids[loc]
	if !ok {
		id = uint32(len(b.places))
		b.places = append(b.places, loc)
		b.ids[loc] = id
	}
	return id
}

// add says that a prefix is at a place. Addresses are looked up by their grain,
// so a longer prefix counts only when it holds the grain's first address.
func (b *layerBuilder) add(p netip.Prefix, value uint32) {
	s, first := keys(p)
	switch {
	case !first:
	case p.Addr().Is4():
		b.v4.add(s.lo, s.hi, value)
	default:
		b.v6.add(s.lo, s.hi, value)
	}
}

func (b *layerBuilder) finish() *layer {
	return &layer{v4: b.v4.finish(), v6: b.v6.finish(), places: b.places}
}

// keys are the keys of a masked prefix. A prefix longer than the grain has one
// key; first says whether the grain begins with the prefix, true for all others.
func keys(p netip.Prefix) (s span, first bool) {
	width := grain6
	var rest uint64
	if p.Addr().Is4() {
		b := p.Addr().As4()
		v := uint64(binary.BigEndian.Uint32(b[:]))
		width, rest, s.lo = grain4, v&0xff, v>>(32-grain4)
	} else {
		b := p.Addr().As16()
		hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		rest, s.lo = hi&0xff|lo, hi>>(64-grain6)
	}
	s.hi = s.lo + 1<<max(0, width-p.Bits())
	return s, rest == 0
}

// sane reports whether a place is known and on earth.
func sane(p fleet.Place) bool {
	return p.Known() && math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180 // false for NaN
}

// bogons4 are the IPv4 prefixes that are nobody's on the internet: IANA's
// special-purpose registry, multicast and reserved space. The documentation
// networks stay usable, for documentation. As keys, ascending.
func bogons4() []span {
	return spans("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3")
}

// bogons6 are all of IPv6 but global unicast (2000::/3), and of that what is
// no host's: benchmarking and hash identifiers.
func bogons6() []span {
	return spans("::/3", "2001:2::/48", "2001:10::/28", "2001:20::/28", "4000::/2", "8000::/1")
}

func spans(prefixes ...string) []span {
	out := make([]span, len(prefixes))
	for i, p := range prefixes {
		out[i], _ = keys(netip.MustParsePrefix(p))
	}
	return out
}
