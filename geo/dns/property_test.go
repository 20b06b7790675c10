package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// drawSubnet draws a client subnet of any length, mostly of places that are known.
func drawSubnet(t *rapid.T) netip.Prefix {
	var a netip.Addr
	if rapid.Bool().Draw(t, "IPv4") {
		b := [4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))
		b[0] = rapid.SampledFrom([]byte{81, 63, 101, 9, 10, b[0]}).Draw(t, "first octet")
		if b[0] == 10 {
			b[1] = rapid.SampledFrom([]byte{77, b[1]}).Draw(t, "second octet")
		}
		a = netip.AddrFrom4(b)
	} else {
		b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		b[0], b[1] = rapid.SampledFrom([]byte{0x2a, 0x20, 0xfd}).Draw(t, "first octet"), 0
		a = netip.AddrFrom16(b)
	}
	p, _ := a.Prefix(rapid.IntRange(1, a.BitLen()).Draw(t, "source"))
	return p
}

// within draws a client inside a prefix, as a subnet at least as long.
func within(t *rapid.T, p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	noise := rapid.SliceOfN(rapid.Byte(), len(b), len(b)).Draw(t, "noise")
	for i := range b {
		keep := min(8, max(0, p.Bits()-8*i))
		b[i] |= noise[i] & (0xFF >> keep)
	}
	a, _ := netip.AddrFromSlice(b)
	q, _ := a.Prefix(rapid.IntRange(p.Bits(), a.BitLen()).Draw(t, "other source"))
	return q
}

func asOption(p netip.Prefix) []byte {
	family := uint16(2)
	if p.Addr().Is4() {
		family = 1
	}
	return ecs(family, byte(p.Bits()), 0, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// Two clients inside the returned scope always get the same answer: this is what
// makes it safe for a resolver to share it. Clients whose address says nothing
// are served as their resolver is, and promise nothing.
func TestScopeIsHonest(t *testing.T) {
	flat := testSnapshot() // a second world, where nobody has IPv6
	flat.World = &fleet.World{Edges: []*fleet.Edge{edge("ap", asia)}, Latency: fleet.Latency{}}
	tables := []*Table{testTable(t), tableOf(t, flat)}
	r := testResponder()
	rapid.Check(t, func(t *rapid.T) {
		table := rapid.SampledFrom(tables).Draw(t, "table")
		name := rapid.SampledFrom([]string{
			"www.example.test.", "split.example.test.", "order.example.test.", "alias.example.test.", "nobody.home.example.test.",
			"x.any.example.test.", "example.test.", "fixed.example.test.", "no.example.test.", "other.test.",
		}).Draw(t, "name")
		qtype := rapid.SampledFrom([]uint16{miekg.TypeA, miekg.TypeAAAA, miekg.TypeHTTPS, miekg.TypeTXT, miekg.TypeANY}).Draw(t, "type")
		ask := func(p netip.Prefix) (string, netip.Prefix, outcome) {
			q := packet{name: name, qtype: qtype, records: [][]byte{opt(0, false, asOption(p))}}
			out, o := r.respond(table, q.bytes(), inEurope, overTCP)
			m := unpack(t, out)
			sent := rawSubnet(m)
			scope := int(sent[7])
			sent[7] = 0
			if !bytes.Equal(sent, asOption(p)) {
				t.Fatalf("sent ECS %x, got back %x", asOption(p), sent)
			}
			around, err := p.Addr().Prefix(scope)
			if err != nil {
				t.Fatalf("scope %d of a %v: %v", scope, p, err)
			}
			m.Extra = nil // the echo differs by nature; the rest must not
			return m.String(), around, o
		}
		one := drawSubnet(t)
		first, scope, o := ask(one)
		if limit := unitOf(one.Addr()).Bits(); scope.Bits() > limit {
			t.Fatalf("scope %v is beyond the unit of %d bits", scope, limit)
		}
		if !o.ecs {
			if scope.Bits() > 0 {
				t.Fatalf("scope %v is promised, but the client was not looked at", scope)
			}
			return
		}
		two := within(t, scope)
		if scope.Bits() == 0 && reserved(two.Addr()) {
			return
		}
		second, _, _ := ask(two)
		if first != second {
			t.Fatalf("%v and %v lie in scope %v but were told\n%s\n%s", one, two, scope, first, second)
		}
	})
}

// Every answer is an answer to its question and fits its transport, whatever the
// packet; a fault of ours would show as SERVFAIL.
func TestEveryPacketIsAnsweredInShape(t *testing.T) {
	table, r := testTable(t), testResponder()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "noise")
		whole := packet{id: 7, name: "www.example.test.", qtype: 1, records: [][]byte{opt(0, false, ecs(1, 24, 0, 81, 1, 2))}}.bytes()
		cut := rapid.IntRange(0, len(whole)).Draw(t, "cut")
		checkAnswer(t, r, table, append(whole[:cut:cut], raw...))
	})
}

// checkAnswer holds an answer against what every answer must be.
func checkAnswer(t rapid.TB, r responder, table *Table, p []byte) {
	t.Helper()
	for over, from := range map[transport]netip.Addr{overUDP: inEurope, overTCP: netip.MustParseAddr("2a00::1")} {
		out, o := r.respond(table, p, from, over)
		if out == nil {
			if len(p) >= headerSize && p[2]&0x80 == 0 {
				t.Fatalf("a packet with a header and no QR was not answered: %x", p)
			}
			continue
		}
		m := unpack(t, out)
		switch {
		case m.Id != binary.BigEndian.Uint16(p) || !m.Response:
			t.Fatalf("not the answer to %x: %s", p, m)
		case over == overUDP && len(out) > ednsSize, over == overUDP && m.IsEdns0() == nil && len(out) > plainSize:
			t.Fatalf("%d octets over UDP for %x", len(out), p)
		case o.rcode == miekg.RcodeServerFailure || m.Rcode == miekg.RcodeServerFailure:
			t.Fatalf("SERVFAIL for %x", p)
		case len(m.Question) > 0 && !bytes.Equal(out[headerSize:headerSize+4], p[headerSize:headerSize+4]):
			t.Fatalf("another question than in %x: %x", p, out)
		}
	}
}
