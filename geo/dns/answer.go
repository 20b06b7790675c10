package dns

import (
	"slices"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
)

// maxChain bounds how many aliases one answer follows.
const maxChain = 8

// message is an answer before it is packed.
type message struct {
	rcode  int
	aa     bool
	answer []miekg.RR
	ns     []miekg.RR
	extra  []miekg.RR
	must   bool         // extra is needed to use the answer (glue of a referral)
	scope  uint8        // for the ECS option, if one was sent
	ede    uint16       // RFC 8914; noEDE for none
	region fleet.Region // whose addresses the answer holds; empty for fixed ones
	host   string       // of the routes, that was steered; empty: none was
	zone   string       // that answers; empty: none of ours
}

// noEDE stands for "no extended error", since 0 is one.
const noEDE = 0xFFFF

func failure(rcode int, ede uint16) message { return message{rcode: rcode, ede: ede} }

// answer says what the table knows about a question for a client. It is pure:
// the same arguments give the same message.
func answer(t *Table, q query, c client) message {
	if q.class != miekg.ClassINET {
		return failure(miekg.RcodeRefused, miekg.ExtendedErrorCodeNotAuthoritative)
	}
	switch q.qtype {
	case miekg.TypeAXFR, miekg.TypeIXFR:
		return failure(miekg.RcodeRefused, miekg.ExtendedErrorCodeProhibited)
	case miekg.TypeMAILA, miekg.TypeMAILB, miekg.TypeTKEY:
		return failure(miekg.RcodeNotImplemented, miekg.ExtendedErrorCodeNotSupported)
	case miekg.TypeOPT, miekg.TypeTSIG: // never asked for
		return failure(miekg.RcodeFormatError, noEDE)
	}
	z := t.names.zone(q.key, q.qtype)
	if z == nil {
		return failure(miekg.RcodeRefused, miekg.ExtendedErrorCodeNotAuthoritative)
	}
	w := &walk{t: t, z: z, c: c, qtype: q.qtype, m: message{aa: true, ede: noEDE, zone: z.name}}
	name := q.name
	var keys []string // that the chain has come by
	for range maxChain + 1 {
		key := lower(name)
		if t.names.zone(key, q.qtype) != z {
			break // the rest of the chain is somebody else's, or another zone's
		}
		if slices.Contains(keys, key) {
			break // a circle, which ends where it began
		}
		keys = append(keys, key)
		if name = w.step(name, key); name == "" {
			break
		}
	}
	return w.m
}

// walk makes one answer, alias by alias.
type walk struct {
	t     *Table
	z     *zone
	c     client
	qtype uint16
	m     message
}

// step answers for one name and returns the name it is an alias of, if it is.
func (w *walk) step(name, key string) (next string) {
	n, how, at, depth := w.z.find(key)
	host := ""
	switch how {
	case foundNothing:
		w.no(miekg.RcodeNameError, w.z.negative)
		return ""
	case foundCut:
		if w.qtype != miekg.TypeDS || key != at {
			w.refer(n)
			return ""
		}
	case foundExact:
		host = n.host
	case foundWildcard:
		switch {
		case depth == 1:
			host = n.host
		case n.host != "" && len(n.records) == 0:
			// A wildcard host stands for one label more, as routes mean it; DNS
			// alone would let it stand for any number.
			w.no(miekg.RcodeNameError, w.z.negative)
			return ""
		}
	}
	if alias := n.records[miekg.TypeCNAME]; len(alias) > 0 && w.qtype != miekg.TypeCNAME && w.qtype != miekg.TypeANY {
		w.add(name, alias)
		return alias[0].(*miekg.CNAME).Target
	}
	w.data(name, n, host)
	return ""
}

// data answers from a node that is no alias.
func (w *walk) data(name string, n *node, host string) {
	records := n.records[w.qtype]
	switch {
	case w.qtype == miekg.TypeANY && !n.empty():
		// One small record instead of everything (RFC 8482 §4.2).
		w.m.answer = append(w.m.answer, &miekg.HINFO{Hdr: header(name, miekg.TypeHINFO, w.z.soa.Hdr.Ttl), Cpu: "RFC8482"})
	case host != "" && (w.qtype == miekg.TypeA || w.qtype == miekg.TypeAAAA),
		host != "" && n.tls && w.qtype == miekg.TypeHTTPS && len(records) == 0:
		w.steer(name, host)
	case len(records) > 0:
		w.add(name, records)
		if w.qtype == miekg.TypeNS {
			w.m.extra = append(w.m.extra, w.z.glue(records)...)
		}
	default:
		w.no(miekg.RcodeSuccess, w.z.negative)
	}
}

// steer answers with the addresses of the one region that the plan chooses.
func (w *walk) steer(name, host string) {
	s := w.t.steer(host, w.c)
	w.m.host = host
	list, possible := s.v4, w.t.has4
	switch w.qtype {
	case miekg.TypeAAAA:
		list, possible = s.v6, w.t.has6
	case miekg.TypeHTTPS:
		list, possible = nil, true
	}
	if possible {
		w.m.scope = w.c.scope(s.place, s.prefix)
	}
	if s.stale {
		w.m.ede = miekg.ExtendedErrorCodeStaleAnswer
	}
	switch {
	case w.qtype == miekg.TypeHTTPS && s.tls != 0:
		w.m.region = s.region
		w.m.answer = append(w.m.answer, binding(name, s))
	case len(list) > 0:
		w.m.region = s.region
		for _, a := range list {
			w.m.answer = append(w.m.answer, address(name, a, s.ttl))
		}
	default:
		// The next choice may have such addresses, so this "no" is kept no longer than a choice.
		ttl := w.z.negative
		if s.decided {
			ttl = min(ttl, s.ttl)
		}
		w.no(miekg.RcodeSuccess, ttl)
	}
}

// httpsPort is that of URLs which name none (RFC 9110 §4.2.2).
const httpsPort = 443

// binding is the HTTPS record of a host served over TLS (RFC 9460): the same
// name, HTTP/2 and HTTP/1.1, the port where it is another than expected, and the
// addresses that A and AAAA would tell.
func binding(name string, s steered) miekg.RR {
	rr := &miekg.HTTPS{SVCB: miekg.SVCB{Hdr: header(name, miekg.TypeHTTPS, s.ttl), Priority: 1, Target: "."}}
	rr.Value = append(rr.Value, &miekg.SVCBAlpn{Alpn: []string{"h2", "http/1.1"}})
	if s.tls != httpsPort {
		rr.Value = append(rr.Value, &miekg.SVCBPort{Port: s.tls})
	}
	if len(s.v4) > 0 {
		hint := &miekg.SVCBIPv4Hint{}
		for _, a := range s.v4 {
			hint.Hint = append(hint.Hint, a.AsSlice())
		}
		rr.Value = append(rr.Value, hint)
	}
	if len(s.v6) > 0 {
		hint := &miekg.SVCBIPv6Hint{}
		for _, a := range s.v6 {
			hint.Hint = append(hint.Hint, a.AsSlice())
		}
		rr.Value = append(rr.Value, hint)
	}
	return rr
}

// add answers with fixed records under the name that was asked for, in the case
// it was asked in and instead of a wildcard.
func (w *walk) add(name string, records []miekg.RR) {
	for _, rr := range records {
		rr = miekg.Copy(rr)
		rr.Header().Name = name
		w.m.answer = append(w.m.answer, rr)
	}
}

// no says that there is no such name, or no such data, and for how long (RFC 2308).
func (w *walk) no(rcode int, ttl uint32) {
	w.m.rcode = rcode
	soa := *w.z.soa
	soa.Hdr.Ttl = ttl
	w.m.ns = []miekg.RR{&soa}
}

// refer points to the name servers of a delegation. Behind an alias the alias
// alone is the answer, and the resolver comes back for the rest.
func (w *walk) refer(cut *node) {
	if len(w.m.answer) > 0 {
		return
	}
	w.m.aa = false
	w.m.ns = cut.records[miekg.TypeNS]
	w.m.extra, w.m.must = w.z.glue(w.m.ns), true
}
