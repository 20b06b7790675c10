package xds

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/meridian-lb/meridian/xds/resource"
)

// Responses are written by hand; protobuf must read what was meant.
func TestEncodedResponse(t *testing.T) {
	for _, f := range []*flight{
		{nonce: "7"},
		{nonce: "1234567", put: []*revision{newRevision(cluster(t, "a", 0)), newRevision(cluster(t, "shop/web:80", 1))}, gone: []string{"x", "y"}},
		{nonce: "8", gone: []string{"x"}},
		{nonce: "9", put: []*revision{newRevision(resource.FromBytes(resource.ClusterType, "empty", nil))}},
	} {
		want := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: resource.ClusterType, Nonce: f.nonce, RemovedResources: f.gone}
		for _, rev := range f.put {
			want.Resources = append(want.Resources, &discoveryv3.Resource{Name: rev.Name, Version: rev.Version, Resource: rev.Body})
		}
		data, err := newCodec().Marshal(encode(f, resource.ClusterType))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasSuffix(data.Materialize(), []byte(f.nonce)) {
			t.Errorf("the nonce %s is not the end of %q", f.nonce, data.Materialize())
		}
		got := &discoveryv3.DeltaDiscoveryResponse{}
		if err := newCodec().Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		size := 0
		for _, rev := range f.put {
			size += rev.wire.size()
		}
		if max := data.Len(); size > max {
			t.Errorf("the resources are counted as %d bytes of %d", size, max)
		}
	}
}

// The short way of reading an ACK never sees anything else than the long way.
func FuzzParseACK(f *testing.F) {
	for _, req := range []*discoveryv3.DeltaDiscoveryRequest{
		{TypeUrl: resource.ClusterType, ResponseNonce: "12"},
		{TypeUrl: resource.ClusterType},
		{TypeUrl: "type.googleapis.com/some.Other", ResponseNonce: "12"},
		{TypeUrl: resource.RouteType, ResponseNonce: "1", ResourceNamesSubscribe: []string{"a"}},
		{Node: &corev3.Node{Id: "n"}, TypeUrl: resource.RouteType, ResponseNonce: "1"},
	} {
		b, err := proto.Marshal(req)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x12, 0xff})
	f.Add(appendString(appendString(nil, requestTypeURL, resource.ClusterType), requestNonce, "0\xff")) // no UTF-8
	f.Fuzz(func(t *testing.T, b []byte) {
		short := &discoveryv3.DeltaDiscoveryRequest{}
		if !parseACK(b, short) {
			if !proto.Equal(short, &discoveryv3.DeltaDiscoveryRequest{}) {
				t.Fatalf("a request that was left alone is %v", short)
			}
			return
		}
		long := &discoveryv3.DeltaDiscoveryRequest{}
		if err := proto.Unmarshal(b, long); err != nil {
			t.Fatalf("%x is no message, and yet an ACK: %v", b, err)
		}
		if !proto.Equal(short, long) {
			t.Fatalf("%x is %v in short and %v in truth", b, short, long)
		}
		var viaCodec discoveryv3.DeltaDiscoveryRequest
		if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b[:1]), mem.SliceBuffer(b[1:])}, &viaCodec); err != nil || !proto.Equal(&viaCodec, long) {
			t.Fatalf("the codec makes %v of %x (%v)", &viaCodec, b, err)
		}
	})
}

func FuzzBlamed(f *testing.F) {
	f.Add("Error adding/updating cluster(s) web: no such thing, web-2: neither")
	f.Add("Error adding/updating listener(s) web: \n")
	f.Add("Error adding/updating (s) ")
	put := []*revision{{Resource: resource.Resource{Name: "web"}}, {Resource: resource.Resource{Name: "web-2"}}, {Resource: resource.Resource{Name: ""}}}
	f.Fuzz(func(t *testing.T, words string) {
		for name := range blamed(words, put) {
			if name != "web" && name != "web-2" {
				t.Errorf("%q blames %q, which was not sent", words, name)
			}
		}
	})
}

// pushed is a stream that takes and acknowledges what it is sent without gRPC.
type pushed struct {
	*stream
	out chan cache.DeltaResponse
}

func (p pushed) sendAndAcknowledge(t testing.TB) {
	t.Helper()
	if p.direct == nil {
		resp := <-p.out
		m, err := resp.GetDeltaDiscoveryResponse()
		if err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		w := p.watch(m.GetTypeUrl())
		w.sent(newNonce())
		encode(w.flight, w.typeURL)
		p.mu.Unlock()
	}
	p.acknowledgeAll(t)
}

func (p pushed) acknowledgeAll(t testing.TB) {
	t.Helper()
	for _, w := range p.watches {
		if w.flight != nil && !p.acknowledge(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL, ResponseNonce: w.flight.nonce}) {
			t.Fatal("the ACK was not taken")
		}
	}
}

// taker is gRPC's end of a stream that takes whatever it is sent, or fails.
type taker struct {
	grpc.ServerStream
	taken int
	err   error
}

func (k *taker) SendMsg(any) error {
	k.taken++
	return k.err
}

// always is a subscription to fixed names.
type always map[string]struct{}

func (a always) SubscribedResources() map[string]struct{} { return a }
func (always) ReturnedResources() map[string]string       { return nil }
func (always) IsWildcard() bool                           { return false }

// One change for one of many names costs a subscriber the bytes of the response's
// tail and nothing that grows with what it subscribes to. Allocations are
// counted, since time is not the same twice.
func TestPushAllocations(t *testing.T) {
	t.Run("direct", func(t *testing.T) { testPushAllocations(t, &taker{}) })
	t.Run("by go-control-plane", func(t *testing.T) { testPushAllocations(t, nil) })
}

func testPushAllocations(t *testing.T, direct *taker) {
	const subscribers, services = 100, 200
	s := newServer(t, nil)
	var all resource.Delta
	sub := always{}
	for i := range services {
		name := fmt.Sprint("service-", i)
		all.Put = append(all.Put, endpoints(t, name, 0))
		sub[name] = struct{}{}
	}
	mustPublish(t, s, "v", all)
	crowd := make([]pushed, subscribers)
	for i := range crowd {
		st, err := s.open(t.Context(), "delta", true, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close(st, "delta")
		if err := st.admit(&corev3.Node{Id: "in-v"}, 0); err != nil {
			t.Fatal(err)
		}
		if direct != nil {
			st.direct = direct
		}
		crowd[i] = pushed{st, make(chan cache.DeltaResponse, 20)}
		if _, err := st.CreateDeltaWatch(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType}, sub, crowd[i].out); err != nil {
			t.Fatal(err)
		}
		crowd[i].sendAndAcknowledge(t)
	}
	changes := make([]resource.Resource, 40)
	for i := range changes {
		changes[i] = endpoints(t, "service-7", i+1)
	}
	next := 0
	perPush := testing.AllocsPerRun(len(changes)-2, func() {
		mustPublish(t, s, "v", resource.Delta{Put: changes[next : next+1]})
		next++
		for _, p := range crowd {
			p.sendAndAcknowledge(t)
		}
	})
	// Four of these are the response: its list of buffers, its tail and a box for
	// each. One is the nonce, and the race detector makes one more. A fraction is
	// the publish itself.
	const allowed = 6.5
	if per := perPush / subscribers; per > allowed {
		t.Errorf("a push costs %.1f allocations per subscriber, at most %.1f are allowed", per, allowed)
	}
}

// A cancelled watch is sent nothing: go-control-plane closes the channel next.
func TestCancelledWatchIsSilent(t *testing.T) {
	s := newServer(t, nil)
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0)}})
	st, err := s.open(t.Context(), "delta", true, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.admit(&corev3.Node{Id: "in-v"}, 0); err != nil {
		t.Fatal(err)
	}
	p := pushed{st, make(chan cache.DeltaResponse, 20)}
	cancel, err := st.CreateDeltaWatch(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType}, always{"a": {}}, p.out)
	if err != nil {
		t.Fatal(err)
	}
	p.sendAndAcknowledge(t)
	cancel()
	cancel()
	close(p.out)
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1)}})
	s.close(st, "delta")
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 2)}})
}

// Publishers send by themselves only what a client cannot make them wait for.
func TestWhatMayBlockGoesTheLongWay(t *testing.T) {
	s := newServer(t, nil)
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0), resource.FromBytes(resource.SecretType, "s", nil)}})
	st, err := s.open(t.Context(), "delta", true, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.admit(&corev3.Node{Id: "in-v"}, 0); err != nil {
		t.Fatal(err)
	}
	direct := &taker{}
	st.direct = direct
	p := pushed{st, make(chan cache.DeltaResponse, 20)}
	expect := func(what string, taken, queued int) {
		t.Helper()
		if direct.taken != taken || len(p.out) != queued {
			t.Fatalf("%s: %d responses were sent at once and %d wait, want %d and %d", what, direct.taken, len(p.out), taken, queued)
		}
		direct.taken = 0
		for len(p.out) > 0 {
			resp := <-p.out
			st.watch(resp.GetDeltaRequest().GetTypeUrl()).sent(newNonce())
		}
	}
	for typeURL, name := range map[string]string{resource.EndpointType: "a", resource.SecretType: "s"} {
		if _, err := st.CreateDeltaWatch(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL}, always{name: {}}, p.out); err != nil {
			t.Fatal(err)
		}
	}
	expect("two types at once", 1, 1)
	for i := range 20 {
		if p.acknowledge(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: fmt.Sprint(i)}) {
			t.Fatalf("a client that has read nothing has guessed the nonce %d", i)
		}
	}
	p.acknowledgeAll(t)

	change := func(n int) {
		t.Helper()
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", n)}})
	}
	change(1)
	expect("one after all ACKs", 1, 0)
	change(2)
	expect("one before the ACK", 0, 0)
	p.acknowledgeAll(t)
	expect("after the ACK", 1, 0)
	p.acknowledgeAll(t)

	st.sending.Lock()
	change(3)
	expect("the end of another sending", 0, 1)
	st.sending.Unlock()
	p.acknowledgeAll(t)

	direct.err = io.ErrClosedPipe
	change(4)
	expect("a broken connection, which go-control-plane has to meet", 1, 1)
	p.acknowledgeAll(t)

	s.close(st, "delta")
	change(5)
	expect("a stream that has left", 0, 0)
}
