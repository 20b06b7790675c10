package render

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds/resource"
)

// socketFor is the match that Envoy chooses for an endpoint: the first whose
// fields the endpoint's metadata all has.
func socketFor(c *clusterv3.Cluster, e *endpointv3.LbEndpoint) *clusterv3.Cluster_TransportSocketMatch {
	has := e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"].GetFields()
	for _, m := range c.TransportSocketMatches {
		if !slices.ContainsFunc(slices.Collect(keysOf(m.Match)), func(k string) bool {
			return has[k].GetStringValue() != m.Match.Fields[k].GetStringValue()
		}) {
			return m
		}
	}
	return nil
}

func keysOf(s *structpb.Struct) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range s.GetFields() {
			if !yield(k) {
				return
			}
		}
	}
}

func upstreamTLS(t fataler, s *corev3.TransportSocket) *tlsv3.UpstreamTlsContext {
	t.Helper()
	var m tlsv3.UpstreamTlsContext
	if s.GetName() != "envoy.transport_sockets.tls" {
		return nil
	}
	if err := s.GetTypedConfig().UnmarshalTo(&m); err != nil {
		t.Fatalf("%v", err)
	}
	return &m
}

// Whatever the fleet: an endpoint that is another region's relay is spoken to by
// TLS that believes gateways of that region only, a pod in the clear, and with a
// view without identity everybody in the clear.
func TestRelaysAreBoundToTheirRegion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		plan := steer.New(drawSnapshot(t))
		clusters := map[string]*clusterv3.Cluster{}
		var assignments []*endpointv3.ClusterLoadAssignment
		relays := map[string]bool{}
		for _, e := range plan.World.Edges {
			for _, g := range e.Gateways {
				if g.RelayPort != 0 {
					relays[g.Relay().String()] = true
				}
			}
		}
		for _, r := range All(v, plan) {
			switch m := decode(t, r).(type) {
			case *clusterv3.Cluster:
				clusters[m.Name] = m
			case *endpointv3.ClusterLoadAssignment:
				assignments = append(assignments, m)
			}
		}
		for _, a := range assignments {
			c := clusters[a.ClusterName]
			for _, l := range a.Endpoints {
				for _, e := range l.LbEndpoints {
					address := e.GetEndpoint().GetAddress().GetSocketAddress()
					relay := relays[fmt.Sprintf("%s:%d", address.GetAddress(), address.GetPortValue())]
					m := socketFor(c, e)
					tls := upstreamTLS(t, m.GetTransportSocket())
					if (tls != nil) != (relay && v.Identity != "") {
						t.Fatalf("%s: endpoint %v of %s has socket %v", a.ClusterName, address, l.Locality.Region, m)
					}
					if tls == nil {
						continue
					}
					want := "spiffe://mesh.example/gateway/" + l.Locality.Region + "/"
					if got := believed(tls.CommonTlsContext); !slices.Equal(got, []string{want}) {
						t.Fatalf("%s: a relay in %s is believed as %v", a.ClusterName, l.Locality.Region, got)
					}
				}
			}
		}
	})
}

// believed are the prefixes of identities that a context believes.
func believed(c *tlsv3.CommonTlsContext) []string {
	var list []string
	for _, m := range c.GetCombinedValidationContext().GetDefaultValidationContext().GetMatchTypedSubjectAltNames() {
		if m.SanType == tlsv3.SubjectAltNameMatcher_URI {
			list = append(list, m.GetMatcher().GetPrefix())
		}
	}
	return list
}

// An endpoint may come a moment before its region's socket does.
func TestRelayOfAnUnknownRegionIsNotBelieved(t *testing.T) {
	c := cluster(secureView(), web, 80, "", []fleet.Region{"far"}, false)
	for region, want := range map[string]string{"far": "spiffe://mesh.example/gateway/far/", "mars": "nobody:"} {
		m := socketFor(c, &endpointv3.LbEndpoint{Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			socketMatchKey: relayIn(fleet.Region(region))}}})
		tls := upstreamTLS(t, m.GetTransportSocket())
		if tls == nil || !slices.Equal(believed(tls.CommonTlsContext), []string{want}) {
			t.Errorf("%s: %v", region, m)
		}
	}
	if m := socketFor(c, &endpointv3.LbEndpoint{}); m.GetName() != "direct" {
		t.Errorf("a pod: %v", m)
	}
}

// The relay listener asks for a gateway's certificate; secrets name files only.
func TestIdentityOnTheWire(t *testing.T) {
	var names []string
	for _, r := range All(secureView(), steer.New(snapshotOf(twoRegions(), nil))) {
		switch m := decode(t, r).(type) {
		case *listenerv3.Listener:
			socket := m.FilterChains[0].TransportSocket
			if m.Name == FrontName {
				if socket != nil {
					t.Errorf("the front speaks %v", socket)
				}
				continue
			}
			var tls tlsv3.DownstreamTlsContext
			if err := socket.GetTypedConfig().UnmarshalTo(&tls); err != nil {
				t.Fatal(err)
			}
			if !tls.GetRequireClientCertificate().GetValue() || !slices.Equal(believed(tls.CommonTlsContext), []string{"spiffe://mesh.example/gateway/"}) ||
				tls.CommonTlsContext.TlsParams.TlsMinimumProtocolVersion != tlsv3.TlsParameters_TLSv1_3 {
				t.Errorf("%v", &tls)
			}
		case *tlsv3.Secret:
			names = append(names, m.Name)
			if !r.Local || m.GetTlsCertificate().GetPrivateKey().GetInlineBytes() != nil || !strings.Contains(m.String(), "/etc/meridian/identity/") {
				t.Errorf("local %v: %v", r.Local, m)
			}
		}
	}
	if !slices.Equal(names, []string{AuthorityName, IdentityName}) {
		t.Errorf("secrets %v", names)
	}
	for _, r := range All(testView(), steer.New(snapshotOf(twoRegions(), nil))) {
		if r.TypeURL == resource.SecretType || strings.Contains(decode(t, r).(interface{ String() string }).String(), "tls.v3") {
			t.Errorf("a view without identity is sent %s", r.Name)
		}
	}
}

// A service that comes to another region changes its clusters; one that gets
// another endpoint, or loses all, does not.
func TestClustersDependOnRegionsOnly(t *testing.T) {
	w := twoRegions()
	build := func(far bool, near ...fleet.Endpoint) *steer.Plan {
		backends := []fleet.BackendView{backend(w, "c-near", web, fleet.Port{Number: 80, Endpoints: near})}
		if far {
			backends = append([]fleet.BackendView{backend(w, "c-far", web, fleet.Port{Number: 80, Endpoints: []fleet.Endpoint{endpoint("10.9.0.1:80", "x")}})}, backends...)
		}
		return steer.New(snapshotOf(w, nil, serviceOf(web, fleet.DefaultPolicy(), backends...)))
	}
	r := NewRenderer(secureView(), NewSegments())
	r.Update(build(false, endpoint("10.0.0.1:80", "a")))
	for _, step := range []struct {
		name string
		plan *steer.Plan
		want bool
	}{
		{"another endpoint", build(false, endpoint("10.0.0.1:80", "a"), endpoint("10.0.0.2:80", "a")), false},
		{"no endpoint", build(false), false},
		{"another region", build(true), true},
		{"an endpoint again", build(true, endpoint("10.0.0.1:80", "a")), false},
	} {
		changed := slices.ContainsFunc(r.Update(step.plan).Put, func(res resource.Resource) bool { return res.TypeURL == resource.ClusterType })
		if changed != step.want {
			t.Errorf("%s: clusters changed: %v", step.name, changed)
		}
	}
}
