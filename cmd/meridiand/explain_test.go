package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"pgregory.net/rapid"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// catchAll takes every host of every zone and of none; split is divided by weight,
// stuck may be served in no region.
const catchAll = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: catch-all, namespace: default}
spec:
  ingressClassName: meridian
  defaultBackend: {service: {name: shop, port: {number: 80}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: others, namespace: default}
spec:
  ingressClassName: meridian
  rules:
  - {host: split.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: split, port: {number: 80}}}}]}}
  - {host: stuck.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: stuck, port: {number: 80}}}}]}}
  - {host: ghost.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: ghost, port: {number: 80}}}}]}}
  - {host: "*.any.example.com", http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}
  - {host: api.child.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: shop, port: {number: 80}}}}]}}
---
apiVersion: meridian.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: split, namespace: default}
spec:
  targetRefs: [{kind: Service, name: split}]
  strategy: weighted
  weights: {us-east1: 50, europe-west1: 50}
---
apiVersion: meridian.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: stuck, namespace: default}
spec:
  targetRefs: [{kind: Service, name: stuck}]
  regions: [mars]
`

const moreRecords = `  records:
  - {name: alias, type: CNAME, data: shop.example.com}
  - {name: away, type: CNAME, data: www.elsewhere.test}
  - {name: fixed, type: A, data: 203.0.113.7}
  - {name: fixed, type: AAAA, data: 2001:db8::7}
  - {name: door, type: A, data: 192.0.2.20}
  - {name: text, type: TXT, data: '"only text"'}
  - {name: child, type: NS, data: ns.child.example.com}
  - {name: ns.child, type: A, data: 203.0.113.9}
`

// threeRegions is the fleet of the stories with services, routes and records that
// DNS answers in every way.
func threeRegions(t *testing.T, c config) {
	t.Helper()
	if err := os.CopyFS(c.watch, os.DirFS("../../internal/scenario/testdata/three")); err != nil {
		t.Fatal(err)
	}
	for _, region := range []string{"asia-east1", "europe-west1", "us-east1"} {
		shop, err := os.ReadFile(filepath.Join(c.watch, region, "shop.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"split", "stuck"} {
			put(t, filepath.Join(c.watch, region, name+".yaml"), strings.ReplaceAll(string(shop), "shop", name))
		}
	}
	zone := filepath.Join(c.watch, "us-east1", "installation.yaml")
	text, err := os.ReadFile(zone)
	if err != nil {
		t.Fatal(err)
	}
	put(t, zone, string(text)+moreRecords)
	put(t, filepath.Join(c.watch, "us-east1", "more.yaml"), catchAll)
}

// settled waits until DNS knows all three regions and the zone.
func settled(t *testing.T, c config) {
	t.Helper()
	eventually(t, func() error { return metric(t, c, "meridian_probe_targets 3") })
	eventually(t, func() error {
		if got := dig(t, c.dns[0], "split.example.com", dns.TypeA, netip.Prefix{}, netip.MustParseAddr("127.0.0.1")); len(got.Answer) != 1 {
			return fmt.Errorf("DNS says %s", got)
		}
		return nil
	})
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dig asks for the addresses of a host as a resolver: for a client's subnet, or,
// without one, for itself.
func dig(t rapid.TB, server, host string, qtype uint16, subnet netip.Prefix, from netip.Addr) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(host+".", qtype)
	m.SetEdns0(1232, false)
	c := dns.Client{Timeout: 5 * time.Second}
	if subnet.IsValid() {
		family := uint16(2)
		if subnet.Addr().Is4() {
			family = 1
		}
		m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(subnet.Bits()), Address: subnet.Addr().AsSlice()}}
	} else {
		c.Dialer = &net.Dialer{LocalAddr: &net.UDPAddr{IP: from.AsSlice()}}
	}
	in, _, err := c.Exchange(m, server)
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return in
}

// told is what an answer comes to, in the words of explain.
func told(answers ...*dns.Msg) string {
	var addrs, aliases, servers []string
	scope, ttl := uint8(0), uint32(0)
	for i, m := range answers {
		for _, rr := range m.Answer {
			if ttl == 0 || rr.Header().Ttl < ttl {
				ttl = rr.Header().Ttl
			}
			switch rr := rr.(type) {
			case *dns.A:
				addrs = append(addrs, rr.A.String())
			case *dns.AAAA:
				addrs = append(addrs, rr.AAAA.String())
			case *dns.CNAME:
				if i == 0 {
					aliases = append(aliases, rr.Target)
				}
			}
		}
		if len(answers[0].Answer) == 0 && i == 0 {
			for _, rr := range m.Ns {
				ttl = rr.Header().Ttl
				if ns, ok := rr.(*dns.NS); ok {
					servers = append(servers, ns.Ns)
				}
			}
		}
		for _, o := range m.IsEdns0().Option {
			if s, ok := o.(*dns.EDNS0_SUBNET); ok {
				scope = max(scope, s.SourceScope)
			}
		}
	}
	return fmt.Sprintf("%s %v ttl %ds scope /%d aliases %v servers %v", dns.RcodeToString[answers[0].Rcode], addrs, ttl, scope, aliases, servers)
}

func toldByExplain(e *adminv1.ExplainResponse) string {
	a := e.GetAnswer()
	return fmt.Sprintf("%s %v ttl %.0fs scope /%d aliases %v servers %v", a.GetCode(), a.GetAddresses(), a.GetTtl().AsDuration().Seconds(), a.GetEcsScope(), a.GetAliases(), a.GetServers())
}

var explainedHosts = []string{
	"shop.example.com", "split.example.com", "stuck.example.com", "ghost.example.com", "x.any.example.com", "y.x.any.example.com", "any.example.com",
	"alias.example.com", "away.example.com", "fixed.example.com", "door.example.com", "text.example.com", "ns1.example.com", "example.com",
	"nobody.example.com", "api.child.example.com", "child.example.com", "www.elsewhere.test", "badexample.com",
}

// Whatever explain says of DNS is what a resolver is told over the wire, for every
// kind of name and every client.
func TestExplainSaysWhatDNSAnswers(t *testing.T) {
	c := aConfig(t)
	c.admin = freePort(t)
	threeRegions(t, c)
	serving(t, c, func() {
		settled(t, c)
		conn, err := grpc.NewClient(c.admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client := adminv1.NewAdminClient(conn)
		codes := map[string]bool{}
		rapid.Check(t, func(rt *rapid.T) {
			host := rapid.SampledFrom(explainedHosts).Draw(rt, "host")
			addr, subnet := drawClient(rt)
			explain := func() *adminv1.ExplainResponse {
				e, err := client.Explain(t.Context(), &adminv1.ExplainRequest{Client: addr.String(), Host: host})
				if err != nil {
					rt.Fatalf("%s for %v: %v", host, addr, err)
				}
				return e
			}
			for {
				before := explain()
				a, aaaa := dig(rt, c.dns[0], host, dns.TypeA, subnet, addr), dig(rt, c.dns[0], host, dns.TypeAAAA, subnet, addr)
				if after := explain(); after.GetGeneration() != before.GetGeneration() {
					continue // the plan has changed meanwhile
				}
				codes[before.GetAnswer().GetCode()] = true
				if want, got := told(a, aaaa), toldByExplain(before); got != want {
					rt.Fatalf("%s for %v: DNS said\n%s\nexplain says\n%s", host, addr, want, got)
				}
				if r := before.GetAnswer().GetRegion(); before.GetAgree() && r == "" && host != "door.example.com" {
					rt.Fatalf("%s for %v: DNS names no region, but explain says that DNS and HTTP agree", host, addr)
				}
				return
			}
		})
		for _, code := range []string{"NOERROR", "NXDOMAIN", "REFUSED"} {
			if !codes[code] {
				t.Errorf("no host was answered %s", code)
			}
		}
	})
}

// drawClient draws a client behind a resolver that tells its subnet, or a resolver
// on loopback that asks for itself.
func drawClient(t *rapid.T) (netip.Addr, netip.Prefix) {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")
	var addr netip.Addr
	bits := 24
	switch rapid.SampledFrom([]string{"IPv4", "IPv6", "resolver"}).Draw(t, "kind") {
	case "IPv4":
		b[0] = rapid.SampledFrom([]byte{1, 8, 63, 81, 101, 133, 193, 203}).Draw(t, "network")
		addr = netip.AddrFrom4([4]byte(b[:4]))
	case "IPv6":
		b[0], b[1], bits = rapid.SampledFrom([]byte{0x24, 0x26, 0x2a}).Draw(t, "network"), 0, 56
		addr = netip.AddrFrom16([16]byte(b))
	default:
		return netip.AddrFrom4([4]byte{127, b[1], b[2], max(1, min(b[3], 254))}), netip.Prefix{}
	}
	subnet, _ := addr.Prefix(bits)
	return addr, subnet
}

// Each way in which DNS leads nobody to a gateway is named, and so is what the
// gateway would do.
func TestExplainNamesEveryWay(t *testing.T) {
	c := aConfig(t)
	c.admin = freePort(t)
	threeRegions(t, c)
	serving(t, c, func() {
		settled(t, c)
		conn, err := grpc.NewClient(c.admin, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for host, want := range map[string]struct {
			why     string // of DNS
			gateway bool   // somebody arrives at one
			status  int32  // that it answers, or would; 0: it hands on
			says    string
		}{
			"shop.example.com":      {gateway: true},
			"alias.example.com":     {gateway: true},
			"door.example.com":      {why: "fixed", gateway: true, says: ""},
			"www.elsewhere.test":    {why: "lies in no Zone of ours", says: "would serve"},
			"nobody.example.com":    {why: "has no such name", says: "would serve"},
			"ns1.example.com":       {why: "fixed records of zone example.com.", says: "no gateway of ours"},
			"away.example.com":      {why: "alias of www.elsewhere.test.", says: "would serve"},
			"api.child.example.com": {why: "ns.child.example.com.", says: "would serve"},
			"text.example.com":      {why: "no address", says: "would serve"},
			"ghost.example.com":     {why: "no region may serve", status: 503, says: "answers 503"},
			"stuck.example.com":     {why: "no region may serve", status: 503, says: "answers 503"},
		} {
			e, err := adminv1.NewAdminClient(conn).Explain(t.Context(), &adminv1.ExplainRequest{Client: "193.0.6.139", Host: host})
			if err != nil {
				t.Errorf("%s: %v", host, err)
				continue
			}
			if !strings.Contains(e.GetAnswer().GetWhy(), want.why) || (e.GetGateway() != "") != want.gateway || e.GetReply().GetStatus() != want.status {
				t.Errorf("%s: why %q, gateway %q, reply %v; want %+v", host, e.GetAnswer().GetWhy(), e.GetGateway(), e.GetReply(), want)
			}
			if e.GetRoute() == nil || !strings.Contains(e.GetDisagreement(), want.says) || e.GetAgree() != (e.GetDisagreement() == "") || want.says == "" != e.GetAgree() {
				t.Errorf("%s: agree %v, route %v, %q; want %q", host, e.GetAgree(), e.GetRoute(), e.GetDisagreement(), want.says)
			}
			if slices.Contains(e.GetAnswer().GetAddresses(), "192.0.2.20") && e.GetGateway() != "europe-west1" {
				t.Errorf("%s: the address of Europe's gateway leads to %q", host, e.GetGateway())
			}
		}
	})
}
