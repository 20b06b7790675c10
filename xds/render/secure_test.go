package render

import (
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds/resource"
)

func certificates(names ...fleet.CertificateName) map[fleet.CertificateName]*fleet.Certificate {
	all := map[fleet.CertificateName]*fleet.Certificate{}
	for _, n := range names {
		all[n] = &fleet.Certificate{Name: n, Chain: []byte("chain of " + n), Key: []byte("key")}
	}
	return all
}

// hostsOver makes hosts that are served with certificates, in the order "host=certificate".
func hostsOver(pairs ...string) *fleet.Routes {
	r := &fleet.Routes{}
	for _, p := range pairs {
		host, certificate, _ := strings.Cut(p, "=")
		r.Hosts = append(r.Hosts, fleet.Host{Name: host, Certificate: fleet.CertificateName(certificate), Routes: []fleet.Route{
			{Host: host, Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: web, Weight: 1}}},
		}})
	}
	return r
}

// Hosts with one certificate share a filter chain; the route for every host is what
// those get who ask for nobody that is known.
func TestChainsByCertificate(t *testing.T) {
	l := secure(testView(), servedOver(
		hostsOver("=shop/b", "*.example=shop/a", "a.example=shop/b", "b.example=shop/a", "c.example=shop/none", "d.example="),
		certificates("shop/a", "shop/b", "shop/unused")))
	got := map[string][]string{}
	for _, c := range l.FilterChains {
		got[c.Name] = c.FilterChainMatch.ServerNames
	}
	if len(got) != 2 || !slices.Equal(got["shop/a"], []string{"*.example", "b.example"}) || !slices.Equal(got["shop/b"], []string{"a.example"}) {
		t.Errorf("%v", got)
	}
	if l.DefaultFilterChain == nil || !proto.Equal(l.DefaultFilterChain.TransportSocket, l.FilterChains[1].TransportSocket) {
		t.Errorf("who asks for nobody gets %v", l.DefaultFilterChain)
	}
}

// A certificate that is replaced changes one secret and nothing else; the last
// one that goes takes the listener with it.
func TestCertificateChangeTouchesItsSecretOnly(t *testing.T) {
	s := snapshotOf(twoRegions(), hostsOver("a.example=shop/a", "b.example=shop/b"))
	s.Certificates = certificates("shop/a", "shop/b")
	r := NewRenderer(testView(), NewSegments())
	r.Update(steer.New(s))
	say := func(d resource.Delta) string {
		var said []string
		for _, p := range d.Put {
			said = append(said, "+"+p.Name)
		}
		for _, n := range d.Gone {
			said = append(said, "-"+n.Name)
		}
		return strings.Join(said, " ")
	}
	next := *s
	next.Certificates = certificates("shop/a", "shop/b")
	next.Certificates["shop/b"].Chain = []byte("renewed")
	if got := say(r.Update(steer.New(&next))); got != "+certificate/shop/b" {
		t.Errorf("renewed: %s", got)
	}
	last := next
	last.Certificates = certificates()
	if got := say(r.Update(steer.New(&last))); got != "-secure -certificate/shop/a -certificate/shop/b" {
		t.Errorf("gone: %s", got)
	}
	if _, ok := r.have[resource.Name{TypeURL: resource.ListenerType, Name: SecureName}]; ok {
		t.Error("the listener is still there")
	}
	var l listenerv3.Listener
	if err := proto.Unmarshal(r.have[resource.Name{TypeURL: resource.ListenerType, Name: FrontName}].Body.Value, &l); err != nil || l.Name != FrontName {
		t.Errorf("the front: %v %v", l.Name, err)
	}
}
