package render

import (
	"math"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
)

// overprovisioning is how much more than its share a priority may be given before
// the next one is asked, in percent; the planner counts with the same number.
const overprovisioning = 140

// The metadata of relay endpoints.
const (
	socketMatchKey = "envoy.transport_socket_match" // chooses the cluster's transport socket
	socketMatchVia = "via"
	viaRelay       = "relay"
	socketMatchIn  = "region"   // that the relay stands in
	meridianKey    = "meridian" // read by the cluster's upstream filter
	meridianName   = "service"
)

// relaySegment encodes a region's gateways as endpoints that are told which
// service is meant.
func relaySegment(gateways []fleet.Gateway, region fleet.Region, service string) []byte {
	var b []byte
	meta := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		socketMatchKey: relayIn(region),
		meridianKey:    {Fields: map[string]*structpb.Value{meridianName: structpb.NewStringValue(service)}},
	}}
	for _, g := range gateways {
		b = appendEndpoint(b, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socketAddress(g.Relay())}},
			HealthStatus:   corev3.HealthStatus_HEALTHY,
			Metadata:       meta,
		})
	}
	return b
}

// relayIn is the metadata by which a cluster's sockets know a region's relays; an
// empty region means those of all regions.
func relayIn(r fleet.Region) *structpb.Struct {
	m := &structpb.Struct{Fields: map[string]*structpb.Value{socketMatchVia: structpb.NewStringValue(viaRelay)}}
	if r != "" {
		m.Fields[socketMatchIn] = structpb.NewStringValue(strings.ToValidUTF8(string(r), "?"))
	}
	return m
}

// assignment encodes a ClusterLoadAssignment around the shared segments.
func assignment(name string, list []*locality) []byte {
	const clusterName, endpoints, policy = 1, 2, 4 // fields of ClusterLoadAssignment
	b := protowire.AppendString(protowire.AppendTag(nil, clusterName, protowire.BytesType), name)
	weights := weigh(list)
	for i, l := range list {
		head := encode(&endpointv3.LocalityLbEndpoints{
			Locality:            localityName(l),
			LoadBalancingWeight: weights[i],
			Priority:            l.priority,
		})
		size := len(head)
		for _, s := range l.segments {
			size += len(s)
		}
		b = protowire.AppendTag(b, endpoints, protowire.BytesType)
		b = append(protowire.AppendVarint(b, uint64(size)), head...)
		for _, s := range l.segments {
			b = append(b, s...)
		}
	}
	p := encode(&endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(overprovisioning)})
	return protowire.AppendBytes(protowire.AppendTag(b, policy, protowire.BytesType), p)
}

func localityName(l *locality) *corev3.Locality {
	return &corev3.Locality{
		Region:  strings.ToValidUTF8(string(l.region), "?"),
		Zone:    strings.ToValidUTF8(l.zone, "?"),
		SubZone: strings.ToValidUTF8(l.subZone, "?"),
	}
}

// The scales of locality weights. Envoy adds them up over a priority in 32 bits.
const (
	sharedScale = 1_000_000     // of a priority that several regions share
	maxWeights  = 1_000_000_000 // of all localities of a priority
)

// weigh gives each locality its weight: the ready endpoints behind it, or, where
// several regions share a priority, its part of its region's share. A locality of
// a region without a share has none and is given nothing.
func weigh(list []*locality) []*wrapperspb.UInt32Value {
	weights := make([]*wrapperspb.UInt32Value, len(list))
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].priority == list[from].priority {
			to++
		}
		weighPriority(list[from:to], weights[from:to])
		from = to
	}
	return weights
}

func weighPriority(list []*locality, weights []*wrapperspb.UInt32Value) {
	regions := map[fleet.Region]*count{}
	sum := 0.0
	for _, l := range list {
		if regions[l.region] == nil {
			regions[l.region] = &count{}
		}
		regions[l.region].add(l.count)
		sum += float64(l.ready)
	}
	for i, l := range list {
		w := float64(l.ready) * math.Min(1, maxWeights/math.Max(sum, 1))
		if len(regions) > 1 {
			if l.share <= 0 {
				continue
			}
			w = sharedScale * math.Min(l.share, 1) * part(l.count, *regions[l.region])
		}
		weights[i] = wrapperspb.UInt32(uint32(math.Max(1, math.Round(w))))
	}
}

// part is how much of a region a locality is: by ready endpoints, else by all.
func part(l, region count) float64 {
	switch {
	case region.ready > 0:
		return float64(l.ready) / float64(region.ready)
	case region.total > 0:
		return float64(l.total) / float64(region.total)
	}
	return 1
}
