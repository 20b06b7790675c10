package render

import (
	"net/netip"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	skipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	healthcheckv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
)

// How patient a listener is with those who connect to it. There is no limit on a
// whole request or answer, which would cut uploads, WebSockets and gRPC streams; the
// idle limit is what ends those who hold a stream without using it.
const (
	connectionIdle = time.Hour
	streamIdle     = 5 * time.Minute
	headersTimeout = 10 * time.Second
	frontStreams   = 100  // per HTTP/2 connection of a client
	relayStreams   = 1024 // per HTTP/2 connection of another region's Envoy
)

// serverName is what Meridian's listeners call themselves.
const serverName = "meridian"

// front renders the listener for clients, with Envoy's advice for edges followed
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge).
func front(v View) *listenerv3.Listener {
	m := manager(FrontName, frontStreams)
	// The peer's address is the client's; nobody's word is taken for another one,
	// and no address may steer Envoy by its x-envoy headers.
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{}
	m.NormalizePath = wrapperspb.Bool(true)
	m.MergeSlashes = true
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	m.StripTrailingHostDot = true
	m.CommonHttpProtocolOptions.HeadersWithUnderscoresAction = corev3.HttpProtocolOptions_REJECT_REQUEST
	m.ServerName = serverName
	m.ServerHeaderTransformation = hcmv3.HttpConnectionManager_OVERWRITE
	m.EarlyHeaderMutationExtensions = early(removeHeader(ServiceHeader), removeHeader(localClusterHeader))
	return listener(FrontName, v.Bind, v.HTTPPort, m)
}

// relay renders the listener for other regions' Envoys. It touches neither host
// nor path, which the front has put in order, and believes the front about the client.
//
// Its routes never change: whatever service is asked for, the cluster is the
// local one of that name, and a name that has none is answered as unserved.
func relay(v View) *listenerv3.Listener {
	m := manager(RelayName, relayStreams)
	m.UseRemoteAddress = wrapperspb.Bool(false)
	m.SkipXffAppend = true
	m.InternalAddressConfig = &hcmv3.HttpConnectionManager_InternalAddressConfig{}
	m.NormalizePath = wrapperspb.Bool(false)
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	m.PreserveExternalRequestId = true
	m.ServerHeaderTransformation = hcmv3.HttpConnectionManager_PASS_THROUGH
	m.EarlyHeaderMutationExtensions = early(setHeader(localClusterHeader, localPrefix+"%REQ("+ServiceHeader+")%"))
	m.LocalReplyConfig = unservedReplies()
	l := listener(RelayName, v.Bind, v.RelayPort, m)
	if v.Identity != "" {
		l.FilterChains[0].TransportSocket = relayServer(v)
	}
	return l
}

// unservedReplies mark the answers that Envoy makes itself when no pod has seen
// the request: no cluster, no healthy host, no connection, a circuit breaker, overload.
func unservedReplies() *hcmv3.LocalReplyConfig {
	mark := &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: UnservedHeader, Value: "%RESPONSE_FLAGS%"},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
	when := func(flags ...string) *accesslogv3.AccessLogFilter {
		return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: flags},
		}}
	}
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		{
			Filter:       when("NC"),
			HeadersToAdd: []*corev3.HeaderValueOption{mark},
			Body:         inline("this region does not have the service that was asked for\n"),
		},
		{Filter: when("UH", "UF", "UO", "OM"), HeadersToAdd: []*corev3.HeaderValueOption{mark}},
	}}
}

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
}

// manager is what both listeners have in common.
func manager(name string, streams uint32) *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		CodecType:  hcmv3.HttpConnectionManager_AUTO,
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			ConfigSource: ads(), RouteConfigName: name,
		}},
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(connectionIdle)},
		Http2ProtocolOptions:      http2Options(streams),
		StreamIdleTimeout:         durationpb.New(streamIdle),
		RequestHeadersTimeout:     durationpb.New(headersTimeout),
		UpgradeConfigs:            []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		HttpFilters: []*hcmv3.HttpFilter{
			filter("envoy.filters.http.health_check", healthCheck()),
			filter("meridian.idempotent", idempotent()),
			filter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true}),
		},
	}
}

// healthCheck answers for the gateway itself, on any host.
func healthCheck() *healthcheckv3.HealthCheck {
	return &healthcheckv3.HealthCheck{
		PassThroughMode: wrapperspb.Bool(false),
		Headers: []*routev3.HeaderMatcher{{
			Name: ":path",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &envoymatcherv3.StringMatcher{
				MatchPattern: &envoymatcherv3.StringMatcher_Exact{Exact: fleet.GatewayHealthPath},
			}},
		}},
	}
}

// The causes for which a request is tried again.
const (
	// retryAlways: no pod has begun on the request, so any method may be repeated.
	retryAlways = "connect-failure,refused-stream,reset-before-request,retriable-headers"
	// retryIdempotent adds connections that were lost before an answer began.
	retryIdempotent = "reset"
	// idempotentMethods are those of RFC 9110 §9.2.2.
	idempotentMethods = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE"
)

// idempotent widens the routes' retry policy for requests that may be repeated
// even when a pod may have begun on them. A policy of its own for these would
// double every route table.
func idempotent() *matchingv3.ExtensionWithMatcher {
	method := &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: &xdscorev3.TypedExtensionConfig{
				Name: "method", TypedConfig: pack(&envoymatcherv3.HttpRequestHeaderMatchInput{HeaderName: ":method"}),
			},
			Matcher: &matcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{
					EngineType: &matcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &matcherv3.RegexMatcher_GoogleRE2{}},
					Regex:      idempotentMethods,
				}},
			}},
		},
	}}
	return &matchingv3.ExtensionWithMatcher{
		XdsMatcher: &matcherv3.Matcher{MatcherType: &matcherv3.Matcher_MatcherList_{MatcherList: &matcherv3.Matcher_MatcherList{
			Matchers: []*matcherv3.Matcher_MatcherList_FieldMatcher{{
				Predicate: &matcherv3.Matcher_MatcherList_Predicate{MatchType: &matcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: method}},
				OnMatch: &matcherv3.Matcher_OnMatch{OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
					Name: "skip", TypedConfig: pack(&skipv3.SkipFilter{}),
				}}},
			}},
		}}},
		ExtensionConfig: &corev3.TypedExtensionConfig{
			Name: "envoy.filters.http.header_mutation",
			TypedConfig: pack(&headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
				RequestMutations: []*mutationv3.HeaderMutation{setHeader("x-envoy-retry-on", retryIdempotent)},
			}}),
		},
	}
}

func early(mutations ...*mutationv3.HeaderMutation) []*corev3.TypedExtensionConfig {
	return []*corev3.TypedExtensionConfig{{
		Name:        "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: pack(&earlyv3.HeaderMutation{Mutations: mutations}),
	}}
}

func listener(name string, bind netip.Addr, port uint16, m *hcmv3.HttpConnectionManager) *listenerv3.Listener {
	address := socketAddress(netip.AddrPortFrom(bind, port))
	if bind == netip.IPv6Unspecified() {
		address.GetSocketAddress().Ipv4Compat = true
	}
	return &listenerv3.Listener{
		Name:                          name,
		StatPrefix:                    name,
		Address:                       address,
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimitBytes),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)},
		}}}},
	}
}
