package dns

import (
	"encoding/binary"
	"net/netip"

	"github.com/meridian-lb/meridian/fleet"
)

// The units in which clients are told apart. Every client of one unit gets the
// same answer, so no scope is ever longer than that.
const (
	unitBits4 = 24
	unitBits6 = 56
)

// subnet is an EDNS Client Subnet option of a query (RFC 7871) that has been checked.
type subnet struct {
	raw    []byte     // as it came, for the echo
	addr   netip.Addr // zero-filled behind the source prefix; invalid when the source is 0
	source int        // prefix length in bits
}

// parseSubnet reads the option's data. Whatever the standard forbids is refused:
// a scope in a query, an unknown family, a prefix longer than the address, more
// or fewer octets than the prefix needs, bits set behind the prefix. Family 0
// stands for "tell nobody where I am" in what dig +subnet=0 sends.
func parseSubnet(data []byte) (subnet, bool) {
	if len(data) < 4 {
		return subnet{}, false
	}
	source, scope, octets := int(data[2]), data[3], data[4:]
	size := 0
	switch binary.BigEndian.Uint16(data) {
	case 0:
	case 1:
		size = 4
	case 2:
		size = 16
	default:
		return subnet{}, false
	}
	if scope != 0 || source > 8*size || len(octets) != (source+7)/8 {
		return subnet{}, false
	}
	s := subnet{raw: append([]byte(nil), data...), source: source}
	if source == 0 {
		return s, true
	}
	full := make([]byte, size)
	copy(full, octets)
	s.addr, _ = netip.AddrFromSlice(full)
	if p, err := s.addr.Prefix(source); err != nil || p.Addr() != s.addr {
		return subnet{}, false
	}
	return s, true
}

// echo is the option of the answer: family, source and address as they came.
func (s subnet) echo(scope uint8) []byte {
	out := append([]byte(nil), s.raw...)
	out[3] = scope
	return out
}

// client is for whom an answer is made.
type client struct {
	loc    fleet.Location
	prefix netip.Prefix // the unit, on which splits are drawn
	// told says that the client is one that the query's ECS option told of, so
	// that the answer names its scope. Otherwise it is the resolver, and the scope 0.
	told bool
}

// whose finds out for whom an answer is made: the told subnet if it is sane, else
// the resolver.
//
// A told address is looked up as its unit, so that all of the unit get one
// answer. The resolver is looked up by its whole address, since no scope is
// promised of it and an operator's network may be smaller than the unit. A
// private address says nothing about where its client is, unless an
// operator's network says so.
func whose(ecs *subnet, resolver netip.Addr, locate func(netip.Addr) fleet.Location) client {
	if ecs != nil && ecs.addr.IsValid() {
		unit := unitOf(ecs.addr)
		c := client{loc: locate(unit.Addr()), prefix: unit, told: true}
		if !reserved(ecs.addr) || c.loc.Layer == "network" {
			return c
		}
	}
	resolver = inner(resolver)
	return client{loc: locate(resolver), prefix: unitOf(resolver)}
}

// scope is the prefix length around a told client in which everybody gets the
// same choice.
func (c client) scope(place, prefix bool) uint8 {
	unit := c.prefix.Bits()
	switch known := c.loc.Prefix; {
	case !c.told || !place && !prefix:
		return 0
	case prefix, !known.IsValid() || !known.Contains(c.prefix.Addr()):
		return uint8(unit)
	default:
		return uint8(min(known.Bits(), unit))
	}
}

func unitOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := unitBits6
	if a.Is4() {
		bits = unitBits4
	}
	p, _ := a.Prefix(bits) // fails for the zero Addr only, whose zero Prefix is right
	return p
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
	teredo = netip.MustParsePrefix("2001::/32")
	global = netip.MustParsePrefix("2000::/3")

	// reserved4 is what the IANA registry of special addresses keeps off the
	// internet. The documentation networks stay usable, for documentation.
	reserved4 = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("224.0.0.0/3"),
	}
)

// reserved reports whether an address says nothing about a place on the internet.
func reserved(a netip.Addr) bool {
	if !a.Is4() {
		return !global.Contains(a)
	}
	for _, p := range reserved4 {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// inner is the IPv4 address that an address of a transition mechanism carries
// (NAT64, 6to4, Teredo, IPv4-mapped), else the address itself.
func inner(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(a): // the client's address is stored inverted (RFC 4380 §4)
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return a
}
