package geoip

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// Network is a prefix of the operator's own, whose clients stand at a place.
type Network struct {
	Prefix netip.Prefix
	Place  fleet.Place
	Name   string // whose it is, such as a cluster's; for messages and to break ties
}

func (n Network) String() string { return fmt.Sprintf("network %s of %q", n.Prefix, n.Name) }

func (n Network) compare(m Network) int {
	return cmp.Or(n.Prefix.Addr().Compare(m.Prefix.Addr()), cmp.Compare(n.Prefix.Bits(), m.Prefix.Bits()),
		cmp.Compare(n.Name, m.Name), cmp.Compare(n.Place.Lat, m.Place.Lat), cmp.Compare(n.Place.Lon, m.Place.Lon))
}

// networksLayer makes the layer of the operator's networks. The more specific
// network wins. One that is longer than the grain stands for the whole grain; of
// several for the same keys the first by address, length and name holds. Each
// that cannot hold is told in the error, and the others hold all the same.
func networksLayer(given []Network) (*layer, error) {
	ns := make([]Network, 0, len(given))
	var errs []error
	for _, n := range given {
		if err := n.check(); err != nil {
			errs = append(errs, err)
			continue
		}
		n.Prefix = n.Prefix.Masked()
		ns = append(ns, n)
	}
	slices.SortFunc(ns, Network.compare)

	b := newLayerBuilder(false)
	at4 := sweep{put: b.v4.add}
	at6 := sweep{put: b.v6.add}
	for _, n := range ns {
		at := &at6
		if n.Prefix.Addr().Is4() {
			at = &at4
		}
		s, _ := keys(n.Prefix)
		id := b.place(fleet.Location{Place: n.Place, Layer: LayerNetwork})
		if other, clash := at.open(s, id, n); clash {
			errs = append(errs, fmt.Errorf("%s is ignored because %s is in the same /%d at another place; give both the same place or prefixes of their own",
				n, other, min(n.Prefix.Bits(), grain(n.Prefix))))
		}
	}
	at4.close(1 << grain4)
	at6.close(1 << grain6)
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if len(b.places) == 1 {
		return nil, errors.Join(errs...)
	}
	return b.finish(), errors.Join(errs...)
}

func grain(p netip.Prefix) int {
	if p.Addr().Is4() {
		return grain4
	}
	return grain6
}

func (n Network) check() error {
	switch {
	case !n.Prefix.IsValid():
		return fmt.Errorf("a network of %q is ignored because it has no valid prefix; write it as 192.0.2.0/24", n.Name)
	case !sane(n.Place):
		return fmt.Errorf("%s is ignored because its place is not known; give latitude and longitude in degrees", n)
	}
	for _, block := range [...]string{"::ffff:0:0/96", "64:ff9b::/96", "2001::/32", "2002::/16"} {
		b := netip.MustParsePrefix(block)
		if b.Bits() <= n.Prefix.Bits() && b.Contains(n.Prefix.Addr()) {
			return fmt.Errorf("%s is ignored because a client in %s is looked up by the IPv4 address inside its own; give that IPv4 prefix", n, b)
		}
	}
	return nil
}

// sweep turns nested spans, ordered by lo and then from wide to narrow, into
// disjoint ones of which the narrowest holds.
type sweep struct {
	put   func(lo, hi uint64, value uint32) // leaves alone what has been put before
	stack []opened                          // each inside the one before
}

type opened struct {
	span
	value uint32
	by    Network
}

// open begins a span. When the same span is open at another place the new one
// is dropped, and the network that holds is returned with clash.
func (w *sweep) open(s span, value uint32, by Network) (holds Network, clash bool) {
	w.close(s.lo)
	if top := len(w.stack) - 1; top >= 0 {
		o := w.stack[top]
		if o.span == s {
			return o.by, o.value != value
		}
		w.put(o.lo, s.lo, o.value)
	}
	w.stack = append(w.stack, opened{s, value, by})
	return Network{}, false
}

// close ends all spans that end at or before a key.
func (w *sweep) close(key uint64) {
	for top := len(w.stack) - 1; top >= 0 && w.stack[top].hi <= key; top-- {
		o := w.stack[top]
		w.put(o.lo, o.hi, o.value)
		w.stack = w.stack[:top]
	}
}
