package factv1

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/meridian-lb/meridian/fleet"
)

func zoneOut(z *fleet.Zone) *Zone {
	return &Zone{
		Name: valid(z.Name),
		Nameservers: mapped(z.Nameservers, func(n fleet.Nameserver) *Nameserver {
			return &Nameserver{Name: valid(n.Name), Addrs: mapped(n.Addrs, addrOut)}
		}),
		Mailbox: valid(z.Mailbox), Ttl: durationOut(z.TTL), NegativeTtl: durationOut(z.NegativeTTL),
		Records: mapped(z.Records, func(r fleet.Record) *Record {
			return &Record{Name: valid(r.Name), Type: valid(r.Type), Ttl: durationOut(r.TTL), Data: valid(r.Data)}
		}),
		Origin: originOut(z.Origin),
	}
}

func (d *door) zone(x *Zone) *fleet.Zone {
	z := &fleet.Zone{
		Name: d.dnsName("zone", x.GetName(), true),
		Nameservers: list(d, "nameservers", x.GetNameservers(), maxSmall, func(n *Nameserver) fleet.Nameserver {
			return fleet.Nameserver{
				Name:  d.dnsName("nameserver", n.GetName(), true),
				Addrs: list(d, "glue", n.GetAddrs(), maxSmall, func(b []byte) netip.Addr { return d.addr("glue", b) }),
			}
		}),
		Mailbox:     d.mailbox(x.GetMailbox()),
		TTL:         d.seconds("ttl", x.GetTtl()),
		NegativeTTL: d.seconds("negative ttl", x.GetNegativeTtl()),
		Records: sorted(list(d, "records", x.GetRecords(), maxLarge, d.record), func(a, b fleet.Record) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Data, b.Data))
		}),
		Origin: d.origin(x.GetOrigin()),
	}
	if len(z.Nameservers) == 0 {
		d.refuse("zone %s has no nameserver", z.Name)
	}
	return z
}

// mailbox is a domain name whose first label may hold an escaped dot.
func (d *door) mailbox(s string) string {
	d.sentence("mailbox", s, maxWord+1)
	if _, ok := dns.IsDomainName(s); !ok || !dns.IsFqdn(s) {
		d.refuse("mailbox %.40q is no absolute domain name", s)
	}
	return s
}

// record reads a record and lets the parser that will serve it look at its data.
func (d *door) record(x *Record) fleet.Record {
	r := fleet.Record{
		Name: d.dnsName("record's name", x.GetName(), true),
		Type: d.word("record's type", x.GetType()),
		TTL:  d.seconds("record's ttl", x.GetTtl()),
		Data: x.GetData(),
	}
	d.sentence("record's data", strings.ReplaceAll(r.Data, "\t", " "), maxData) // tabs may part the fields
	if d.err != nil {
		return r
	}
	number, ok := dns.StringToType[r.Type]
	if !ok {
		d.refuse("record type %.20q is not known", r.Type)
		return r
	}
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Name, int64(r.TTL/time.Second), r.Type, r.Data))
	if err != nil || rr == nil || rr.Header().Rrtype != number {
		d.refuse("%s record %.40q of %s is not in order", r.Type, r.Data, r.Name)
	}
	return r
}
