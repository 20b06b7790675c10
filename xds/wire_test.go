package xds

import (
	"context"
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
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
	resp := <-p.out
	m, err := resp.GetDeltaDiscoveryResponse()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	w := p.watch(m.GetTypeUrl())
	w.sent("1")
	encode(w.flight, w.typeURL)
	p.mu.Unlock()
	if !p.acknowledge(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL, ResponseNonce: "1"}) {
		t.Fatal("the ACK was not taken")
	}
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
		st, err := s.open(context.Background(), "delta", true, false)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close(st, "delta")
		if err := st.admit(&corev3.Node{Id: "in-v"}, 0); err != nil {
			t.Fatal(err)
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
	// Three of these are the response: its list of buffers, its tail and the
	// tail's box. A fraction is the publish itself.
	const allowed = 4
	if per := perPush / subscribers; per > allowed {
		t.Errorf("a push costs %.1f allocations per subscriber, at most %d are allowed", per, allowed)
	}
}

// A cancelled watch is sent nothing: go-control-plane closes the channel next.
func TestCancelledWatchIsSilent(t *testing.T) {
	s := newServer(t, nil)
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0)}})
	st, err := s.open(context.Background(), "delta", true, false)
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
