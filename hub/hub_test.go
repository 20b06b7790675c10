package hub

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

func config(dir string, voices ...func(*steer.Plan)) Config {
	return Config{Instance: "i", Dir: dir, Voices: voices, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()}
}

var shop = fleet.ServiceName{Namespace: "default", Name: "shop"}

func open(t *testing.T, cfg Config) *Hub {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs a hub until the test body returns.
func run(t *testing.T, h *Hub, body func(ctx context.Context)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	body(ctx)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRestartBeginsWithWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first := open(t, config(dir))
		run(t, first, func(ctx context.Context) {
			first.Tell(ctx, fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 2))}})
			first.Tell(ctx, fleet.Update{Source: "i/operator", Put: []fleet.Fact{fleet.NewFact("region/eu", &fleet.Drain{Scope: fleet.ScopeRegion, Name: "eu", On: true, Order: 1})}})
			synctest.Wait()
		})
		time.Sleep(time.Hour)
		second := open(t, config(dir))
		svc := second.Plan().Services[shop]
		if svc == nil || svc.Backends[0].ReadyCount() != 2 || !svc.Backends[0].Stale {
			t.Fatalf("after a restart: %+v", svc)
		}
		if age := time.Since(svc.Backends[0].Seen); age < time.Hour || age > time.Hour+time.Minute {
			t.Errorf("the view claims to be %v old", age)
		}
		if e, _ := second.Plan().World.Edge("eu"); e.Drain == "" {
			t.Error("the drain did not survive")
		}
	})
}

func TestDamagedMemoryIsRefusedAndMovedAside(t *testing.T) {
	dir := t.TempDir()
	h := open(t, config(dir))
	run(t, h, func(ctx context.Context) {
		h.Tell(ctx, fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu"))}})
	})
	file := filepath.Join(dir, "facts.pb")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut off": good[:len(good)-3],
		"flipped": append(append([]byte{}, good[:40]...), append([]byte{good[40] ^ 1}, good[41:]...)...),
		"empty":   {},
	} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := len(open(t, config(dir)).Plan().World.Edges); n != 0 {
			t.Errorf("%s: %d regions came out of it", name, n)
		}
		aside, err := filepath.Glob(file + ".damaged-*")
		if err != nil || len(aside) != 1 {
			t.Fatalf("%s: moved aside: %v %v", name, aside, err)
		}
		if left, _ := os.ReadFile(aside[0]); string(left) != string(bad) {
			t.Errorf("%s: the file was touched", name)
		}
		if err := os.Remove(aside[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewestPlanReachesVoicesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var generations []uint64
		h := open(t, config("", func(p *steer.Plan) { generations = append(generations, p.Generation) }))
		run(t, h, func(ctx context.Context) {
			synctest.Wait()
			u := fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu"))}}
			for range 3 {
				h.Tell(ctx, u)
				synctest.Wait()
			}
			time.Sleep(10 * time.Minute)
		})
		if len(generations) != 1 {
			t.Errorf("voices heard of plans %v, want one: nothing changed after it", generations)
		}
	})
}

// An order that was acknowledged is on disk, whatever happens next.
func TestAcknowledgedOrderIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	h := open(t, config(dir))
	run(t, h, func(ctx context.Context) {
		for n := range uint64(5) {
			order := fleet.NewFact("region/eu", &fleet.Drain{Scope: fleet.ScopeRegion, Name: "eu", On: n%2 == 0, Order: n + 1})
			if err := h.Order(ctx, fleet.Update{Source: "i/operator", Put: []fleet.Fact{order}}); err != nil {
				t.Fatal(err)
			}
			kept, _, err := read(filepath.Join(dir, "facts.pb"))
			if err != nil || len(kept) != 1 || kept[0].Put[0].Value.(*fleet.Drain).Order != n+1 {
				t.Fatalf("order %d is not on disk: %+v %v", n+1, kept, err)
			}
		}
	})
}

func TestStateThatCannotBeKeptIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(config(filepath.Join(file, "state"))); err == nil {
		t.Error("a directory below a file was taken")
	}
}

// A disk that stands still delays whoever waits for it and no fact: what is told
// meanwhile is in force at once.
func TestASlowDiskDelaysOrdersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, config(t.TempDir()))
		disk, write := make(chan struct{}), h.keeper.write
		h.keeper.write = func(path string, body []byte) error {
			<-disk
			return write(path, body)
		}
		run(t, h, func(ctx context.Context) {
			h.Tell(ctx, fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 2))}})
			time.Sleep(2 * saveEvery) // the first page is being written
			ordered := make(chan error, 1)
			go func() {
				ordered <- h.Order(ctx, fleet.Update{Source: "i/operator", Put: []fleet.Fact{fleet.NewFact("region/eu", &fleet.Drain{Scope: fleet.ScopeRegion, Name: "eu", On: true, Order: 1})}})
			}()
			h.Tell(ctx, fleet.Update{Source: "i/file/a", Put: []fleet.Fact{backendFact(backend("a", "shop", 3))}})
			synctest.Wait()
			if got := h.Plan().Services[shop].Backends[0].ReadyCount(); got != 3 || len(h.Plan().World.Drains) != 1 {
				t.Errorf("beside a disk that stands still %d endpoints and %v are in force, want 3 and the drain", got, h.Plan().World.Drains)
			}
			select {
			case err := <-ordered:
				t.Errorf("the order is said to be on disk: %v", err)
			default:
			}
			close(disk)
			if err := <-ordered; err != nil {
				t.Errorf("the order: %v", err)
			}
		})
	})
}

// Of two stale versions of one subject the one heard last holds: a replica that died a
// day ago does not bring its day back when the other one loses touch too.
func TestOfStaleVersionsTheLastHeardHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, config(t.TempDir()))
		run(t, h, func(ctx context.Context) {
			h.Tell(ctx, fleet.Update{Source: "i/kube/host", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu"))}})
			for _, source := range []string{"r0/kube/a", "r1/kube/a"} {
				h.Tell(ctx, fleet.Update{Source: source, Whole: true, Put: []fleet.Fact{backendFact(backend("a", "shop", 2))}})
			}
			h.Tell(ctx, fleet.Update{Source: "r0/kube/a", Stale: "the peer is lost", Heard: time.Now()})
			time.Sleep(24 * time.Hour)
			h.Tell(ctx, fleet.Update{Source: "r1/kube/a", Put: []fleet.Fact{backendFact(backend("a", "shop", 5))}})
			h.Tell(ctx, fleet.Update{Source: "r1/kube/a", Stale: "its API server does not answer", Heard: time.Now()})
			synctest.Wait()
			if n := h.Plan().Services[shop].Backends[0].ReadyCount(); n != 5 {
				t.Errorf("%d endpoints are in force, want the 5 heard last", n)
			}
		})
	})
}
