package bootstrap

import (
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// How an Envoy keeps in touch with its control plane.
const (
	xdsConnectTimeout = 2 * time.Second
	xdsPing           = 10 * time.Second // a silent control plane is left after ping and timeout
	xdsPingTimeout    = 5 * time.Second
	xdsDNSRefresh     = 5 * time.Second
)

func grpcStream(t corev3.ApiConfigSource_ApiType) *corev3.ApiConfigSource {
	return &corev3.ApiConfigSource{
		ApiType:             t,
		TransportApiVersion: corev3.ApiVersion_V3,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: xdsCluster},
		}}},
	}
}

// deltaStream is the stream of all resources, of which only changes are sent.
func deltaStream() *corev3.ApiConfigSource {
	s := grpcStream(corev3.ApiConfigSource_DELTA_GRPC)
	s.SetNodeOnFirstMessageOnly = true
	return s
}

// loadStream is the stream of load reports.
func loadStream() *corev3.ApiConfigSource { return grpcStream(corev3.ApiConfigSource_GRPC) }

func overADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// controlPlane is the cluster of xDS addresses. Each place in the order of
// preference is a priority of its own.
func controlPlane(c Config) []*clusterv3.Cluster {
	discovery := clusterv3.Cluster_STATIC
	assignment := &endpointv3.ClusterLoadAssignment{ClusterName: xdsCluster}
	for i, x := range c.XDS {
		if _, err := netip.ParseAddr(x.Host); err != nil {
			discovery = clusterv3.Cluster_STRICT_DNS
		}
		assignment.Endpoints = append(assignment.Endpoints, &endpointv3.LocalityLbEndpoints{
			Priority: uint32(i),
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: socketAddress(x.Host, x.Port)},
			}}},
		})
	}
	cluster := &clusterv3.Cluster{
		Name:                 xdsCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: discovery},
		ConnectTimeout:       durationpb.New(xdsConnectTimeout),
		LoadAssignment:       assignment,
		// A replica that cannot be reached is left for the next one at once.
		OutlierDetection: &clusterv3.OutlierDetection{
			SplitExternalLocalOriginErrors: true,
			ConsecutiveLocalOriginFailure:  wrapperspb.UInt32(1),
			Interval:                       durationpb.New(time.Second),
			BaseEjectionTime:               durationpb.New(5 * time.Second),
			MaxEjectionTime:                durationpb.New(30 * time.Second),
			MaxEjectionPercent:             wrapperspb.UInt32(100),
		},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes: wrapperspb.UInt32(3), KeepaliveTime: wrapperspb.UInt32(10), KeepaliveInterval: wrapperspb.UInt32(5),
		}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&upstreamhttpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: &corev3.KeepaliveSettings{
								Interval: durationpb.New(xdsPing), Timeout: durationpb.New(xdsPingTimeout),
							}},
						},
					},
				},
			}),
		},
	}
	if c.Identity != "" {
		cluster.TransportSocket = toControlPlane(c)
	}
	if discovery == clusterv3.Cluster_STRICT_DNS {
		cluster.DnsRefreshRate = durationpb.New(xdsDNSRefresh) //nolint:staticcheck // deprecated, and taken by every Envoy that we support
		cluster.RespectDnsTtl = true                           //nolint:staticcheck // as above
	}
	return []*clusterv3.Cluster{cluster}
}

// overload sheds load before memory or file descriptors run out.
func overload(c Config) *overloadv3.OverloadManager {
	const heap, connections = "envoy.resource_monitors.fixed_heap", "envoy.resource_monitors.global_downstream_max_connections"
	at := func(action string, share float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{
			Name: "envoy.overload_actions." + action,
			Triggers: []*overloadv3.Trigger{{
				Name:         heap,
				TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: share}},
			}},
		}
	}
	return &overloadv3.OverloadManager{
		RefreshInterval: durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			{Name: heap, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: c.MaxHeapBytes})}},
			{Name: connections, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: c.MaxConnections})}},
		},
		Actions: []*overloadv3.OverloadAction{
			at("shrink_heap", 0.90),
			at("disable_http_keepalive", 0.92),
			at("stop_accepting_requests", 0.95),
			at("stop_accepting_connections", 0.98),
		},
	}
}

func runtime() *bootstrapv3.LayeredRuntime {
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
		{Name: "static", LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{}}},
		{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
	}}
}

// stats keeps about a dozen series per cluster instead of some hundred: the
// number of services must not decide how much memory metrics take.
func stats() *metricsv3.StatsConfig {
	var patterns []*matcherv3.StringMatcher
	for _, p := range []string{"server.", "overload.", "control_plane.", "cluster_manager.", "listener_manager.", "runtime.", "cluster." + xdsCluster + "."} {
		patterns = append(patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, s := range []string{
		".update_rejected", ".update_success", ".membership_total", ".membership_healthy",
		".upstream_cx_active", ".upstream_cx_connect_fail", ".upstream_cx_connect_timeout",
		".upstream_rq_active", ".upstream_rq_total", ".upstream_rq_2xx", ".upstream_rq_4xx", ".upstream_rq_5xx", ".upstream_rq_time",
		".upstream_rq_retry", ".upstream_rq_retry_success", ".upstream_rq_retry_overflow", ".upstream_rq_retry_limit_exceeded",
		".key_rotation_failed",
		".lb_healthy_panic", ".ejections_active", ".ejections_enforced_total",
		".downstream_cx_active", ".downstream_cx_total", ".downstream_cx_overload_disable_keepalive",
		".downstream_rq_active", ".downstream_rq_total", ".downstream_rq_2xx", ".downstream_rq_3xx", ".downstream_rq_4xx", ".downstream_rq_5xx", ".downstream_rq_time",
		".no_route", ".no_cluster",
	} {
		patterns = append(patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: s}})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
		InclusionList: &matcherv3.ListStringMatcher{Patterns: patterns},
	}}}
}

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// pack wraps a message of this package, all of whose strings are constants, in an Any.
func pack(m proto.Message) *anypb.Any {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		b = nil
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}
}

// source binds upstream connections to an address; nil leaves it to the routing table.
func source(a netip.Addr) *corev3.BindConfig {
	if !a.IsValid() {
		return nil
	}
	return &corev3.BindConfig{SourceAddress: &corev3.SocketAddress{
		Address: a.String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
	}}
}
