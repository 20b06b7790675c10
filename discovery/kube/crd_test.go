package kube

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// Whatever Parse refuses, the API server refuses first, so that its author hears of it
// while he writes, and what Parse takes, it takes too. What no schema can say is listed
// with the reason.
func TestSchemasSayWhatParseSays(t *testing.T) {
	host := sites(t, "host")["host"]
	host.install(t)
	for _, c := range refusals() {
		parse := faultsOf(t, c.kind, c.doc())
		if !strings.Contains(parse, c.parse) || parse == "" {
			t.Errorf("%s\nParse says %q, want %q", c.doc(), parse, c.parse)
		}
		err := host.dryRun(t, c.kind, c.doc())
		switch {
		case (c.schema == "") == (c.beyond == ""):
			t.Errorf("%s: either the schema refuses it, or there is a reason", c.doc())
		case c.beyond != "" && err != nil:
			t.Errorf("%s\nis refused by the schema now (%v); say so in the table", c.doc(), err)
		case c.schema != "" && (err == nil || !strings.Contains(err.Error(), c.schema)):
			t.Errorf("%s\nis answered by %v, want %q", c.doc(), err, c.schema)
		}
	}
	for _, c := range taken() {
		if parse := faultsOf(t, c.kind, c.doc()); parse != "" {
			t.Errorf("%s\nParse says %q", c.doc(), parse)
		}
		if err := host.dryRun(t, c.kind, c.doc()); err != nil {
			t.Errorf("%s\nis refused: %v", c.doc(), err)
		}
	}
}

// asked is an object and what becomes of it.
type asked struct {
	kind, name, spec string
	parse            string // what Parse says of it
	schema           string // what the API server says of it
	beyond           string // why it does not
}

func (a asked) doc() string {
	return fmt.Sprintf("{apiVersion: meridian.dev/v1alpha1, kind: %s, metadata: {name: %s}, spec: {%s}}", a.kind, a.name, a.spec)
}

// faultsOf are the faults that Parse finds, but for fields without effect.
func faultsOf(t *testing.T, kind, doc string) string {
	t.Helper()
	var problems []fleet.Problem
	read := func(o any) {
		if err := yaml.UnmarshalStrict([]byte(doc), o); err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
	}
	switch kind {
	case v1alpha1.KindCluster:
		o := &v1alpha1.Cluster{}
		read(o)
		_, problems = o.Parse(fleet.Origin{})
	case v1alpha1.KindTrafficPolicy:
		o := &v1alpha1.TrafficPolicy{}
		read(o)
		o.Namespace = metav1.NamespaceDefault
		_, problems = o.Parse(fleet.Origin{})
	case v1alpha1.KindZone:
		o := &v1alpha1.Zone{}
		read(o)
		_, problems = o.Parse(fleet.Origin{})
	}
	text := ""
	for _, p := range problems {
		if p.Reason != v1alpha1.NoEffect {
			text += p.Message + "\n"
		}
	}
	return text
}

// dryRun asks the API server to create an object, and not to.
func (s *site) dryRun(t *testing.T, kind, doc string) error {
	t.Helper()
	path := map[string]string{v1alpha1.KindCluster: "clusters", v1alpha1.KindZone: "zones", v1alpha1.KindTrafficPolicy: "namespaces/default/trafficpolicies"}[kind]
	return s.rest().Post().AbsPath("/apis/meridian.dev/v1alpha1/"+path).Param("dryRun", metav1.DryRunAll).Param("fieldValidation", "Strict").
		SetHeader("Content-Type", "application/yaml").Body([]byte(doc)).Do(t.Context()).Error()
}

// many is a list of n, each made of its number.
func many(n int, format string) string {
	var list []string
	for i := range n {
		list = append(list, strings.ReplaceAll(format, "#", fmt.Sprint(i)))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

const (
	aPlace  = "place: {lat: '1', lon: '2'}"
	aSite   = "region: eu, " + aPlace
	aServer = "nameservers: [{name: ns.example.net}]"
)

// Why a schema cannot say it.
const (
	needsParser  = "only a parser of addresses sees it, and CEL has none before Kubernetes 1.31"
	needsGrammar = "only a reader of zone files sees it"
	costs        = "compares all records with each other, or reads long data, which costs more than an API server allows"
)

func aCluster(spec, parse, schema string) asked {
	return asked{kind: v1alpha1.KindCluster, name: "a", spec: aSite + ", " + spec, parse: parse, schema: schema}
}

func aGateway(address, parse, schema string) asked {
	return aCluster("gateways: [{address: '"+address+"'}]", parse, schema)
}

func aPolicy(spec, parse, schema string) asked {
	return asked{kind: v1alpha1.KindTrafficPolicy, name: "a", spec: spec, parse: parse, schema: schema}
}

func aZone(spec, parse, schema string) asked {
	return asked{kind: v1alpha1.KindZone, name: "example.com", spec: spec, parse: parse, schema: schema}
}

func aRecord(fields, parse, schema string) asked {
	return aZone(aServer+", records: [{"+fields+"}]", parse, schema)
}

func beyond(a asked, why string) asked {
	a.beyond = why
	return a
}

func refusals() []asked {
	long := strings.Repeat("a", 64)
	cl, tp, zo := v1alpha1.KindCluster, v1alpha1.KindTrafficPolicy, v1alpha1.KindZone
	list := []asked{
		// Cluster
		{kind: cl, name: "host", spec: aSite, parse: "installation", schema: "names the installation itself"},
		{kind: cl, name: "a.b", spec: aSite, parse: "DNS label", schema: "must be a DNS label"},
		{kind: cl, name: long, spec: aSite, parse: "at most 63", schema: "must be a DNS label"},
		{kind: cl, name: "a", spec: aPlace, parse: "spec.region: is empty", schema: "spec.region: Required"},
		{kind: cl, name: "a", spec: "region: EU, " + aPlace, parse: "spec.region: ", schema: "spec.region"},
		{kind: cl, name: "a", spec: "region: " + long + ", " + aPlace, parse: "spec.region: ", schema: "spec.region"},
		aCluster("zone: a/b", "spec.zone: ", "spec.zone"),
		aCluster("zone: "+long, "spec.zone: ", "spec.zone"),
		aCluster("network: a.b", "spec.network: ", "spec.network"),
		{kind: cl, name: "a", spec: "region: eu, place: {lon: '2'}", parse: "lat: is missing", schema: "lat: Required"},
		{kind: cl, name: "a", spec: "region: eu, place: {lat: '90.01', lon: '2'}", parse: "between -90", schema: "lat must lie"},
		{kind: cl, name: "a", spec: "region: eu, place: {lat: '2', lon: '-181'}", parse: "between -180", schema: "lon must lie"},
		{kind: cl, name: "a", spec: "region: eu, place: {lat: NaN, lon: '1'}", parse: "is no number", schema: "spec.place.lat"},
		{kind: cl, name: "a", spec: "region: eu, place: {lat: '0', lon: '-0.0'}", parse: "Atlantic", schema: "Atlantic"},
		aCluster("capacity: 0", "spec.capacity", "must lie above 0"),
		aCluster("capacity: 0.0k", "spec.capacity", "must lie above 0"),
		aCluster("capacity: 1001G", "spec.capacity", "at most 1e12"),
		aCluster("capacity: fast", "spec.capacity", "spec.capacity"),
		aCluster("gateways: "+many(65, "{address: 10.0.0.#}"), "at most 64", "at most 64"),
		aGateway("x.example.com", "not an IP address", "spec.gateways[0].address"),
		aGateway("10.0.0.256", "not an IP address", "spec.gateways[0].address"),
		aGateway("10.0.0.01", "not an IP address", "spec.gateways[0].address"),
		aGateway("0.0.0.0", "unspecified", "unspecified"),
		aGateway("0.1.2.3", "unspecified", "unspecified"),
		aGateway("::", "unspecified", "unspecified"),
		aGateway("224.0.0.1", "multicast", "multicast"),
		aGateway("ff02::1", "multicast", "multicast"),
		aGateway("169.254.169.254", "link-local", "link-local"),
		aGateway("fe80::1", "link-local", "link-local"),
		aGateway("FEBF::1", "link-local", "link-local"),
		aGateway("fe80::1%eth0", "interface", "spec.gateways[0].address"),
		aGateway("240.0.0.1", "reserved", "reserved"),
		aGateway("255.255.255.255", "reserved", "reserved"),
		aGateway("168.63.129.16", "cloud metadata", "metadata"),
		aGateway("fd00:ec2::254", "cloud metadata", "metadata"),
		beyond(aGateway("fd00:0ec2::254", "cloud metadata", ""), needsParser),
		beyond(aGateway("64:ff9b::169.254.169.254", "link-local", ""), needsParser),
		beyond(aGateway("2002:a9fe:a9fe::1", "link-local", ""), needsParser),
		beyond(aGateway("::ffff:169.254.169.254", "link-local", ""), needsParser),
		beyond(aGateway("1:2:3", "not an IP address", ""), needsParser),
		aCluster("gateways: [{address: 10.0.0.1, port: 0}]", "gateways[0].port", "gateways[0].port"),
		aCluster("gateways: [{address: 10.0.0.1, relayPort: 70000}]", "gateways[0].relayPort", "gateways[0].relayPort"),
		aCluster("gateways: [{address: 10.0.0.1, tlsPort: -1}]", "gateways[0].tlsPort", "gateways[0].tlsPort"),
		aCluster("gateways: [{address: 10.0.0.1, port: 15443}]", "front port too", "front port too"),
		aCluster("gateways: [{address: 10.0.0.1, tlsPort: 80}]", "another listener", "another listener"),
		aCluster("gateways: [{address: 10.0.0.1, tlsPort: 15443}]", "another listener", "another listener"),
		aCluster("gateways: [{address: 10.0.0.1}, {address: 10.0.0.1, relayPort: 9}]", "like spec.gateways[0]", "same address and port"),
		beyond(aCluster("gateways: [{address: '2001:db8::1'}, {address: '2001:DB8::1'}]", "like spec.gateways[0]", ""), needsParser),
		aCluster("namespaces: [a.b]", "spec.namespaces[0]", "spec.namespaces[0]"),
		aCluster("namespaces: "+many(257, "n#"), "at most 256", "at most 256"),
	}
	for _, f := range []string{"clientNetworks", "endpointNetworks"} {
		list = append(list,
			aCluster(f+": "+many(257, "'2001:db8:#::/48'"), "at most 256", "at most 256"),
			aCluster(f+": [10.0.0.0]", "not an address prefix", f+"[0]"),
			aCluster(f+": [10.0.0.0/33]", "not an address prefix", f+"[0]"),
			aCluster(f+": [0.0.0.0/0]", "every", f+"[0]"),
			aCluster(f+": ['::/0']", "every", f+"[0]"),
			aCluster(f+": ['::ffff:1.2.3.0/120']", "IPv4 in IPv6", "IPv4 in IPv6"),
			aCluster(f+": [10.0.0.0/8, 10.0.0.0/8]", "named twice", "named twice"),
			beyond(aCluster(f+": [10.0.0.1/8]", "beyond its length", ""), needsParser),
			beyond(aCluster(f+": ['2001:db8::/48', '2001:DB8::/48']", "named twice", ""), needsParser),
		)
	}
	list = append(list,
		// TrafficPolicy
		asked{kind: tp, name: long + ".b", parse: "metadata.name", schema: "the name must be a DNS name"},
		aPolicy("strategy: luck", "spec.strategy", "spec.strategy"),
		aPolicy("regions: "+many(65, "r#"), "at most 64", "at most 64"),
		aPolicy("regions: [EU]", "spec.regions[0]", "spec.regions[0]"),
		aPolicy("regions: [eu, eu]", "named twice", "Duplicate value"),
		aPolicy("order: "+many(65, "r#"), "at most 64", "at most 64"),
		aPolicy("order: [EU]", "spec.order[0]", "spec.order[0]"),
		aPolicy("order: [eu, eu]", "named twice", "named twice"),
		aPolicy("weights: {"+strings.Trim(many(65, "r#: 1"), "[]")+"}", "at most 64", "at most 64"),
		aPolicy("weights: {EU: 1}", "DNS label", "must be a DNS label"),
		aPolicy("weights: {"+long+": 1}", "at most 63", "must be a DNS label"),
		aPolicy("weights: {eu: -1}", "outside 0", "spec.weights.eu"),
		aPolicy("weights: {eu: 1000001}", "outside 0", "spec.weights.eu"),
		aPolicy("strategy: weighted", "above 0", "above 0"),
		aPolicy("strategy: weighted, weights: {eu: 0}", "above 0", "above 0"),
		aPolicy("strategy: failover", "in their order", "needs an order"),
		aPolicy("strategy: failover, order: []", "in their order", "needs an order"),
		aPolicy("ttl: '30'", "not a duration", "spec.ttl"),
		aPolicy("ttl: 999999999999h", "not a duration", "spec.ttl"),
		aPolicy("ttl: 500ms", "outside", "between 1s and 1h"),
		aPolicy("ttl: 61m", "outside", "between 1s and 1h"),
		aPolicy("ttl: 1500ms", "whole number", "whole number"),
		aPolicy("ttl: 1.0000001s", "whole number", "whole number"),
		aPolicy("targetRefs: "+many(65, "{name: s#}"), "at most 64", "at most 64"),
		aPolicy("targetRefs: [{kind: Gateway, name: a}]", "targetRefs[0].kind", "targetRefs[0].kind"),
		aPolicy("targetRefs: [{name: A}]", "targetRefs[0].name", "targetRefs[0].name"),
		aPolicy("check: {kind: icmp}", "check.kind", "check.kind"),
		aPolicy("check: {host: a b}", "check.host", "check.host"),
		aPolicy("check: {host: '*.example.com'}", "check.host", "check.host"),
		aPolicy("check: {host: "+long+".com}", "check.host", "check.host"),
		aPolicy("check: {host: 10.0.0.1}", "is an address", "is an address"),
		aPolicy("check: {host: '2001:db8::1'}", "is an address", "check.host"),
		aPolicy("check: {path: /"+strings.Repeat("a", 1024)+"}", "at most 1024", "spec.check.path: Too long"),
		aPolicy(`check: {path: "/a\r\nb"}`, "cannot carry", "check.path"),
		aPolicy("check: {path: /é}", "cannot carry", "check.path"),
		aPolicy("check: {path: up}", "begin with '/'", "begin with '/'"),
		aPolicy("check: {kind: https, path: up}", "begin with '/'", "begin with '/'"),
		aPolicy("check: {kind: tcp, path: /x}", "has no path", "has no path"),
		aPolicy("check: {kind: grpc, path: /x}", "service's name", "service's name"),
		aPolicy("check: {interval: 499ms}", "outside", "interval must lie"),
		aPolicy("check: {interval: 6m}", "outside", "interval must lie"),
		aPolicy("check: {timeout: 9ms}", "outside", "timeout must lie"),
		aPolicy("check: {interval: 1s, timeout: 1001ms}", "longer than the interval", "longer than the interval"),
		aPolicy("check: {timeout: 3s}", "longer than the interval", "longer than the interval"),
		aPolicy("check: {rise: 0}", "check.rise", "check.rise"),
		aPolicy("check: {rise: 21}", "check.rise", "check.rise"),
		aPolicy("check: {fall: 0}", "check.fall", "check.fall"),
		aPolicy("check: {fall: 21}", "check.fall", "check.fall"),
		// Zone
		asked{kind: zo, name: long + ".com", spec: aServer, parse: "metadata.name", schema: "the name must be a DNS name"},
		aZone("domain: a b, "+aServer, "not a domain", "spec.domain"),
		aZone("domain: ., "+aServer, "not a domain", "spec.domain"),
		aZone("domain: a..b, "+aServer, "not a domain", "spec.domain"),
		aZone("domain: "+long+".com, "+aServer, "not a domain", "spec.domain"),
		aZone("mailbox: a b@example.com, "+aServer, "no mailbox", "spec.mailbox"),
		aZone("mailbox: '@example.com', "+aServer, "no mailbox", "spec.mailbox"),
		aZone("mailbox: me@., "+aServer, "no mailbox", "spec.mailbox"),
		aZone("mailbox: "+long+"@example.com, "+aServer, "no mailbox", "spec.mailbox"),
		aZone("ttl: 200h, "+aServer, "outside", "ttl must lie"),
		aZone("ttl: 1500ms, "+aServer, "whole number", "whole number"),
		aZone("negativeTTL: 4h, "+aServer, "outside", "negativeTTL must lie"),
		aZone("negativeTTL: 1500ms, "+aServer, "whole number", "whole number"),
		aZone("", "spec.nameservers: is empty", "spec.nameservers: Required"),
		aZone("nameservers: []", "spec.nameservers: is empty", "should have at least 1"),
		aZone("nameservers: "+many(14, "{name: ns#.example.net}"), "at most 13", "at most 13"),
		aZone("nameservers: [{name: ns 1}]", "not a host name", "nameservers[0].name"),
		aZone("nameservers: [{name: .}]", "not a host name", "nameservers[0].name"),
		aZone("nameservers: [{name: ns.example.net}, {name: NS.example.net.}]", "named twice", "named twice"),
		aZone("nameservers: [{name: ns.example.net, addresses: "+many(17, "10.0.0.#")+"}]", "at most 16", "at most 16"),
		aZone("nameservers: [{name: ns.example.net, addresses: [0.0.0.0]}]", "unspecified", "unspecified"),
		aZone("nameservers: [{name: NS.Example.com}]", "inside the zone", "inside the zone"),
		aZone("nameservers: [{name: example.com., addresses: []}]", "inside the zone", "inside the zone"),
		aZone("domain: Example.org., nameservers: [{name: ns.example.org}]", "inside the zone", "inside the zone"),
		aZone(aServer+", records: "+many(1001, "{name: r#, type: A, data: 10.0.0.1}"), "at most 1000", "at most 1000"),
		aRecord("name: a b, type: A, data: 10.0.0.1", "not a name", "records[0].name"),
		aRecord("name: a.*.b, type: A, data: 10.0.0.1", "not a name", "records[0].name"),
		aRecord("name: ., type: A, data: 10.0.0.1", "outside", "records[0].name"),
		aRecord("name: "+long+", type: A, data: 10.0.0.1", "not a name", "records[0].name"),
		aRecord("name: www.example.org., type: A, data: 10.0.0.1", "outside", "outside the zone"),
		aRecord("name: notexample.com., type: A, data: 10.0.0.1", "outside", "outside the zone"),
		beyond(aRecord("name: "+strings.Repeat("a.", 125)+"a, type: A, data: 10.0.0.1", "not a name", ""), "the name is too long with its domain only"),
		aRecord("name: '@', type: SOA, data: a. b. 1 2 3 4 5", "zone's own fields", "records[0].type"),
		aRecord("name: a, type: DNAME, data: b.example.net", "types are", "records[0].type"),
		aRecord("name: '@', type: NS, data: ns.example.net", "spec.nameservers", "spec.nameservers"),
		aRecord("name: Example.com., type: CNAME, data: a.example.net", "can be no CNAME", "for a CNAME write A"),
		aRecord("name: '@', type: DS, data: 1 8 2 AB", "parent zone", "parent zone"),
		aRecord("name: a, type: A, ttl: 0s, data: 10.0.0.1", "outside", "ttl must lie"),
		aRecord("name: a, type: A, ttl: 169h, data: 10.0.0.1", "outside", "ttl must lie"),
		aRecord("name: a, type: A, ttl: 1500ms, data: 10.0.0.1", "whole number", "whole number"),
		aRecord("name: a, type: TXT, data: ''", "is empty", "records[0].data"),
		aRecord("name: a, type: TXT, data: ' '", "is empty", "records[0].data"),
		aRecord("name: a, type: TXT, data: "+strings.Repeat("a", 4097), "at most 4096", "records[0].data"),
		aRecord(`name: a, type: A, data: "10.0.0.1\nb IN A 10.0.0.2"`, "one line", "records[0].data"),
		aRecord("name: a, type: A, data: '::1'", "", "no IPv4 address"),
		aRecord("name: a, type: A, data: b.example.net", "no data of type A", "no IPv4 address"),
		aRecord("name: a, type: AAAA, data: 10.0.0.1", "", "no IPv6 address"),
		beyond(aRecord("name: a, type: A, data: 0.0.0.0", "no usable IPv4", ""), costs),
		beyond(aRecord("name: a, type: AAAA, data: '::ffff:10.0.0.1'", "", ""), costs),
		aRecord("name: a, type: CNAME, data: shop", "top-level domain", "absolute"),
		aRecord("name: a, type: CNAME, data: shop.", "top-level domain", "absolute"),
		aRecord("name: a, type: CNAME, data: .", "names the root", "absolute"),
		aRecord("name: a, type: MX, data: 10 mail", "top-level domain", "absolute"),
		beyond(aRecord("name: a, type: CNAME, data: 10.0.0.1", "is an address", ""), costs),
		beyond(aRecord("name: a, type: MX, data: mail.example.com", "no data of type MX", ""), needsGrammar),
		beyond(aRecord("name: a, type: TXT, data: '\"open'", "no data of type TXT", ""), needsGrammar),
		beyond(aRecord("name: a, type: A, data: 10.0.0.1}, {name: a, type: A, data: 10.0.0.1", "says the same", ""), costs),
		beyond(aRecord("name: a, type: CNAME, data: b.example.net}, {name: a, type: A, data: 10.0.0.1", "only record of its name", ""), costs),
		beyond(aRecord("name: a, type: CNAME, data: b.example.com}, {name: b, type: CNAME, data: a.example.com", "in a circle", ""), costs),
		beyond(aRecord("name: a, type: A, ttl: 1m, data: 10.0.0.1}, {name: a, type: A, ttl: 2m, data: 10.0.0.2", "share one TTL", ""), costs),
	)
	return list
}

func taken() []asked {
	label := strings.Repeat("a", 63)
	return []asked{
		{kind: v1alpha1.KindCluster, name: label, spec: aSite},
		{kind: v1alpha1.KindCluster, name: "a", spec: "region: eu, place: {lat: '-90', lon: '+180.0'}, zone: '', network: ''"},
		{kind: v1alpha1.KindCluster, name: "a", spec: "region: eu, place: {lat: '0', lon: '0.1'}"},
		aCluster("capacity: 250", "", ""),
		aCluster("capacity: '0.5'", "", ""),
		aCluster("capacity: 1000G", "", ""),
		aCluster("gateways: "+many(64, "{address: 10.0.0.#}"), "", ""),
		aCluster("gateways: [{address: 10.0.0.1}, {address: 10.0.0.1, port: 8080}, {address: '::ffff:10.0.0.2'}, {address: '2001:DB8::1'}, {address: 127.0.0.1}, {address: '::1'}, {address: 223.1.1.1}, {address: 'fd00::10.0.0.1'}]", "", ""),
		aCluster("gateways: [{address: 10.0.0.1, port: 443}, {address: 10.0.0.2, relayPort: 443}, {address: 10.0.0.3, relayPort: 0, tlsPort: 0}]", "", ""),
		aCluster("clientNetworks: [10.0.0.0/8, 128.0.0.0/1, '2001:db8::/32', '8000::/1', '2001:db8::1/128'], endpointNetworks: "+many(256, "'2001:db8:#::/48'"), "", ""),
		aCluster("namespaces: "+many(256, "n#")+", credentialsRef: {name: a.b-c}", "", ""),
		aPolicy("", "", ""),
		aPolicy("strategy: weighted, weights: {"+label+": 1, eu: 0}", "", ""),
		aPolicy("strategy: failover, order: "+many(64, "r#")+", regions: "+many(64, "r#"), "", ""),
		aPolicy("ttl: 1m30s, check: {kind: http, host: Shop.example.com, path: '/up?x=1', interval: 500ms, timeout: 500ms}", "", ""),
		aPolicy("ttl: 60000ms, check: {kind: grpc, path: shop.Health, timeout: 2s}", "", ""),
		aPolicy("check: {kind: tcp, host: 999.0.0.1, path: ''}", "", ""),
		{kind: v1alpha1.KindTrafficPolicy, name: label + "." + label, spec: "targetRefs: [{name: a}]"},
		aZone(aServer, "", ""),
		aZone("domain: A_b.Example.com., mailbox: first.last+x@Example.com, ttl: 1s, negativeTTL: 3h, nameservers: [{name: NS.a_b.example.com., addresses: [10.0.0.1, '2001:db8::1']}, {name: ns.notexample.com}]", "", ""),
		aZone("mailbox: hostmaster.example.com., "+aServer, "", ""),
		aZone(aServer+", records: "+many(1000, "{name: r#, type: A, data: 10.0.0.1}"), "", ""),
		// Big, and still within what an API server spends on one object.
		aZone(aServer+", records: "+many(1000, "{name: r#"+strings.Repeat(".aaaaaaaaaaaaaaaaaaa", 10)+".example.com., type: MX, ttl: 1h, data: 10 "+strings.Repeat("aaaaaaaaaaaaaaaaaaa.", 10)+"example.net}"), "", ""),
		aZone(aServer+`, records: [{name: '@', type: A, data: 10.0.0.1}, {name: '*', type: AAAA, data: '2001:db8::1'}, {name: '*.Apps', type: CNAME, data: a.example.net}, {name: _sip._tcp, type: SRV, data: 0 0 0 .},
{name: www.example.com., type: A, ttl: 168h, data: " 10.0.0.2\t"}, {name: none, type: MX, data: 0 .}, {name: m, type: MX, data: 10 mail.example.com.}, {name: c, type: A, data: 10.0.0.3 ; ours}, {name: sub, type: NS, data: ns.example.net},
{name: sub, type: DS, data: 1 8 2 AABBCCDDEEFF00112233445566778899AABBCCDDEEFF00112233445566778899}, {name: h, type: A, data: '\# 4 0A000001'}, {name: t, type: TXT, data: '"v=spf1 -all"'}]`, "", ""),
	}
}
