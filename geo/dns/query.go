package dns

import (
	"encoding/binary"
	"strings"

	miekg "github.com/miekg/dns"
)

const (
	headerSize  = 12
	maxNameSize = 255 // octets on the wire (RFC 1035 §3.1)

	bitResponse = 1 << 15
	bitRD       = 1 << 8
	bitDO       = 1 << 15 // in the OPT's TTL

	optionNSID   = 3  // RFC 5001
	optionSubnet = 8  // RFC 7871
	optionCookie = 10 // RFC 7873
)

// query is one question as it came over the wire, parsed no further than the
// answer needs. Fields after the one that was malformed are zero.
type query struct {
	id     uint16
	opcode int
	rd     bool

	asked bool   // the question could be read and is echoed
	name  string // as asked, case kept (0x20)
	key   string // the name in lower case, by which things are found
	qtype uint16
	class uint16

	edns bool   // the query carried an OPT, so the answer does
	size uint16 // of UDP payload the client takes; meaningful with edns
	do   bool
	nsid bool        // the client asks who we are
	ecs  *subnet     // nil: none was sent
	tsig *miekg.TSIG // nil: not signed
}

// parse reads a packet. It reports false when the packet deserves no answer at
// all: no header, or itself an answer. Otherwise the code is NOERROR, or what the
// packet is refused with.
//
// The library's own Unpack is not used: it stays silent on some malformed
// packets and repairs others (an ECS option with dirty bits, for one) that must be told FORMERR.
func parse(p []byte) (q query, rcode int, ok bool) {
	if len(p) < headerSize {
		return q, 0, false
	}
	bits := binary.BigEndian.Uint16(p[2:])
	if bits&bitResponse != 0 {
		return q, 0, false
	}
	q.id = binary.BigEndian.Uint16(p)
	q.opcode = int(bits>>11) & 0xF
	switch q.opcode {
	case miekg.OpcodeQuery:
		q.rd = bits&bitRD != 0
	case miekg.OpcodeNotify, miekg.OpcodeUpdate:
		return q, miekg.RcodeRefused, true
	default:
		return q, miekg.RcodeNotImplemented, true
	}
	if binary.BigEndian.Uint16(p[4:]) != 1 {
		return q, miekg.RcodeFormatError, true
	}
	off, good := q.readQuestion(p)
	if !good {
		return q, miekg.RcodeFormatError, true
	}
	return q, q.readSections(p, off), true
}

// readQuestion reads the question and returns the offset behind it.
func (q *query) readQuestion(p []byte) (int, bool) {
	end, ok := skipName(p, headerSize, false)
	if !ok || end+4 > len(p) {
		return 0, false
	}
	name, _, err := miekg.UnpackDomainName(p, headerSize)
	if err != nil {
		return 0, false
	}
	q.asked = true
	q.name = name
	q.key = lower(name)
	q.qtype = binary.BigEndian.Uint16(p[end:])
	q.class = binary.BigEndian.Uint16(p[end+2:])
	return end + 4, true
}

// readSections walks the records behind the question, of which only OPT and TSIG mean
// something in a query, and returns the response code.
func (q *query) readSections(p []byte, off int) int {
	before := int(binary.BigEndian.Uint16(p[6:])) + int(binary.BigEndian.Uint16(p[8:]))
	if before > 0 && q.qtype != miekg.TypeIXFR { // RFC 1995: an IXFR carries an SOA
		return miekg.RcodeFormatError
	}
	additional := int(binary.BigEndian.Uint16(p[10:]))
	var opt []byte
	var version byte
	opts := 0
	for i := range before + additional {
		rr, ok := readRecord(p, off)
		if !ok {
			return miekg.RcodeFormatError
		}
		if i >= before {
			switch rr.rtype {
			case miekg.TypeOPT:
				if opts++; opts > 1 || !rr.root {
					return miekg.RcodeFormatError
				}
				q.edns, q.size, q.do = true, rr.class, rr.ttl&bitDO != 0
				opt, version = rr.data, byte(rr.ttl>>16)
			case miekg.TypeTSIG:
				if !q.readTSIG(p, off) || i != before+additional-1 {
					return miekg.RcodeFormatError
				}
			}
		}
		off = rr.end
	}
	switch {
	case off != len(p): // trailing bytes
		return miekg.RcodeFormatError
	case version != 0:
		return miekg.RcodeBadVers
	case !q.readOptions(opt):
		q.ecs = nil // nothing of a malformed OPT is echoed
		return miekg.RcodeFormatError
	}
	return miekg.RcodeSuccess
}

func (q *query) readTSIG(p []byte, off int) bool {
	rr, _, err := miekg.UnpackRR(p, off)
	if err != nil {
		return false
	}
	t, ok := rr.(*miekg.TSIG)
	if ok {
		q.tsig = t
	}
	return ok
}

// readOptions reads the options of an OPT. An option we do not know is skipped.
func (q *query) readOptions(data []byte) bool {
	for len(data) > 0 {
		if len(data) < 4 {
			return false
		}
		code, size := binary.BigEndian.Uint16(data), int(binary.BigEndian.Uint16(data[2:]))
		if 4+size > len(data) {
			return false
		}
		value := data[4 : 4+size]
		data = data[4+size:]
		switch code {
		case optionNSID:
			q.nsid = true
		case optionCookie: // not spoken, but a broken one is told so (RFC 7873 §5.2.2)
			if size != 8 && (size < 16 || size > 40) {
				return false
			}
		case optionSubnet:
			s, ok := parseSubnet(value)
			if !ok || q.ecs != nil {
				return false
			}
			q.ecs = &s
		}
	}
	return true
}

// record is the frame of a resource record.
type record struct {
	root  bool // the owner is "."
	rtype uint16
	class uint16
	ttl   uint32
	data  []byte
	end   int // offset behind it
}

func readRecord(p []byte, off int) (record, bool) {
	end, ok := skipName(p, off, true)
	if !ok || end+10 > len(p) {
		return record{}, false
	}
	rr := record{
		root:  end == off+1,
		rtype: binary.BigEndian.Uint16(p[end:]),
		class: binary.BigEndian.Uint16(p[end+2:]),
		ttl:   binary.BigEndian.Uint32(p[end+4:]),
		end:   end + 10 + int(binary.BigEndian.Uint16(p[end+8:])),
	}
	if rr.end > len(p) {
		return record{}, false
	}
	rr.data = p[end+10 : rr.end]
	return rr, true
}

// skipName returns the offset behind a name. A pointer ends the name; the
// question's own name has nothing to point to.
func skipName(p []byte, off int, pointers bool) (int, bool) {
	for start := off; off < len(p) && off-start < maxNameSize; {
		switch n := int(p[off]); {
		case n == 0:
			return off + 1, true
		case n < 64:
			off += 1 + n
		case n >= 0xC0 && pointers && off+2 <= len(p):
			return off + 2, true
		default:
			return 0, false
		}
	}
	return 0, false
}

// lower makes ASCII letters small, and only those (RFC 4343).
func lower(name string) string {
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			return strings.Map(func(r rune) rune {
				if 'A' <= r && r <= 'Z' {
					return r + 'a' - 'A'
				}
				return r
			}, name)
		}
	}
	return name
}
