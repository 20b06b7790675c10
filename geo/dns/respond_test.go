package dns

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
)

// The conformance table: one raw packet a row, and what the standards want back.
func TestConformance(t *testing.T) {
	const www = "www.example.test."
	type want struct {
		rcode   int
		answers int
		ecs     []byte // nil: none in the answer
		ede     int    // -1: none; 0 is not used here
		aa      bool
		opt     bool
	}
	ask := func(options ...[]byte) packet {
		return packet{name: www, qtype: miekg.TypeA, records: [][]byte{opt(0, false, options...)}}
	}
	with := func(p packet, change func(*packet)) packet { change(&p); return p }
	counts := func(q, an, ns, ar uint16) *[4]uint16 { return &[4]uint16{q, an, ns, ar} }
	formErr := want{rcode: miekg.RcodeFormatError, ede: -1, opt: true}
	bare := want{rcode: miekg.RcodeFormatError, ede: -1}
	good := want{answers: 2, ede: -1, aa: true, opt: true}
	for _, tc := range []struct {
		about string
		p     packet
		want  want
	}{
		{"no EDNS", packet{name: www, qtype: miekg.TypeA}, want{answers: 2, ede: -1, aa: true}},
		{"EDNS without options", ask(), good},
		{"an unknown option", ask(option(65001, 1, 2, 3)), good},

		{"ECS /24: scope is the network of the decision", ask(ecs(1, 24, 0, 81, 9, 9)), want{answers: 2, ecs: ecs(1, 24, 22, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"ECS /24 in a wide location: shorter than the source", ask(ecs(1, 24, 0, 63, 9, 9)), want{answers: 1, ecs: ecs(1, 24, 8, 63, 9, 9), ede: -1, aa: true, opt: true}},
		{"ECS /16: longer than the source", ask(ecs(1, 16, 0, 81, 9)), want{answers: 2, ecs: ecs(1, 16, 22, 81, 9), ede: -1, aa: true, opt: true}},
		{"ECS /32 in a narrow location: never beyond /24", ask(ecs(1, 32, 0, 101, 9, 9, 9)), want{answers: 1, ecs: ecs(1, 32, 24, 101, 9, 9, 9), ede: -1, aa: true, opt: true}},
		{"ECS nobody knows: one unit", ask(ecs(1, 24, 0, 9, 9, 9)), want{answers: 1, ecs: ecs(1, 24, 24, 9, 9, 9), ede: -1, aa: true, opt: true}},
		{"ECS /0: the resolver, scope 0", ask(ecs(1, 0, 0)), want{answers: 2, ecs: ecs(1, 0, 0), ede: -1, aa: true, opt: true}},
		{"ECS /0 of family 0, as dig +subnet=0", ask(ecs(0, 0, 0)), want{answers: 2, ecs: ecs(0, 0, 0), ede: -1, aa: true, opt: true}},
		{"ECS v6 /56: the real scope", ask(ecs(2, 56, 0, 0x2a, 0, 1, 2, 3, 4, 5)), want{answers: 2, ecs: ecs(2, 56, 32, 0x2a, 0, 1, 2, 3, 4, 5), ede: -1, aa: true, opt: true}},
		{"ECS of a private network that nobody knows: the resolver, scope 0", ask(ecs(1, 24, 0, 10, 9, 9)), want{answers: 2, ecs: ecs(1, 24, 0, 10, 9, 9), ede: -1, aa: true, opt: true}},
		{"ECS of a private v6 network", ask(ecs(2, 48, 0, 0xfd, 0, 1, 2, 3, 4)), want{answers: 2, ecs: ecs(2, 48, 0, 0xfd, 0, 1, 2, 3, 4), ede: -1, aa: true, opt: true}},
		{"ECS of an operator's private network", ask(ecs(1, 24, 0, 10, 77, 9)), want{answers: 1, ecs: ecs(1, 24, 16, 10, 77, 9), ede: -1, aa: true, opt: true}},

		{"ECS scope not 0", ask(ecs(1, 24, 24, 81, 9, 9)), formErr},
		{"ECS /33", ask(ecs(1, 33, 0, 81, 9, 9, 9, 0)), formErr},
		{"ECS v6 /129", ask(ecs(2, 129, 0, make([]byte, 17)...)), formErr},
		{"ECS one octet too many", ask(ecs(1, 24, 0, 81, 9, 9, 0)), formErr},
		{"ECS one octet too few", ask(ecs(1, 24, 0, 81, 9)), formErr},
		{"ECS dirty bits behind the prefix", ask(ecs(1, 20, 0, 81, 9, 9)), formErr},
		{"ECS family 3", ask(ecs(3, 24, 0, 81, 9, 9)), formErr},
		{"ECS family 3 of length 0", ask(ecs(3, 0, 0)), formErr},
		{"ECS family 0 with an address", ask(ecs(0, 8, 0, 81)), formErr},
		{"ECS of three octets", ask(option(8, 0, 1, 24)), formErr},
		{"ECS twice", ask(ecs(1, 24, 0, 81, 9, 9), ecs(1, 24, 0, 81, 9, 9)), formErr},

		{"NODATA", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.qtype = miekg.TypeMX }), want{ecs: ecs(1, 24, 0, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"NXDOMAIN", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.name = "no.example.test." }), want{rcode: miekg.RcodeNameError, ecs: ecs(1, 24, 0, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"a fixed record", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.name = "fixed.example.test." }), want{answers: 1, ecs: ecs(1, 24, 0, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"the SOA", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.name, p.qtype = "example.test.", miekg.TypeSOA }), want{answers: 1, ecs: ecs(1, 24, 0, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"a choice that ignores the client", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.name = "order.example.test." }), want{answers: 1, ecs: ecs(1, 24, 0, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"a split", with(ask(ecs(1, 16, 0, 63, 9)), func(p *packet) { p.name, p.qtype = "split.example.test.", miekg.TypeHTTPS }), want{answers: 1, ecs: ecs(1, 16, 24, 63, 9), ede: -1, aa: true, opt: true}},
		{"HTTPS has the scope of its hints", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.qtype = miekg.TypeHTTPS }), want{answers: 1, ecs: ecs(1, 24, 22, 81, 9, 9), ede: -1, aa: true, opt: true}},
		{"HTTPS NODATA", with(ask(), func(p *packet) { p.name, p.qtype = "plain.example.test.", miekg.TypeHTTPS }), want{ede: -1, aa: true, opt: true}},
		{"DS NODATA", with(ask(), func(p *packet) { p.qtype = miekg.TypeDS }), want{ede: -1, aa: true, opt: true}},
		{"a name that is not ours", with(ask(ecs(1, 24, 0, 81, 9, 9)), func(p *packet) { p.name = "other.test." }), want{rcode: miekg.RcodeRefused, ecs: ecs(1, 24, 0, 81, 9, 9), ede: 20, opt: true}},
		{"CHAOS", with(ask(), func(p *packet) { p.name, p.qtype, p.class = "version.bind.", miekg.TypeTXT, miekg.ClassCHAOS }), want{rcode: miekg.RcodeRefused, ede: 20, opt: true}},
		{"AXFR", with(ask(), func(p *packet) { p.name, p.qtype = "example.test.", miekg.TypeAXFR }), want{rcode: miekg.RcodeRefused, ede: 18, opt: true}},
		{"IXFR with its SOA", packet{name: "example.test.", qtype: miekg.TypeIXFR, counts: counts(1, 0, 1, 0),
			tail: append([]byte{0}, u16(6, 1, 0, 0, 22, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1)...)}, want{rcode: miekg.RcodeRefused, ede: -1}},
		{"NOTIFY", with(ask(), func(p *packet) { p.bits = 4 << 11 }), want{rcode: miekg.RcodeRefused, ede: -1}},
		{"UPDATE", with(ask(), func(p *packet) { p.bits = 5 << 11 }), want{rcode: miekg.RcodeRefused, ede: -1}},
		{"IQUERY", with(ask(), func(p *packet) { p.bits = 1 << 11 }), want{rcode: miekg.RcodeNotImplemented, ede: -1}},
		{"an unknown opcode with every flag", with(ask(), func(p *packet) { p.bits = 15<<11 | 0x7F0 }), want{rcode: miekg.RcodeNotImplemented, ede: -1}},

		{"no question", packet{noName: true, counts: counts(0, 0, 0, 0)}, bare},
		{"a header that promises more", packet{noName: true}, bare},
		{"two questions", packet{name: www, qtype: 1, counts: counts(2, 0, 0, 0), tail: append([]byte{0}, u16(1, 1)...)}, bare},
		{"65535 questions", packet{name: www, qtype: 1, counts: counts(65535, 0, 0, 0)}, bare},
		{"a name that points to itself", packet{noName: true, tail: append([]byte{0xC0, 12}, u16(1, 1)...)}, bare},
		{"a label of 64 octets", packet{noName: true, tail: append(append([]byte{64}, make([]byte, 64)...), append([]byte{0}, u16(1, 1)...)...)}, bare},
		{"a name of 256 octets", packet{noName: true, tail: append(bytes.Repeat(append([]byte{1}, 'a'), 128), append([]byte{0}, u16(1, 1)...)...)}, bare},
		{"a question cut short", packet{noName: true, tail: []byte{3, 'w', 'w', 'w', 0, 0}}, bare},
		{"trailing octets", with(ask(), func(p *packet) { p.tail = []byte{0} }), formErr},
		{"an answer section", packet{name: www, qtype: 1, counts: counts(1, 1, 0, 0), tail: append([]byte{0}, u16(1, 1, 0, 0, 4, 1, 1)...)}, bare},
		{"a record cut short", packet{name: www, qtype: 1, counts: counts(1, 0, 0, 1), tail: append([]byte{0}, u16(1, 1, 0, 0, 40)...)}, bare},
		{"two OPTs", packet{name: www, qtype: 1, records: [][]byte{opt(0, false), opt(0, false)}}, formErr},
		{"an OPT with an owner", packet{name: www, qtype: 1, records: [][]byte{append([]byte{1, 'a'}, opt(0, false)...)}}, bare},
		{"an option longer than the OPT", packet{name: www, qtype: 1, records: [][]byte{opt(0, false, u16(8, 9))}}, formErr},
		{"half an option", packet{name: www, qtype: 1, records: [][]byte{opt(0, false, []byte{0, 8, 0})}}, formErr},
		{"EDNS version 1", packet{name: www, qtype: 1, records: [][]byte{opt(1, false)}}, want{rcode: miekg.RcodeBadVers, ede: -1, opt: true}},
		{"EDNS version 1 with broken options", packet{name: www, qtype: 1, records: [][]byte{opt(1, false, []byte{9})}}, want{rcode: miekg.RcodeBadVers, ede: -1, opt: true}},
		{"a cookie of a good length", ask(option(10, 1, 2, 3, 4, 5, 6, 7, 8)), good},
		{"a cookie of a bad length", ask(option(10, 1, 2, 3, 4, 5, 6, 7, 8, 9)), formErr},
		{"an asked type that is never asked", packet{name: www, qtype: miekg.TypeOPT}, bare},
	} {
		t.Run(tc.about, func(t *testing.T) {
			raw := tc.p
			raw.id = 0xBEEF
			out, _ := testResponder().respond(testTable(t), raw.bytes(), inEurope, overUDP)
			if out == nil {
				t.Fatal("no answer")
			}
			m := unpack(t, out)
			if !m.Response || m.Id != 0xBEEF || m.RecursionAvailable || m.AuthenticatedData || m.CheckingDisabled || m.Zero || m.Truncated {
				t.Errorf("bad header: %+v", m.MsgHdr)
			}
			if m.Opcode != int(tc.p.bits>>11)&15 || m.Opcode != 0 && m.RecursionDesired {
				t.Errorf("bad opcode or flags: %+v", m.MsgHdr)
			}
			if m.Rcode != tc.want.rcode || len(m.Answer) != tc.want.answers || m.Authoritative != tc.want.aa {
				t.Errorf("got rcode %d, %d answers, aa %t; want %d, %d, %t", m.Rcode, len(m.Answer), m.Authoritative, tc.want.rcode, tc.want.answers, tc.want.aa)
			}
			if got := rawSubnet(m); !bytes.Equal(got, tc.want.ecs) {
				t.Errorf("ECS in the answer: %x, want %x", got, tc.want.ecs)
			}
			if got := edeOf(m); got != tc.want.ede {
				t.Errorf("EDE %d, want %d", got, tc.want.ede)
			}
			if o := m.IsEdns0(); (o != nil) != tc.want.opt || o != nil && (o.Version() != 0 || o.UDPSize() != ednsSize) {
				t.Errorf("OPT in the answer: %v, want one: %t", o, tc.want.opt)
			}
		})
	}
}

func edeOf(m *miekg.Msg) int {
	if o := m.IsEdns0(); o != nil {
		for _, e := range o.Option {
			if x, ok := e.(*miekg.EDNS0_EDE); ok {
				return int(x.InfoCode)
			}
		}
	}
	return -1
}

func TestNoAnswerForAnswersAndShards(t *testing.T) {
	whole := packet{name: "www.example.test.", qtype: 1}.bytes()
	answered := packet{name: "www.example.test.", qtype: 1, bits: bitResponse}.bytes()
	for about, p := range map[string][]byte{"nothing": nil, "half a header": whole[:11], "an answer": answered} {
		if out, _ := testResponder().respond(testTable(t), p, inEurope, overUDP); out != nil {
			t.Errorf("%s was answered: %x", about, out)
		}
	}
}

func TestEchoes(t *testing.T) {
	p := packet{id: 1, bits: bitRD | 0x10, name: "wWw.eXample.TEST.", qtype: 1, records: [][]byte{opt(0, true, option(3))}}
	out, _ := testResponder().respond(testTable(t), p.bytes(), inStates, overUDP)
	if !bytes.Contains(out, []byte("\x03wWw\x07eXample\x04TEST\x00")) {
		t.Errorf("the case of the question was not kept: %q", out)
	}
	m := unpack(t, out)
	if m.Answer[0].Header().Name != "wWw.eXample.TEST." || !m.RecursionDesired || !m.IsEdns0().Do() {
		t.Errorf("name, RD or DO was not echoed:\n%s", m)
	}
	if n, ok := m.IsEdns0().Option[0].(*miekg.EDNS0_NSID); !ok || n.Nsid != "65752d31" {
		t.Errorf("NSID: %v, want eu-1 in hex", m.IsEdns0().Option)
	}
	if out, _ := (responder{locate: locate}).respond(testTable(t), p.bytes(), inStates, overUDP); len(unpack(t, out).IsEdns0().Option) != 0 {
		t.Error("an NSID was told although none is configured")
	}
}

func TestBeforeTheFirstPlan(t *testing.T) {
	p := packet{name: "www.example.test.", qtype: 1, records: [][]byte{opt(0, false, ecs(1, 24, 0, 81, 9, 9))}}
	out, _ := testResponder().respond(nil, p.bytes(), inEurope, overUDP)
	m := unpack(t, out)
	if m.Rcode != miekg.RcodeServerFailure || edeOf(m) != int(miekg.ExtendedErrorCodeNotReady) || !bytes.Equal(rawSubnet(m), ecs(1, 24, 0, 81, 9, 9)) {
		t.Errorf("want SERVFAIL, not ready:\n%s", m)
	}
}

func TestSignedQueriesAreToldThatWeShareNoKey(t *testing.T) {
	m := new(miekg.Msg)
	m.SetQuestion("www.example.test.", miekg.TypeA)
	m.SetTsig("key.test.", miekg.HmacSHA256, 300, 1_700_000_000)
	signed, _, err := miekg.TsigGenerate(m, "c2VjcmV0", "", false)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := testResponder().respond(testTable(t), signed, inEurope, overUDP)
	got := unpack(t, out)
	if sig := got.IsTsig(); got.Rcode != miekg.RcodeNotAuth || sig == nil || sig.Error != miekg.RcodeBadKey || sig.MACSize != 0 || sig.Hdr.Name != "key.test." {
		t.Errorf("want NOTAUTH with BADKEY:\n%s", got)
	}
	// A TSIG that is not last is malformed.
	unsigned := append([]byte(nil), signed...)
	unsigned[11] = 2
	if out, _ := testResponder().respond(testTable(t), append(unsigned, opt(0, false)...), inEurope, overUDP); unpack(t, out).Rcode != miekg.RcodeFormatError {
		t.Error("a TSIG before an OPT was taken")
	}
}

func TestTruncation(t *testing.T) {
	snap := testSnapshot()
	crowded := *snap.World.Edges[1]
	for i := range 200 {
		g := crowded.Gateways[0]
		g.Addr = netip.AddrFrom4([4]byte{198, 18, byte(i), 1})
		crowded.Gateways = append(crowded.Gateways, g)
	}
	snap.World.Edges[1] = &crowded
	table := tableOf(t, snap)
	ask := func(over transport, size uint16) ([]byte, *miekg.Msg, outcome) {
		p := packet{name: "www.example.test.", qtype: 1}
		if size > 0 {
			o := opt(0, false, ecs(1, 24, 0, 81, 9, 9))
			copy(o[3:], u16(size))
			p.records = [][]byte{o}
		}
		out, o := testResponder().respond(table, p.bytes(), inEurope, over)
		return out, unpack(t, out), o
	}
	for _, size := range []uint16{0, 1, 512, 1232, 65535} {
		out, m, o := ask(overUDP, size)
		if !m.Truncated || !o.truncated || len(m.Answer) != 0 || len(out) > 512 || m.Rcode != 0 {
			t.Errorf("UDP with %d octets: %d octets, %d answers, tc %t", size, len(out), len(m.Answer), m.Truncated)
		}
		if size > 0 && !bytes.Equal(rawSubnet(m), ecs(1, 24, 22, 81, 9, 9)) {
			t.Errorf("UDP with %d octets lost its ECS", size)
		}
	}
	if _, m, _ := ask(overTCP, 0); m.Truncated || len(m.Answer) != 202 {
		t.Errorf("TCP: %d answers, tc %t; want all 202", len(m.Answer), m.Truncated)
	}
}

// Glue of our own name servers may be left out without TC: it can be asked for.
func TestOptionalAdditionalsGoFirst(t *testing.T) {
	snap := testSnapshot()
	z := testZone()
	for i := range 30 {
		z.Nameservers[0].Addrs = append(z.Nameservers[0].Addrs, netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i)}))
	}
	snap.Zones = []fleet.Zone{z}
	out, o := testResponder().respond(tableOf(t, snap), packet{name: "example.test.", qtype: miekg.TypeNS}.bytes(), inEurope, overUDP)
	m := unpack(t, out)
	if o.truncated || len(m.Answer) != 2 || len(m.Extra) != 0 || len(out) > 512 {
		t.Errorf("want both NS, no glue and no TC in 512 octets:\n%s", m)
	}
}

func TestWhose(t *testing.T) {
	for _, tc := range []struct {
		resolver string
		want     string
	}{
		{"81.2.3.4", "81.2.3.0/24"},
		{"::ffff:81.2.3.4", "81.2.3.0/24"},
		{"64:ff9b::5102:304", "81.2.3.0/24"},
		{"2002:5102:304::1", "81.2.3.0/24"},
		{"2001::aefd:fcfb", "81.2.3.0/24"},
		{"2a00:1:2:3456::1%eth0", "2a00:1:2:3400::/56"},
	} {
		c := whose(nil, netip.MustParseAddr(tc.resolver), locate)
		if c.prefix.String() != tc.want || c.told || c.loc.Place != europe {
			t.Errorf("%s: got %v at %v, want %s in Europe", tc.resolver, c.prefix, c.loc, tc.want)
		}
	}
	if c := whose(nil, netip.Addr{}, locate); c.prefix.IsValid() {
		t.Errorf("no address has prefix %v", c.prefix)
	}
	if got := strings.Count(nowhere(inEurope).Prefix.String(), "0.0.0.0/0"); got != 1 {
		t.Errorf("without a database everybody stands in %v", nowhere(inEurope).Prefix)
	}
}
