package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/bench/role"
	"github.com/meridian-lb/meridian/xds"
	"github.com/meridian-lb/meridian/xds/resource"
)

const viewName = "eu-west"

// publisher is a server under test.
type publisher interface {
	// publish makes all assignments current, of which those in changed are new.
	publish(all, changed []*endpointv3.ClusterLoadAssignment) error
}

// serve is the role of a server.
func serve(o options, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket(o, o.design))
	if err != nil {
		return err
	}
	p, err := newPublisher(ctx, o.design, listener)
	if err != nil {
		return err
	}
	all := make([]*endpointv3.ClusterLoadAssignment, o.services)
	for i := range all {
		all[i] = assignment(i, o.endpoints, 0)
	}
	if err := p.publish(all, all); err != nil {
		return err
	}
	profile := func(options) error { return nil }
	if o.profile != "" {
		profile = profileOnce()
		defer pprof.StopCPUProfile()
	}
	var next *endpointv3.ClusterLoadAssignment
	return role.Obey(in, out, func(c command) (reply, error) {
		switch c.Do {
		case "prepare": // making the message is the same work for everybody
			if err := profile(o); err != nil {
				return reply{}, err
			}
			next = assignment(c.Round%o.services, o.endpoints, c.Round+1)
		case "change":
			began := time.Now()
			all[c.Round%o.services] = next
			err := p.publish(all, []*endpointv3.ClusterLoadAssignment{next})
			return reply{At: began.UnixNano()}, err
		case "cpu":
			cpu, _, err := role.Usage()
			return reply{CPU: cpu}, err
		}
		return reply{}, nil
	})
}

// profileOnce starts the CPU profile when it is called for the first time: with
// the first change, so that connecting is not in it.
func profileOnce() func(options) error {
	begun := false
	return func(o options) error {
		if begun {
			return nil
		}
		begun = true
		f, err := os.Create(filepath.Join(o.profile, o.design+".pprof"))
		if err != nil {
			return err
		}
		return pprof.StartCPUProfile(f)
	}
}

func newPublisher(ctx context.Context, design string, listener net.Listener) (publisher, error) {
	switch design {
	case meridian:
		s, err := xds.New(xds.Config{
			Listener: listener,
			ViewOf:   func(*corev3.Node) (string, error) { return viewName, nil },
			Log:      slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		go func() { _ = s.Run(ctx) }() // until this process ends
		return ours{s}, nil
	case linear:
		c := cache.NewLinearCache(resource.EndpointType)
		theirs(ctx, listener, c)
		return theirLinear{c}, nil
	case snapshot:
		c := cache.NewSnapshotCache(true, sameView{}, nil)
		theirs(ctx, listener, c)
		return &theirSnapshot{cache: c}, nil
	}
	return nil, fmt.Errorf("there is no design %q", design)
}

// theirs serves a cache of go-control-plane with its own server and the gRPC
// settings that meridian uses.
func theirs(ctx context.Context, listener net.Listener, c cache.Cache) {
	g := grpc.NewServer(grpc.MaxConcurrentStreams(100), grpc.InitialWindowSize(256<<10), grpc.InitialConnWindowSize(256<<10))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(ctx, c, nil))
	go func() { _ = g.Serve(listener) }() // until this process ends
}

type ours struct{ *xds.Server }

func (p ours) publish(_, changed []*endpointv3.ClusterLoadAssignment) error {
	var d resource.Delta
	for _, a := range changed {
		r, err := resource.New(a.GetClusterName(), a)
		if err != nil {
			return err
		}
		d.Put = append(d.Put, r)
	}
	return p.Publish(viewName, d)
}

type theirLinear struct{ *cache.LinearCache }

func (p theirLinear) publish(_, changed []*endpointv3.ClusterLoadAssignment) error {
	for _, a := range changed {
		if err := p.UpdateResource(a.GetClusterName(), a); err != nil {
			return err
		}
	}
	return nil
}

type theirSnapshot struct {
	cache   cache.SnapshotCache
	version int
}

func (p *theirSnapshot) publish(all, _ []*endpointv3.ClusterLoadAssignment) error {
	resources := make([]types.Resource, len(all))
	for i, a := range all {
		resources[i] = a
	}
	p.version++
	s, err := cache.NewSnapshot(strconv.Itoa(p.version), map[string][]types.Resource{resource.EndpointType: resources})
	if err != nil {
		return err
	}
	return p.cache.SetSnapshot(context.Background(), viewName, s)
}

// sameView maps every node to the one view.
type sameView struct{}

func (sameView) ID(*corev3.Node) string { return viewName }

const (
	regions         = 5
	zonesPerRegion  = 2
	endpointsPerNet = 250
)

// assignment is one service's endpoints over all localities, the regions one
// priority each. A variant changes one endpoint's weight.
func assignment(service, endpoints, variant int) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{ClusterName: serviceName(service)}
	for l := range regions * zonesPerRegion {
		region := l / zonesPerRegion
		locality := &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{Region: fmt.Sprintf("region-%d", region), Zone: fmt.Sprintf("region-%d-%c", region, 'a'+l%zonesPerRegion)},
			Priority: uint32(region),
		}
		for e := range endpoints / (regions * zonesPerRegion) {
			weight := uint32(1)
			if l == 0 && e == 0 {
				weight += uint32(variant)
			}
			locality.LbEndpoints = append(locality.LbEndpoints, endpoint(service, l, e, weight))
		}
		a.Endpoints = append(a.Endpoints, locality)
	}
	return a
}

func endpoint(service, locality, i int, weight uint32) *endpointv3.LbEndpoint {
	address := fmt.Sprintf("10.%d.%d.%d", locality, service%endpointsPerNet, i%endpointsPerNet)
	return &endpointv3.LbEndpoint{
		LoadBalancingWeight: wrapperspb.UInt32(weight),
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8080}}}}}},
	}
}

func serviceName(i int) string { return fmt.Sprintf("shop/service-%03d:80", i) }
