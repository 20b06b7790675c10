package render

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meridian-lb/meridian/fleet"
)

// Reasons of problems that rendering finds.
const (
	ReasonNoBackend   = "BackendNotFound"     // a route's service or port does not exist
	ReasonHostInvalid = "HostNotServed"       // Envoy cannot be told such a host
	ReasonPathInvalid = "PathNotServed"       // Envoy cannot be told such a path
	ReasonProtocol    = "UnsupportedProtocol" // an appProtocol that is spoken as HTTP/1.1 without TLS
	ReasonName        = "NameNotServed"       // a service's name fits in no cluster's name
	ReasonStanding    = "WrongNetwork"        // an Envoy that reaches none of its own region's endpoints
	ReasonEncoding    = "NotEncoded"          // a resource could not be encoded; the last one stays
)

// What a client reads when Meridian has to answer itself. It names nothing that
// is not public; the problem does.
const (
	bodyNoHost    = "no route serves this host\n"
	bodyNoPath    = "no route serves this path\n"
	bodyNoBackend = "the service behind this route does not exist\n"
	bodyNoWeight  = "all services behind this route have weight 0\n"
	bodyNoService = "the request names no service\n"
)

// The retries of a request: twice in a priority, then twice in those after it.
const (
	frontRetries     = 5
	relayRetries     = 2
	triesPerPriority = 2
	hostAttempts     = 5 // to find a host that was not tried yet
	retryBackOff     = 5 * time.Millisecond
	maxRetryBackOff  = 50 * time.Millisecond
)

// router renders the front's routes.
type router struct {
	table    map[fleet.ServiceName]ports
	problems []fleet.Problem
}

// frontRoutes renders the table of hosts. It is a function of the routes and of
// which ports services have, never of endpoints.
func frontRoutes(routes *fleet.Routes, table map[fleet.ServiceName]ports) (*routev3.RouteConfiguration, []fleet.Problem) {
	r := &router{table: table}
	var byDefault []*routev3.Route
	for _, h := range routes.Hosts {
		if h.Name == "" {
			byDefault = r.routes(h, nil)
		}
	}
	c := &routev3.RouteConfiguration{
		Name:                     FrontName,
		IgnorePortInHostMatching: true,
		ResponseHeadersToRemove:  []string{UnservedHeader},
	}
	seen := map[string]bool{}
	for _, h := range routes.Hosts {
		if h.Name == "" {
			continue
		}
		if !hostPattern.MatchString(h.Name) || len(h.Name) > maxHost || seen[h.Name] {
			r.hostInvalid(h)
			continue
		}
		seen[h.Name] = true
		c.VirtualHosts = append(c.VirtualHosts, r.virtualHost(h, byDefault))
	}
	slices.SortFunc(c.VirtualHosts, func(a, b *routev3.VirtualHost) int { return strings.Compare(a.Name, b.Name) })
	c.VirtualHosts = append(c.VirtualHosts, &routev3.VirtualHost{
		Name: "default", Domains: []string{"*"}, RetryPolicy: frontRetry(),
		Routes: closed(byDefault, nil, bodyOf(byDefault)),
	})
	slices.SortFunc(r.problems, fleet.Problem.Compare)
	return c, slices.Compact(r.problems)
}

func bodyOf(byDefault []*routev3.Route) string {
	if len(byDefault) == 0 {
		return bodyNoHost
	}
	return bodyNoPath
}

const maxHost = 253 // bytes in a host name, RFC 1035 §2.3.4

var hostPattern = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)

func (r *router) hostInvalid(h fleet.Host) {
	for _, route := range h.Routes {
		r.problems = append(r.problems, fleet.Problem{
			About: route.Origin, Reason: ReasonHostInvalid,
			Message: fmt.Sprintf("host %.80q is not a lower-case DNS name, with at most one \"*.\" before it; correct it", h.Name),
		})
	}
}

// virtualHost renders one host. A wildcard takes one label more and no other
// host: Envoy's own takes any number, so each of its routes looks at the host again, and
// hosts with more labels get what they would have got without the wildcard.
func (r *router) virtualHost(h fleet.Host, byDefault []*routev3.Route) *routev3.VirtualHost {
	vh := &routev3.VirtualHost{Name: h.Name, Domains: []string{h.Name}, RetryPolicy: frontRetry()}
	parent, wildcard := strings.CutPrefix(h.Name, "*.")
	if !wildcard {
		vh.Routes = closed(r.routes(h, nil), nil, bodyNoPath)
		return vh
	}
	guard := &routev3.HeaderMatcher{
		Name: ":authority",
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &envoymatcherv3.StringMatcher{
			MatchPattern: &envoymatcherv3.StringMatcher_SafeRegex{SafeRegex: &envoymatcherv3.RegexMatcher{
				Regex: `(?i)[^.:]+\.` + regexp.QuoteMeta(parent) + `(:[0-9]+)?`,
			}},
		}},
	}
	vh.Routes = closed(r.routes(h, guard), guard, bodyNoPath)
	vh.Routes = append(vh.Routes, closed(byDefault, nil, bodyOf(byDefault))...)
	return vh
}

// closed ends a list of routes with a clear answer for what none of them takes.
func closed(list []*routev3.Route, guard *routev3.HeaderMatcher, body string) []*routev3.Route {
	return append(slices.Clip(list), &routev3.Route{
		Match:  match(fleet.Match{Type: fleet.PathPrefix, Path: "/"}, guard),
		Action: answer(404, body),
	})
}

func (r *router) routes(h fleet.Host, guard *routev3.HeaderMatcher) []*routev3.Route {
	sorted := slices.Clone(h.Routes)
	slices.SortStableFunc(sorted, func(a, b fleet.Route) int { return a.Match.Compare(b.Match) })
	var list []*routev3.Route
	for _, route := range sorted {
		if !pathPattern.MatchString(route.Match.Path) || len(route.Match.Path) > maxPath ||
			route.Match.Type == fleet.PathPrefix && route.Match.Path != "/" && strings.HasSuffix(route.Match.Path, "/") {
			r.problems = append(r.problems, fleet.Problem{
				About: route.Origin, Reason: ReasonPathInvalid,
				Message: fmt.Sprintf("path %.80q of host %q is not a plain absolute path of at most %d bytes; correct it", route.Match.Path, h.Name, maxPath),
			})
			continue
		}
		m := &routev3.Route{Match: match(route.Match, guard)}
		r.act(m, route)
		list = append(list, m)
	}
	return list
}

const maxPath = 4096

// pathPattern is what Envoy can be told: no query, no fragment, no control characters.
var pathPattern = regexp.MustCompile(`^/[^?#\x00-\x20\x7f]*$`)

func match(m fleet.Match, guard *routev3.HeaderMatcher) *routev3.RouteMatch {
	rm := &routev3.RouteMatch{}
	switch {
	case m.Type == fleet.PathExact:
		rm.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case m.Path == "/":
		rm.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		rm.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path}
	}
	if guard != nil {
		rm.Headers = []*routev3.HeaderMatcher{guard}
	}
	return rm
}

func answer(status uint32, body string) *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status, Body: inline(body)}}
}

// act sends a route to its targets. The part of a target that does not exist is
// answered 503, so that its siblings are not given more than they were meant to be.
func (r *router) act(m *routev3.Route, route fleet.Route) {
	weights := map[string]uint64{}
	var names []string
	exists := false
	for _, t := range route.To {
		name, ok := r.target(t)
		if !ok {
			r.problems = append(r.problems, noBackend(route, t))
		}
		if t.Weight == 0 {
			continue
		}
		exists = exists || ok
		if weights[name] == 0 {
			names = append(names, name)
		}
		weights[name] += uint64(t.Weight)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		m.Action = answer(503, bodyNoWeight)
	case !exists:
		m.Action = answer(503, bodyNoBackend)
	case len(names) == 1:
		m.Action = forward(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: names[0]}})
	default:
		m.Action = forward(&routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted(names, weights)}})
	}
}

// missing is the cluster of targets that do not exist, and does not exist either.
const missing = "missing"

func (r *router) target(t fleet.Target) (cluster string, ok bool) {
	p, ok := r.table[t.Service]
	if !ok {
		return missing, false
	}
	n, ok := p.find(t.Port)
	if !ok {
		return missing, false
	}
	return ClusterName(t.Service, n), true
}

func noBackend(route fleet.Route, t fleet.Target) fleet.Problem {
	p := "its only port"
	switch {
	case t.Port.Number != 0:
		p = fmt.Sprintf("port %d", t.Port.Number)
	case t.Port.Name != "":
		p = fmt.Sprintf("port %q", t.Port.Name)
	}
	return fleet.Problem{
		About: route.Origin, Reason: ReasonNoBackend,
		Message: fmt.Sprintf("no cluster has service %s with %s; create it, export it or correct the route", t.Service, p),
	}
}

// weighted divides by weight; Envoy adds the weights up in 32 bits.
func weighted(names []string, weights map[string]uint64) *routev3.WeightedCluster {
	var sum uint64
	for _, n := range names {
		sum += weights[n]
	}
	w := &routev3.WeightedCluster{}
	for _, n := range names {
		v := weights[n]
		if sum > math.MaxUint32/2 {
			v = max(1, uint64(float64(v)/float64(sum)*(math.MaxUint32/2)))
		}
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: n, Weight: wrapperspb.UInt32(uint32(v))})
	}
	return w
}

// forward sends a request on without a limit on the whole answer, which may be a
// stream; the listener's idle limit holds.
func forward(a *routev3.RouteAction) *routev3.Route_Route {
	a.Timeout = durationpb.New(0)
	return &routev3.Route_Route{Route: a}
}

// relayRoutes renders the relay's one route, which is the same everywhere.
func relayRoutes() *routev3.RouteConfiguration {
	every := fleet.Match{Type: fleet.PathPrefix, Path: "/"}
	named := &routev3.HeaderMatcher{Name: ServiceHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	return &routev3.RouteConfiguration{
		Name:                    RelayName,
		RequestHeadersToRemove:  []string{ServiceHeader, localClusterHeader},
		ResponseHeadersToRemove: []string{UnservedHeader},
		VirtualHosts: []*routev3.VirtualHost{{
			Name: "local", Domains: []string{"*"}, RetryPolicy: retry(relayRetries),
			Routes: []*routev3.Route{
				{Match: match(every, named), Action: forward(&routev3.RouteAction{
					ClusterSpecifier:            &routev3.RouteAction_ClusterHeader{ClusterHeader: localClusterHeader},
					ClusterNotFoundResponseCode: routev3.RouteAction_SERVICE_UNAVAILABLE,
				})},
				{Match: match(every, nil), Action: answer(404, bodyNoService)},
			},
		}},
	}
}

// frontRetry leaves a priority after two tries, whatever Envoy thinks of its health.
func frontRetry() *routev3.RetryPolicy {
	p := retry(frontRetries)
	p.RetryPriority = &routev3.RetryPolicy_RetryPriority{
		Name: "envoy.retry_priorities.previous_priorities",
		ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
			TypedConfig: pack(&previousprioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: triesPerPriority}),
		},
	}
	return p
}

// retry repeats what no pod has begun on. An answer of the application is never
// repeated, not even a 503: it is the application's to give.
func retry(times uint32) *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:    retryAlways,
		NumRetries: wrapperspb.UInt32(times),
		RetriableHeaders: []*routev3.HeaderMatcher{{
			Name: UnservedHeader, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name: "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{
				TypedConfig: pack(&previoushostsv3.PreviousHostsPredicate{}),
			},
		}},
		HostSelectionRetryMaxAttempts: hostAttempts,
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(retryBackOff), MaxInterval: durationpb.New(maxRetryBackOff),
		},
	}
}
