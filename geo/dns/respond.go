package dns

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
)

const (
	plainSize = 512   // UDP payload without EDNS (RFC 1035 §4.2.1)
	ednsSize  = 1232  // UDP payload that passes every path unfragmented (DNS flag day 2020)
	tcpSize   = 65535 // what the length prefix can say
)

// transport is how a query came.
type transport uint8

const (
	overUDP transport = iota
	overTCP
	transports
)

func (t transport) String() string {
	if t == overTCP {
		return "tcp"
	}
	return "udp"
}

// responder holds what an answer needs beside the table. It is not changed.
type responder struct {
	locate func(netip.Addr) fleet.Location
	nsid   string // in hex; empty: we do not say who we are
}

// outcome is what is counted of a query.
type outcome struct {
	rcode     int
	qtype     uint16 // 0 when the question could not be read
	region    fleet.Region
	ecs       bool // the answer was made for the subnet that the query told of
	truncated bool
}

// respond answers a packet, whatever it holds. It returns nothing for packets
// that deserve no answer. A nil table stands for the time before the first Plan.
func (r responder) respond(t *Table, packet []byte, from netip.Addr, over transport) ([]byte, outcome) {
	q, rcode, ok := parse(packet)
	if !ok {
		return nil, outcome{}
	}
	var m message
	var c client
	switch {
	case rcode == miekg.RcodeRefused:
		m = failure(rcode, miekg.ExtendedErrorCodeProhibited)
	case rcode != miekg.RcodeSuccess:
		m = failure(rcode, noEDE)
	case q.tsig != nil:
		m = failure(miekg.RcodeNotAuth, noEDE)
	case t == nil:
		m = failure(miekg.RcodeServerFailure, miekg.ExtendedErrorCodeNotReady)
	default:
		c = whose(q.ecs, from, r.locate)
		m = answer(t, q, c)
	}
	out, truncated := r.pack(q, m, limit(q, over))
	return out, outcome{rcode: m.rcode, qtype: q.qtype, region: m.region, ecs: c.told, truncated: truncated}
}

// limit is the size that an answer may have.
func limit(q query, over transport) int {
	switch {
	case over == overTCP:
		return tcpSize
	case q.edns:
		return max(plainSize, min(int(q.size), ednsSize))
	}
	return plainSize
}

// pack brings a message into its wire form. One that is too long loses what a
// resolver can do without, then everything, with TC set so that it comes back over TCP.
func (r responder) pack(q query, m message, size int) (out []byte, truncated bool) {
	msg := &miekg.Msg{Compress: true}
	msg.Id, msg.Opcode, msg.Response = q.id, q.opcode, true
	msg.RecursionDesired, msg.Authoritative, msg.Rcode = q.rd, m.aa, m.rcode
	if q.asked {
		msg.Question = []miekg.Question{{Name: q.name, Qtype: q.qtype, Qclass: q.class}}
	}
	msg.Answer, msg.Ns = m.answer, m.ns
	tail := r.tail(q, m)
	msg.Extra = append(append([]miekg.RR(nil), m.extra...), tail...)
	out, err := msg.Pack()
	if err == nil && len(out) > size && !m.must && len(m.extra) > 0 {
		msg.Extra = tail
		out, err = msg.Pack()
	}
	if err == nil && len(out) > size {
		msg.Answer, msg.Ns, msg.Extra, msg.Truncated = nil, nil, r.opt(q, m), true
		out, err = msg.Pack()
	}
	if err != nil { // a record that cannot be packed; the asker learns at least that it is our fault
		return bare(q, miekg.RcodeServerFailure), false
	}
	return out, msg.Truncated
}

// bare is an answer of a header only.
func bare(q query, rcode int) []byte {
	out := make([]byte, headerSize)
	binary.BigEndian.PutUint16(out, q.id)
	binary.BigEndian.PutUint16(out[2:], uint16(bitResponse|q.opcode<<11|rcode&0xF))
	return out
}

// tail are the records about the exchange itself; a TSIG comes last.
func (r responder) tail(q query, m message) []miekg.RR {
	list := r.opt(q, m)
	if q.tsig != nil && m.rcode == miekg.RcodeNotAuth {
		// We share no keys with anybody (RFC 8945 §5.2.1).
		list = append(list, &miekg.TSIG{
			Hdr:       miekg.RR_Header{Name: q.tsig.Hdr.Name, Rrtype: miekg.TypeTSIG, Class: miekg.ClassANY},
			Algorithm: q.tsig.Algorithm, TimeSigned: q.tsig.TimeSigned, Fudge: q.tsig.Fudge,
			OrigId: q.tsig.OrigId, Error: miekg.RcodeBadKey,
		})
	}
	return list
}

// opt is our OPT, if the query had one (RFC 6891 §7).
func (r responder) opt(q query, m message) []miekg.RR {
	if !q.edns {
		return nil
	}
	opt := &miekg.OPT{Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeOPT}}
	opt.SetUDPSize(ednsSize)
	opt.SetDo(q.do)
	if q.nsid && r.nsid != "" {
		opt.Option = append(opt.Option, &miekg.EDNS0_NSID{Code: miekg.EDNS0NSID, Nsid: r.nsid})
	}
	if q.ecs != nil {
		opt.Option = append(opt.Option, &miekg.EDNS0_LOCAL{Code: miekg.EDNS0SUBNET, Data: q.ecs.echo(m.scope)})
	}
	if m.ede != noEDE {
		opt.Option = append(opt.Option, &miekg.EDNS0_EDE{InfoCode: m.ede})
	}
	return []miekg.RR{opt}
}

// nsidHex is a name server identifier as the library wants it.
func nsidHex(id string) string { return hex.EncodeToString([]byte(id)) }
