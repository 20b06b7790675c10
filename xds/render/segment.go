package render

import (
	"cmp"
	"net/netip"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
)

// maxEndpointWeight keeps the sum of 65536 endpoints within Envoy's 32 bits.
const maxEndpointWeight = 1<<16 - 1

// segment is the endpoints of one backend's port in one zone, encoded as they
// stand inside a LocalityLbEndpoints. It is immutable and shared by all views.
type segment struct {
	zone  string
	bytes []byte // fields lb_endpoints, each with its tag
	count
}

// count is how many endpoints there are, and the weight of those that may be
// given requests.
type count struct {
	total int
	ready uint64
}

func (c *count) add(d count) { c.total += d.total; c.ready += d.ready }

// Segments keeps encoded endpoints for the renderers of all views. Protocol
// buffers may be concatenated, so an endpoint is encoded once and a view's
// assignment is its own few bytes around shared ones. It belongs to the
// goroutine of its renderers.
type Segments struct {
	snapshot *fleet.Snapshot
	of       map[*fleet.Backend]map[uint16][]segment
}

// NewSegments makes an empty store for renderers to share.
func NewSegments() *Segments { return &Segments{of: map[*fleet.Backend]map[uint16][]segment{}} }

// turn forgets backends that a new snapshot does not hold. A renderer that is
// behind may bring one back; the next snapshot clears it again.
func (s *Segments) turn(next *fleet.Snapshot) {
	if s.snapshot == next {
		return
	}
	s.snapshot = next
	kept := make(map[*fleet.Backend]map[uint16][]segment, len(s.of))
	for _, svc := range next.Services {
		for _, b := range svc.Backends {
			if ports, ok := s.of[b.Backend]; ok {
				kept[b.Backend] = ports
			}
		}
	}
	s.of = kept
}

// get is the segments of a backend's port, sorted by zone.
func (s *Segments) get(b *fleet.Backend, port uint16) []segment {
	ports, ok := s.of[b]
	if !ok {
		ports = make(map[uint16][]segment, len(b.Ports))
		for _, p := range b.Ports {
			if _, twice := ports[p.Number]; !twice {
				ports[p.Number] = segmentsOf(p.Endpoints)
			}
		}
		s.of[b] = ports
	}
	return ports[port]
}

func segmentsOf(endpoints []fleet.Endpoint) []segment {
	var list []segment
	for _, e := range endpoints {
		i, ok := slices.BinarySearchFunc(list, e.Zone, func(s segment, z string) int { return cmp.Compare(s.zone, z) })
		if !ok {
			list = slices.Insert(list, i, segment{zone: e.Zone})
		}
		list[i].bytes = appendEndpoint(list[i].bytes, podEndpoint(e))
		list[i].add(countOf(e))
	}
	return list
}

func countOf(e fleet.Endpoint) count {
	c := count{total: 1}
	if e.Ready && !e.Terminating {
		c.ready = uint64(weightOf(e))
	}
	return c
}

func weightOf(e fleet.Endpoint) uint32 { return min(max(e.Weight, 1), maxEndpointWeight) }

// podEndpoint says an endpoint with its health, so that the share of ready ones
// which Envoy computes is the true one.
func podEndpoint(e fleet.Endpoint) *endpointv3.LbEndpoint {
	m := &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(e.Addr)}},
		HealthStatus:   corev3.HealthStatus_HEALTHY,
	}
	switch {
	case e.Terminating:
		m.HealthStatus = corev3.HealthStatus_DRAINING
	case !e.Ready:
		m.HealthStatus = corev3.HealthStatus_UNHEALTHY
	}
	if w := weightOf(e); w > 1 {
		m.LoadBalancingWeight = wrapperspb.UInt32(w)
	}
	return m
}

func socketAddress(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Addr().Unmap().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

// appendEndpoint appends the endpoint as one element of
// LocalityLbEndpoints.lb_endpoints.
func appendEndpoint(b []byte, e *endpointv3.LbEndpoint) []byte {
	const lbEndpoints = 2
	return protowire.AppendBytes(protowire.AppendTag(b, lbEndpoints, protowire.BytesType), encode(e))
}

// encode encodes a message that this package has made and that therefore
// cannot fail to encode but by a name that is not UTF-8, which leaves it empty.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}
