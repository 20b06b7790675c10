package dns

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
)

// Timers of the SOA. They speak to secondaries, which we have none of: every
// server of a zone has the whole Plan.
const (
	soaRefresh = 3600
	soaRetry   = 600
	soaExpire  = 7 * 24 * 3600
)

// zone is one zone with all its names. It is not changed after finish.
type zone struct {
	name     string
	from     fleet.Origin
	soa      *miekg.SOA
	ns       []miekg.RR
	negative uint32           // seconds a "no" is kept: min(SOA TTL, SOA MINIMUM) (RFC 2308 §5)
	nodes    map[string]*node // every name that exists, empty non-terminals too
	servers  []string         // names of name servers inside the zone
	cuts     bool             // some node is delegated
	serial   uint64
}

// node is what stands at one name. A node without anything is an empty non-terminal.
type node struct {
	records map[uint16][]miekg.RR // fixed
	host    string                // of the routes; empty: not steered
	tls     bool                  // the host is served over TLS
	cut     bool                  // delegated: what is below belongs to others
}

// empty reports whether the name exists only for the sake of names below it.
func (n *node) empty() bool { return len(n.records) == 0 && n.host == "" }

func (n *node) drop(rtype uint16) { delete(n.records, rtype) }

// newZone starts a zone with its fixed records; hosts follow, then finish.
func newZone(f *fixed) *zone {
	from := f.from
	z := &zone{name: from.Name, from: from.Origin, nodes: map[string]*node{}, serial: f.hash}
	z.at(z.name)
	ttl := seconds(from.TTL)
	for _, s := range from.Nameservers {
		z.ns = append(z.ns, &miekg.NS{Hdr: header(z.name, miekg.TypeNS, ttl), Ns: s.Name})
		if !from.Contains(s.Name) || len(s.Addrs) == 0 {
			continue
		}
		z.servers = append(z.servers, s.Name)
		at := z.at(s.Name)
		for _, a := range s.Addrs {
			rr := address(s.Name, a, ttl)
			at.records[rr.Header().Rrtype] = append(at.records[rr.Header().Rrtype], rr)
		}
	}
	for _, rr := range f.records {
		h := rr.Header()
		// Those three come from the Zone's own fields; a second opinion is not asked.
		if h.Rrtype == miekg.TypeSOA || h.Name == z.name && h.Rrtype == miekg.TypeNS ||
			z.isNameserver(h.Name) && (h.Rrtype == miekg.TypeA || h.Rrtype == miekg.TypeAAAA) {
			continue
		}
		at := z.at(h.Name)
		at.records[h.Rrtype] = append(at.records[h.Rrtype], rr)
	}
	minimum := seconds(from.NegativeTTL)
	z.negative = min(ttl, minimum)
	z.soa = &miekg.SOA{
		Hdr: header(z.name, miekg.TypeSOA, ttl), Mbox: from.Mailbox,
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: minimum,
	}
	if len(from.Nameservers) > 0 {
		z.soa.Ns = from.Nameservers[0].Name
	}
	if z.soa.Mbox == "" {
		z.soa.Mbox = "hostmaster." + dotless(z.name)
	}
	return z
}

// finish marks the delegations and gives the zone its serial.
//
// The serial is a hash of the zone's content: replicas that have the same facts
// say the same serial without a memory between them. It does not grow with
// time, which only matters to secondaries, and transfers are refused.
func (z *zone) finish(routes *fleet.Routes) (problems []fleet.Problem) {
	apex := z.nodes[z.name]
	apex.records[miekg.TypeSOA] = []miekg.RR{z.soa}
	apex.records[miekg.TypeNS] = z.ns
	z.soa.Serial = max(1, uint32(z.serial^z.serial>>32))
	for name, n := range z.nodes {
		if name != z.name && len(n.records[miekg.TypeNS]) > 0 {
			n.cut, z.cuts = true, true
		}
	}
	if !z.cuts {
		return nil
	}
	for name, n := range z.nodes {
		if cut := z.cutAbove(name); cut != "" && n.host != "" {
			h, _ := routes.Host(n.host)
			problems = append(problems, problem(authorOf(h), ReasonHostDelegated, "host %q is not answered for, since zone %s delegates %s to other name servers; remove those NS records or the host",
				n.host, z.name, cut))
		}
	}
	return problems
}

// at returns the node of a name, made together with the names above it if need be.
func (z *zone) at(name string) *node {
	if n, ok := z.nodes[name]; ok {
		return n
	}
	n := &node{records: map[uint16][]miekg.RR{}}
	z.nodes[name] = n
	if name != z.name {
		if parent, ok := parentOf(name); ok {
			z.at(parent)
		}
	}
	return n
}

func (z *zone) isNameserver(name string) bool {
	for _, s := range z.servers {
		if s == name {
			return true
		}
	}
	return false
}

// mix lets a host take part in the serial. Hosts come sorted.
func (z *zone) mix(host string, tls bool) {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %q %t", z.serial, host, tls)
	z.serial = h.Sum64()
}

// found says how a name was found.
type found uint8

const (
	foundNothing  found = iota // NXDOMAIN
	foundExact                 // the node is the name's own
	foundWildcard              // the node is the wildcard that covers the name (RFC 4592)
	foundCut                   // the name is at or below a delegation, whose node it is
)

// find looks for a name in the zone. Depth is how many labels a wildcard stands for.
func (z *zone) find(key string) (n *node, how found, at string, depth int) {
	if cut := z.cutAbove(key); cut != "" {
		return z.nodes[cut], foundCut, cut, 0
	}
	if n, ok := z.nodes[key]; ok {
		return n, foundExact, key, 0
	}
	for rest := key; ; {
		parent, ok := parentOf(rest)
		if !ok {
			return nil, foundNothing, "", 0
		}
		depth++
		rest = parent
		if _, ok := z.nodes[rest]; !ok {
			continue
		}
		// rest is the closest encloser; only its own wildcard covers the name.
		star := "*." + dotless(rest)
		if n, ok := z.nodes[star]; ok {
			return n, foundWildcard, star, depth
		}
		return nil, foundNothing, "", 0
	}
}

// cutAbove is the highest delegation at or above a name, empty without one.
func (z *zone) cutAbove(key string) string {
	cut := ""
	for name := key; z.cuts && name != z.name; {
		if n, ok := z.nodes[name]; ok && n.cut {
			cut = name
		}
		parent, ok := parentOf(name)
		if !ok {
			break
		}
		name = parent
	}
	return cut
}

// glue lists the fixed addresses of the name servers in a set of NS records.
func (z *zone) glue(ns []miekg.RR) (list []miekg.RR) {
	for _, rr := range ns {
		s, ok := rr.(*miekg.NS)
		if !ok {
			continue
		}
		if n, ok := z.nodes[lower(s.Ns)]; ok {
			list = append(list, n.records[miekg.TypeA]...)
			list = append(list, n.records[miekg.TypeAAAA]...)
		}
	}
	return list
}

// fixed is the part of a zone that does not depend on routes, read from text once.
type fixed struct {
	from     fleet.Zone
	records  []miekg.RR // names in canonical form
	hash     uint64     // of from
	problems []fleet.Problem
}

// readFixed reads a zone's records. They were checked at the door, so one that
// does not read is passed over as a problem and its neighbours stand.
func readFixed(from fleet.Zone) *fixed {
	f := &fixed{from: from}
	for _, r := range from.Records {
		rr, err := readRR(from, r)
		if err != nil {
			f.problems = append(f.problems, problem(from.Origin, ReasonRecordLeftOut, "record %s %s of zone %s is left out (%v); correct it", r.Name, r.Type, from.Name, err))
			continue
		}
		f.records = append(f.records, rr)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%q %v %q %d %d %q", from.Name, from.Nameservers, from.Mailbox, from.TTL, from.NegativeTTL, from.Records)
	f.hash = h.Sum64()
	return f
}

func readRR(z fleet.Zone, r fleet.Record) (miekg.RR, error) {
	name, err := canonical(r.Name)
	if err != nil {
		return nil, err
	}
	if !z.Contains(name) {
		return nil, fmt.Errorf("the name lies outside the zone")
	}
	ttl := r.TTL
	if ttl == 0 {
		ttl = z.TTL
	}
	rr, err := miekg.NewRR(fmt.Sprintf("%s %d IN %s %s", name, seconds(ttl), r.Type, r.Data))
	switch {
	case err != nil:
		return nil, err
	case rr == nil:
		return nil, fmt.Errorf("it holds no data")
	}
	return rr, nil
}

// canonical is a name in lower case and in the one spelling that a name from the
// wire has, whatever escapes it was written with.
func canonical(name string) (string, error) {
	var wire [maxNameSize]byte
	n, err := miekg.PackDomainName(name, wire[:], 0, nil, false)
	if err != nil {
		return "", fmt.Errorf("reading the name: %w", err)
	}
	name, _, err = miekg.UnpackDomainName(wire[:n], 0)
	return lower(name), err
}

// parentOf takes the first label off a name. It reports false for the root.
func parentOf(name string) (parent string, ok bool) {
	if name == "." || name == "" {
		return "", false
	}
	off, end := miekg.NextLabel(name, 0)
	if end {
		return ".", true
	}
	return name[off:], true
}

// dotless makes a zone name fit to stand behind a label: the root adds nothing.
func dotless(name string) string {
	if name == "." {
		return ""
	}
	return name
}

func header(name string, rtype uint16, ttl uint32) miekg.RR_Header {
	return miekg.RR_Header{Name: name, Rrtype: rtype, Class: miekg.ClassINET, Ttl: ttl}
}

// address is the A or AAAA record of an address.
func address(name string, a netip.Addr, ttl uint32) miekg.RR {
	if a = a.Unmap(); a.Is4() {
		return &miekg.A{Hdr: header(name, miekg.TypeA, ttl), A: a.AsSlice()}
	}
	return &miekg.AAAA{Hdr: header(name, miekg.TypeAAAA, ttl), AAAA: a.AsSlice()}
}

// seconds is a TTL on the wire: at most 2^31-1 (RFC 2181 §8).
func seconds(d time.Duration) uint32 {
	return uint32(max(0, min(d/time.Second, math.MaxInt32)))
}
