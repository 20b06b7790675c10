package geoip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// journal is a log that a test reads while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

// take is what was written since the last take.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.b.Reset()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func dbOf(t testing.TB, e entry) []byte { return mmdb(t, "GeoLite2-City", e) }

var (
	inBerlin = entry{prefix: "8.0.0.0/8", country: "DE", city: "Berlin", place: berlin}
	inTokyo  = entry{prefix: "8.0.0.0/8", country: "JP", city: "Tokyo", place: tokyo}
)

// follower is a Locator that follows a City database in virtual time, with the
// test as its watcher.
type follower struct {
	*Locator
	log    journal
	path   string
	events chan fsnotify.Event
	lost   chan error
	looks  int // how often it asked for its watches to be renewed
}

// follows runs a story in a bubble. The file is there at the start.
func follows(t *testing.T, story func(t *testing.T, f *follower)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "city.mmdb")
	write(t, path, dbOf(t, inBerlin))
	synctest.Test(t, func(t *testing.T) {
		f := &follower{path: path, events: make(chan fsnotify.Event), lost: make(chan error)}
		var err error
		if f.Locator, err = New(Config{City: path, Log: f.log.logger()}); err != nil {
			t.Fatal(err)
		}
		f.first()
		f.is(t, "Berlin")
		f.log.take()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.follow(ctx, f.events, f.lost, func() { f.looks++ })
		}()
		time.Sleep(10 * time.Second) // virtual; past the first quiet time
		story(t, f)
		cancel()
		<-done
	})
}

func (f *follower) is(t *testing.T, city string) {
	t.Helper()
	if got := f.Locate(addr("8.8.8.8")).City; got != city {
		t.Errorf("the city is %q, want %q", got, city)
	}
}

// tell is an event of the directory.
func (f *follower) tell() {
	f.events <- fsnotify.Event{Name: f.path, Op: fsnotify.Write}
	synctest.Wait()
}

func (f *follower) counts(t *testing.T, ok, failed float64) {
	t.Helper()
	if got := testutil.ToFloat64(f.metrics.loads.WithLabelValues("city", "ok")); got != ok {
		t.Errorf("%v loads were good, want %v", got, ok)
	}
	if got := testutil.ToFloat64(f.metrics.loads.WithLabelValues("city", "failed")); got != failed {
		t.Errorf("%v loads failed, want %v", got, failed)
	}
}

// A burst of events is one load, after the last of them and a quiet time.
func TestFollowCoalesces(t *testing.T) {
	follows(t, func(t *testing.T, f *follower) {
		good := dbOf(t, inTokyo)
		for i := range 5 { // somebody writes in place, slowly
			if err := os.WriteFile(f.path, good[:len(good)*(i+1)/5], 0o600); err != nil {
				t.Fatal(err)
			}
			f.tell()
			time.Sleep(1500 * time.Millisecond)
			f.is(t, "Berlin")
		}
		time.Sleep(time.Second)
		f.is(t, "Tokyo")
		f.counts(t, 2, 0)
	})
}

// Noise in the directory neither delays a load nor causes one.
func TestFollowIgnoresNoise(t *testing.T) {
	follows(t, func(t *testing.T, f *follower) {
		for range 10 {
			f.tell()
			time.Sleep(time.Second)
		}
		f.counts(t, 1, 0)
		write(t, f.path, dbOf(t, inTokyo))
		for range 3 {
			f.tell()
			time.Sleep(900 * time.Millisecond)
		}
		f.is(t, "Tokyo")
		f.counts(t, 2, 0)
	})
}

// Whatever is wrong with a new file, the old data stays; one line says so; a good file heals.
func TestFollowKeepsTheLastGoodData(t *testing.T) {
	for name, c := range broken(t) {
		t.Run(name, func(t *testing.T) {
			follows(t, func(t *testing.T, f *follower) {
				for range 2 { // the second time it is no news
					write(t, f.path, c.data)
					f.tell()
					time.Sleep(3 * time.Second)
					f.is(t, "Berlin")
				}
				f.counts(t, 1, 2)
				log := f.log.take()
				if strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=ERROR") ||
					!strings.Contains(log, "the data built 2026-09-01 stays in use until a complete City or Enterprise database") {
					t.Errorf("the log is not one clear line: %s", log)
				}
				if s := f.Sources(); s[0].Fault == "" || !s[0].Built.Equal(testBuilt) || s[0].Networks != 1 {
					t.Errorf("sources: %+v", s)
				}
				write(t, f.path, dbOf(t, inTokyo))
				f.tell()
				time.Sleep(3 * time.Second)
				f.is(t, "Tokyo")
				if s := f.Sources(); s[0].Fault != "" {
					t.Errorf("sources still name a fault: %+v", s)
				}
			})
		})
	}
}

func TestFollowEmptiedAndRemoved(t *testing.T) {
	follows(t, func(t *testing.T, f *follower) {
		if err := os.Truncate(f.path, 0); err != nil {
			t.Fatal(err)
		}
		f.tell()
		time.Sleep(3 * time.Second)
		f.is(t, "Berlin")
		if log := f.log.take(); !strings.Contains(log, "because it is empty; the data built") {
			t.Errorf("log: %s", log)
		}
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		f.tell()
		time.Sleep(10 * time.Minute) // many rechecks
		f.is(t, "Berlin")
		if log := f.log.take(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "no such file") {
			t.Errorf("log: %s", log)
		}
		write(t, f.path, dbOf(t, inTokyo)) // and nobody tells
		time.Sleep(time.Minute + 5*time.Second)
		f.is(t, "Tokyo")
		if f.looks < 10 {
			t.Errorf("watches were renewed %d times in ten minutes", f.looks)
		}
	})
}

// Lost events make it look by itself, and a watcher that ends is no end.
func TestFollowLostEvents(t *testing.T) {
	follows(t, func(t *testing.T, f *follower) {
		write(t, f.path, dbOf(t, inTokyo))
		f.lost <- errors.New("queue overflow")
		time.Sleep(3 * time.Second)
		f.is(t, "Tokyo")
		close(f.events)
		close(f.lost)
		write(t, f.path, dbOf(t, inBerlin))
		time.Sleep(2 * time.Minute)
		f.is(t, "Berlin")
	})
}

// A file that could not be read for want of permission is tried again, though
// nothing about its content changed.
func TestFollowTriesUnreadableAgain(t *testing.T) {
	follows(t, func(t *testing.T, f *follower) {
		synctest.Wait()
		allowed := f.cfg.MaxSize
		f.cfg.MaxSize = 10 // stands for any fault of reading
		write(t, f.path, dbOf(t, inTokyo))
		f.tell()
		time.Sleep(3 * time.Second)
		f.is(t, "Berlin")
		synctest.Wait()
		f.cfg.MaxSize = allowed
		f.tell() // of something else
		time.Sleep(2 * time.Minute)
		f.is(t, "Tokyo")
		if log := f.log.take(); strings.Count(log, "level=ERROR") != 1 {
			t.Errorf("log: %s", log)
		}
	})
}

// Without any file the Locator works out of the box, and says so once.
func TestRunWithoutFiles(t *testing.T) {
	var log journal
	l, err := New(Config{Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Locate(addr("8.8.8.8")); got.Layer != LayerDefault {
		t.Errorf("before Run: %+v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	<-l.Ready()
	if got := l.Locate(addr("8.8.8.8")); got.Country != "US" || got.Layer != LayerEmbedded {
		t.Errorf("after Run began: %+v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if out := log.take(); strings.Count(out, "\n") != 1 || !strings.Contains(out, "using embedded country data, country level; mount a City mmdb for sub-country steering") ||
		!strings.Contains(out, EmbeddedVersion) {
		t.Errorf("log: %s", out)
	}
	if s := l.Sources(); len(s) != 1 || s[0].Layer != LayerEmbedded || s[0].Networks < 400_000 {
		t.Errorf("sources: %+v", s)
	}
}

// The whole way with the kernel's events: the directory appears late, files are
// renamed over, written in place, and swapped by link as Kubernetes mounts do.
func TestRunFollowsRealFiles(t *testing.T) {
	dir := t.TempDir()
	city, country := filepath.Join(dir, "city.mmdb"), filepath.Join(dir, "link", "country.mmdb")
	for _, d := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to string) {
		t.Helper()
		tmp := filepath.Join(dir, ".link")
		if err := os.Symlink(to, tmp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "a", "country.mmdb"), mmdb(t, "GeoLite2-Country", entry{prefix: "9.0.0.0/8", country: "SE"}))
	write(t, filepath.Join(dir, "b", "country.mmdb"), mmdb(t, "GeoLite2-Country", entry{prefix: "9.0.0.0/8", country: "PT"}))
	link("a")

	l, err := New(Config{City: city, Country: country, Quiet: 20 * time.Millisecond, Recheck: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	<-l.Ready()
	until := func(ip, want string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			got := l.Locate(addr(ip))
			if got.City+got.Country == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is at %+v, want %s", ip, got, want)
			}
		}
	}
	until("9.9.9.9", "SE")
	write(t, city, dbOf(t, inBerlin))
	until("8.8.8.8", "BerlinDE")
	if err := os.WriteFile(city, dbOf(t, inTokyo), 0o600); err != nil {
		t.Fatal(err)
	}
	until("8.8.8.8", "TokyoJP")
	link("b")
	until("9.9.9.9", "PT")
	if err := os.WriteFile(city, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); l.Sources()[0].Fault == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the broken file was never noticed")
		}
	}
	until("8.8.8.8", "TokyoJP")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Lookups go on while everything under them is swapped; the race detector watches.
func TestLocateDuringSwaps(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "city.mmdb")
	write(t, path, dbOf(t, inBerlin))
	l, err := New(Config{City: path})
	if err != nil {
		t.Fatal(err)
	}
	l.first()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := l.Locate(addr("8.8.8.8")); got.City != "Berlin" && got.City != "Tokyo" && got.Place != chicago {
					t.Errorf("between two data: %+v", got)
					return
				}
			}
		})
	}
	for i := range 40 {
		write(t, path, dbOf(t, []entry{inTokyo, inBerlin}[i%2]))
		l.files[0].look()
		l.load(l.files[0])
		_ = l.SetNetworks([]Network{{pfx("8.8.8.0/24"), chicago, "x"}}[:i%2])
		_ = l.Sources()
	}
	close(stop)
	readers.Wait()
}
