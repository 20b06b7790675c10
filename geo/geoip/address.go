package geoip

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// The grain: clients are told apart by their first 24 bits (IPv4) or 56 bits
// (IPv6), which is what resolvers send in an ECS option at most (RFC 7871 §11.1).
const (
	grain4 = 24
	grain6 = 56
)

// Blocks of IPv6 whose addresses carry an IPv4 address: upper and lower half of
// the block's first address. Their clients are looked up by what they carry.
const (
	mappedLo = 0x0000_ffff_0000_0000 // ::ffff:0:0/96 (RFC 4291); the upper half is zero
	nat64Hi  = 0x0064_ff9b_0000_0000 // 64:ff9b::/96 (RFC 6052)
	teredoHi = 0x2001_0000_0000_0000 // 2001::/32 (RFC 4380), client address inverted in the last 32 bits
	sixTo4Hi = 0x2002_0000_0000_0000 // 2002::/16 (RFC 3056), client address in bits 16 to 48
)

// view is an address as the tables see it: a key in the space of its family.
type view struct {
	addr  netip.Addr // as given, but unmapped and without zone
	key   uint64     // the first width bits of the address that is looked up
	width int        // grain4 or grain6
	lead  int        // bits of addr before the key: 0, or where the IPv4 address inside begins
	floor int        // shortest Prefix that takes in no address of the blocks above
}

// see makes the view of an address; false for the zero Addr.
func see(a netip.Addr) (view, bool) {
	a = a.Unmap()
	switch {
	case a.Is4():
		b := a.As4()
		return inside(a, binary.BigEndian.Uint32(b[:]), 0), true
	case !a.IsValid():
		return view{}, false
	}
	a = a.WithZone("")
	b := a.As16()
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	switch {
	case hi>>48 == sixTo4Hi>>48:
		return inside(a, uint32(hi>>16), 16), true
	case hi>>32 == teredoHi>>32:
		return inside(a, ^uint32(lo), 96), true
	case hi == nat64Hi && lo>>32 == 0:
		return inside(a, uint32(lo), 96), true
	}
	floor := max(common(hi, lo, 0, mappedLo), common(hi, lo, nat64Hi, 0),
		common(hi, lo, teredoHi, 0), common(hi, lo, sixTo4Hi, 0)) + 1
	return view{addr: a, key: hi >> (64 - grain6), width: grain6, floor: floor}, true
}

func inside(a netip.Addr, v4 uint32, lead int) view {
	return view{addr: a, key: uint64(v4) >> (32 - grain4), width: grain4, lead: lead, floor: lead}
}

// common is the number of leading bits in which two addresses agree.
func common(aHi, aLo, bHi, bLo uint64) int {
	if aHi != bHi {
		return bits.LeadingZeros64(aHi ^ bHi)
	}
	return 64 + bits.LeadingZeros64(aLo^bLo)
}

// prefix is the first n bits of the key as a prefix of the address as it was
// given, longer where that would take in a block that is looked up otherwise.
func (v view) prefix(n int) netip.Prefix {
	p, _ := v.addr.Prefix(max(v.lead+n, v.floor)) // never out of range
	return p
}

// widest is the widest prefix around the view's key that lies in the keys from
// lo up to but not including hi. A block of 2^n keys around the key leaves out a
// key k outside exactly when the two differ at bit n or above.
func (v view) widest(lo, hi uint64) netip.Prefix {
	n := v.width
	if lo > 0 {
		n = bits.Len64(v.key^(lo-1)) - 1
	}
	if hi < 1<<v.width {
		n = min(n, bits.Len64(v.key^hi)-1)
	}
	return v.prefix(v.width - n)
}

// Truncate is the smallest network in which clients are not told apart: /24 of
// an IPv4 and /56 of an IPv6 address. It contains the address (an IPv4-mapped
// one counts as IPv4), and every address in it has the same Location.
//
// IPv6 addresses that carry an IPv4 address are cut behind 24 bits of that:
// 6to4 at /40, NAT64 and Teredo at /120. Addresses that share a /56 with NAT64
// or IPv4-mapped ones, which no client has, are cut longer as well. The zero
// Addr gives the zero Prefix.
func Truncate(a netip.Addr) netip.Prefix {
	v, ok := see(a)
	if !ok {
		return netip.Prefix{}
	}
	return v.prefix(v.width)
}
