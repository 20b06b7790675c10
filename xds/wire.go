package xds

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meridian-lb/meridian/xds/resource"
)

// wire is how a resource stands in a DeltaDiscoveryResponse, tag and length
// included. It is made once and every response points to it; the body is not
// copied.
type wire struct {
	head, body mem.Buffer // the body is last
}

func (w wire) size() int { return w.head.Len() + w.body.Len() }

// Field numbers of envoy.service.discovery.v3, and of google.protobuf.Any.
const (
	responseResources = 2
	responseTypeURL   = 4
	responseNonce     = 5
	responseRemoved   = 6
	resourceVersion   = 1
	resourceResource  = 2
	resourceName      = 3
	anyTypeURL        = 1
	anyValue          = 2
	requestTypeURL    = 2
	requestNonce      = 6
)

func newWire(r resource.Resource) wire {
	body := r.Body.GetValue()
	packed := appendString(nil, anyTypeURL, r.Body.GetTypeUrl())
	packed = protowire.AppendTag(packed, anyValue, protowire.BytesType)
	packed = protowire.AppendVarint(packed, uint64(len(body)))

	inner := appendString(nil, resourceVersion, r.Version)
	inner = appendString(inner, resourceName, r.Name)
	inner = protowire.AppendTag(inner, resourceResource, protowire.BytesType)
	inner = protowire.AppendVarint(inner, uint64(len(packed)+len(body)))
	inner = append(inner, packed...)

	head := protowire.AppendTag(nil, responseResources, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(inner)+len(body)))
	return wire{head: mem.SliceBuffer(slices.Concat(head, inner)), body: mem.SliceBuffer(body)}
}

func appendString(b []byte, field protowire.Number, value string) []byte {
	if value == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
}

// response is an encoded response: the resources' own bytes and one small tail.
type response mem.BufferSlice

func encode(f *flight, typeURL string) response {
	tail := make([]byte, 0, len(typeURL)+len(f.nonce)+8)
	tail = appendString(tail, responseTypeURL, typeURL)
	for _, name := range f.gone {
		tail = appendString(tail, responseRemoved, name)
	}
	tail = appendString(tail, responseNonce, f.nonce) // last: see newNonce
	data := make(response, 0, 2*len(f.put)+1)
	for _, rev := range f.put {
		data = append(data, rev.wire.head, rev.wire.body)
	}
	return append(data, mem.SliceBuffer(tail))
}

// codec is gRPC's codec for protobuf, which knows two messages better: responses
// whose resources are encoded already, and requests that only acknowledge.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(grpcproto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(response); ok {
		return mem.BufferSlice(r), nil
	}
	return c.CodecV2.Marshal(v)
}

// maxACK bounds what is tried as an ACK, in bytes.
const maxACK = 256

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if req, ok := v.(*discoveryv3.DeltaDiscoveryRequest); ok && data.Len() <= maxACK {
		var all [maxACK]byte
		if parseACK(all[:data.CopyTo(all[:])], req) {
			return nil
		}
	}
	return c.CodecV2.Unmarshal(data, v)
}

// parseACK reads a request that holds a type and a nonce and nothing else. It
// leaves every other request as it was.
func parseACK(b []byte, req *discoveryv3.DeltaDiscoveryRequest) bool {
	typeURL, nonce := "", ""
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.BytesType {
			return false
		}
		value, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return false
		}
		switch field {
		case requestTypeURL:
			typeURL = knownType(value)
		case requestNonce:
			if !utf8.Valid(value) { // no message for protobuf either
				return false
			}
			nonce = string(value)
		default:
			return false
		}
		b = b[n+m:]
	}
	if typeURL == "" || nonce == "" {
		return false
	}
	req.TypeUrl, req.ResponseNonce = typeURL, nonce
	return true
}

// knownType is one of the types that Meridian speaks, or empty. It does not allocate.
func knownType(b []byte) string {
	switch string(b) {
	case resource.ClusterType:
		return resource.ClusterType
	case resource.EndpointType:
		return resource.EndpointType
	case resource.SecretType:
		return resource.SecretType
	case resource.ListenerType:
		return resource.ListenerType
	case resource.RouteType:
		return resource.RouteType
	}
	return ""
}

// deltaStream is the gRPC stream as go-control-plane sees it: what goes out is
// replaced by bytes that exist already, and plain ACKs are taken before they
// reach go-control-plane, for which they would be a request like any other.
type deltaStream struct {
	streamv3.DeltaStream
	*stream
}

// Send implements stream.DeltaStream. It is the long way, and may wait for a client
// that does not read. From here on an ACK is believed.
func (d deltaStream) Send(m *discoveryv3.DeltaDiscoveryResponse) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	d.mu.Lock()
	w := d.watch(m.GetTypeUrl())
	if w == nil || w.flight == nil || &w.flight.response != m {
		d.mu.Unlock()
		return fmt.Errorf("a response for %s is not the one in flight", m.GetTypeUrl())
	}
	w.sent(newNonce())
	r := encode(w.flight, w.typeURL)
	d.mu.Unlock()
	return d.SendMsg(r)
}

// sendNow sends a flight from the goroutine that has found it, and reports whether
// it did; the other way is to wake go-control-plane's. It only sends what cannot
// block: the client has proved with its ACKs that it has read all before, so that
// gRPC's write quota of the stream is whole. st.mu is held, so that the ACK cannot
// overtake it and nothing is sent once the stream has left.
func (st *stream) sendNow(w *watch, f *flight) bool {
	if st.direct == nil {
		return false
	}
	for _, other := range st.watches {
		if other != w && other.flight != nil {
			return false
		}
	}
	if !st.sending.TryLock() { // the end of what was answered already
		return false
	}
	defer st.sending.Unlock()
	w.sent(newNonce())
	// After an error go-control-plane tries again, meets it too and ends the stream.
	return st.direct.SendMsg(encode(f, w.typeURL)) == nil
}

// newNonce cannot be guessed: an ACK proves that the response was read to its end,
// where the nonce stands. sendNow relies on that, or a client that acknowledges
// without reading could make a publisher wait for it, and with it all of its view.
func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return strconv.FormatUint(binary.LittleEndian.Uint64(b[:]), 36)
}

// Recv implements stream.DeltaStream.
func (d deltaStream) Recv() (*discoveryv3.DeltaDiscoveryRequest, error) {
	req := &discoveryv3.DeltaDiscoveryRequest{}
	for {
		if err := d.RecvMsg(req); err != nil {
			return nil, err
		}
		if !d.acknowledge(req) {
			return req, nil
		}
		proto.Reset(req)
	}
}

// acknowledge takes a request that is an ACK of what is in flight and nothing else.
func (st *stream) acknowledge(req *discoveryv3.DeltaDiscoveryRequest) bool {
	if req.GetErrorDetail() != nil || req.GetResponseNonce() == "" ||
		len(req.GetResourceNamesSubscribe())+len(req.GetResourceNamesUnsubscribe())+len(req.GetInitialResourceVersions()) > 0 {
		return false
	}
	st.mu.Lock()
	w := st.watch(req.GetTypeUrl())
	if w == nil || !w.open || w.flight == nil || w.flight.nonce != req.GetResponseNonce() {
		st.mu.Unlock()
		return false
	}
	st.settle(w, req.GetResponseNonce(), nil)
	st.step()
	st.unlock()
	return true
}
