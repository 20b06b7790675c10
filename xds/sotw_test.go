package xds

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/meridian-lb/meridian/xds/resource"
)

// classic is a client of the state-of-the-world protocol.
type classic struct {
	t       *testing.T
	stream  *fakeStream[*discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse]
	inbox   chan *discoveryv3.DiscoveryResponse
	names   map[string][]string
	version map[string]string
	nonce   map[string]string
	stop    context.CancelFunc
	ended   chan error
}

func newClassic(t *testing.T, s *Server) *classic {
	ctx, stop := context.WithCancel(context.Background())
	c := &classic{t: t, inbox: make(chan *discoveryv3.DiscoveryResponse, 64), names: map[string][]string{},
		version: map[string]string{}, nonce: map[string]string{}, stop: stop, ended: make(chan error, 1)}
	c.stream = &fakeStream[*discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse]{
		ctx: ctx, requests: make(chan *discoveryv3.DiscoveryRequest, 64),
		got: func(m *discoveryv3.DiscoveryResponse) { c.inbox <- proto.CloneOf(m) },
	}
	go func() { c.ended <- s.serveWorld(c.stream, "") }()
	return c
}

func (c *classic) close() {
	c.stop()
	<-c.ended
}

// ask sends a request for a type with what was acknowledged last.
func (c *classic) ask(typeURL string, refusal *status.Status) {
	c.stream.requests <- &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "in-v"}, TypeUrl: typeURL, ResourceNames: c.names[typeURL],
		VersionInfo: c.version[typeURL], ResponseNonce: c.nonce[typeURL], ErrorDetail: refusal}
	synctest.Wait()
}

func (c *classic) subscribe(typeURL string, names ...string) {
	c.names[typeURL] = names
	c.ask(typeURL, nil)
}

// expect takes the next response, checks what is in it, and acknowledges it or
// refuses it if it holds something bad.
func (c *classic) expect(want string) {
	c.t.Helper()
	synctest.Wait()
	var m *discoveryv3.DiscoveryResponse
	select {
	case m = <-c.inbox:
	default:
		c.t.Fatalf("nothing was sent, want %q", want)
	}
	words := []string{shortType(m.GetTypeUrl())}
	bad := ""
	for _, r := range m.GetResources() {
		name := nameOf(c.t, r.GetTypeUrl(), r.GetValue())
		words = append(words, name)
		if strings.Contains(string(r.GetValue()), badMark) {
			bad = name
		}
	}
	if got := strings.Join(words, " "); got != want {
		c.t.Fatalf("was sent %q, want %q", got, want)
	}
	c.nonce[m.GetTypeUrl()] = m.GetNonce()
	if bad != "" {
		c.ask(m.GetTypeUrl(), &status.Status{Message: "Error adding/updating cluster(s) " + bad + ": bad"})
		return
	}
	c.version[m.GetTypeUrl()] = m.GetVersionInfo()
	c.ask(m.GetTypeUrl(), nil)
}

func (c *classic) expectNothing() {
	c.t.Helper()
	synctest.Wait()
	if n := len(c.inbox); n > 0 {
		c.t.Fatalf("%d responses were sent, want none: %v", n, <-c.inbox)
	}
}

// nameOf reads the name out of the bytes: it is the first field of all types used here.
func nameOf(t *testing.T, typeURL string, b []byte) string {
	t.Helper()
	m, err := resource.FromBytes(typeURL, "", b).Body.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	for _, field := range []string{"name", "cluster_name"} {
		for i := range fields.Len() {
			if string(fields.Get(i).Name()) == field {
				return m.ProtoReflect().Get(fields.Get(i)).String()
			}
		}
	}
	t.Fatalf("%s has no name", typeURL)
	return ""
}

// The same swap as with the delta protocol: the old cluster stays in the list of
// clusters until the routes have been acknowledged.
func TestStateOfTheWorldSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{
			cluster(t, "a", 0), endpoints(t, "a", 0), listener(t, "front", 0), route(t, "web", "a")}})
		c := newClassic(t, s)
		defer c.close()
		c.subscribe(resource.ClusterType)
		c.expect("Cluster a")
		c.subscribe(resource.EndpointType, "a")
		c.expect("ClusterLoadAssignment a")
		c.subscribe(resource.ListenerType)
		c.expect("Listener front")
		c.subscribe(resource.RouteType, "web")
		c.expect("RouteConfiguration web")
		c.expectNothing()

		mustPublish(t, s, "v", resource.Delta{
			Put:  []resource.Resource{cluster(t, "b", 0), endpoints(t, "b", 0), route(t, "web", "b")},
			Gone: gone(cluster(t, "a", 0), endpoints(t, "a", 0)),
		})
		c.expect("Cluster a b")
		c.expectNothing()
		c.subscribe(resource.EndpointType, "a", "b")
		c.expect("ClusterLoadAssignment b")
		c.expect("RouteConfiguration web")
		c.expect("Cluster b")
		c.expectNothing()
	})
}

// A client that returns with the version of what it has is sent nothing, and
// everything when that version is another one.
func TestStateOfTheWorldReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := newServer(t, nil), newServer(t, nil)
		for _, server := range []*Server{s, other} {
			mustPublish(t, server, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), cluster(t, "b", 0), endpoints(t, "a", 0), endpoints(t, "b", 0)}})
		}
		c := newClassic(t, s)
		c.subscribe(resource.ClusterType)
		c.expect("Cluster a b")
		c.subscribe(resource.EndpointType, "a", "b")
		c.expect("ClusterLoadAssignment a b")
		c.close()

		again := newClassic(t, other)
		defer again.close()
		again.version = c.version
		again.subscribe(resource.ClusterType)
		again.subscribe(resource.EndpointType, "a", "b")
		again.expectNothing()
		mustPublish(t, other, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 1), endpoints(t, "b", 1)}})
		again.expect("Cluster a b")
		again.expect("ClusterLoadAssignment b") // has changed
		again.expect("ClusterLoadAssignment a") // warms the cluster that has changed
		again.expectNothing()

		third := newClassic(t, s)
		defer third.close()
		third.version = again.version
		third.subscribe(resource.ClusterType)
		third.expect("Cluster a b")
	})
}

func TestStateOfTheWorldNACK(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), cluster(t, "b", 0)}})
		c := newClassic(t, s)
		defer c.close()
		c.subscribe(resource.ClusterType)
		c.expect("Cluster a b")
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 1), badCluster(t, "b", 1)}})
		c.expect("Cluster a b") // refused
		c.expect("Cluster a b") // with b as it was
		c.expectNothing()
		if len(s.Problems()) != 1 {
			t.Errorf("told: %+v", s.Problems())
		}
		if n := s.Connected(); len(n) != 1 || n[0].Protocol != "sotw" || n[0].Types[0].NACKs != 1 || !n[0].Types[0].Synced {
			t.Errorf("connected: %+v", n)
		}
	})
}

// Names come and go; what does not exist is silent in this protocol.
func TestStateOfTheWorldNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0), endpoints(t, "b", 0)}})
		c := newClassic(t, s)
		defer c.close()
		c.subscribe(resource.EndpointType, "a", "none")
		c.expect("ClusterLoadAssignment a")
		c.subscribe(resource.EndpointType, "a", "b", "none")
		c.expect("ClusterLoadAssignment b")
		c.subscribe(resource.EndpointType, "b", "none")
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1), endpoints(t, "none", 0)}, Gone: gone(endpoints(t, "b", 0))})
		c.expect("ClusterLoadAssignment none")
		c.expectNothing()
		c.subscribe(resource.EndpointType, "a", "none")
		c.expect("ClusterLoadAssignment a")
		c.subscribe(resource.EndpointType, "*")
		c.expectNothing() // it has all there is
		c.subscribe(resource.ListenerType)
		c.expect("Listener")
		if !slices.Equal(s.Views(), []string{"v"}) {
			t.Errorf("views: %q", s.Views())
		}
	})
}
