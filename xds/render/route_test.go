package render

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// envoyRoute finds the route of a request the way Envoy does: the host's exact
// entry, else the wildcard of the longest suffix, else "*"; in it the first that matches.
func envoyRoute(c *routev3.RouteConfiguration, authority, path string) *routev3.Route {
	host, _, _ := strings.Cut(strings.ToLower(authority), ":")
	var best *routev3.VirtualHost
	length := -1
	for _, vh := range c.VirtualHosts {
		for _, d := range vh.Domains {
			suffix, wildcard := strings.CutPrefix(d, "*")
			switch {
			case d == host:
				best, length = vh, 1<<10
			case wildcard && strings.HasSuffix(host, suffix) && len(host) > len(suffix) && len(suffix) > length:
				best, length = vh, len(suffix)
			}
		}
	}
	for _, r := range best.GetRoutes() {
		if envoyMatches(r.Match, authority, path) {
			return r
		}
	}
	return nil
}

func envoyMatches(m *routev3.RouteMatch, authority, path string) bool {
	for _, h := range m.Headers {
		if !regexp.MustCompile("^(?:" + h.GetStringMatch().GetSafeRegex().Regex + ")$").MatchString(authority) {
			return false
		}
	}
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Path:
		return path == p.Path
	case *routev3.RouteMatch_Prefix:
		return strings.HasPrefix(path, p.Prefix)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		rest, ok := strings.CutPrefix(path, p.PathSeparatedPrefix)
		return ok && (rest == "" || rest[0] == '/')
	}
	return false
}

// Every request goes where the model says it goes: gateways and DNS agree.
func TestRoutesAgreeWithTheModel(t *testing.T) {
	table := map[fleet.ServiceName]ports{}
	for _, n := range pool {
		table[n] = portsOf(serviceOf(n, fleet.DefaultPolicy(), fleet.BackendView{Backend: &fleet.Backend{
			Cluster: "c", Service: n, Ports: []fleet.Port{{Number: 80}, {Number: 443, Name: "p443"}},
		}}))
	}
	rapid.Check(t, func(t *rapid.T) {
		routes := drawRoutes(t)
		for i, h := range routes.Hosts { // as the hub sorts them
			slices.SortStableFunc(routes.Hosts[i].Routes, func(a, b fleet.Route) int { return a.Match.Compare(b.Match) })
			if h.Name == "bad host" || h.Name == "b.example:80" {
				routes.Hosts[i].Routes = nil
			}
			routes.Hosts[i].Routes = slices.DeleteFunc(routes.Hosts[i].Routes, func(r fleet.Route) bool { return strings.Contains(r.Match.Path, "?") })
		}
		routes.Hosts = slices.DeleteFunc(routes.Hosts, func(h fleet.Host) bool { return h.Name == "bad host" || h.Name == "b.example:80" })
		slices.SortFunc(routes.Hosts, func(a, b fleet.Host) int { return strings.Compare(a.Name, b.Name) })
		c, _ := frontRoutes(routes, table)
		for _, authority := range []string{"b.example", "a.b.example", "x.b.example", "x.y.b.example", "x.example", "example", "x.y.example", "A.B.Example:8080", "other", "10.0.0.1:80"} {
			for _, path := range []string{"/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/a/b/c"} {
				host, _, _ := strings.Cut(authority, ":")
				var want *fleet.Route
				if h, ok := routes.Host(host); ok {
					if r, ok := h.Route(path); ok {
						want = &r
					}
				}
				got := envoyRoute(c, authority, path)
				if got == nil {
					t.Fatalf("%s%s finds no route at all", authority, path)
				}
				checkAction(t, table, authority+path, want, got)
			}
		}
	})
}

// checkAction compares where a request goes with where it should.
func checkAction(t *rapid.T, table map[fleet.ServiceName]ports, what string, want *fleet.Route, got *routev3.Route) {
	if want == nil {
		if got.GetDirectResponse().GetStatus() != 404 {
			t.Fatalf("%s has no route but gets %v", what, got)
		}
		return
	}
	expected := map[string]bool{}
	exists := false
	for _, to := range want.To {
		if to.Weight == 0 {
			continue
		}
		name := missing
		if n, ok := table[to.Service].find(to.Port); ok {
			name, exists = ClusterName(to.Service, n), true
		}
		expected[name] = true
	}
	if !exists {
		if got.GetDirectResponse().GetStatus() != 503 {
			t.Fatalf("%s has no service but gets %v", what, got)
		}
		return
	}
	actual := map[string]bool{}
	if n := got.GetRoute().GetCluster(); n != "" {
		actual[n] = true
	}
	sum := uint64(0)
	for _, w := range got.GetRoute().GetWeightedClusters().GetClusters() {
		actual[w.Name] = true
		sum += uint64(w.Weight.Value)
	}
	if len(actual) != len(expected) || sum >= 1<<32 {
		t.Fatalf("%s goes to %v with %d parts, want %v", what, actual, sum, expected)
	}
	for n := range expected {
		if !actual[n] {
			t.Fatalf("%s goes to %v, want %v", what, actual, expected)
		}
	}
}

// A fault in one object is told to its author and stops nobody else.
func TestRouteProblems(t *testing.T) {
	table := map[fleet.ServiceName]ports{web: {numbers: []uint16{80}, names: map[string]uint16{"http": 80}, protocols: map[uint16]string{80: ""}}}
	target := func(name string, port fleet.PortRef, weight uint32) fleet.Target {
		return fleet.Target{Service: fleet.ServiceName{Namespace: "shop", Name: name}, Port: port, Weight: weight}
	}
	good := target("web", fleet.PortRef{Name: "http"}, 1)
	long := "/" + strings.Repeat("x", maxPath)
	for _, c := range []struct {
		name   string
		host   string
		path   string
		to     []fleet.Target
		reason string // empty: none
		status uint32 // of the direct answer; 0: it is routed
	}{
		{"by name", "a.example", "/", []fleet.Target{good}, "", 0},
		{"by number", "a.example", "/", []fleet.Target{target("web", fleet.PortRef{Number: 80}, 1)}, "", 0},
		{"its only port", "a.example", "/", []fleet.Target{target("web", fleet.PortRef{}, 1)}, "", 0},
		{"no such service", "a.example", "/", []fleet.Target{target("wep", fleet.PortRef{Number: 80}, 1)}, ReasonNoBackend, 503},
		{"no such number", "a.example", "/", []fleet.Target{target("web", fleet.PortRef{Number: 81}, 1)}, ReasonNoBackend, 503},
		{"no such name", "a.example", "/", []fleet.Target{target("web", fleet.PortRef{Name: "htp"}, 1)}, ReasonNoBackend, 503},
		{"half exists", "a.example", "/", []fleet.Target{good, target("wep", fleet.PortRef{Number: 80}, 1)}, ReasonNoBackend, 0},
		{"all weights are 0", "a.example", "/", []fleet.Target{target("web", fleet.PortRef{}, 0)}, "", 503},
		{"host with a port", "a.example:80", "/", []fleet.Target{good}, ReasonHostInvalid, 404},
		{"two stars", "*.*.example", "/", []fleet.Target{good}, ReasonHostInvalid, 404},
		{"not UTF-8", "a\xff.example", "/", []fleet.Target{good}, ReasonHostInvalid, 404},
		{"endless host", strings.Repeat("a.", 130) + "example", "/", []fleet.Target{good}, ReasonHostInvalid, 404},
		{"path with a query", "a.example", "/a?b", []fleet.Target{good}, ReasonPathInvalid, 404},
		{"relative path", "a.example", "a", []fleet.Target{good}, ReasonPathInvalid, 404},
		{"prefix with a slash at its end", "a.example", "/a/", []fleet.Target{good}, ReasonPathInvalid, 404},
		{"endless path", "a.example", long, []fleet.Target{good}, ReasonPathInvalid, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin := fleet.Origin{Kind: "Ingress", Namespace: "shop", Name: c.name}
			m, problems := frontRoutes(&fleet.Routes{Hosts: []fleet.Host{
				{Name: c.host, Routes: []fleet.Route{{Host: c.host, Match: fleet.Match{Path: c.path}, To: c.to, Origin: origin}}},
				{Name: "neighbour.example", Routes: []fleet.Route{{Match: fleet.Match{Path: "/"}, To: []fleet.Target{good}}}},
			}}, table)
			validate(t, c.name, m)
			if _, err := proto.Marshal(m); err != nil {
				t.Fatal(err)
			}
			if got := envoyRoute(m, "neighbour.example", "/").GetRoute().GetCluster(); got != "shop/web/80" {
				t.Errorf("the neighbour goes to %q", got)
			}
			switch {
			case c.reason == "" && len(problems) > 0:
				t.Errorf("unexpected %v", problems)
			case c.reason != "" && (len(problems) != 1 || problems[0].Reason != c.reason || problems[0].About != origin || problems[0].Message == ""):
				t.Errorf("got %v, want one %s about %v", problems, c.reason, origin)
			}
			if got := envoyRoute(m, c.host, "/"+strings.TrimPrefix(c.path, "/")).GetDirectResponse().GetStatus(); got != c.status {
				t.Errorf("the request is answered %d, want %d", got, c.status)
			}
		})
	}
}
