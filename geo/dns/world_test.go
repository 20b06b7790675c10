package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// The world of these tests: three regions. Europe has two gateways and IPv6, the
// United States one gateway and IPv6, Asia one gateway without IPv6.
var (
	europe = fleet.Place{Lat: 50, Lon: 4}
	states = fleet.Place{Lat: 39, Lon: -77}
	asia   = fleet.Place{Lat: 1, Lon: 104}

	gateways = map[fleet.Region][]string{
		"eu": {"198.51.100.1", "198.51.100.2", "2001:db8:e::1"},
		"us": {"198.51.100.11", "2001:db8:a::1"},
		"ap": {"198.51.100.21"},
	}
	tlsPorts = map[fleet.Region]uint16{"eu": 443, "us": 8443, "ap": 443}
)

func service(name string, policy fleet.Policy, regions ...fleet.Region) *fleet.Service {
	s := &fleet.Service{Name: fleet.ServiceName{Namespace: "shop", Name: name}, Policy: &policy}
	slices.Sort(regions)
	for _, r := range regions {
		s.Backends = append(s.Backends, fleet.BackendView{Region: r, Backend: &fleet.Backend{
			Cluster: "c-" + string(r), Service: s.Name,
			Ports: []fleet.Port{{Number: 80, Endpoints: []fleet.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Ready: true}}}},
		}})
	}
	return s
}

func host(name, svc string, tls bool) fleet.Host {
	h := fleet.Host{Name: name, Routes: []fleet.Route{{
		Host: name, Match: fleet.Match{Path: "/"},
		To: []fleet.Target{{Service: fleet.ServiceName{Namespace: "shop", Name: svc}, Weight: 1}},
	}}}
	if tls {
		h.Certificate = "shop/" + fleet.CertificateName(name)
	}
	return h
}

func edge(r fleet.Region, p fleet.Place) *fleet.Edge {
	e := &fleet.Edge{Region: r, Place: p, Health: fleet.Verdict{State: fleet.Healthy}}
	c := &fleet.Cluster{Name: "c-" + string(r), At: fleet.Vantage{Region: r, Place: p}}
	for _, a := range gateways[r] {
		g := fleet.Gateway{Addr: netip.MustParseAddr(a), Port: 80, TLSPort: tlsPorts[r]}
		c.Gateways = append(c.Gateways, g)
		e.Gateways = append(e.Gateways, fleet.GatewayView{Gateway: g, Cluster: c.Name, Health: e.Health})
	}
	e.Clusters = []*fleet.Cluster{c}
	return e
}

func testZone() fleet.Zone {
	rec := func(name, typ, data string) fleet.Record { return fleet.Record{Name: name, Type: typ, Data: data} }
	return fleet.Zone{
		Name: "example.test.",
		Nameservers: []fleet.Nameserver{
			{Name: "ns1.example.test.", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::53")}},
			{Name: "ns.elsewhere.test."},
		},
		Mailbox: "ops.example.test.", TTL: time.Hour, NegativeTTL: time.Minute,
		Records: []fleet.Record{
			rec("alias.example.test.", "CNAME", "www.example.test."),
			rec("chain.example.test.", "CNAME", "alias.example.test."),
			rec("child.example.test.", "NS", "ns.child.example.test."),
			rec("ns.child.example.test.", "A", "203.0.113.9"),
			rec("dangling.example.test.", "CNAME", "nobody.example.test."),
			rec("deep.under.example.test.", "TXT", `"a b"`),
			rec("example.test.", "CAA", `0 issue "ca.test"`),
			rec("example.test.", "TXT", `"apex"`),
			rec("fixed.example.test.", "A", "203.0.113.7"),
			rec("loop.example.test.", "CNAME", "pool.example.test."),
			rec("outside.example.test.", "CNAME", "www.elsewhere.test."),
			rec("pool.example.test.", "CNAME", "loop.example.test."),
			rec("odd.example.test.", "TYPE65280", `\# 2 beef`),
			rec("*.wild.example.test.", "TXT", `"wild"`),
			rec("www.example.test.", "TXT", `"beside the host"`),
		},
	}
}

func testSnapshot() *fleet.Snapshot {
	def := fleet.DefaultPolicy()
	weighted := def
	weighted.Strategy, weighted.Weights = fleet.StrategyWeighted, map[fleet.Region]uint32{"eu": 1, "us": 1}
	failover := def
	failover.Strategy, failover.Order = fleet.StrategyFailover, []fleet.Region{"us", "eu"}
	nobody := def
	nobody.Regions = []fleet.Region{"mars"}
	snap := fleet.EmptySnapshot()
	snap.Generation = 7
	snap.World.Edges = []*fleet.Edge{edge("ap", asia), edge("eu", europe), edge("us", states)}
	for _, s := range []*fleet.Service{
		service("web", def, "eu", "us", "ap"), service("split", weighted, "eu", "us"),
		service("order", failover, "eu", "us"), service("nobody", nobody, "eu", "us"),
	} {
		snap.Services[s.Name] = s
	}
	hosts := []fleet.Host{
		host("", "web", false), host("*.any.example.test", "web", false), host("www.example.test", "web", true),
		host("example.test", "web", false), host("nobody.home.example.test", "nobody", false),
		host("order.example.test", "order", false), host("plain.example.test", "web", false),
		host("split.example.test", "split", true), host("www.other.test", "web", false),
	}
	addHosts(snap, hosts...)
	snap.Zones = []fleet.Zone{testZone()}
	return snap
}

// addHosts gives a snapshot more hosts in new Routes, sorted.
func addHosts(snap *fleet.Snapshot, hosts ...fleet.Host) {
	all := append(slices.Clone(snap.Routes.Hosts), hosts...)
	slices.SortFunc(all, func(a, b fleet.Host) int { return strings.Compare(a.Name, b.Name) })
	snap.Routes = &fleet.Routes{Hosts: all}
}

// locate knows 81/8 as Europe in pieces of /22, 63/8 as the States in one
// piece, 101/8 as Asia in pieces of /28, 2a00::/16 as Europe in pieces of /32,
// and one private network of an operator's in Asia.
func locate(a netip.Addr) fleet.Location {
	at := func(p fleet.Place, bits int, layer string) fleet.Location {
		prefix, _ := a.Prefix(bits)
		return fleet.Location{Place: p, Prefix: prefix, Layer: layer}
	}
	switch {
	case netip.MustParsePrefix("81.0.0.0/8").Contains(a):
		return at(europe, 22, "city")
	case netip.MustParsePrefix("63.0.0.0/8").Contains(a):
		return at(states, 8, "country")
	case netip.MustParsePrefix("101.0.0.0/8").Contains(a):
		return at(asia, 28, "city")
	case netip.MustParsePrefix("2a00::/16").Contains(a):
		return at(europe, 32, "city")
	case netip.MustParsePrefix("10.77.0.0/16").Contains(a):
		return at(asia, 16, "network")
	}
	return fleet.Location{Layer: "default"}
}

func tableOf(t testing.TB, snap *fleet.Snapshot) *Table {
	t.Helper()
	var b builder
	table := b.build(steer.New(snap))
	for _, p := range b.problems {
		t.Errorf("unexpected problem: %v", p)
	}
	return table
}

func testTable(t testing.TB) *Table { return tableOf(t, testSnapshot()) }

func testResponder() responder { return responder{locate: locate, nsid: nsidHex("eu-1")} }

var (
	inEurope = netip.MustParseAddr("81.2.3.4")
	inStates = netip.MustParseAddr("63.2.3.4")
	inAsia   = netip.MustParseAddr("101.2.3.4")
)

// packet builds a query byte by byte, so that it can be wrong in any way.
type packet struct {
	id      uint16
	bits    uint16
	name    string
	qtype   uint16
	class   uint16
	records [][]byte // of the additional section
	counts  *[4]uint16
	tail    []byte
	noName  bool
}

func (p packet) bytes() []byte {
	counts := [4]uint16{1, 0, 0, uint16(len(p.records))}
	if p.counts != nil {
		counts = *p.counts
	}
	out := u16(p.id, p.bits, counts[0], counts[1], counts[2], counts[3])
	if !p.noName {
		var wire [256]byte
		n, err := miekg.PackDomainName(p.name, wire[:], 0, nil, false)
		if err != nil {
			panic(err)
		}
		out = append(append(out, wire[:n]...), u16(p.qtype, cmpOr(p.class, miekg.ClassINET))...)
	}
	for _, r := range p.records {
		out = append(out, r...)
	}
	return append(out, p.tail...)
}

func cmpOr(a, b uint16) uint16 {
	if a != 0 {
		return a
	}
	return b
}

func u16(v ...uint16) (out []byte) {
	for _, x := range v {
		out = append(out, byte(x>>8), byte(x))
	}
	return out
}

// opt is an OPT record of a version, with options.
func opt(version byte, do bool, options ...[]byte) []byte {
	data := slices.Concat(options...)
	flags := uint16(0)
	if do {
		flags = 0x8000
	}
	return slices.Concat([]byte{0}, u16(41, 1400), []byte{0, version}, u16(flags, uint16(len(data))), data)
}

func option(code uint16, data ...byte) []byte {
	return append(u16(code, uint16(len(data))), data...)
}

// ecs is a client subnet option whose octets are as given, right or wrong.
func ecs(family uint16, source, scope byte, octets ...byte) []byte {
	return option(8, slices.Concat(u16(family), []byte{source, scope}, octets)...)
}

// rawSubnet finds the client subnet option in an answer, as bytes.
func rawSubnet(m *miekg.Msg) []byte {
	o := m.IsEdns0()
	if o == nil {
		return nil
	}
	for _, e := range o.Option {
		if s, ok := e.(*miekg.EDNS0_SUBNET); ok {
			octets := []byte(s.Address)
			if s.Family == 1 {
				octets = s.Address.To4()
			}
			if s.Family == 0 {
				octets = nil
			}
			return ecs(s.Family, s.SourceNetmask, s.SourceScope, octets[:(int(s.SourceNetmask)+7)/8]...)
		}
	}
	return nil
}

func unpack(t rapid.TB, b []byte) *miekg.Msg {
	t.Helper()
	m := new(miekg.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatalf("our own answer does not unpack: %v\n%x", err, b)
	}
	return m
}
