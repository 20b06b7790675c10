package xds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// newServer makes a server that is not run: tests hand it their own streams.
func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	c := Config{
		Listener: bufconn.Listen(1 << 16),
		ViewOf: func(n *corev3.Node) (string, error) {
			if view, ok := strings.CutPrefix(n.GetId(), "in-"); ok {
				view, _, _ = strings.Cut(view, "-")
				return view, nil
			}
			return "", errors.New("no view has this node")
		},
		Log: quiet(),
	}
	if change != nil {
		change(&c)
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPublish(t testing.TB, s *Server, view string, d resource.Delta) {
	t.Helper()
	if err := s.Publish(view, d); err != nil {
		t.Fatal(err)
	}
}

// fakeStream is a gRPC stream whose two ends are channels.
type fakeStream[Q, R proto.Message] struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan Q
	got      func(R)
}

func (f *fakeStream[Q, R]) Context() context.Context { return f.ctx }
func (f *fakeStream[Q, R]) Send(m R) error           { f.got(m); return nil }

// SendMsg takes what the codec makes of a message, as a client would.
func (f *fakeStream[Q, R]) SendMsg(m any) error {
	data, err := newCodec().Marshal(m)
	if err != nil {
		return err
	}
	var got R
	got = got.ProtoReflect().New().Interface().(R)
	if err := newCodec().Unmarshal(data, got); err != nil {
		return err
	}
	f.got(got)
	return nil
}

// RecvMsg reads what the codec makes of the bytes of a request.
func (f *fakeStream[Q, R]) RecvMsg(m any) error {
	q, err := f.Recv()
	if err != nil {
		return err
	}
	data, err := newCodec().Marshal(q)
	if err != nil {
		return err
	}
	return newCodec().Unmarshal(data, m)
}

func (f *fakeStream[Q, R]) Recv() (Q, error) {
	select {
	case q := <-f.requests:
		return q, nil
	case <-f.ctx.Done():
		var none Q
		return none, io.EOF
	}
}

// kind is what a client holds of one type.
type kind struct {
	asked     bool
	wildcard  bool
	names     map[string]bool
	resources map[string]string // name to version
	absent    map[string]bool   // told that it does not exist
}

func (k *kind) wants(name string) bool { return k.wildcard || k.names[name] }

// envoy is a client of the delta protocol that answers when it is told to. It
// lives in a synctest bubble: after synctest.Wait everything has been delivered.
type envoy struct {
	t        testing.TB
	s        *Server
	id       string
	kinds    map[string]*kind
	partial  bool // takes the good ones of a response that it refuses, as Envoy does for clusters
	talkable bool // names the guilty in its refusal, as Envoy does for clusters
	story    []string
	sent     int // resources received

	mu     sync.Mutex
	inbox  []*discoveryv3.DeltaDiscoveryResponse
	stream *fakeStream[*discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DeltaDiscoveryResponse]
	stop   context.CancelFunc
	ended  chan error
}

func newEnvoy(t testing.TB, s *Server, id string) *envoy {
	e := &envoy{t: t, s: s, id: id, kinds: map[string]*kind{}, partial: true, talkable: true}
	e.connect()
	return e
}

func (e *envoy) connect() {
	ctx, stop := context.WithCancel(context.Background())
	e.inbox = nil
	e.stop, e.ended = stop, make(chan error, 1)
	e.stream = &fakeStream[*discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DeltaDiscoveryResponse]{
		ctx: ctx, requests: make(chan *discoveryv3.DeltaDiscoveryRequest, 64),
		got: func(m *discoveryv3.DeltaDiscoveryResponse) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.inbox = append(e.inbox, proto.CloneOf(m))
		},
	}
	go func() { e.ended <- e.s.serveDelta(e.stream, "") }()
}

func (e *envoy) close() error {
	e.stop()
	return <-e.ended
}

func (e *envoy) kind(typeURL string) *kind {
	k, ok := e.kinds[typeURL]
	if !ok {
		k = &kind{names: map[string]bool{}, resources: map[string]string{}, absent: map[string]bool{}}
		e.kinds[typeURL] = k
	}
	return k
}

func (e *envoy) send(req *discoveryv3.DeltaDiscoveryRequest) {
	req.Node = &corev3.Node{Id: e.id}
	e.stream.requests <- req
	synctest.Wait()
}

// subscribe adds and removes names; "*" is the wildcard.
func (e *envoy) subscribe(typeURL string, add []string, remove ...string) {
	k := e.kind(typeURL)
	req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: add, ResourceNamesUnsubscribe: remove}
	if !k.asked {
		req.InitialResourceVersions = maps.Clone(k.resources)
		if len(add) == 0 && fullState(typeURL) { // as clients did before the wildcard had a name
			k.wildcard = true
		}
	}
	k.asked = true
	for _, name := range add {
		if name == "*" {
			k.wildcard = true
		} else {
			k.names[name] = true
			delete(k.absent, name)
		}
	}
	for _, name := range remove {
		if name == "*" {
			k.wildcard = false
		} else {
			delete(k.names, name)
		}
	}
	for name := range k.resources {
		if !k.wants(name) {
			delete(k.resources, name)
		}
	}
	e.send(req)
}

// reconnect opens a new stream and says what it has.
func (e *envoy) reconnect() {
	_ = e.close()
	e.connect()
	for _, typeURL := range order {
		k := e.kind(typeURL)
		if !k.asked {
			continue
		}
		k.asked = false
		names := slices.Sorted(maps.Keys(k.names))
		if k.wildcard {
			names = append(names, "*")
		}
		if len(names) > 0 { // to name nothing at first is to ask for everything
			e.subscribe(typeURL, names)
		}
	}
}

var order = []string{resource.ClusterType, resource.EndpointType, resource.SecretType, resource.ListenerType, resource.RouteType}

// waiting lists the responses that were not answered.
func (e *envoy) waiting() int {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.inbox)
}

// answer takes the oldest response and says what it was.
func (e *envoy) answer() string {
	e.t.Helper()
	if e.waiting() == 0 {
		e.t.Fatalf("%s has no response to answer; before that: %s", e.id, strings.Join(e.story, " | "))
	}
	e.mu.Lock()
	m := e.inbox[0]
	e.inbox = e.inbox[1:]
	e.mu.Unlock()
	line, refusal := e.apply(m)
	e.story = append(e.story, line)
	ack := ackOf(m)
	if refusal != "" {
		ack.ErrorDetail = &status.Status{Code: 13, Message: refusal}
	}
	e.send(ack)
	return line
}

func ackOf(m *discoveryv3.DeltaDiscoveryResponse) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()}
}

// settle answers everything there is.
func (e *envoy) settle() []string {
	e.t.Helper()
	var lines []string
	for e.waiting() > 0 {
		lines = append(lines, e.answer())
		if len(lines) > 2000 {
			e.t.Fatalf("%s is sent responses without end: %v", e.id, lines[len(lines)-10:])
		}
	}
	return lines
}

// apply does what Envoy would; refusal is empty for an ACK.
func (e *envoy) apply(m *discoveryv3.DeltaDiscoveryResponse) (line, refusal string) {
	k := e.kind(m.GetTypeUrl())
	words := []string{shortType(m.GetTypeUrl())}
	var bad []string
	for _, r := range m.GetResources() {
		e.sent++
		words = append(words, "+"+r.GetName())
		if strings.Contains(string(r.GetResource().GetValue()), badMark) {
			bad = append(bad, r.GetName())
		}
	}
	for _, name := range m.GetRemovedResources() {
		words = append(words, "-"+name)
	}
	line = strings.Join(words, " ")
	if len(bad) > 0 && !e.partial {
		return line + " NACK", e.refusal(bad)
	}
	for _, r := range m.GetResources() {
		if !slices.Contains(bad, r.GetName()) && k.wants(r.GetName()) {
			k.resources[r.GetName()] = r.GetVersion()
			delete(k.absent, r.GetName())
		}
	}
	for _, name := range m.GetRemovedResources() {
		delete(k.resources, name)
		k.absent[name] = true
	}
	if len(bad) > 0 {
		return line + " NACK", e.refusal(bad)
	}
	return line, ""
}

func (e *envoy) refusal(bad []string) string {
	if !e.talkable {
		return "something in here is wrong"
	}
	parts := make([]string, len(bad))
	for i, name := range bad {
		parts[i] = name + ": cannot be had"
	}
	return "Error adding/updating cluster(s) " + strings.Join(parts, ", ")
}

func (e *envoy) has(typeURL string) []string {
	return slices.Sorted(maps.Keys(e.kind(typeURL).resources))
}

const badMark = "not-for-envoy"

func res(t testing.TB, name string, m proto.Message, origins ...fleet.Origin) resource.Resource {
	t.Helper()
	r, err := resource.New(name, m, origins...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cluster is an EDS cluster; variant makes its content differ.
func cluster(t testing.TB, name string, variant int) resource.Resource {
	return res(t, name, &clusterv3.Cluster{Name: name, ConnectTimeout: durationpb.New(time.Duration(variant+1) * time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}})
}

func badCluster(t testing.TB, name string, variant int, origins ...fleet.Origin) resource.Resource {
	return res(t, name, &clusterv3.Cluster{Name: name, AltStatName: fmt.Sprint(badMark, variant)}, origins...)
}

func endpoints(t testing.TB, name string, variant int) resource.Resource {
	return res(t, name, &endpointv3.ClusterLoadAssignment{ClusterName: name, Policy: &endpointv3.ClusterLoadAssignment_Policy{
		EndpointStaleAfter: durationpb.New(time.Duration(variant+1) * time.Second)}})
}

func badEndpoints(t testing.TB, name string, variant int) resource.Resource {
	return res(t, name, &endpointv3.ClusterLoadAssignment{ClusterName: fmt.Sprint(badMark, variant)})
}

func route(t testing.TB, name string, clusters ...string) resource.Resource {
	host := &routev3.VirtualHost{Name: "all", Domains: []string{"*"}}
	for _, c := range clusters {
		host.Routes = append(host.Routes, &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: c}}}})
	}
	return res(t, name, &routev3.RouteConfiguration{Name: name, VirtualHosts: []*routev3.VirtualHost{host}})
}

func listener(t testing.TB, name string, variant int) resource.Resource {
	return res(t, name, &listenerv3.Listener{Name: name, StatPrefix: fmt.Sprint(variant)})
}

func gone(rs ...resource.Resource) []resource.Name {
	var names []resource.Name
	for _, r := range rs {
		names = append(names, r.Key())
	}
	return names
}
