package steer

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/meridian-lb/meridian/fleet"
)

// Choice is the region that serves the asker first: the first of the order, or,
// where the first priority is divided, the side of the division on which the
// asker's prefix falls. It reports false when the order is empty.
//
// The division is weighted rendezvous hashing (Schindelhauer and Schomaker,
// SPAA 2005): when one region's share grows by e, a share of e of the prefixes
// moves to it and no other prefix moves. It needs no state, so all servers agree.
func (d Decision) Choice() (Candidate, bool) {
	if len(d.Order) == 0 {
		return Candidate{}, false
	}
	best, least := 0, math.Inf(1)
	for i, c := range d.Order {
		if c.Priority != d.Order[0].Priority {
			break
		}
		if c.Share <= 0 {
			continue
		}
		if score := -math.Log(unit(d.Services[0], d.Prefix, c.Region)) / c.Share; score < least {
			best, least = i, score
		}
	}
	return d.Order[best], true
}

// unit draws a number in (0, 1) from the names alone.
func unit(svc fleet.ServiceName, p netip.Prefix, r fleet.Region) float64 {
	h := newHash()
	h.text(svc.Namespace)
	h.text(svc.Name)
	a := p.Masked().Addr().As16()
	h.bytes(a[:])
	h.bytes(binary.BigEndian.AppendUint16(nil, uint16(p.Bits()+1)))
	h.text(string(r))
	return (float64(h.sum()>>11) + 0.5) / (1 << 53)
}

func tieBreak(svc fleet.ServiceName, r fleet.Region) uint64 {
	h := newHash()
	h.text(svc.Namespace)
	h.text(svc.Name)
	h.text(string(r))
	return h.sum()
}

// hash is FNV-1a with the finaliser of MurmurHash3, whose low bits alone would
// be too regular to divide by. It is the same in every process and release.
type hash uint64

func newHash() *hash { h := hash(14695981039346656037); return &h }

func (h *hash) bytes(b []byte) {
	for _, c := range b {
		*h = (*h ^ hash(c)) * 1099511628211
	}
}

// text ends each string with a zero byte, so that "ab","c" and "a","bc" differ.
func (h *hash) text(s string) {
	h.bytes([]byte(s))
	h.bytes([]byte{0})
}

func (h *hash) sum() uint64 {
	x := uint64(*h)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
