package xds

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridian-lb/meridian/xds/resource"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// A route moves from cluster a to cluster b in one publish. The client must have b
// with its endpoints before the route uses it, and keep a until it no longer does.
func TestSwapIsMadeBeforeItIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{
			cluster(t, "a", 0), endpoints(t, "a", 0), route(t, "web", "a"), listener(t, "front", 0)}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.settle()
		e.subscribe(resource.EndpointType, []string{"a"})
		e.settle()
		e.subscribe(resource.ListenerType, nil)
		e.settle()
		e.subscribe(resource.RouteType, []string{"web"})
		e.settle()

		mustPublish(t, s, "v", resource.Delta{
			Put:  []resource.Resource{cluster(t, "b", 0), endpoints(t, "b", 0), route(t, "web", "b")},
			Gone: gone(cluster(t, "a", 0), endpoints(t, "a", 0)),
		})
		e.expect("Cluster +b")
		e.expectNothing() // the client has not asked for b's endpoints yet
		e.subscribe(resource.EndpointType, []string{"b"})
		e.expect("ClusterLoadAssignment +b")
		e.expect("RouteConfiguration +web")
		e.expect("Cluster -a")
		e.expect("ClusterLoadAssignment -a")
		e.expectNothing()
	})
}

// A client that never asks for the endpoints of a new cluster is served all the
// same, when patience has run out.
func TestNobodyWaitsForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0), route(t, "web", "a")}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.subscribe(resource.EndpointType, []string{"a"})
		e.subscribe(resource.RouteType, []string{"web"})
		e.settle()
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "b", 0), endpoints(t, "b", 0), route(t, "web", "b")}})
		e.expect("Cluster +b")
		e.expectNothing()
		time.Sleep(patience - time.Millisecond)
		e.expectNothing()
		time.Sleep(2 * time.Millisecond)
		e.expect("RouteConfiguration +web")
	})
}

// Types that a client does not subscribe to hold nothing up.
func TestUnsubscribedTypesDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0), route(t, "web", "a")}})
		onlyRoutes, noEndpoints, onlyClusters := newEnvoy(t, s, "in-v-1"), newEnvoy(t, s, "in-v-2"), newEnvoy(t, s, "in-v-3")
		defer onlyRoutes.close()
		defer noEndpoints.close()
		defer onlyClusters.close()
		onlyRoutes.subscribe(resource.RouteType, []string{"*"})
		noEndpoints.subscribe(resource.ClusterType, nil)
		noEndpoints.subscribe(resource.RouteType, []string{"*"})
		onlyClusters.subscribe(resource.ClusterType, []string{"*"})
		for _, e := range []*envoy{onlyRoutes, noEndpoints, onlyClusters} {
			e.settle()
		}
		mustPublish(t, s, "v", resource.Delta{
			Put:  []resource.Resource{cluster(t, "b", 0), endpoints(t, "b", 0), route(t, "web", "b")},
			Gone: gone(cluster(t, "a", 0), endpoints(t, "a", 0)),
		})
		onlyRoutes.expect("RouteConfiguration +web")
		noEndpoints.expect("Cluster +b")
		noEndpoints.expect("RouteConfiguration +web")
		noEndpoints.expect("Cluster -a")
		onlyClusters.expect("Cluster +b -a")
	})
}

// An unrelated cluster that is on its way, or endpoints that change all the time,
// do not hold a route back.
func TestUnrelatedChangesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0), route(t, "web", "a")}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.subscribe(resource.EndpointType, []string{"a"})
		e.subscribe(resource.RouteType, []string{"*"})
		e.settle()
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "other", 0), endpoints(t, "a", 1), route(t, "web", "a", "a")}})
		if n := e.waiting(); n != 3 {
			t.Fatalf("%d responses are in flight, want one each of clusters, endpoints and routes", n)
		}
		e.settle()
	})
}

// While nothing was answered, a burst of changes is one response.
func TestBurstsCoalesce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", 0)}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.EndpointType, []string{"a"})
		e.settle()
		for i := range 5 * minLog { // more than the log holds
			mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{endpoints(t, "a", i+1)}})
		}
		e.expect("ClusterLoadAssignment +a")
		e.expect("ClusterLoadAssignment +a")
		e.expectNothing()
		if got, want := e.kind(resource.EndpointType).resources["a"], endpoints(t, "a", 5*minLog).Version; got != want {
			t.Errorf("the client ended with version %s, want the last, %s", got, want)
		}
	})
}

// A cluster that changes is built anew by Envoy and waits for its endpoints,
// which are therefore sent again after it.
func TestChangedClusterIsWarmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0)}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.settle()
		e.subscribe(resource.EndpointType, []string{"a"})
		e.settle()
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 1)}})
		e.expect("Cluster +a")
		e.expect("ClusterLoadAssignment +a")
		e.expectNothing()
	})
}

// A client comes back while a route has moved to another cluster. It says its
// clusters first; the old one must not go before it has told of its routes.
func TestReturningClientKeepsWhatItsRoutesUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), endpoints(t, "a", 0), listener(t, "front", 0), route(t, "web", "a")}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.settle()
		e.subscribe(resource.EndpointType, []string{"a"})
		e.subscribe(resource.ListenerType, nil)
		e.subscribe(resource.RouteType, []string{"web"})
		e.settle()
		_ = e.close()
		mustPublish(t, s, "v", resource.Delta{
			Put:  []resource.Resource{cluster(t, "b", 0), endpoints(t, "b", 0), route(t, "web", "b")},
			Gone: gone(cluster(t, "a", 0), endpoints(t, "a", 0)),
		})
		e.ended <- nil
		e.reconnect()
		e.expect("Cluster +b")
		e.expectNothing()
		e.subscribe(resource.EndpointType, []string{"b"})
		e.expect("ClusterLoadAssignment +b")
		e.expect("RouteConfiguration +web")
		e.expect("Cluster -a")
		e.expect("ClusterLoadAssignment -a")
		e.expectNothing()
	})
}

// expect answers the next response and checks what it was.
func (e *envoy) expect(want string) {
	e.t.Helper()
	if got := e.answer(); got != want {
		e.t.Fatalf("%s was sent %q, want %q; story: %q", e.id, got, want, e.story)
	}
}

func (e *envoy) expectNothing() {
	e.t.Helper()
	if n := e.waiting(); n > 0 {
		e.t.Fatalf("%s was sent %q, want nothing; story: %q", e.id, e.answer(), slices.Clone(e.story))
	}
}
