package v1alpha1

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	maxRecordData = 4096
	// maxRecordWire keeps a record with its name and the question inside a
	// message that TCP can carry many of.
	maxRecordWire = 8192
)

// recordTypes are the types that may be written. What is made by the server
// (SOA, DNSSEC's own), what asks for synthesis (DNAME) and what is a question
// only (ANY, AXFR) is not among them.
func recordTypes() []string {
	return []string{"A", "AAAA", "CAA", "CNAME", "DS", "HINFO", "HTTPS", "LOC", "MX", "NAPTR", "NS",
		"OPENPGPKEY", "PTR", "SMIMEA", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI"}
}

// records reads the fixed records, sorted by name, type and data.
func (s *ZoneSpec) records(f *field.Faults, z *fleet.Zone) []fleet.Record {
	var list []fleet.Record
	paths := map[fleet.Record]string{} // TTL left out: two records that differ in it only are one
	for i, r := range bounded(f, "spec.records", s.Records, maxRecords) {
		path := field.Index("spec.records", i)
		out, ok := r.parse(f, path, z)
		if !ok {
			continue
		}
		key := fleet.Record{Name: out.Name, Type: out.Type, Data: out.Data}
		if first, ok := paths[key]; ok {
			f.Add(path, "says the same as %s; remove one of them", first)
			continue
		}
		paths[key] = path
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b fleet.Record) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Data, b.Data))
	})
	at := func(r fleet.Record) string { return paths[fleet.Record{Name: r.Name, Type: r.Type, Data: r.Data}] }
	return oneTTL(f, at, openCNAMEs(f, at, aloneCNAMEs(f, at, list)))
}

// parse reads one record; false: it is left out.
func (r Record) parse(f *field.Faults, path string, z *fleet.Zone) (fleet.Record, bool) {
	before := f.Count()
	out := fleet.Record{Type: strings.ToUpper(r.Type), TTL: r.TTL.ttl(f, path+".ttl", z.TTL, maxTTL)}
	name, err := owner(r.Name, z.Name)
	if err != nil {
		f.Add(path+".name", "%v", err)
	}
	out.Name = name
	apex := name == z.Name
	switch {
	case out.Type == "SOA":
		f.Add(path+".type", "SOA is made from the zone's own fields; set spec.mailbox, spec.ttl and spec.negativeTTL instead")
	case out.Type == "NS" && apex:
		f.Add(path+".type", "the zone's own NS are made from its name servers; set spec.nameservers instead")
	case out.Type == "CNAME" && apex:
		f.Add(path+".type", "the domain itself has SOA and NS and so can be no CNAME; write A and AAAA records, or a route for the host")
	case out.Type == "DS" && apex:
		f.Add(path+".type", "a zone's own DS belongs into its parent zone; remove it here")
	case !slices.Contains(recordTypes(), out.Type):
		f.Add(path+".type", "%s cannot be written here; the types are %s", field.Quote(r.Type), strings.Join(recordTypes(), ", "))
	}
	if f.Count() > before {
		return fleet.Record{}, false
	}
	out.Data, err = data(out, r.Data)
	if err != nil {
		f.Add(path+".data", "%v", err)
		return fleet.Record{}, false
	}
	return out, true
}

// owner is the absolute name of a record.
func owner(name, zone string) (string, error) {
	if name == "@" {
		return zone, nil
	}
	star, rest := "", strings.ToLower(name)
	if after, ok := strings.CutPrefix(rest, "*."); ok {
		star, rest = "*.", after
	} else if rest == "*" {
		star, rest = "*.", zone
	}
	if !strings.HasSuffix(rest, ".") {
		rest += "." + zone
	}
	out, ok := absolute(rest)
	switch {
	case !ok || len(star)+len(out) > 254:
		return "", fmt.Errorf("%s is not a name; write one like \"www\", \"*.apps\" or \"@\"", field.Quote(name))
	case !(fleet.Zone{Name: zone}).Contains(out):
		return "", fmt.Errorf("%s lies outside %s; leave out the dot at its end, or write it into its own zone", field.Quote(name), zone)
	}
	return star + out, nil
}

// data checks a record's data with the library that will answer with it, and
// returns it in the library's own presentation form.
func data(r fleet.Record, text string) (string, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return "", fmt.Errorf("is empty; write what a zone file would have after the type")
	case len(text) > maxRecordData:
		return "", fmt.Errorf("has %d characters, at most %d are allowed", len(text), maxRecordData)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "", fmt.Errorf("%s has line breaks or control characters; write it in one line", field.Quote(text))
	}
	rr, err := parseRR(r, text)
	if err != nil {
		return "", fmt.Errorf("%s is no data of type %s (%s); write it as in a zone file", field.Quote(text), r.Type, plain(err))
	}
	if err := targetOf(rr); err != nil {
		return "", err
	}
	wire := make([]byte, maxRecordWire)
	if _, err := dns.PackRR(rr, wire, 0, nil, false); err != nil {
		return "", fmt.Errorf("%s cannot be sent as type %s (%s); make it shorter or mend it", field.Quote(text), r.Type, plain(err))
	}
	canonical := presentation(rr)
	if len(canonical) > maxRecordData {
		return "", fmt.Errorf("has %d characters with its escapes written out, at most %d are allowed", len(canonical), maxRecordData)
	}
	// The library reads some malformed data into records that it cannot read
	// back; whoever gets Data must be able to.
	if back, err := parseRR(r, canonical); err != nil || presentation(back) != canonical {
		return "", fmt.Errorf("%s is no proper data of type %s; write it as in a zone file", field.Quote(text), r.Type)
	}
	return canonical, nil
}

// parseRR reads one record of the given name and type.
func parseRR(r fleet.Record, text string) (dns.RR, error) {
	// IN stands between, so that data can never be read as class or type.
	rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", r.Name, int(r.TTL.Seconds()), r.Type, text))
	switch {
	case err != nil:
		return nil, err
	case rr == nil || dns.TypeToString[rr.Header().Rrtype] != r.Type || rr.Header().Name != r.Name || presentation(rr) == "":
		return nil, errors.New("nothing to read")
	}
	return rr, nil
}

// presentation is a record's data alone.
func presentation(rr dns.RR) string {
	return strings.TrimSpace(strings.TrimPrefix(rr.String(), rr.Header().String()))
}

// targetOf refuses names of one label and addresses where a host is asked for:
// names are absolute here, so "www" would be a top-level domain.
func targetOf(rr dns.RR) error {
	var name string
	switch rr := rr.(type) {
	case *dns.CNAME:
		name = rr.Target
	case *dns.NS:
		name = rr.Ns
	case *dns.PTR:
		name = rr.Ptr
	case *dns.MX:
		name = rr.Mx
	case *dns.SRV:
		name = rr.Target
	case *dns.A:
		if !rr.A.To4().IsUnspecified() && rr.A.To4() != nil {
			return nil
		}
		return fmt.Errorf("is no usable IPv4 address; write one like 203.0.113.7")
	case *dns.AAAA:
		if a, ok := netip.AddrFromSlice(rr.AAAA); ok && !a.Is4In6() && !a.IsUnspecified() {
			return nil
		}
		return fmt.Errorf("is no usable IPv6 address; write one like 2001:db8::7")
	default:
		return nil
	}
	if name == "." {
		switch rr.(type) {
		case *dns.MX, *dns.SRV: // says "none" (RFC 7505, RFC 2782)
			return nil
		}
		return fmt.Errorf("names the root; write an absolute host name like www.example.com")
	}
	if dns.CountLabel(name) < 2 {
		return fmt.Errorf("names in data are absolute, and %s is a top-level domain; write the whole name, like www.example.com", field.Quote(name))
	}
	host := strings.TrimSuffix(name, ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Errorf("%s is an address where a host name is asked for; write a name, or use type A or AAAA", field.Quote(host))
	}
	return nil
}

// plain is the library's complaint without its prefix and line breaks.
func plain(err error) string {
	s := strings.TrimPrefix(err.Error(), "dns: ")
	return strings.Trim(field.Quote(s), `"`)
}

// aloneCNAMEs leaves out CNAMEs that stand beside other records of their name
// (RFC 1034 §3.6.2), and all but the first of several.
func aloneCNAMEs(f *field.Faults, at func(fleet.Record) string, list []fleet.Record) []fleet.Record {
	others, first := map[string]string{}, map[string]string{}
	for _, r := range list {
		if r.Type != "CNAME" && others[r.Name] == "" {
			others[r.Name] = at(r)
		}
	}
	return slices.DeleteFunc(list, func(r fleet.Record) bool {
		if r.Type != "CNAME" {
			return false
		}
		beside := cmp.Or(others[r.Name], first[r.Name])
		if beside == "" {
			first[r.Name] = at(r)
			return false
		}
		f.Add(at(r), "a CNAME must be the only record of its name, and %s is beside it; remove one of them", beside)
		return true
	})
}

// oneTTL gives all records of one name and type the same TTL, the lowest (RFC 2181 §5.2).
func oneTTL(f *field.Faults, at func(fleet.Record) string, list []fleet.Record) []fleet.Record {
	type set struct{ name, kind string }
	lowest := map[set]time.Duration{}
	for _, r := range list {
		s := set{r.Name, r.Type}
		if ttl, ok := lowest[s]; !ok || r.TTL < ttl {
			lowest[s] = r.TTL
		}
	}
	differ := map[set]string{}
	for i, r := range list {
		s := set{r.Name, r.Type}
		if r.TTL != lowest[s] {
			differ[s] = at(r)
			list[i].TTL = lowest[s]
		}
	}
	for _, s := range slices.SortedFunc(maps.Keys(differ), func(a, b set) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.kind, b.kind))
	}) {
		f.Add(differ[s]+".ttl", "records of one name and type share one TTL, so the lowest, %s, holds; write the same for all", short(lowest[s]))
	}
	return list
}
