package xds

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/xds/resource"
)

// Whatever happens in whatever order, a client ends with what a fresh client is
// sent, and that is what was published, but for what Envoys refuse.
func TestAnyStoryEndsLikeAFreshSync(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		story := drawStory(rt)
		failure := ""
		synctest.Test(t, func(t *testing.T) { failure = play(t, story) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}

// act is one thing that happens.
type act struct {
	Does    string
	Client  int
	TypeURL string
	Names   []string
	Changes []edit
}

// edit is one change of a publish.
type edit struct {
	Name    resource.Name
	Remove  bool
	Bad     bool
	Newer   bool   // else the content may be one that was there before
	Towards string // what it refers to
}

var someNames = []string{"a", "b", "c", "d"}

// tale is what a client is like and everything that happens.
type tale struct {
	Partial, Talkable [2]bool
	Acts              []act
}

func drawStory(rt *rapid.T) tale {
	name, kind, yes := rapid.SampledFrom(someNames), rapid.SampledFrom(order), rapid.Bool()
	changes := rapid.SliceOfNDistinct(rapid.Custom(func(rt *rapid.T) edit {
		return edit{
			Name:    resource.Name{TypeURL: kind.Draw(rt, "type"), Name: name.Draw(rt, "name")},
			Remove:  rapid.IntRange(0, 3).Draw(rt, "remove") == 3,
			Bad:     rapid.IntRange(0, 4).Draw(rt, "bad") == 4,
			Newer:   yes.Draw(rt, "newer"),
			Towards: name.Draw(rt, "towards"),
		}
	}), 1, 4, func(e edit) resource.Name { return e.Name })
	acts := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) act {
		return act{
			Does:    rapid.SampledFrom([]string{"publish", "answer", "answer", "subscribe", "unsubscribe", "reconnect", "wait"}).Draw(rt, "does"),
			Client:  rapid.IntRange(0, 1).Draw(rt, "client"),
			TypeURL: kind.Draw(rt, "type"),
			Names:   rapid.SliceOfNDistinct(rapid.SampledFrom(append([]string{"*"}, someNames...)), 1, 3, rapid.ID[string]).Draw(rt, "names"),
			Changes: changes.Draw(rt, "changes"),
		}
	}), 1, 50)
	s := tale{Acts: acts.Draw(rt, "acts")}
	for i := range s.Partial {
		s.Partial[i], s.Talkable[i] = yes.Draw(rt, "partial"), yes.Draw(rt, "talkable")
	}
	return s
}

// world is a server with two clients.
type world struct {
	t         testing.TB
	s         *Server
	clients   []*envoy
	published map[resource.Name]resource.Resource
	bad       map[string]bool // versions that no client takes
	variant   int
}

// failing makes the helpers' failures panics, which play turns into words.
type failing struct{ testing.TB }

func (failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (f failing) Fatal(args ...any)               { panic(fmt.Sprint(args...)) }

func play(t *testing.T, story tale) (failure string) {
	w := &world{t: failing{t}, s: newServer(t, nil), published: map[resource.Name]resource.Resource{}, bad: map[string]bool{}}
	defer func() {
		if r := recover(); r != nil {
			failure = fmt.Sprint(r)
		}
	}()
	defer w.close()
	for i := range story.Partial {
		e := newEnvoy(w.t, w.s, fmt.Sprintf("in-v-%d", i))
		e.partial, e.talkable = story.Partial[i], story.Partial[i] && story.Talkable[i]
		w.clients = append(w.clients, e)
	}
	w.publish(nil)
	for _, a := range story.Acts {
		w.act(a)
	}
	w.check()
	return ""
}

func (w *world) close() {
	for _, e := range w.clients {
		_ = e.close()
	}
}

func (w *world) act(a act) {
	e := w.clients[a.Client]
	switch a.Does {
	case "publish":
		w.publish(a.Changes)
	case "answer":
		if e.waiting() > 0 {
			e.answer()
		}
	case "subscribe":
		e.subscribe(a.TypeURL, a.Names)
	case "unsubscribe":
		if e.kind(a.TypeURL).asked { // nobody begins with giving up
			e.subscribe(a.TypeURL, nil, a.Names...)
		}
	case "reconnect":
		e.reconnect()
	case "wait":
		time.Sleep(patience / 2)
	}
}

func (w *world) publish(changes []edit) {
	var d resource.Delta
	for _, c := range changes {
		if c.Remove {
			d.Gone = append(d.Gone, c.Name)
			delete(w.published, c.Name)
			continue
		}
		r := w.make(c)
		w.bad[r.Version] = c.Bad
		d.Put = append(d.Put, r)
		w.published[c.Name] = r
	}
	mustPublish(w.t, w.s, "v", d)
	synctest.Wait()
}

func (w *world) make(c edit) resource.Resource {
	if c.Newer {
		w.variant++
	}
	mark := "fine"
	if c.Bad {
		mark = badMark
	}
	n, target, bad := c.Name, c.Towards, c.Bad
	switch n.TypeURL {
	case resource.ClusterType:
		if bad {
			return badCluster(w.t, n.Name, w.variant)
		}
		return cluster(w.t, n.Name, w.variant)
	case resource.EndpointType:
		if bad {
			return badEndpoints(w.t, n.Name, w.variant)
		}
		return endpoints(w.t, n.Name, w.variant)
	case resource.RouteType:
		return route(w.t, n.Name, target, mark, fmt.Sprint(w.variant))
	}
	// Listeners and secrets: any bytes do, but listeners refer to routes.
	return resource.FromBytes(n.TypeURL, n.Name, listener(w.t, mark+target, w.variant).Body.GetValue())
}

// check lets everything settle and compares.
func (w *world) check() {
	for _, e := range w.clients {
		e.settle()
	}
	time.Sleep(2 * patience)
	for quiet := false; !quiet; {
		quiet = true
		for _, e := range w.clients {
			quiet = len(e.settle()) == 0 && quiet
		}
	}
	for _, e := range w.clients {
		w.againstFresh(e)
	}
}

func (w *world) againstFresh(e *envoy) {
	fresh := newEnvoy(w.t, w.s, e.id+"-fresh")
	defer fresh.close()
	fresh.partial, fresh.talkable = e.partial, e.talkable
	for _, typeURL := range order {
		if k := e.kind(typeURL); k.asked {
			names := slices.Sorted(maps.Keys(k.names))
			if k.wildcard {
				names = append(names, "*")
			}
			if len(names) > 0 { // to name nothing at first is to ask for everything
				fresh.subscribe(typeURL, names)
				fresh.settle()
			}
		}
	}
	time.Sleep(2 * patience)
	fresh.settle()
	e.settle() // the fresh client may have been the first to refuse something
	w.compare(e, fresh)
}

func (w *world) compare(e, fresh *envoy) {
	behind := false
	for _, p := range w.published {
		behind = behind || refersToOthers(p.TypeURL) && w.bad[p.Version]
	}
	for _, typeURL := range order {
		k, f := e.kind(typeURL), fresh.kind(typeURL)
		for _, name := range someNames {
			p, ok := w.published[resource.Name{TypeURL: typeURL, Name: name}]
			got, has := k.resources[name]
			switch {
			case got != f.resources[name] && !(ok && w.bad[p.Version] && f.resources[name] == ""):
				// Of a resource that is refused and of which no good bytes are
				// known for sure, a client keeps what it may have and a fresh one gets none.
				w.t.Fatalf("%s has %s %q at %q, a fresh client at %q; story: %q", e.id, shortType(typeURL), name, got, f.resources[name], e.story)
			case !k.asked || !k.wants(name):
				if has {
					w.t.Fatalf("%s has %s %q without wanting it", e.id, shortType(typeURL), name)
				}
			case ok && !w.bad[p.Version] && got != p.Version:
				w.t.Fatalf("%s has %s %q at %q, published is %q; story: %q", e.id, shortType(typeURL), name, got, p.Version, e.story)
			case ok && w.bad[got]:
				w.t.Fatalf("%s took bad bytes", e.id)
			case !ok && has && !(behind && referredTo(typeURL)):
				w.t.Fatalf("%s still has %s %q, which was removed; story: %q", e.id, shortType(typeURL), name, e.story)
			}
		}
	}
}
