package dns

import (
	"bytes"
	"testing"

	miekg "github.com/miekg/dns"
)

func FuzzRespond(f *testing.F) {
	table, r := testTable(f), testResponder()
	for _, name := range []string{"www.example.test.", "chain.example.test.", "loop.example.test.", "a.b.wild.example.test.", "child.example.test.", ".", "other.test."} {
		for _, qtype := range []uint16{miekg.TypeA, miekg.TypeHTTPS, miekg.TypeANY, miekg.TypeIXFR, miekg.TypeDS} {
			f.Add(packet{name: name, qtype: qtype}.bytes())
			f.Add(packet{name: name, qtype: qtype, records: [][]byte{opt(0, true, ecs(1, 24, 0, 81, 9, 9), option(3), option(10, 1, 2, 3, 4, 5, 6, 7, 8))}}.bytes())
		}
	}
	f.Add(packet{name: "www.example.test.", qtype: 1, records: [][]byte{opt(1, false), opt(0, false)}}.bytes())
	f.Add(packet{noName: true, tail: append([]byte{0xC0, 12}, u16(1, 1)...)}.bytes())
	signed := new(miekg.Msg)
	signed.SetQuestion("www.example.test.", miekg.TypeA)
	signed.SetTsig("key.test.", miekg.HmacSHA256, 300, 1_700_000_000)
	if raw, _, err := miekg.TsigGenerate(signed, "c2VjcmV0", "", false); err == nil {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, p []byte) { checkAnswer(t, r, table, p) })
}

func FuzzSubnet(f *testing.F) {
	for _, s := range [][]byte{ecs(1, 24, 0, 81, 9, 9), ecs(2, 56, 0, 0x2a, 0, 1, 2, 3, 4, 5), ecs(0, 0, 0), ecs(1, 33, 0, 1, 2, 3, 4, 5), ecs(1, 20, 0, 1, 2, 3), ecs(3, 8, 0, 1)} {
		f.Add(s[4:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := parseSubnet(data)
		if !ok {
			return
		}
		if echo := s.echo(0); !bytes.Equal(echo, data) {
			t.Fatalf("%x is echoed as %x", data, echo)
		}
		// The library is the oracle: what we take, it reads as the same prefix.
		var o miekg.OPT
		o.Hdr = miekg.RR_Header{Name: ".", Rrtype: miekg.TypeOPT}
		o.Option = []miekg.EDNS0{&miekg.EDNS0_LOCAL{Code: miekg.EDNS0SUBNET, Data: data}}
		m := miekg.Msg{Extra: []miekg.RR{&o}}
		raw, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var back miekg.Msg
		if err := back.Unpack(raw); err != nil {
			t.Fatalf("we take %x, which the library refuses: %v", data, err)
		}
		got := back.IsEdns0().Option[0].(*miekg.EDNS0_SUBNET)
		if s.addr.IsValid() && (int(got.SourceNetmask) != s.source || !got.Address.Equal(s.addr.AsSlice())) {
			t.Fatalf("we read %v/%d, the library %v/%d", s.addr, s.source, got.Address, got.SourceNetmask)
		}
		if s.addr.IsValid() {
			whose(&s, inEurope, locate)
		}
	})
}
