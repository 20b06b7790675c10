package factv1

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// now is the moment at which everything in these tests is sent and received.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// The generators draw every value that package fleet allows, in its promised order.

func word(t *rapid.T) string {
	return rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`).Draw(t, "word")
}
func maybeWord(t *rapid.T) string { return rapid.StringMatching(`([a-z0-9-]{1,12})?`).Draw(t, "maybe") }
func sentence(t *rapid.T) string {
	return rapid.StringOfN(rapid.RuneFrom([]rune("aZ 0,.:\"'äß漢🌍/\\%")), 0, 60, 200).Draw(t, "sentence")
}
func host(t *rapid.T) string {
	return rapid.SampledFrom([]string{"", "*.", "www."}).Draw(t, "sub") + word(t) + ".example"
}
func amount(t *rapid.T) float64 { return rapid.Float64Range(0, 1e12).Draw(t, "amount") }
func port(t *rapid.T) uint16    { return rapid.Uint16Min(1).Draw(t, "port") }
func flag(t *rapid.T) bool      { return rapid.Bool().Draw(t, "flag") }
func seconds(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(0, 1<<20).Draw(t, "s")) * time.Second
}
func past(t *rapid.T) time.Time {
	if flag(t) {
		return time.Time{}
	}
	return now.Add(-time.Duration(rapid.Int64Range(0, int64(maxAge)).Draw(t, "age")))
}

func address(t *rapid.T) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address")
	if flag(t) {
		return netip.AddrFrom4([4]byte{1 + b[0]%223, b[1], b[2], b[3]})
	}
	b[0] = 0x20
	return netip.AddrFrom16([16]byte(b))
}

func addrPort(t *rapid.T) netip.AddrPort { return netip.AddrPortFrom(address(t), port(t)) }

func prefix(t *rapid.T) netip.Prefix {
	a := address(t)
	p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	if err != nil {
		panic(err)
	}
	return p
}

// several draws up to five, none as nil.
func several[T any](t *rapid.T, each func(*rapid.T) T) []T {
	l := rapid.SliceOfN(rapid.Custom(each), 0, 5).Draw(t, "list")
	if len(l) == 0 {
		return nil
	}
	return l
}

func atLeastOne[T any](t *rapid.T, each func(*rapid.T) T) []T {
	return append(several(t, each), each(t))
}

func inOrder[T any](l []T, compare func(a, b T) int) []T {
	slices.SortStableFunc(l, compare)
	return l
}

func vantage(t *rapid.T) fleet.Vantage {
	return fleet.Vantage{
		Region: fleet.Region(word(t)), Zone: maybeWord(t), Network: fleet.Network(maybeWord(t)),
		Place: fleet.Place{Lat: rapid.Float64Range(-90, 90).Draw(t, "lat"), Lon: rapid.Float64Range(1, 180).Draw(t, "lon")},
	}
}

func origin(t *rapid.T) fleet.Origin {
	return fleet.Origin{
		Cluster: word(t), Kind: word(t), Namespace: maybeWord(t), Name: word(t),
		Generation: rapid.Int64Min(0).Draw(t, "generation"), Created: past(t),
		File: sentence(t), Line: rapid.IntRange(0, 1<<20).Draw(t, "line"),
	}
}

func cluster(t *rapid.T) *fleet.Cluster {
	return &fleet.Cluster{
		Name: word(t), At: vantage(t), Capacity: amount(t), Draining: flag(t), Origin: origin(t),
		Gateways: inOrder(several(t, func(t *rapid.T) fleet.Gateway {
			return fleet.Gateway{Addr: address(t), Port: port(t), RelayPort: rapid.Uint16().Draw(t, "relay"), TLSPort: rapid.Uint16().Draw(t, "tls")}
		}), func(a, b fleet.Gateway) int { return a.Front().Compare(b.Front()) }),
		ClientNetworks: several(t, prefix), EndpointNetworks: several(t, prefix),
		Namespaces: inOrder(several(t, word), cmp.Compare[string]),
		Labels:     labels(t),
		Taints: inOrder(several(t, func(t *rapid.T) fleet.Taint {
			return fleet.Taint{Key: word(t), Value: maybeWord(t), Effect: rapid.SampledFrom([]fleet.TaintEffect{fleet.NoSchedule, fleet.NoExecute}).Draw(t, "effect")}
		}), fleet.Taint.Compare),
	}
}

func labels(t *rapid.T) []fleet.Label {
	list := inOrder(several(t, func(t *rapid.T) fleet.Label {
		return fleet.Label{Key: "example.com/" + word(t), Value: maybeWord(t)}
	}), func(a, b fleet.Label) int { return cmp.Compare(a.Key, b.Key) })
	return slices.CompactFunc(list, func(a, b fleet.Label) bool { return a.Key == b.Key })
}

func serviceName(t *rapid.T) fleet.ServiceName {
	return fleet.ServiceName{Namespace: maybeWord(t), Name: word(t)}
}

func endpoint(t *rapid.T) fleet.Endpoint {
	return fleet.Endpoint{
		Addr: addrPort(t), Zone: maybeWord(t), Ready: flag(t), Terminating: flag(t),
		Weight: rapid.Uint32().Draw(t, "weight"),
	}
}

func backend(t *rapid.T) *fleet.Backend {
	return &fleet.Backend{
		Cluster: word(t), Service: serviceName(t), Capacity: amount(t), Origin: origin(t),
		Ports: inOrder(several(t, func(t *rapid.T) fleet.Port {
			return fleet.Port{
				Name: maybeWord(t), Number: port(t), AppProtocol: rapid.SampledFrom([]string{"", "kubernetes.io/h2c"}).Draw(t, "protocol"),
				Endpoints: inOrder(several(t, endpoint), func(a, b fleet.Endpoint) int { return a.Addr.Compare(b.Addr) }),
			}
		}), func(a, b fleet.Port) int { return cmp.Compare(a.Number, b.Number) }),
	}
}

func routeSet(t *rapid.T) *fleet.RouteSet {
	s := &fleet.RouteSet{Origin: origin(t), Routes: several(t, func(t *rapid.T) fleet.Route {
		return fleet.Route{
			Host: host(t), Certificate: fleet.CertificateName(sentence(t)), Origin: origin(t),
			Match: fleet.Match{
				Type: rapid.SampledFrom([]fleet.PathType{fleet.PathPrefix, fleet.PathExact}).Draw(t, "type"),
				Path: rapid.SampledFrom([]string{"/", "/shop", "/shop/basket", "/ü/%20"}).Draw(t, "path"),
			},
			To: atLeastOne(t, func(t *rapid.T) fleet.Target {
				return fleet.Target{
					Service: serviceName(t), Weight: rapid.Uint32().Draw(t, "weight"),
					Port: fleet.PortRef{Name: maybeWord(t), Number: rapid.Uint16().Draw(t, "number")},
				}
			}),
		}
	})}
	for _, h := range several(t, func(t *rapid.T) string { return rapid.SampledFrom([]string{"", host(t)}).Draw(t, "claimed") }) {
		if s.Claimed == nil {
			s.Claimed = map[string]time.Time{}
		}
		s.Claimed[h] = past(t)
	}
	return s
}

// pair is a key with a chain that was issued for it, made once.
var pair = sync.OnceValues(func() (chain, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"Shop.example", "*.shop.example"}, NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
})

func certificate(t *rapid.T) *fleet.Certificate {
	chain, key := pair()
	leaf, err := field.KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet.Certificate{
		Name: fleet.CertificateName(word(t) + "/" + word(t)), Chain: chain, Key: key,
		Hosts: leaf.Hosts, NotAfter: leaf.NotAfter, Origin: origin(t),
	}
}

func region(t *rapid.T) fleet.Region { return fleet.Region(word(t)) }

func policyRule(t *rapid.T) *fleet.PolicyRule {
	r := &fleet.PolicyRule{
		Targets: atLeastOne(t, func(t *rapid.T) fleet.PolicyTarget {
			return fleet.PolicyTarget{Namespace: maybeWord(t), Service: maybeWord(t)}
		}),
		Policy: fleet.Policy{
			Strategy: rapid.SampledFrom([]fleet.Strategy{"latency", "geo", "weighted", "failover", "isolated"}).Draw(t, "strategy"),
			Regions:  inOrder(several(t, region), cmp.Compare[fleet.Region]),
			Order:    several(t, region), TTL: seconds(t), Origin: origin(t),
			Check: fleet.Check{
				Kind: rapid.SampledFrom([]fleet.CheckKind{"", "http", "https", "tcp", "grpc"}).Draw(t, "kind"),
				Host: maybeWord(t), Path: sentence(t),
				Interval: time.Duration(rapid.Int64Range(0, int64(maxInterval)).Draw(t, "interval")),
				Timeout:  time.Duration(rapid.Int64Range(0, int64(maxInterval)).Draw(t, "timeout")),
				Rise:     rapid.IntRange(0, 100).Draw(t, "rise"), Fall: rapid.IntRange(0, 100).Draw(t, "fall"),
			},
		},
	}
	if flag(t) {
		r.Policy.Weights = map[fleet.Region]uint32{region(t): 1, region(t): rapid.Uint32().Draw(t, "weight")}
	}
	return r
}

func zone(t *rapid.T) *fleet.Zone {
	return &fleet.Zone{
		Name: word(t) + ".example.", Mailbox: `first\.last.` + word(t) + ".", TTL: seconds(t), NegativeTTL: seconds(t), Origin: origin(t),
		Nameservers: atLeastOne(t, func(t *rapid.T) fleet.Nameserver {
			return fleet.Nameserver{Name: "ns." + word(t) + ".", Addrs: several(t, address)}
		}),
		Records: inOrder(several(t, func(t *rapid.T) fleet.Record {
			r := rapid.SampledFrom([]fleet.Record{
				{Type: "TXT", Data: `"v=spf1 -all" "a;b"`}, {Type: "MX", Data: "10\tmail.example."},
				{Type: "CNAME", Data: "a.example."}, {Type: "AAAA", Data: "2001:db8::1"},
				{Type: "HTTPS", Data: `1 . alpn="h2,h3"`}, {Type: "CAA", Data: `0 issue "ca.example"`},
			}).Draw(t, "record")
			r.Name, r.TTL = host(t)+".", seconds(t)
			return r
		}), func(a, b fleet.Record) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Data, b.Data))
		}),
	}
}

func observation(t *rapid.T) *fleet.Observation {
	return &fleet.Observation{
		From: vantage(t), By: word(t), Target: addrPort(t), OK: flag(t), Since: past(t), At: past(t),
		RTT: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "rtt")), Samples: rapid.IntRange(0, maxCount).Draw(t, "samples"),
		Error: sentence(t),
	}
}

func loadReport(t *rapid.T) *fleet.LoadReport {
	return &fleet.LoadReport{
		From: vantage(t), Service: serviceName(t), To: region(t), RPS: amount(t), InFlight: amount(t),
		ErrorRate: rapid.Float64Range(0, 1).Draw(t, "errors"),
	}
}

func drain(t *rapid.T) *fleet.Drain {
	return &fleet.Drain{
		Scope: rapid.SampledFrom([]fleet.Scope{fleet.ScopeRegion, fleet.ScopeCluster}).Draw(t, "scope"), Name: word(t), On: flag(t),
		Order: rapid.Uint64Max(maxOrder).Draw(t, "order"), Reason: sentence(t), By: sentence(t), Since: past(t),
	}
}

func problems(t *rapid.T) fleet.Problems {
	return fleet.Problems(several(t, func(t *rapid.T) fleet.Problem {
		return fleet.Problem{About: origin(t), Reason: word(t), Message: sentence(t)}
	}))
}

// values draws each kind of value.
var values = map[fleet.Kind]func(*rapid.T) fleet.Value{
	fleet.KindCluster:     func(t *rapid.T) fleet.Value { return cluster(t) },
	fleet.KindBackend:     func(t *rapid.T) fleet.Value { return backend(t) },
	fleet.KindRoutes:      func(t *rapid.T) fleet.Value { return routeSet(t) },
	fleet.KindPolicy:      func(t *rapid.T) fleet.Value { return policyRule(t) },
	fleet.KindZone:        func(t *rapid.T) fleet.Value { return zone(t) },
	fleet.KindCertificate: func(t *rapid.T) fleet.Value { return certificate(t) },
	fleet.KindObservation: func(t *rapid.T) fleet.Value { return observation(t) },
	fleet.KindLoad:        func(t *rapid.T) fleet.Value { return loadReport(t) },
	fleet.KindDrain:       func(t *rapid.T) fleet.Value { return drain(t) },
	fleet.KindProblems:    func(t *rapid.T) fleet.Value { return problems(t) },
}

func fact(t *rapid.T) fleet.Fact {
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	return fleet.NewFact(fmt.Sprintf("%s/%s", word(t), sentence(t)), values[kind](t))
}

func update(t *rapid.T) fleet.Update {
	return fleet.Update{
		Source: word(t) + "/" + word(t), Whole: flag(t), Ended: flag(t), Stale: sentence(t), Heard: past(t),
		Put: several(t, fact),
		Gone: several(t, func(t *rapid.T) fleet.FactName {
			return fleet.FactName{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Name: word(t)}
		}),
	}
}
