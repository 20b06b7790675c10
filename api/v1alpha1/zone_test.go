package v1alpha1

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridian-lb/meridian/fleet"
)

func TestZoneWithEverything(t *testing.T) {
	z := read[Zone](t, `
metadata: {name: example}
spec:
  domain: Example.COM
  nameservers:
  - {name: NS2.example.net.}
  - {name: ns1.example.com, addresses: [203.0.113.53, "2001:db8::53", 203.0.113.53]}
  mailbox: dns.team@ops.example.net
  ttl: 2h
  negativeTTL: 1m
  records:
  - {name: www, type: CNAME, data: shop.example.com}
  - {name: "@", type: MX, ttl: 10m, data: 10 mail.example.com.}
  - {name: "@", type: txt, data: '"v=spf1 -all" ; who else'}
  - {name: "*.apps", type: A, data: 203.0.113.1}
  - {name: Lab.example.com., type: NS, data: ns.lab.example.net}
  - {name: _dmarc, type: TXT, data: "v=DMARC1"}
  - {name: "@", type: CAA, data: 0 issue "letsencrypt.org"}
  - {name: quiet, type: MX, data: 0 .}
`)
	got, problems := z.Parse(me)
	checkSaid(t, problems)
	const h2 = 2 * time.Hour
	want := &fleet.Zone{
		Name: "example.com.", Mailbox: `dns\.team.ops.example.net.`, TTL: h2, NegativeTTL: time.Minute, Origin: me,
		Nameservers: []fleet.Nameserver{
			{Name: "ns1.example.com.", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.53"), netip.MustParseAddr("2001:db8::53")}},
			{Name: "ns2.example.net."},
		},
		Records: []fleet.Record{
			{Name: "*.apps.example.com.", Type: "A", TTL: h2, Data: "203.0.113.1"},
			{Name: "_dmarc.example.com.", Type: "TXT", TTL: h2, Data: `"v=DMARC1"`},
			{Name: "example.com.", Type: "CAA", TTL: h2, Data: `0 issue "letsencrypt.org"`},
			{Name: "example.com.", Type: "MX", TTL: 10 * time.Minute, Data: "10 mail.example.com."},
			{Name: "example.com.", Type: "TXT", TTL: h2, Data: `"v=spf1 -all"`},
			{Name: "lab.example.com.", Type: "NS", TTL: h2, Data: "ns.lab.example.net."},
			{Name: "quiet.example.com.", Type: "MX", TTL: h2, Data: "0 ."},
			{Name: "www.example.com.", Type: "CNAME", TTL: h2, Data: "shop.example.com."},
		},
	}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestZoneDefaults(t *testing.T) {
	z := read[Zone](t, `{metadata: {name: example.com}, spec: {nameservers: [{name: ns1.example.net}]}}`)
	got, problems := z.Parse(me)
	checkSaid(t, problems)
	want := &fleet.Zone{Name: "example.com.", Mailbox: "hostmaster.example.com.", TTL: time.Hour, NegativeTTL: 30 * time.Second,
		Nameservers: []fleet.Nameserver{{Name: "ns1.example.net."}}, Origin: me}
	if d := cmp.Diff(want, got, same); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestZoneFaults(t *testing.T) {
	const ns = "nameservers: [{name: ns1.example.net}]"
	for name, c := range map[string]struct {
		spec string
		nil  bool
		want []string
	}{
		"no name servers":   {"{}", true, []string{"spec.nameservers: empty"}},
		"domain":            {"{domain: 'a b', " + ns + "}", true, []string{"spec.domain: not a domain"}},
		"the root":          {"{domain: ., " + ns + "}", true, []string{"spec.domain: not a domain"}},
		"mailbox":           {"{mailbox: 'a b@c', " + ns + "}", true, []string{"spec.mailbox: no mailbox"}},
		"mailbox of nobody": {"{mailbox: '@example.com', " + ns + "}", true, []string{"spec.mailbox: no mailbox"}},
		"ttl":               {"{ttl: 200h, negativeTTL: 4h, " + ns + "}", true, []string{"spec.ttl: outside", "spec.negativeTTL: outside"}},
		"no glue":           {"nameservers: [{name: ns1.example.com}]", true, []string{"spec.nameservers[0].addresses: inside the zone"}},
		"one bad name server of two": {"nameservers: [{name: ns1.example.net}, {name: ns1.example.net.}, {name: ns 2}, {name: ns3.example.com, addresses: [0.0.0.0, 10.0.0.1]}]", false,
			[]string{"spec.nameservers[1].name: twice", "spec.nameservers[2].name: host name", "spec.nameservers[3].addresses[0]: unspecified"}},
	} {
		t.Run(name, func(t *testing.T) {
			z := &Zone{Spec: *read[ZoneSpec](t, c.spec)}
			z.Name = "example.com"
			got, problems := z.Parse(me)
			if (got == nil) != c.nil {
				t.Errorf("zone is %+v, want nil: %v", got, c.nil)
			}
			checkSaid(t, problems, c.want...)
		})
	}
}

func TestRecordFaults(t *testing.T) {
	for name, c := range map[string]struct {
		records string
		left    int
		want    []string
	}{
		"SOA":              {"[{name: '@', type: SOA, data: a. b. 1 2 3 4 5}]", 0, []string{"spec.records[0].type: zone's own fields"}},
		"apex NS":          {"[{name: example.com., type: NS, data: ns.example.net}]", 0, []string{"spec.records[0].type: spec.nameservers"}},
		"apex CNAME":       {"[{name: '@', type: CNAME, data: a.example.net}]", 0, []string{"spec.records[0].type: no CNAME"}},
		"apex DS":          {"[{name: '@', type: DS, data: 1 8 2 AB}]", 0, []string{"spec.records[0].type: parent"}},
		"synthesised":      {"[{name: a, type: DNAME, data: b.example.net}, {name: a, type: ANY, data: x}, {name: a, type: RRSIG, data: x}]", 0, []string{"spec.records[0].type: types are", "spec.records[1].type: types are", "spec.records[2].type: types are"}},
		"outside":          {"[{name: www.example.org., type: A, data: 1.2.3.4}]", 0, []string{"spec.records[0].name: outside example.com."}},
		"star inside":      {"[{name: a.*.b, type: A, data: 1.2.3.4}]", 0, []string{"spec.records[0].name: not a name"}},
		"name injection":   {"[{name: \"www IN A 9.9.9.9\\nx\", type: A, data: 1.2.3.4}]", 0, []string{"spec.records[0].name: not a name"}},
		"data injection":   {"[{name: www, type: A, data: \"1.2.3.4\\nb IN A 1.2.3.5\"}]", 0, []string{"spec.records[0].data: one line"}},
		"two addresses":    {"[{name: www, type: A, data: 1.2.3.4 1.2.3.5}]", 0, []string{"spec.records[0].data: no data of type A"}},
		"comment only":     {"[{name: www, type: A, data: ; none}, {name: www, type: MX, data: ; none}, {name: www, type: TXT, data: ; none}]", 0, []string{"spec.records[0].data: ", "spec.records[1].data: ", "spec.records[2].data: "}},
		"wrong family":     {"[{name: www, type: A, data: '::1'}, {name: www, type: AAAA, data: 1.2.3.4}]", 0, []string{"spec.records[0].data: ", "spec.records[1].data: "}},
		"relative target":  {"[{name: www, type: CNAME, data: shop}, {name: b, type: MX, data: 10 mail}]", 0, []string{"spec.records[0].data: absolute", "spec.records[1].data: absolute"}},
		"address as host":  {"[{name: www, type: CNAME, data: 1.2.3.4}]", 0, []string{"spec.records[0].data: use type A"}},
		"blank":            {"[{name: www, type: TXT, data: '  '}]", 0, []string{"spec.records[0].data: empty"}},
		"twice":            {"[{name: www, type: A, data: 1.2.3.4}, {name: WWW, type: a, ttl: 5s, data: 1.2.3.4}]", 1, []string{"spec.records[1]: spec.records[0]"}},
		"CNAME and others": {"[{name: www, type: CNAME, data: a.example.net}, {name: www, type: A, data: 1.2.3.4}]", 1, []string{"spec.records[0]: spec.records[1] is beside it"}},
		"two CNAMEs":       {"[{name: www, type: CNAME, data: a.example.net}, {name: www, type: CNAME, data: b.example.net}]", 1, []string{"spec.records[1]: spec.records[0] is beside it"}},
		"alias of itself":  {"[{name: www, type: CNAME, data: WWW.example.com}]", 0, []string{"spec.records[0]: aliases lead in a circle, www.example.com. to www.example.com."}},
		"alias loop":       {"[{name: a, type: CNAME, data: b.example.com}, {name: b, type: CNAME, data: c.example.com}, {name: c, type: CNAME, data: a.example.com}, {name: d, type: CNAME, data: a.example.com}]", 1, []string{"spec.records[0]: circle, a.example.com. to b.example.com. to c.example.com. to a.example.com.", "spec.records[1]: circle", "spec.records[2]: circle"}},
		"wildcard loop":    {"[{name: '*.w', type: CNAME, data: x.w.example.com}, {name: '*.v', type: CNAME, data: y.u.example.com}, {name: '*.u', type: CNAME, data: z.v.example.com}]", 0, []string{"spec.records[2]: circle", "spec.records[1]: circle", "spec.records[0]: circle"}},
		"no loop":          {"[{name: a, type: CNAME, data: b.example.com}, {name: b, type: CNAME, data: a.example.net}, {name: '*.w', type: CNAME, data: x.w.example.com}, {name: x.w, type: A, data: 1.2.3.4}, {name: '*.n', type: CNAME, data: y.under.n.example.com}, {name: z.under.n, type: A, data: 1.2.3.4}]", 6, nil},
		"ttl":              {"[{name: www, type: A, ttl: 0s, data: 1.2.3.4}]", 0, []string{"spec.records[0].ttl: outside 1s to 168h"}},
	} {
		t.Run(name, func(t *testing.T) {
			z := &Zone{Spec: *read[ZoneSpec](t, "{nameservers: [{name: ns1.example.net}], records: "+c.records+"}")}
			z.Name = "example.com"
			got, problems := z.Parse(me)
			if got == nil {
				t.Fatalf("the zone fell with its records: %v", problems)
			}
			if len(got.Records) != c.left {
				t.Errorf("records %+v, want %d", got.Records, c.left)
			}
			checkSaid(t, problems, c.want...)
		})
	}
}

func TestRecordsShareTheLowestTTL(t *testing.T) {
	z := &Zone{Spec: *read[ZoneSpec](t, `{nameservers: [{name: ns1.example.net}], records: [
		{name: a, type: A, data: 1.2.3.4, ttl: 5m}, {name: a, type: A, data: 1.2.3.5, ttl: 1m}, {name: a, type: TXT, data: x, ttl: 9m}]}`)}
	z.Name = "example.com"
	got, problems := z.Parse(me)
	checkSaid(t, problems, "spec.records[0].ttl: lowest, 1m")
	for _, r := range got.Records {
		want := time.Minute
		if r.Type == "TXT" {
			want = 9 * time.Minute
		}
		if r.TTL != want {
			t.Errorf("%+v has TTL %v, want %v", r, r.TTL, want)
		}
	}
}

// FuzzRecord: whatever is taken is one record inside the zone that says the same
// when it is read again.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "10 mail.example.com", `"a" "b"`, `0 issue "x"`, "1 . alpn=h2", `\# 4 01020304`,
		"$INCLUDE /etc/passwd", "( 1.2.3.4", `"unclosed`, "a.example.net. ; x", strings.Repeat("x", 300), `\000`, "\x80"} {
		for _, typ := range []string{"A", "MX", "TXT", "CAA", "HTTPS", "CNAME", "SRV", "LOC", "NAPTR"} {
			f.Add("www", typ, s)
		}
	}
	z := &fleet.Zone{Name: "example.com.", TTL: time.Hour}
	f.Fuzz(func(t *testing.T, name, typ, data string) {
		s := ZoneSpec{Nameservers: []Nameserver{{Name: "ns1.example.net"}}, Records: []Record{{Name: name, Type: typ, Data: data}}}
		zone := &Zone{Spec: s}
		zone.Name = "example.com"
		got, problems := zone.Parse(me)
		if got == nil || len(got.Records) > 1 || (len(got.Records) == 0) != (len(problems) > 0) {
			t.Fatalf("zone %+v, problems %v", got, problems)
		}
		if len(got.Records) == 0 {
			return
		}
		r := got.Records[0]
		if !z.Contains(r.Name) || !slices.Contains(recordTypes(), r.Type) || r.Data == "" || strings.ContainsAny(r.Data, "\n\r\x00") {
			t.Fatalf("taken: %+v", r)
		}
		again := &Zone{Spec: ZoneSpec{Nameservers: s.Nameservers, Records: []Record{{Name: r.Name, Type: r.Type, Data: r.Data}}}}
		again.Name = "example.com"
		back, problems := again.Parse(me)
		if len(back.Records) != 1 || back.Records[0] != r {
			t.Fatalf("%+v reads back as %+v, %v", r, back.Records, problems)
		}
	})
}
