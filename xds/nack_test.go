package xds

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// One bad cluster among good ones: it stays at its last good bytes for everybody,
// the good ones go on, the object's author is told, and corrected bytes are tried.
func TestNACKedResourceIsQuarantined(t *testing.T) {
	for _, c := range []struct {
		name              string
		partial, talkable bool
	}{
		{"Envoy names the guilty and takes the others", true, true},
		{"Envoy names nobody and takes the others", true, false},
		{"Envoy names nobody and takes nothing", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, nil)
				mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), cluster(t, "b", 0), cluster(t, "c", 0)}})
				first, second := newEnvoy(t, s, "in-v-1"), newEnvoy(t, s, "in-v-2")
				defer first.close()
				defer second.close()
				for _, e := range []*envoy{first, second} {
					e.partial, e.talkable = c.partial, c.talkable
					e.subscribe(resource.ClusterType, nil)
					e.settle()
				}
				author := fleet.Origin{Cluster: "c1", Kind: "Ingress", Namespace: "shop", Name: "web"}
				bad := badCluster(t, "b", 1, author)
				mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 1), bad, cluster(t, "c", 1), cluster(t, "d", 1)}})
				first.settle()
				second.settle()

				want := map[string]string{"a": cluster(t, "a", 1).Version, "b": cluster(t, "b", 0).Version,
					"c": cluster(t, "c", 1).Version, "d": cluster(t, "d", 1).Version}
				for _, e := range []*envoy{first, second} {
					e.holds(resource.ClusterType, want)
				}
				problems := s.Problems()
				if len(problems) != 1 || problems[0].About != author || problems[0].Reason != "RefusedByEnvoy" || !strings.Contains(problems[0].Message, `Cluster "b"`) {
					t.Fatalf("the author of the bad cluster was told %+v", problems)
				}

				mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{bad}})
				first.expectNothing() // the same bytes are never sent again
				late := newEnvoy(t, s, "in-v-3")
				defer late.close()
				late.subscribe(resource.ClusterType, nil)
				late.expect("Cluster +a +b +c +d")
				late.holds(resource.ClusterType, want)

				mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "b", 2)}})
				if len(s.Problems()) != 1 {
					t.Error("the problem has gone before an Envoy took the new bytes")
				}
				first.expect("Cluster +b")
				if p := s.Problems(); len(p) != 0 {
					t.Errorf("the problem is still told after an Envoy took the new bytes: %+v", p)
				}
			})
		})
	}
}

// Going back to the bytes that are in force ends the problem without a push.
func TestRevertEndsTheProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0)}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.subscribe(resource.ClusterType, nil)
		e.settle()
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{badCluster(t, "a", 1)}})
		e.settle()
		if p := s.Problems(); len(p) != 1 || p[0].About.Kind != "Cluster" {
			t.Fatalf("a resource without origins was told of as %+v", p)
		}
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0)}})
		e.expectNothing()
		if p := s.Problems(); len(p) != 0 {
			t.Errorf("still told: %+v", p)
		}
	})
}

// A refused route goes on using the old cluster, so the old cluster stays, also
// for those who come later, until a route that does without it is accepted.
func TestQuarantinedRouteKeepsItsCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0), route(t, "web", "a")}})
		e := newEnvoy(t, s, "in-v-1")
		defer e.close()
		e.talkable = false
		e.subscribe(resource.ClusterType, nil)
		e.settle()
		e.subscribe(resource.RouteType, []string{"*"})
		e.settle()
		mustPublish(t, s, "v", resource.Delta{
			Put:  []resource.Resource{cluster(t, "b", 0), route(t, "web", "b", badMark)},
			Gone: gone(cluster(t, "a", 0)),
		})
		e.expect("Cluster +b")
		e.expect("RouteConfiguration +web NACK")
		e.expectNothing()
		late := newEnvoy(t, s, "in-v-2")
		defer late.close()
		late.subscribe(resource.ClusterType, nil)
		late.expect("Cluster +a +b")

		mustPublish(t, s, "v", resource.Delta{Gone: gone(cluster(t, "b", 0))})
		e.expectNothing() // nothing goes while a route is behind
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "c", 0), route(t, "web", "c")}})
		e.expect("Cluster +c")
		e.expect("RouteConfiguration +web")
		e.expect("Cluster -a -b")
		e.expectNothing()
		late.settle()
		late.holds(resource.ClusterType, map[string]string{"c": cluster(t, "c", 0).Version})
	})
}

// Bytes that other Envoys run stay with them; the one that refuses stays behind alone.
func TestOneEnvoyDoesNotRollBackTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{cluster(t, "a", 0)}})
		old, modern := newEnvoy(t, s, "in-v-old"), newEnvoy(t, s, "in-v-new")
		defer old.close()
		defer modern.close()
		for _, e := range []*envoy{old, modern} {
			e.subscribe(resource.ClusterType, nil)
			e.settle()
		}
		newer := badCluster(t, "a", 1)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{newer}})
		modern.takesAnything()
		if line := old.answer(); line != "Cluster +a NACK" {
			t.Fatalf("the old Envoy was sent %q", line)
		}
		old.expectNothing()
		modern.expectNothing()
		modern.holds(resource.ClusterType, map[string]string{"a": newer.Version})
		old.holds(resource.ClusterType, map[string]string{"a": cluster(t, "a", 0).Version})
		if len(s.Problems()) != 1 {
			t.Error("the refusal is not told")
		}
	})
}

// A replica that has just started knows no older bytes. What an Envoy refuses is
// then not taken away from it.
func TestRefusalAfterRestartRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{badCluster(t, "a", 1)}})
		e := newEnvoy(t, s, "in-v")
		defer e.close()
		e.kind(resource.ClusterType).resources["a"] = "of-another-replica"
		e.kind(resource.ClusterType).wildcard = true
		e.subscribe(resource.ClusterType, nil)
		e.expect("Cluster +a NACK")
		e.expectNothing()
		e.holds(resource.ClusterType, map[string]string{"a": "of-another-replica"})
	})
}

// Problems are told whenever they come or go.
func TestProblemsAreTold(t *testing.T) {
	told := make(chan int, 16)
	s := newServer(t, func(c *Config) {
		c.Problems = func(ps []fleet.Problem) { told <- len(ps) }
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	mustPublish(t, s, "v", resource.Delta{Put: []resource.Resource{badCluster(t, "a", 1)}})
	v, _, err := s.store.view("v")
	if err != nil {
		t.Fatal(err)
	}
	if !v.refuse(v.current(resource.ClusterType, "a"), strings.Repeat("x", 2*maxReason)) {
		t.Error("withdrawing bytes that nobody took asks for no push")
	}
	if n := <-told; n != 1 {
		t.Errorf("%d problems were told, want 1", n)
	}
	mustPublish(t, s, "v", resource.Delta{Gone: []resource.Name{{TypeURL: resource.ClusterType, Name: "a"}}})
	if n := <-told; n != 0 {
		t.Errorf("%d problems were told after the removal, want none", n)
	}
	stop()
	if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestBlamed(t *testing.T) {
	put := []*revision{}
	for _, name := range []string{"web", "web-2", "shop/api:80"} {
		put = append(put, newRevision(cluster(t, name, 0)))
	}
	for _, c := range []struct {
		words string
		want  []string
	}{
		{"Error adding/updating cluster(s) web: no such thing", []string{"web"}},
		{"Error adding/updating cluster(s) web-2: no such thing, web: neither", []string{"web", "web-2"}},
		{"Error adding/updating listener(s) shop/api:80: a reason, with commas, and web: in it\n", []string{"shop/api:80"}},
		{"Error adding/updating cluster(s) other: not sent", nil},
		{"Proto constraint validation failed (web: is bad)", nil},
		{"", nil},
	} {
		got := blamed(c.words, put)
		var names []string
		for name := range got {
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, c.want) {
			t.Errorf("%q blames %q, want %q", c.words, names, c.want)
		}
	}
}

// holds checks what a client has of a type.
func (e *envoy) holds(typeURL string, want map[string]string) {
	e.t.Helper()
	got := e.kind(typeURL).resources
	for name, version := range want {
		if got[name] != version {
			e.t.Errorf("%s has %q at version %q, want %q; story: %q", e.id, name, got[name], version, e.story)
		}
	}
	if len(got) != len(want) {
		e.t.Errorf("%s has %d resources %q, want %d", e.id, len(got), e.has(typeURL), len(want))
	}
}

// takesAnything ACKs the next response whatever it holds.
func (e *envoy) takesAnything() {
	e.t.Helper()
	e.waiting()
	m := e.inbox[0]
	e.inbox = e.inbox[1:]
	for _, r := range m.GetResources() {
		e.kind(m.GetTypeUrl()).resources[r.GetName()] = r.GetVersion()
	}
	e.send(ackOf(m))
}
