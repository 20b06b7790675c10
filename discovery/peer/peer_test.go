package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

// wire is a network of one address that can be cut and mended.
type wire struct {
	mu    sync.Mutex
	lis   *bufconn.Listener // nil: cut
	conns []net.Conn
	dials []time.Time
}

func (w *wire) dial(ctx context.Context, _ string) (net.Conn, error) {
	w.mu.Lock()
	lis := w.lis
	w.dials = append(w.dials, time.Now())
	w.mu.Unlock()
	if lis == nil {
		return nil, errors.New("no route to host")
	}
	conn, err := lis.DialContext(ctx)
	if err == nil {
		w.mu.Lock()
		w.conns = append(w.conns, conn)
		w.mu.Unlock()
	}
	return conn, err
}

func (w *wire) mend() *bufconn.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lis = bufconn.Listen(1 << 20)
	return w.lis
}

// attempts are the moments at which somebody dialled.
func (w *wire) attempts() []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dials)
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lis = nil
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

// ears keeps facts as a hub does, and every update as it came.
type ears struct {
	mu    sync.Mutex
	holds keeper
	stale map[string]string
	log   []fleet.Update
}

func newEars() *ears { return &ears{holds: keeper{}, stale: map[string]string{}} }

func (e *ears) Tell(_ context.Context, u fleet.Update) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.log = append(e.log, u)
	e.stale[u.Source] = u.Stale
	e.holds.take(u.Source, u.Whole, u.Put, u.Gone)
}

// want checks that a source is held with these zones and mailboxes.
func (e *ears) want(t *testing.T, when, source, stale string, zones map[string]string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	got := map[string]string{}
	for n, v := range e.holds[source] {
		got[n.Name] = v.(*fleet.Zone).Mailbox
	}
	if fmt.Sprint(got) != fmt.Sprint(zones) {
		t.Errorf("%s: %s holds %v, want %v", when, source, got, zones)
	}
	if (stale == "") != (e.stale[source] == "") || !strings.Contains(e.stale[source], stale) {
		t.Errorf("%s: %s is stale for %q, want %q", when, source, e.stale[source], stale)
	}
}

// said is every update so far.
func (e *ears) said() []fleet.Update {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.log)
}

// sources are those that were told of.
func (e *ears) sources() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.holds))
}

func nowhere(context.Context, fleet.Update) {}

// run runs something until the test's end and returns a function that stops it early.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func follow(t *testing.T, w *wire, e *ears, p Peer) {
	if p.Address == "" {
		p.Address = "passthrough:///eu"
	}
	run(t, NewClient(ClientConfig{Instance: "us-1", Peers: []Peer{p}, Tell: e.Tell, Dial: w.dial}).Run)
}

func put(source string, facts ...fleet.Fact) fleet.Update {
	return fleet.Update{Source: source, Put: facts}
}

func TestAPeersDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := &wire{}, newEars()
		server := NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()})
		say := server.Tell(nowhere)
		stop := run(t, server.Run)
		say(t.Context(), fleet.Update{Source: "eu-1/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1."), zoneFact("b.", "1.")}})
		say(t.Context(), fleet.Update{Source: "us-9/file", Whole: true, Put: []fleet.Fact{zoneFact("not.ours.", "1.")}})

		// In the morning the peer connects, and is told everything.
		follow(t, w, e, Peer{})
		synctest.Wait()
		e.want(t, "at first", "eu-1/file", "", map[string]string{"a.": "1.", "b.": "1."})
		e.want(t, "at first", "us-9/file", "", nil)
		if !e.said()[0].Whole {
			t.Error("the first telling is not whole")
		}

		// Things change.
		say(t.Context(), fleet.Update{Source: "eu-1/file", Put: []fleet.Fact{zoneFact("a.", "2.")}, Gone: []fleet.FactName{{Kind: fleet.KindZone, Name: "b."}}})
		synctest.Wait()
		e.want(t, "after a change", "eu-1/file", "", map[string]string{"a.": "2."})
		if n := len(e.said()); n != 2 {
			t.Errorf("%d tellings so far, want 2", n)
		}

		// A source there loses touch with its cluster; it is stale here too.
		say(t.Context(), fleet.Update{Source: "eu-1/file", Stale: "disk is gone"})
		synctest.Wait()
		e.want(t, "with a stale source", "eu-1/file", "disk is gone", map[string]string{"a.": "2."})
		say(t.Context(), fleet.Update{Source: "eu-1/file"})

		// A quiet minute passes: signs of life keep the stream up and are no tellings.
		time.Sleep(time.Minute)
		e.want(t, "after a quiet minute", "eu-1/file", "", map[string]string{"a.": "2."})
		if n := len(e.said()); n != 4 || len(w.attempts()) != 1 {
			t.Errorf("%d tellings over %d connections, want 4 over 1", n, len(w.attempts()))
		}

		// The network is cut: the facts stay, stale, as of the last sign of life.
		w.cut()
		cutAt := time.Now()
		synctest.Wait()
		e.want(t, "when cut off", "eu-1/file", "lost touch with peer", map[string]string{"a.": "2."})
		if age := cutAt.Sub(e.said()[4].Heard); age < 0 || age > heartbeat {
			t.Errorf("last heard %v before the cut, want within one heartbeat", age)
		}
		time.Sleep(time.Minute)
		if n := len(e.said()); n != 5 {
			t.Errorf("the same loss was told %d times", n-4)
		}
		stop()

		// The daemon there is restarted with less to say.
		server = NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()})
		say = server.Tell(nowhere)
		say(t.Context(), fleet.Update{Source: "eu-1/file", Whole: true, Put: []fleet.Fact{zoneFact("c.", "3.")}})
		run(t, server.Run)
		time.Sleep(longWait)
		synctest.Wait()
		e.want(t, "after the return", "eu-1/file", "", map[string]string{"c.": "3."})
	})
}

func TestASourceThatDoesNotReturnStaysStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := &wire{}, newEars()
		server := NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()})
		stop := run(t, server.Run)
		server.Tell(nowhere)(t.Context(), fleet.Update{Source: "eu-1/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1.")}})
		follow(t, w, e, Peer{})
		synctest.Wait()
		stop()
		w.cut()
		run(t, NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()}).Run)
		time.Sleep(longWait)
		synctest.Wait()
		e.want(t, "after a restart that knows nothing yet", "eu-1/file", "in touch again but has not told", map[string]string{"a.": "1."})
	})
}

func TestWaitsGrowAreJitteredAndCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		follow(t, w, newEars(), Peer{})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		dials := w.attempts()
		if n := len(dials); n < 24 || n > 60 {
			t.Errorf("%d attempts in two minutes, want about one in 2.5 to 5 s", n)
		}
		if first := dials[1].Sub(dials[0]); first > firstWait {
			t.Errorf("the second attempt came after %v, want at most %v", first, firstWait)
		}
		seen := map[time.Duration]bool{}
		for i := 1; i < len(dials); i++ {
			gap := dials[i].Sub(dials[i-1])
			if gap > longWait {
				t.Errorf("a wait of %v, the cap is %v", gap, longWait)
			}
			seen[gap] = true
		}
		if len(seen) < len(dials)/2 {
			t.Error("the waits are not jittered")
		}
	})
}

// A reader whose hub is busy skips what was replaced meanwhile, and ends with the newest.
func TestASlowReaderSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := &wire{}, newEars()
		server := NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()})
		say := server.Tell(nowhere)
		run(t, server.Run)
		release := make(chan struct{})
		slow := func(ctx context.Context, u fleet.Update) { <-release; e.Tell(ctx, u) }
		run(t, NewClient(ClientConfig{Instance: "us-1", Peers: []Peer{{Address: "passthrough:///eu"}}, Tell: slow, Dial: w.dial}).Run)

		big := strings.Repeat("x", 2000)
		const rounds = 2000
		for i := range rounds {
			z := &fleet.Zone{Name: "a.", Mailbox: fmt.Sprintf("m%d.", i), Nameservers: []fleet.Nameserver{{Name: "ns."}}, Origin: fleet.Origin{Name: big}}
			say(t.Context(), fleet.Update{Source: "eu-1/file", Whole: i == 0, Put: []fleet.Fact{fleet.NewFact("a.", z)}})
			synctest.Wait() // the stream takes what it can
		}
		close(release)
		synctest.Wait()
		e.want(t, "in the end", "eu-1/file", "", map[string]string{"a.": fmt.Sprintf("m%d.", rounds-1)})
		if n := len(e.said()); n > rounds/4 {
			t.Errorf("a sleeping reader was sent %d of %d replacements", n, rounds)
		}
		if len(w.attempts()) != 1 {
			t.Errorf("it was disconnected for being slow: %d connections", len(w.attempts()))
		}
	})
}

// A telling larger than a message arrives in pieces and is told in one.
func TestALargeTellingIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := &wire{}, newEars()
		server := NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend()})
		run(t, server.Run)
		u := fleet.Update{Source: "eu-1/kube", Whole: true}
		for i := range 300 {
			b := &fleet.Backend{Cluster: "a", Service: fleet.ServiceName{Namespace: "n", Name: fmt.Sprintf("s%d", i)}, Ports: []fleet.Port{{Number: 80}}}
			for j := range 200 {
				b.Ports[0].Endpoints = append(b.Ports[0].Endpoints, fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j), 1}), 80), Ready: true, Zone: "zone-a"})
			}
			u.Put = append(u.Put, fleet.NewFact("a/"+b.Service.String(), b))
		}
		server.Tell(nowhere)(t.Context(), u)
		follow(t, w, e, Peer{})
		synctest.Wait()
		if len(e.said()) != 1 || !e.said()[0].Whole || len(e.said()[0].Put) != len(u.Put) {
			t.Fatalf("told %d times, first with %d facts, want once with all %d", len(e.said()), len(e.said()[0].Put), len(u.Put))
		}
		// And all of it may vanish again, which takes more than one message of tombstones.
		server.Tell(nowhere)(t.Context(), fleet.Update{Source: "eu-1/kube", Whole: true})
		synctest.Wait()
		e.want(t, "after all was taken back", "eu-1/kube", "", nil)
	})
}

// Two daemons that follow each other hold each other's facts, and nothing
// comes back to where it was said.
func TestTwoPeersDoNotGoInCircles(t *testing.T) {
	lis := map[string]net.Listener{}
	for _, name := range []string{"eu-1", "us-1"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lis[name] = l
	}
	hubs := map[string]chan fleet.Update{}
	for name := range lis {
		other := map[string]string{"eu-1": "us-1", "us-1": "eu-1"}[name]
		heard := make(chan fleet.Update, 100)
		hubs[name] = heard
		tell := func(_ context.Context, u fleet.Update) { heard <- u }
		server := NewServer(ServerConfig{Instance: name, Listener: lis[name]})
		run(t, server.Run)
		run(t, NewClient(ClientConfig{Instance: name, Peers: []Peer{{Address: lis[other].Addr().String(), Instance: other}}, Tell: tell}).Run)
		server.Tell(tell)(t.Context(), fleet.Update{Source: name + "/file", Whole: true, Put: []fleet.Fact{zoneFact(name+".", "1.")}})
	}
	for name, heard := range hubs {
		counts := map[string]int{}
		for len(counts) < 2 {
			select {
			case u := <-heard:
				if u.Stale == "" { // the first attempt may have come too early
					counts[u.Source]++
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("%s heard only %v", name, counts)
			}
		}
		if counts["eu-1/file"] != 1 || counts["us-1/file"] != 1 {
			t.Errorf("%s heard %v, want each source once", name, counts)
		}
	}
}

func TestThereIsRoomForSoManyFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		server := NewServer(ServerConfig{Instance: "eu-1", Listener: w.mend(), MaxFollowers: 1})
		server.Tell(nowhere)(t.Context(), put("eu-1/file", zoneFact("a.", "1.")))
		run(t, server.Run)
		first, second := newEars(), newEars()
		follow(t, w, first, Peer{})
		synctest.Wait()
		follow(t, w, second, Peer{})
		synctest.Wait()
		first.want(t, "the first", "eu-1/file", "", map[string]string{"a.": "1."})
		if len(second.said()) != 0 {
			t.Errorf("one too many was told %v", second.said())
		}
	})
}

func TestWithoutAName(t *testing.T) {
	if err := NewServer(ServerConfig{Listener: bufconn.Listen(1)}).Run(t.Context()); err == nil {
		t.Error("a daemon without a name serves facts")
	}
}

// scripted is a peer that says what it is told to say.
type scripted struct {
	factv1.UnimplementedFactsServer
	says   []*factv1.Update
	hangUp bool
}

func (s *scripted) Follow(_ *factv1.FollowRequest, stream grpc.ServerStreamingServer[factv1.Update]) error {
	for _, m := range s.says {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	if s.hangUp {
		return nil
	}
	<-stream.Context().Done()
	return nil
}

func serveScript(t *testing.T, w *wire, s *scripted) {
	g := grpc.NewServer(grpc.MaxSendMsgSize(64 << 20))
	factv1.RegisterFactsServer(g, s)
	lis := w.mend()
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(lis) }()
	t.Cleanup(func() { g.Stop(); <-done })
}

func said(source string, facts ...fleet.Fact) *factv1.Update {
	return factv1.FromFleet(fleet.Update{Source: source, Whole: true, Put: facts}, time.Now())
}

// A peer that goes quiet without hanging up is left after three missed signs of life.
func TestAHalfDeadPeerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := &wire{}, newEars()
		serveScript(t, w, &scripted{says: []*factv1.Update{{Instance: "eu-1"}, said("eu-1/file", zoneFact("a.", "1."))}})
		follow(t, w, e, Peer{})
		time.Sleep(silence - time.Millisecond)
		synctest.Wait()
		e.want(t, "just before", "eu-1/file", "", map[string]string{"a.": "1."})
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		e.want(t, "just after", "eu-1/file", "nothing came for 6s", map[string]string{"a.": "1."})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(w.attempts()) < 2 {
			t.Error("no new attempt was made")
		}
	})
}

func TestHostilePeers(t *testing.T) {
	hello := &factv1.Update{Instance: "eu-1"}
	good := zoneFact("good.", "1.")
	for name, c := range map[string]struct {
		peer  Peer
		says  []*factv1.Update
		holds map[string]string // of eu-1/file
		stale string            // of eu-1/file, "" fresh
		loses bool              // the connection ends
	}{
		"no greeting":         {says: []*factv1.Update{said("eu-1/file", good)}, loses: true},
		"name with a slash":   {says: []*factv1.Update{{Instance: "eu-1/file"}, said("eu-1/file/x", good)}, loses: true},
		"our own name":        {says: []*factv1.Update{{Instance: "us-1"}, said("us-1/file", good)}, loses: true},
		"not who is expected": {peer: Peer{Instance: "eu-2"}, says: []*factv1.Update{hello, said("eu-1/file", good)}, loses: true},
		"speaks for another": {says: []*factv1.Update{hello, said("eu-1/file", good), said("us-1/file", good), said("eu-10/file", good), said("eu-1", good)},
			holds: map[string]string{"good.": "1."}},
		"a bad fact among good ones": {says: []*factv1.Update{hello, said("eu-1/file", good, zoneFact("old.", "1.")), said("eu-1/file", zoneFact("good.", "2."), zoneFact("", "3."))},
			holds: map[string]string{"good.": "2.", "old.": "1."}}, // with a hole in it, the second telling takes nothing back
		"makes up a quorum": {says: []*factv1.Update{hello, said("eu-1/file", good,
			fleet.NewFact("x", &fleet.Observation{By: "us-1", Target: netip.MustParseAddrPort("192.0.2.1:80")}),
			fleet.NewFact("y", &fleet.Observation{By: "ap-1", Target: netip.MustParseAddrPort("192.0.2.1:80")}))},
			holds: map[string]string{"good.": "1."}},
		"a broken envelope": {says: []*factv1.Update{hello, said("eu-1/file", good), {Source: "eu-1/file", Stale: "\x1b[31m"}},
			holds: map[string]string{"good.": "1."}, stale: "control character", loses: true},
		"changes the subject": {says: []*factv1.Update{hello, said("eu-1/file", good), {Source: "eu-1/a", More: true}, {Source: "eu-1/b"}},
			holds: map[string]string{"good.": "1."}, stale: "in the middle", loses: true},
		"breaks off": {says: []*factv1.Update{hello, said("eu-1/file", good), {Source: "eu-1/a", More: true}, {}},
			holds: map[string]string{"good.": "1."}, stale: "in the middle", loses: true},
		"a message beyond bounds": {says: []*factv1.Update{hello, said("eu-1/file", good), {Source: strings.Repeat("a", maxMessage+1)}},
			holds: map[string]string{"good.": "1."}, stale: "larger than max", loses: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, e := &wire{}, newEars()
				serveScript(t, w, &scripted{says: c.says})
				follow(t, w, e, c.peer)
				synctest.Wait()
				e.want(t, "when all is said", "eu-1/file", c.stale, c.holds)
				for _, source := range e.sources() {
					if source != "eu-1/file" {
						t.Errorf("it was let to speak for %q", source)
					}
				}
				time.Sleep(time.Second) // long enough for another attempt, not for the silence to be noticed
				synctest.Wait()
				if again := len(w.attempts()) > 1; again != c.loses {
					t.Errorf("%d connections were made; lost: want %v", len(w.attempts()), c.loses)
				}
			})
		})
	}
}

func TestBoundsOfWhatOnePeerMayTell(t *testing.T) {
	e := newEars()
	m := newClientMetrics(nil)
	l := &listener{tell: e.Tell, sources: map[string]*told{}, refused: m.refused.WithLabelValues("x"), facts: m.facts.WithLabelValues("x")}
	if err := l.greet(&factv1.Update{Instance: "eu-1"}); err != nil {
		t.Fatal(err)
	}
	for i := range maxSources {
		if err := l.hear(t.Context(), &factv1.Update{Source: fmt.Sprintf("eu-1/%d", i)}, time.Now()); err != nil {
			t.Fatalf("source %d: %v", i, err)
		}
	}
	if err := l.hear(t.Context(), &factv1.Update{Source: "eu-1/more"}, time.Now()); err == nil {
		t.Error("sources without end are taken")
	}

	// What is counted goes down again with tombstones and whole tellings.
	now := time.Now()
	for range 3 {
		for _, u := range []fleet.Update{
			{Source: "eu-1/1", Put: []fleet.Fact{zoneFact("a.", "1."), zoneFact("b.", "1.")}},
			{Source: "eu-1/1", Whole: true, Put: []fleet.Fact{zoneFact("b.", "2."), zoneFact("c.", "2.")}},
			{Source: "eu-1/1", Gone: []fleet.FactName{{Kind: fleet.KindZone, Name: "b."}, {Kind: fleet.KindZone, Name: "unheard."}}},
		} {
			if err := l.hear(t.Context(), factv1.FromFleet(u, now), now); err != nil {
				t.Fatal(err)
			}
		}
		if size := l.sources["eu-1/1"].sizes[fleet.FactName{Kind: fleet.KindZone, Name: "c."}]; l.count != 1 || size == 0 || l.bytes != size {
			t.Errorf("%d facts of %d bytes are counted, want 1 of %d", l.count, l.bytes, size)
		}
	}
	l.count = maxFacts
	if err := l.hear(t.Context(), factv1.FromFleet(put("eu-1/1", zoneFact("d.", "1.")), now), now); err == nil {
		t.Error("facts without end are taken")
	}
}

// FuzzListener: nothing that a peer sends makes us speak for somebody else or fall over.
func FuzzListener(f *testing.F) {
	f.Add("eu-1/file", "a.", true, false, uint8(1))
	f.Add("us-1/file", "", false, true, uint8(2))
	f.Add("", "x", false, false, uint8(0))
	f.Fuzz(func(t *testing.T, source, name string, whole, more bool, kind uint8) {
		m := newClientMetrics(nil)
		l := &listener{sources: map[string]*told{}, refused: m.refused.WithLabelValues("x"), facts: m.facts.WithLabelValues("x"), log: discard()}
		l.tell = func(_ context.Context, u fleet.Update) {
			if !strings.HasPrefix(u.Source, "eu-1/") {
				t.Errorf("told of %q", u.Source)
			}
		}
		if err := l.greet(&factv1.Update{Instance: "eu-1"}); err != nil {
			t.Fatal(err)
		}
		fact := &factv1.Fact{Name: name}
		switch kind % 3 {
		case 1:
			fact.Value = &factv1.Fact_Zone{Zone: &factv1.Zone{Name: name}}
		case 2:
			fact.Value = &factv1.Fact_Observation{Observation: &factv1.Observation{By: name, Target: []byte{192, 0, 2, 1}, Port: 80}}
		}
		for range 3 {
			if l.hear(t.Context(), &factv1.Update{Source: source, Whole: whole, More: more, Put: []*factv1.Fact{fact, nil}, Gone: []*factv1.FactName{{Kind: name, Name: source}, nil}}, time.Now()) != nil {
				break
			}
		}
		l.lost(t.Context(), errors.New(name))
	})
}

// Of two daemons with one name the first is heard, and when it is gone the other.
func TestOneNameOneSpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second, e := &wire{}, &wire{}, newEars()
		stop := run(t, NewServer(ServerConfig{Instance: "eu-1", Listener: first.mend()}).Run)
		impostor := NewServer(ServerConfig{Instance: "eu-1", Listener: second.mend()})
		impostor.Tell(nowhere)(t.Context(), fleet.Update{Source: "eu-1/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1.")}})
		run(t, impostor.Run)
		c := NewClient(ClientConfig{Instance: "us-1", Tell: e.Tell, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr == "first" {
				return first.dial(ctx, addr)
			}
			return second.dial(ctx, addr)
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		defer both.Wait()
		defer cancel()
		both.Go(func() { c.keepFollowing(ctx, Peer{Address: "passthrough:///first"}) })
		synctest.Wait()
		both.Go(func() { c.keepFollowing(ctx, Peer{Address: "passthrough:///second"}) })
		time.Sleep(time.Minute)
		synctest.Wait()
		e.want(t, "while the first lives", "eu-1/file", "", nil)
		stop()
		first.cut()
		time.Sleep(longWait)
		synctest.Wait()
		e.want(t, "when the first is gone", "eu-1/file", "", map[string]string{"a.": "1."})
	})
}
