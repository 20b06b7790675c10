package render

import (
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	upstreamcodecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
)

// How patient a cluster is.
const (
	connectTimeout   = 900 * time.Millisecond // two tries in a dead priority take less than 2 s
	upstreamIdle     = time.Minute            // of a connection without requests
	slowStart        = 30 * time.Second
	ejectionTime     = 5 * time.Second // the first time; grows with each
	maxEjectionTime  = 30 * time.Second
	ejectionSweep    = time.Second
	failuresInARow   = 3 // connections refused or lost, before a host is left alone
	bufferLimitBytes = 32 << 10
)

// mergeWindow is how long new weights and ejections may gather before the threads
// that serve hear of them; Envoy's default is 1 s. Measured with a region that
// swallows connections: of 3840 requests 71 to 93 wait for more than 500 ms, with
// the default 83 to 135, without any window 64 to 66; but then a thousand hosts that
// are ejected one by one make every thread build its lists a thousand times.
const mergeWindow = 100 * time.Millisecond

// breakerLimit bounds connections, requests and waiting requests per cluster and
// Envoy. It guards the Envoy's memory; it is no statement on anybody's capacity.
const breakerLimit = 65536

// The retry budget. Retries happen only where no pod has begun on a request, or
// where it is idempotent and was cut off, so they cost the pods little; the
// budget keeps them from multiplying in a long failure. The floor is what lets
// all requests in flight move on at once when a region dies, before its hosts
// are ejected. Measured with 256 clients while a region dies: with 1024 no request
// fails, with Envoy's own 20 % and 3 it is two of three.
const (
	retryBudgetPercent = 25
	retryFloor         = 1024
)

// cluster renders a service's port. It depends on the names, the protocol and, where
// relays have identities, the regions that have the service: no endpoint, weight,
// policy or decision ever changes it.
func cluster(v View, s fleet.ServiceName, port uint16, protocol string, regions []fleet.Region, local bool) *clusterv3.Cluster {
	name := ClusterName(s, port)
	if local {
		name = LocalClusterName(s, port)
	}
	c := &clusterv3.Cluster{
		Name:                 name,
		AltStatName:          strings.ReplaceAll(name, ".", "_"),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: name},
		ConnectTimeout:       durationpb.New(connectTimeout),

		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimitBytes),

		LbPolicy: clusterv3.Cluster_LEAST_REQUEST,
		LbConfig: &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
			SlowStartConfig: &clusterv3.Cluster_SlowStartConfig{
				SlowStartWindow:  durationpb.New(slowStart),
				MinWeightPercent: &typev3.Percent{Value: 10},
			},
		}},
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			// Envoy heeds the threshold only when all priorities together are short
			// of healthy hosts: then any host is better than none.
			HealthyPanicThreshold: &typev3.Percent{Value: 50},
			UpdateMergeWindow:     durationpb.New(mergeWindow),
			LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
			},
		},
		OutlierDetection: outlierDetection(),
		CircuitBreakers:  circuitBreakers(),
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(30), KeepaliveInterval: wrapperspb.UInt32(5),
		}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(protocolOptions(v, protocol, local)),
		},
	}
	if !local {
		c.LrsServer = &corev3.ConfigSource{
			ResourceApiVersion:    corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_Self{Self: &corev3.SelfConfigSource{TransportApiVersion: corev3.ApiVersion_V3}},
		}
		c.TransportSocketMatches = socketMatches(v, regions, protocol)
	}
	return c
}

// outlierDetection leaves a host alone that cannot be connected to, or that says
// 502, 503 or 504 again and again. All hosts of a priority may go: that is how a
// dead region is left at once, and when all regions are gone Envoy's panic
// threshold brings every host back. (Measured with a region that swallows
// connections: if only half may go, 3840 requests take 20 s, else 2 s.) An application's own 500s eject a host only
// if they are many, and more than its siblings': a fault of the program, which every
// region would show alike, is no reason to leave a region.
func outlierDetection() *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Interval:              durationpb.New(ejectionSweep),
		BaseEjectionTime:      durationpb.New(ejectionTime),
		MaxEjectionTime:       durationpb.New(maxEjectionTime),
		MaxEjectionTimeJitter: durationpb.New(ejectionSweep),
		MaxEjectionPercent:    wrapperspb.UInt32(100),

		SplitExternalLocalOriginErrors:     true,
		ConsecutiveLocalOriginFailure:      wrapperspb.UInt32(failuresInARow),
		ConsecutiveGatewayFailure:          wrapperspb.UInt32(5),
		EnforcingConsecutiveGatewayFailure: wrapperspb.UInt32(100),
		EnforcingConsecutive_5Xx:           wrapperspb.UInt32(0),

		EnforcingSuccessRate:            wrapperspb.UInt32(100),
		EnforcingLocalOriginSuccessRate: wrapperspb.UInt32(100),
	}
}

func circuitBreakers() *clusterv3.CircuitBreakers {
	limit := wrapperspb.UInt32(breakerLimit)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: limit, MaxPendingRequests: limit, MaxRequests: limit,
		RetryBudget: &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent:       &typev3.Percent{Value: retryBudgetPercent},
			MinRetryConcurrency: wrapperspb.UInt32(retryFloor),
		},
	}}}
}

// protocolOptions choose the protocol, and tell a relay, but no pod, which
// service is meant: the value stands in the endpoint's metadata, so each attempt of
// a request carries what its own endpoint needs.
func protocolOptions(v View, protocol string, local bool) *upstreamhttpv3.HttpProtocolOptions {
	o := &upstreamhttpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(upstreamIdle)},
	}
	if v.Identity != "" && !local {
		o.CommonHttpProtocolOptions.MaxConnectionDuration = durationpb.New(relayConnection)
	}
	http := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
	}
	if protocol == http2 {
		http.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2Options(upstreamStreams)}
	}
	o.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: http}
	if !local {
		o.HttpFilters = []*hcmv3.HttpFilter{
			filter("envoy.filters.http.header_mutation", &headermutationv3.HeaderMutation{
				Mutations: &headermutationv3.Mutations{RequestMutations: []*mutationv3.HeaderMutation{
					removeHeader(ServiceHeader),
					setHeader(ServiceHeader, "%UPSTREAM_METADATA("+meridianKey+":"+meridianName+")%"),
				}},
			}),
			filter("envoy.filters.http.upstream_codec", &upstreamcodecv3.UpstreamCodec{}),
		}
	}
	return o
}

// upstreamStreams is how many requests share one HTTP/2 connection.
const upstreamStreams = 1024

// http2 stands for HTTP/2 without TLS; every other protocol is spoken as HTTP/1.1.
const http2 = "h2c"

// protocolOf reads a Service's appProtocol (KEP-3726).
func protocolOf(appProtocol string) (protocol string, known bool) {
	switch appProtocol {
	case "kubernetes.io/h2c", "grpc", "h2c", "http2":
		return http2, true
	case "", "http", "http/1.1", "kubernetes.io/ws", "tcp":
		return "", true
	}
	return "", false
}

func http2Options(streams uint32) *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(streams),
		InitialStreamWindowSize:     wrapperspb.UInt32(64 << 10),
		InitialConnectionWindowSize: wrapperspb.UInt32(1 << 20),
	}
}

// setHeader sets a header, or leaves it out when its value comes out empty.
func setHeader(name, value string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

func removeHeader(name string) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}}
}

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(config)}}
}

// pack wraps a message of this package in an Any with deterministic bytes.
func pack(m proto.Message) *anypb.Any {
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: encode(m)}
}

// ads says that a resource comes over the stream that this one came by.
func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}
