package v1alpha1

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	maxNameservers     = 13 // more do not fit beside their glue into a small answer
	maxGlue            = 16
	maxRecords         = 1000
	maxTTL             = 7 * 24 * time.Hour
	maxNegativeTTL     = 3 * time.Hour // RFC 2308 §5
	defaultTTL         = time.Hour
	defaultNegativeTTL = 30 * time.Second
)

// Parse makes the fleet's zone. It returns nil when the domain, mailbox or a TTL
// of the zone is faulty, or when no usable name server is left; a faulty name
// server or record among good ones is left out.
func (z *Zone) Parse(origin fleet.Origin) (*fleet.Zone, []fleet.Problem) {
	f := &field.Faults{About: origin}
	if err := field.Subdomain(z.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	}
	domain, ok := absolute(cmp.Or(z.Spec.Domain, z.Name))
	if !ok || domain == "." {
		f.Add("spec.domain", "%s is not a domain; write one like example.com", field.Quote(cmp.Or(z.Spec.Domain, z.Name)))
		return nil, f.Problems() // everything else hangs on it
	}
	out := &fleet.Zone{
		Name:        domain,
		Mailbox:     z.Spec.mailbox(f, domain),
		TTL:         z.Spec.TTL.ttl(f, "spec.ttl", defaultTTL, maxTTL),
		NegativeTTL: z.Spec.NegativeTTL.ttl(f, "spec.negativeTTL", defaultNegativeTTL, maxNegativeTTL),
		Origin:      origin,
	}
	fatal := f.Count() > 0
	out.Nameservers = z.Spec.nameservers(f, out)
	if len(out.Nameservers) == 0 {
		if len(z.Spec.Nameservers) == 0 {
			f.Add("spec.nameservers", "is empty; name the servers that the parent zone delegates to")
		}
		fatal = true
	}
	if fatal {
		return nil, f.Problems()
	}
	out.Records = z.Spec.records(f, out)
	return out, f.Problems()
}

// absolute makes a lower-case absolute name out of one whose last dot may be
// missing. Labels are those of hosts with '_' added; escapes are not taken.
func absolute(s string) (string, bool) {
	s = strings.ToLower(s)
	if s == "." {
		return s, true
	}
	s = strings.TrimSuffix(s, ".")
	if len(s) == 0 || len(s) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return "", false
		}
	}
	return s + ".", true
}

func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// mailbox is the SOA's RNAME: the part before the "@" is its first label, in
// which dots are escaped (RFC 1035 §8).
func (s *ZoneSpec) mailbox(f *field.Faults, domain string) string {
	if s.Mailbox == "" {
		return "hostmaster." + domain
	}
	name := s.Mailbox
	local, host, mail := strings.Cut(s.Mailbox, "@")
	if mail {
		name = host
	}
	out, ok := absolute(name)
	if ok && out != "." && mail {
		ok = validLocal(local)
		out = strings.ReplaceAll(local, ".", `\.`) + "." + out
	}
	if _, valid := dns.IsDomainName(out); !ok || !valid || out == "." {
		f.Add("spec.mailbox", "%s is no mailbox; write one like hostmaster@example.com", field.Quote(s.Mailbox))
		return ""
	}
	return out
}

func validLocal(s string) bool {
	return s != "" && len(s) <= 63 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.+", r)
	})
}

func (s *ZoneSpec) nameservers(f *field.Faults, z *fleet.Zone) []fleet.Nameserver {
	var list []fleet.Nameserver
	for i, ns := range bounded(f, "spec.nameservers", s.Nameservers, maxNameservers) {
		path := field.Index("spec.nameservers", i)
		name, ok := absolute(ns.Name)
		if !ok || name == "." {
			f.Add(path+".name", "%s is not a host name; write one like ns1.example.com", field.Quote(ns.Name))
			continue
		}
		if slices.ContainsFunc(list, func(n fleet.Nameserver) bool { return n.Name == name }) {
			f.Add(path+".name", "%s is named twice; remove one of them", name)
			continue
		}
		out := fleet.Nameserver{Name: name}
		for j, text := range bounded(f, path+".addresses", ns.Addresses, maxGlue) {
			addr, err := field.Addr(string(text))
			if err != nil {
				f.Add(field.Index(path+".addresses", j), "%v", err)
				continue
			}
			out.Addrs = append(out.Addrs, addr)
		}
		slices.SortFunc(out.Addrs, netip.Addr.Compare)
		out.Addrs = slices.Compact(out.Addrs)
		if len(out.Addrs) == 0 && z.Contains(name) {
			f.Add(path+".addresses", "%s lies inside the zone, so nobody can find it without an address; write at least one usable one", name)
			continue
		}
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b fleet.Nameserver) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
