package dns

import (
	"net/netip"
	"slices"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// Resolution is what a resolver is told that asks for the addresses of a host,
// taken apart for people.
type Resolution struct {
	Plan     *steer.Plan    // that the answer was made from; nil: there is none yet, and SERVFAIL is answered
	Location fleet.Location // for whom it was made
	Prefix   netip.Prefix

	Code    string        // "NOERROR", "NXDOMAIN", "REFUSED"
	Zone    string        // that answers; empty: none of ours
	Host    string        // of the routes, whose decision the addresses follow; empty: none does
	Region  fleet.Region  // whose addresses they are; empty: they are fixed, or there are none
	Addrs   []netip.Addr  // IPv4, then IPv6
	Aliases []string      // that lead from the host to what was answered
	Servers []string      // name servers that the resolver is referred to
	TTL     time.Duration // how long the answer, or the "no", is kept
	Scope   int           // ECS scope prefix length
}

// Resolve says what the server answers for a host when a resolver tells of the
// client, or, where the client's address says nothing, is the client. It is the
// path of a query without its packet.
func (s *Server) Resolve(host string, client netip.Addr) Resolution {
	l := s.live.Load()
	if l == nil {
		return Resolution{Code: miekg.RcodeToString[miekg.RcodeServerFailure]}
	}
	return resolve(l.table, host, whose(&subnet{addr: client.Unmap().WithZone("")}, client, s.respond.locate))
}

func resolve(t *Table, host string, c client) Resolution {
	r := Resolution{Plan: t.plan, Location: c.loc, Prefix: c.prefix}
	name := miekg.Fqdn(host)
	if _, err := canonical(name); err != nil {
		r.Code = miekg.RcodeToString[miekg.RcodeFormatError]
		return r
	}
	ask := func(qtype uint16) message {
		return answer(t, query{asked: true, name: name, key: lower(name), qtype: qtype, class: miekg.ClassINET}, c)
	}
	v4, v6 := ask(miekg.TypeA), ask(miekg.TypeAAAA)
	r.Code, r.Zone, r.Host = miekg.RcodeToString[v4.rcode], v4.zone, v4.host
	r.Scope = int(max(v4.scope, v6.scope))
	kept := slices.Concat(v4.answer, v6.answer)
	if len(v4.answer) == 0 && len(v6.answer) == 0 {
		kept = v4.ns
	}
	for i, rr := range kept {
		if ttl := time.Duration(rr.Header().Ttl) * time.Second; i == 0 || ttl < r.TTL {
			r.TTL = ttl
		}
		switch rr := rr.(type) {
		case *miekg.A:
			a, _ := netip.AddrFromSlice(rr.A.To4())
			r.Addrs = append(r.Addrs, a)
		case *miekg.AAAA:
			a, _ := netip.AddrFromSlice(rr.AAAA)
			r.Addrs = append(r.Addrs, a)
		case *miekg.CNAME:
			if i < len(v4.answer) { // both families have the same
				r.Aliases = append(r.Aliases, rr.Target)
			}
		case *miekg.NS:
			r.Servers = append(r.Servers, rr.Ns)
		}
	}
	if r.Region = v4.region; r.Region == "" {
		r.Region = v6.region
	}
	return r
}
