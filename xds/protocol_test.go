package xds

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridian-lb/meridian/xds/resource"
)

// The rules of Envoy's protocol description, one after the other.
func TestSubscriptions(t *testing.T) {
	eds := resource.EndpointType
	for _, c := range []struct {
		name  string
		story func(t *testing.T, s *Server, e *envoy)
	}{
		{"names one after another are answered with just these", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(eds, []string{"a"})
			e.expect("ClusterLoadAssignment +a")
			e.subscribe(eds, []string{"b"})
			e.expect("ClusterLoadAssignment +b")
			e.expectNothing()
		}},
		{"a name that does not exist is said to be absent, and sent when it appears", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"later"})
			e.expect("ClusterLoadAssignment -later")
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "later", 0)}})
			e.expect("ClusterLoadAssignment +later")
			mustPublish(t, s, "v", resource.Delta{Gone: gone(endpoints(t, "later", 0))})
			e.expect("ClusterLoadAssignment -later")
			e.expectNothing()
		}},
		{"only what changed is sent, and only to who subscribes", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"a"})
			e.settle()
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "b", 1)}})
			e.expectNothing()
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0), endpoints(t, "b", 1)}})
			e.expectNothing() // equal bytes are no change
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1)}})
			e.expect("ClusterLoadAssignment +a")
		}},
		{"after it was given up a name is silent, and sent again when asked for again", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"a", "b"})
			e.expect("ClusterLoadAssignment +a +b")
			e.subscribe(eds, nil, "a")
			e.expectNothing()
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1)}})
			e.expectNothing()
			e.subscribe(eds, []string{"a"})
			e.expect("ClusterLoadAssignment +a")
			e.expectNothing()
		}},
		{"a name that is asked for twice is sent twice, for the client may have forgotten it", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(eds, []string{"a"})
			e.settle()
			e.subscribe(eds, []string{"a"})
			e.expect("ClusterLoadAssignment +a")
			e.expectNothing()
		}},
		{"a wildcard covers what comes", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"*"})
			e.expect("ClusterLoadAssignment +a +b")
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "c", 0)}, Gone: gone(endpoints(t, "b", 0))})
			e.expect("ClusterLoadAssignment +c -b")
		}},
		{"a name beside a wildcard is told of when it is given up", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(eds, []string{"*", "a", "none"})
			e.expect("ClusterLoadAssignment +a +b -none")
			e.subscribe(eds, nil, "a", "none")
			e.expect("ClusterLoadAssignment +a -none")
			e.expectNothing()
		}},
		{"without its wildcard a client keeps the names", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"*", "a"})
			e.settle()
			e.subscribe(eds, nil, "*")
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1), endpoints(t, "b", 1)}})
			e.expect("ClusterLoadAssignment +a")
			e.expectNothing()
			e.subscribe(eds, []string{"*"})
			e.expect("ClusterLoadAssignment +b")
			e.expectNothing()
		}},
		{"to name nothing is a wildcard for clusters and listeners, answered even if there are none", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(resource.ClusterType, nil)
			e.expect("Cluster")
			e.subscribe(resource.ListenerType, nil)
			e.expect("Listener")
			e.expectNothing()
		}},
		{"to name nothing is nothing for all other types", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(eds, nil)
			e.subscribe(resource.RouteType, nil)
			e.expectNothing()
		}},
		{"a type that nobody publishes is absent", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe("type.googleapis.com/envoy.service.runtime.v3.Runtime", []string{"rtds"})
			e.expect("Runtime -rtds")
		}},
		{"a client that returns is sent what it lacks", func(t *testing.T, s *Server, e *envoy) {
			e.subscribe(eds, []string{"a", "b"})
			e.settle()
			e.reconnect()
			e.expectNothing()
			_ = e.close()
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 1)}, Gone: gone(endpoints(t, "b", 0))})
			e.ended <- nil
			e.reconnect()
			e.expect("ClusterLoadAssignment +a")
		}},
		{"subscriptions change while a response is in flight", func(_ *testing.T, _ *Server, e *envoy) {
			e.subscribe(eds, []string{"a"})
			e.subscribe(eds, []string{"b"})
			if n := e.waiting(); n != 1 {
				t.Errorf("%d responses are in flight, want one", n)
			}
			e.expect("ClusterLoadAssignment +a")
			e.expect("ClusterLoadAssignment +b")
			e.expectNothing()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, nil)
				mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0), endpoints(t, "b", 0)}})
				e := newEnvoy(t, s, "in-v")
				defer func() { _ = e.close() }()
				c.story(t, s, e)
			})
		})
	}
}

// A view that was not rendered yet is not an empty view: a client that returns
// with resources waits and loses nothing.
func TestUnpublishedViewIsNotEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wanted []string
		s := newServer(t, func(c *Config) { c.Wanted = func(view string) { wanted = append(wanted, view) } })
		e := newEnvoy(t, s, "in-new")
		defer e.close()
		e.kind(resource.ClusterType).resources["a"] = cluster(t, "a", 0).Version
		e.subscribe(resource.ClusterType, nil)
		e.subscribe(resource.EndpointType, []string{"a"})
		second := newEnvoy(t, s, "in-new-2")
		defer second.close()
		second.subscribe(resource.ClusterType, nil)
		e.expectNothing()
		if got := strings.Join(wanted, " "); got != "new" {
			t.Errorf("the renderer was asked for %q, want the new view, once", got)
		}
		mustPublish(t, s, "new", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0)}})
		e.expect("ClusterLoadAssignment +a")
		e.expectNothing()
		second.expect("Cluster +a")
	})
}

// A replica that takes over a client sends nothing, when it holds the same.
func TestAnotherReplicaResendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0), listener(t, "front", 0), route(t, "web", "a")}}
		one, other := newServer(t, nil), newServer(t, nil)
		mustPublish(t, one, "v", all)
		mustPublish(t, other, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 7)}}) // another history
		mustPublish(t, other, "v", all)
		e := newEnvoy(t, one, "in-v")
		defer func() { _ = e.close() }()
		e.subscribe(resource.ClusterType, nil)
		e.subscribe(resource.EndpointType, []string{"a"})
		e.subscribe(resource.ListenerType, nil)
		e.subscribe(resource.RouteType, []string{"web"})
		e.settle()
		first := one.Connected()
		e.s = other
		e.reconnect()
		e.expectNothing()
		second := other.Connected()
		for i, sub := range second[0].Types {
			if !sub.Synced || sub.Version != first[0].Types[i].Version {
				t.Errorf("the replicas disagree about %s: %+v and %+v", shortType(sub.TypeURL), first[0].Types[i], sub)
			}
		}
	})
}

// Large answers are divided, clusters and listeners are not.
func TestLargeResponsesAreDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		large := make([]byte, maxResponse/2-1000)
		var d resource.Delta
		for _, name := range someNames {
			d.Put = append(d.Put, resource.FromBytes(resource.EndpointType, name, large), resource.FromBytes(resource.ListenerType, name, large))
		}
		mustPublish(t, s, "v", d)
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.EndpointType, []string{"*"})
		e.expect("ClusterLoadAssignment +a +b")
		e.expect("ClusterLoadAssignment +c +d")
		e.subscribe(resource.ListenerType, nil)
		e.expect("Listener +a +b +c +d")
		e.expectNothing()
	})
}

// What is asked for is bounded.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		ask  func(e *envoy)
		code codes.Code
		says string
	}{
		{"too many names at once", func(e *envoy) { e.subscribe(resource.EndpointType, names(4)) }, codes.ResourceExhausted, "4 names"},
		{"too many names by and by", func(e *envoy) {
			e.subscribe(resource.EndpointType, names(3))
			e.subscribe(resource.EndpointType, []string{"another"})
		}, codes.ResourceExhausted, "subscribes to 4 names"},
		{"too many types", func(e *envoy) {
			for i := range maxTypes + 1 {
				e.subscribe(fmt.Sprintf("type.googleapis.com/some.Type%d", i), []string{"a"})
			}
		}, codes.ResourceExhausted, "resource types"},
		{"an unknown node", func(e *envoy) {
			e.id = "stranger"
			e.subscribe(resource.ClusterType, nil)
		}, codes.NotFound, `node "stranger" is not served here: no view has this node`},
		{"no node", func(e *envoy) {
			e.id = ""
			e.subscribe(resource.ClusterType, nil)
		}, codes.InvalidArgument, "names no node"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(c *Config) { c.MaxNames = 3 })
				e := newEnvoy(t, s, "in-v")
				c.ask(e)
				err := <-e.ended
				e.stop()
				if status.Code(err) != c.code || !strings.Contains(err.Error(), c.says) {
					t.Errorf("the stream ended with %v, want %v and %q", err, c.code, c.says)
				}
				if n := len(s.Connected()); n != 0 {
					t.Errorf("%d nodes are connected after the stream has ended", n)
				}
			})
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, func(c *Config) { c.MaxStreams = 1 })
		first, second := newEnvoy(t, s, "in-v"), newEnvoy(t, s, "in-v")
		synctest.Wait()
		var err error
		select { // either may have been first
		case err = <-first.ended:
			defer second.close()
		case err = <-second.ended:
			defer first.close()
		}
		defer first.stop()
		defer second.stop()
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the second stream ended with %v", err)
		}
	})
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("n", i)
	}
	return all
}
