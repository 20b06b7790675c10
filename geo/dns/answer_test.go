package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

func questionOf(name, qtype string) query {
	return query{asked: true, name: name, key: lower(name), qtype: miekg.StringToType[qtype], class: miekg.ClassINET}
}

// say is an answer in few words: code and flags, then each section's records
// without class, tabs as spaces.
func say(m message) string {
	var b strings.Builder
	b.WriteString(miekg.RcodeToString[m.rcode])
	if m.aa {
		b.WriteString(" aa")
	}
	for _, section := range []struct {
		mark string
		rrs  []miekg.RR
	}{{"", m.answer}, {"authority ", m.ns}, {"additional ", m.extra}} {
		for _, rr := range section.rrs {
			text := strings.ReplaceAll(strings.ReplaceAll(rr.String(), "\tIN\t", "\t"), "\t", " ")
			if rr.Header().Rrtype == miekg.TypeSOA {
				text = strings.Join(strings.Fields(text)[:3], " ") // the serial is a hash
			}
			b.WriteString("\n" + section.mark + text)
		}
	}
	return b.String()
}

func TestAnswer(t *testing.T) {
	no := "\nauthority example.test. 60 SOA"
	soon := "\nauthority example.test. 30 SOA"
	table := testTable(t)
	for _, tc := range []struct {
		about       string
		name, qtype string
		from        netip.Addr
		want        string
	}{
		{"the nearest region, all its addresses of the family and none of another region", "www.example.test.", "A", inEurope,
			"NOERROR aa\nwww.example.test. 30 A 198.51.100.1\nwww.example.test. 30 A 198.51.100.2"},
		{"another client, another region", "www.example.test.", "A", inStates, "NOERROR aa\nwww.example.test. 30 A 198.51.100.11"},
		{"IPv6 of the same region", "www.example.test.", "AAAA", inEurope, "NOERROR aa\nwww.example.test. 30 AAAA 2001:db8:e::1"},
		{"a region without IPv6 is a short no, for the next choice may have some", "www.example.test.", "AAAA", inAsia, "NOERROR aa" + soon},
		{"the case that was asked in", "wWw.EXAMPLE.test.", "A", inStates, "NOERROR aa\nwWw.EXAMPLE.test. 30 A 198.51.100.11"},
		{"HTTPS of a host with TLS carries hints of the same region", "www.example.test.", "HTTPS", inEurope,
			`NOERROR aa` + "\n" + `www.example.test. 30 HTTPS 1 . alpn="h2,http/1.1" ipv4hint="198.51.100.1,198.51.100.2" ipv6hint="2001:db8:e::1"`},
		{"HTTPS hints of a region without IPv6", "www.example.test.", "HTTPS", inAsia,
			`NOERROR aa` + "\n" + `www.example.test. 30 HTTPS 1 . alpn="h2,http/1.1" ipv4hint="198.51.100.21"`},
		{"HTTPS of a region whose gateways speak TLS at another port says which", "www.example.test.", "HTTPS", inStates,
			`NOERROR aa` + "\n" + `www.example.test. 30 HTTPS 1 . alpn="h2,http/1.1" port="8443" ipv4hint="198.51.100.11" ipv6hint="2001:db8:a::1"`},
		{"no HTTPS for a host without TLS", "plain.example.test.", "HTTPS", inEurope, "NOERROR aa" + no},
		{"fixed records stand beside a host", "www.example.test.", "TXT", inEurope, "NOERROR aa\nwww.example.test. 3600 TXT \"beside the host\""},
		{"a type that nobody has", "www.example.test.", "MX", inEurope, "NOERROR aa" + no},
		{"a host at the apex", "example.test.", "A", inStates, "NOERROR aa\nexample.test. 30 A 198.51.100.11"},
		{"a host that residency lets nobody serve", "nobody.home.example.test.", "A", inEurope, "NOERROR aa" + soon},
		{"failover ignores where the client is", "order.example.test.", "A", inEurope, "NOERROR aa\norder.example.test. 30 A 198.51.100.11"},

		{"a wildcard host, one label more", "x.any.example.test.", "A", inStates, "NOERROR aa\nx.any.example.test. 30 A 198.51.100.11"},
		{"a wildcard host, two labels more", "y.x.any.example.test.", "A", inStates, "NXDOMAIN aa" + no},
		{"the wildcard itself", "*.any.example.test.", "A", inStates, "NOERROR aa\n*.any.example.test. 30 A 198.51.100.11"},
		{"below the wildcard's own parent there is nothing by itself", "any.example.test.", "A", inStates, "NOERROR aa" + no},
		{"a fixed wildcard covers any depth", "a.b.wild.example.test.", "TXT", inStates, "NOERROR aa\na.b.wild.example.test. 3600 TXT \"wild\""},
		{"a fixed wildcard's other types", "a.wild.example.test.", "A", inStates, "NOERROR aa" + no},

		{"an empty non-terminal exists", "under.example.test.", "A", inEurope, "NOERROR aa" + no},
		{"a host's parent is an empty non-terminal", "home.example.test.", "TXT", inEurope, "NOERROR aa" + no},
		{"no such name", "nobody.example.test.", "A", inEurope, "NXDOMAIN aa" + no},
		{"nothing below a host", "x.www.example.test.", "A", inEurope, "NXDOMAIN aa" + no},

		{"the SOA", "example.test.", "SOA", inEurope, "NOERROR aa\nexample.test. 3600 SOA"},
		{"name servers with glue of those inside", "example.test.", "NS", inEurope,
			"NOERROR aa\nexample.test. 3600 NS ns1.example.test.\nexample.test. 3600 NS ns.elsewhere.test." +
				"\nadditional ns1.example.test. 3600 A 203.0.113.1\nadditional ns1.example.test. 3600 AAAA 2001:db8::53"},
		{"glue asked for", "ns1.example.test.", "A", inEurope, "NOERROR aa\nns1.example.test. 3600 A 203.0.113.1"},
		{"CAA at the apex", "example.test.", "CAA", inEurope, "NOERROR aa\nexample.test. 3600 CAA 0 issue \"ca.test\""},
		{"a type the library does not know", "odd.example.test.", "TYPE65280", inEurope, "NOERROR aa\nodd.example.test. 3600 CLASS1 TYPE65280 \\# 2 beef"},
		{"ANY is one small record", "www.example.test.", "ANY", inEurope, "NOERROR aa\nwww.example.test. 3600 HINFO \"RFC8482\" \"\""},
		{"ANY of nothing", "under.example.test.", "ANY", inEurope, "NOERROR aa" + no},
		{"DS at the apex of a zone whose parent is not ours", "example.test.", "DS", inEurope, "NOERROR aa" + no},

		{"an alias of a host is followed to the region", "alias.example.test.", "A", inStates,
			"NOERROR aa\nalias.example.test. 3600 CNAME www.example.test.\nwww.example.test. 30 A 198.51.100.11"},
		{"two aliases", "chain.example.test.", "AAAA", inEurope,
			"NOERROR aa\nchain.example.test. 3600 CNAME alias.example.test.\nalias.example.test. 3600 CNAME www.example.test.\nwww.example.test. 30 AAAA 2001:db8:e::1"},
		{"the alias itself", "alias.example.test.", "CNAME", inStates, "NOERROR aa\nalias.example.test. 3600 CNAME www.example.test."},
		{"an alias of nothing says so", "dangling.example.test.", "A", inStates,
			"NXDOMAIN aa\ndangling.example.test. 3600 CNAME nobody.example.test." + no},
		{"an alias that leaves the zone", "outside.example.test.", "A", inStates, "NOERROR aa\noutside.example.test. 3600 CNAME www.elsewhere.test."},

		{"a delegation is referred to, with glue", "x.child.example.test.", "A", inEurope,
			"NOERROR\nauthority child.example.test. 3600 NS ns.child.example.test.\nadditional ns.child.example.test. 3600 A 203.0.113.9"},
		{"the delegation's own NS too", "child.example.test.", "NS", inEurope,
			"NOERROR\nauthority child.example.test. 3600 NS ns.child.example.test.\nadditional ns.child.example.test. 3600 A 203.0.113.9"},
		{"DS of a delegation is ours to deny", "child.example.test.", "DS", inEurope, "NOERROR aa" + no},

		{"a host outside every zone", "www.other.test.", "A", inEurope, "REFUSED"},
		{"a name that only ends alike", "badexample.test.", "A", inEurope, "REFUSED"},
		{"the root", ".", "NS", inEurope, "REFUSED"},
		{"a transfer", "example.test.", "AXFR", inEurope, "REFUSED"},
		{"a mail agent", "example.test.", "MAILA", inEurope, "NOTIMP"},
	} {
		t.Run(tc.about, func(t *testing.T) {
			q := questionOf(tc.name, tc.qtype)
			if tc.qtype == "TYPE65280" {
				q.qtype = 65280
			}
			got := say(answer(table, q, whose(nil, tc.from, locate)))
			if got != tc.want {
				t.Errorf("%s %s:\n got: %s\nwant: %s", tc.name, tc.qtype, got, tc.want)
			}
		})
	}
}

// A circle of aliases is told once around and not followed again; a long chain
// is cut, and the resolver comes back for the rest.
func TestAliasesAreBounded(t *testing.T) {
	want := "NOERROR aa\nloop.example.test. 3600 CNAME pool.example.test.\npool.example.test. 3600 CNAME loop.example.test."
	if got := say(answer(testTable(t), questionOf("loop.example.test.", "A"), whose(nil, inEurope, locate))); got != want {
		t.Errorf("a circle:\n got: %s\nwant: %s", got, want)
	}
	snap := testSnapshot()
	z := testZone()
	for i := range 2 * maxChain {
		z.Records = append(z.Records, fleet.Record{Name: fmt.Sprintf("c%d.example.test.", i), Type: "CNAME", Data: fmt.Sprintf("c%d.example.test.", i+1)})
	}
	snap.Zones = []fleet.Zone{z}
	m := answer(tableOf(t, snap), questionOf("c0.example.test.", "A"), whose(nil, inEurope, locate))
	if m.rcode != miekg.RcodeSuccess || len(m.answer) != maxChain+1 {
		t.Errorf("a chain: rcode %d with %d records, want NOERROR with %d", m.rcode, len(m.answer), maxChain+1)
	}
}

// An HTTPS record promises that every address of the answer takes TLS at one
// port, so it is given only where this holds.
func TestNoHTTPSWhereGatewaysDoNotAgreeOnTLS(t *testing.T) {
	for about, tc := range map[string]struct {
		ports [3]uint16 // of Europe's gateways
		sick  int       // gateway that is unhealthy; -1: none
		want  string
	}{
		"no gateway speaks TLS":                    {[3]uint16{}, -1, "NOERROR aa\nauthority example.test. 30 SOA"},
		"one gateway does not":                     {[3]uint16{443, 0, 443}, -1, "NOERROR aa\nauthority example.test. 30 SOA"},
		"they use different ports":                 {[3]uint16{443, 8443, 443}, -1, "NOERROR aa\nauthority example.test. 30 SOA"},
		"the one that does not is not told":        {[3]uint16{443, 0, 443}, 1, `NOERROR aa` + "\n" + `www.example.test. 30 HTTPS 1 . alpn="h2,http/1.1" ipv4hint="198.51.100.1" ipv6hint="2001:db8:e::1"`},
		"the only one at another port is not told": {[3]uint16{8443, 443, 8443}, 1, `NOERROR aa` + "\n" + `www.example.test. 30 HTTPS 1 . alpn="h2,http/1.1" port="8443" ipv4hint="198.51.100.1" ipv6hint="2001:db8:e::1"`},
	} {
		snap := testSnapshot()
		eu := edge("eu", europe)
		for i := range eu.Gateways {
			eu.Gateways[i].TLSPort = tc.ports[i]
			if i == tc.sick {
				eu.Gateways[i].Health.State = fleet.Unhealthy
			}
		}
		snap.World.Edges[1] = eu
		if got := say(answer(tableOf(t, snap), questionOf("www.example.test.", "HTTPS"), whose(nil, inEurope, locate))); got != tc.want {
			t.Errorf("%s:\n got: %s\nwant: %s", about, got, tc.want)
		}
	}
}

func TestOtherClassesAreRefused(t *testing.T) {
	for _, class := range []uint16{miekg.ClassCHAOS, miekg.ClassHESIOD, miekg.ClassANY, miekg.ClassNONE} {
		q := questionOf("www.example.test.", "A")
		q.class = class
		if m := answer(testTable(t), q, client{}); m.rcode != miekg.RcodeRefused {
			t.Errorf("class %d: rcode %d, want REFUSED", class, m.rcode)
		}
	}
}

func TestSplitStaysWithThePrefix(t *testing.T) {
	table := testTable(t)
	seen := map[fleet.Region]int{}
	for i := range 64 {
		c := whose(nil, netip.AddrFrom4([4]byte{81, 2, byte(i), 9}), locate)
		m := answer(table, questionOf("split.example.test.", "A"), c)
		again := answer(table, questionOf("split.example.test.", "HTTPS"), c)
		if m.region != again.region {
			t.Fatalf("81.2.%d.9: A says %s, HTTPS says %s", i, m.region, again.region)
		}
		seen[m.region]++
	}
	if seen["eu"] < 10 || seen["us"] < 10 {
		t.Errorf("64 networks were divided %v, want about half each", seen)
	}
}

func TestStaleDataIsSaid(t *testing.T) {
	snap := testSnapshot()
	web := *snap.Services[fleet.ServiceName{Namespace: "shop", Name: "web"}]
	web.Backends = append([]fleet.BackendView(nil), web.Backends...)
	for i := range web.Backends {
		web.Backends[i].Stale = web.Backends[i].Region == "eu"
	}
	snap.Services[web.Name] = &web
	table := tableOf(t, snap)
	if m := answer(table, questionOf("www.example.test.", "A"), whose(nil, inEurope, locate)); m.ede != miekg.ExtendedErrorCodeStaleAnswer {
		t.Errorf("a stale region's answer carries EDE %d, want 3", m.ede)
	}
	if m := answer(table, questionOf("www.example.test.", "A"), whose(nil, inStates, locate)); m.ede != noEDE {
		t.Errorf("a fresh region's answer carries EDE %d, want none", m.ede)
	}
}

func TestDrainedRegionIsNotTold(t *testing.T) {
	snap := testSnapshot()
	drained := *snap.World.Edges[1]
	drained.Drain = "maintenance"
	snap.World.Edges[1] = &drained
	m := answer(tableOf(t, snap), questionOf("www.example.test.", "A"), whose(nil, inEurope, locate))
	if m.region != "us" {
		t.Errorf("got region %q, want the next one, us", m.region)
	}
}

// Each fault is its author's: a record that gives way is the Zone's, a host that
// is not answered for the route's.
func TestConflictsAreProblems(t *testing.T) {
	snap := testSnapshot()
	z := testZone()
	z.Origin = fleet.Origin{Kind: "Zone", Name: "example.test"}
	z.Records = append(z.Records,
		fleet.Record{Name: "www.example.test.", Type: "A", Data: "203.0.113.66"},
		fleet.Record{Name: "plain.example.test.", Type: "CNAME", Data: "fixed.example.test."},
		fleet.Record{Name: "bad.example.test.", Type: "A", Data: "not an address"},
		fleet.Record{Name: "away.other.test.", Type: "A", Data: "203.0.113.67"})
	snap.Zones = []fleet.Zone{z}
	route := func(name string) fleet.Host {
		h := host(name, "web", false)
		h.Routes[0].Origin = fleet.Origin{Kind: "Ingress", Name: name}
		return h
	}
	addHosts(snap, route("app.child.example.test"), route("ns1.example.test"), route(strings.Repeat("x", 64)+".example.test"))
	var b builder
	table := b.build(steer.New(snap))
	want := []struct{ about, reason, message string }{
		{"Ingress app.child.example.test", ReasonHostDelegated, "delegates child.example.test. to other name servers"},
		{"Zone example.test", ReasonRecordBesideHost, `host "plain.example.test" is steered, so the fixed CNAME record`},
		{"Zone example.test", ReasonRecordBesideHost, `host "www.example.test" is steered, so the fixed A record`},
		{"Zone example.test", ReasonRecordLeftOut, "lies outside the zone"},
		{"Zone example.test", ReasonRecordLeftOut, "record bad.example.test. A of zone example.test. is left out"},
		{"Ingress ns1.example.test", ReasonHostNameserver, `host "ns1.example.test" is also a name server`},
		{"Ingress " + strings.Repeat("x", 64) + ".example.test", ReasonHostName, "is not a domain name"},
	}
	if len(b.problems) != len(want) {
		t.Errorf("%d problems, want %d: %v", len(b.problems), len(want), b.problems)
	}
	for i, p := range b.problems {
		if i < len(want) && (p.About.String() != want[i].about || p.Reason != want[i].reason || !strings.Contains(p.Message, want[i].message)) {
			t.Errorf("problem %d is %v, want %v", i, p, want[i])
		}
	}
	for name, want := range map[string]string{
		"www.example.test.": "198.51.100.11", "plain.example.test.": "198.51.100.11",
		"ns1.example.test.": "203.0.113.1", "fixed.example.test.": "203.0.113.7",
	} {
		m := answer(table, questionOf(name, "A"), whose(nil, inStates, locate))
		if len(m.answer) != 1 || m.answer[0].(*miekg.A).A.String() != want {
			t.Errorf("%s: got %v, want %s alone", name, m.answer, want)
		}
	}
}

func TestNestedZones(t *testing.T) {
	snap := testSnapshot()
	inner := testZone()
	inner.Name, inner.Records = "inner.example.test.", nil
	inner.Nameservers = []fleet.Nameserver{{Name: "ns.inner.example.test.", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}}
	snap.Zones = append(snap.Zones, inner)
	addHosts(snap, host("app.inner.example.test", "web", false))
	table := tableOf(t, snap)
	for _, tc := range []struct{ name, qtype, want string }{
		{"app.inner.example.test.", "A", "NOERROR aa\napp.inner.example.test. 30 A 198.51.100.11"},
		{"nothing.inner.example.test.", "A", "NXDOMAIN aa\nauthority inner.example.test. 60 SOA"},
		{"inner.example.test.", "DS", "NOERROR aa\nauthority example.test. 60 SOA"},
		{"inner.example.test.", "A", "NOERROR aa\nauthority inner.example.test. 60 SOA"},
	} {
		if got := say(answer(table, questionOf(tc.name, tc.qtype), whose(nil, inStates, locate))); got != tc.want {
			t.Errorf("%s %s:\n got: %s\nwant: %s", tc.name, tc.qtype, got, tc.want)
		}
	}
}

func TestRootZone(t *testing.T) {
	snap := testSnapshot()
	root := testZone()
	root.Name = "."
	root.Records = []fleet.Record{{Name: "*.", Type: "TXT", Data: `"anything"`}}
	snap.Zones = []fleet.Zone{root}
	table := tableOf(t, snap)
	for name, want := range map[string]string{
		"www.other.test.": "NOERROR aa\nwww.other.test. 30 A 198.51.100.11",
		"other.test.":     "NOERROR aa\nauthority . 60 SOA",
		"what.ever.":      "NOERROR aa\nauthority . 60 SOA",
	} {
		if got := say(answer(table, questionOf(name, "A"), whose(nil, inStates, locate))); got != want {
			t.Errorf("%s:\n got: %s\nwant: %s", name, got, want)
		}
	}
	if m := answer(table, questionOf(".", "DS"), client{}); m.rcode != miekg.RcodeSuccess || len(m.ns) != 1 {
		t.Errorf("DS of the root: %s", say(m))
	}
}

// Health changes every second, names do not: they are shared, and the serial
// stands still. Replicas that never spoke agree on it.
func TestNamesAreSharedAndSerialIsTheContent(t *testing.T) {
	serial := func(tb *Table) uint32 { return tb.names.zones["example.test."].soa.Serial }
	var b builder
	snap := testSnapshot()
	first := b.build(steer.New(snap))
	sick := *snap
	sick.World = &fleet.World{Edges: snap.World.Edges[1:], Latency: fleet.Latency{}}
	second := b.build(steer.New(&sick))
	if first.names != second.names {
		t.Error("names were built again although zones and routes did not change")
	}
	if replica := tableOf(t, testSnapshot()); serial(replica) != serial(first) {
		t.Errorf("two replicas say serials %d and %d for the same content", serial(replica), serial(first))
	}
	more := testSnapshot()
	addHosts(more, host("aaa.example.test", "web", false))
	third := b.build(steer.New(more))
	if serial(third) == serial(first) {
		t.Error("a new host did not change the serial")
	}
	if m := answer(second, questionOf("www.example.test.", "A"), whose(nil, inAsia, locate)); m.region == "ap" {
		t.Error("a region that is gone was told")
	}
}
