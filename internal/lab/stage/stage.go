// Package stage is what end-to-end stories are played on: clusters that stand side by side, commands as an operator runs them, users, and patience.
package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

// Stage is where one story is played. Everything on it ends with the test.
type Stage struct {
	Dir      string // of this story alone
	Bin      string // where "make build" puts our own programs
	Programs kubebin.Programs
	Group    *lab.Group
	Ctx      context.Context // the story's own; it ends before the clean-up

	t       *testing.T
	running sync.WaitGroup
}

// New makes an empty stage. Our own programs have to be built.
func New(t *testing.T) *Stage {
	t.Helper()
	s := &Stage{t: t, Dir: t.TempDir(), Programs: lab.Kube(t)}
	root, err := toolbox.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	s.Bin = filepath.Join(root, "bin")
	for _, p := range []string{"meridian", "meridiand", "whereami"} {
		if _, err := os.Stat(filepath.Join(s.Bin, p)); err != nil {
			t.Fatalf("%s is not built; run: make build (%v)", p, err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t.Context ends before Cleanup
	s.Ctx, s.Group = ctx, lab.NewGroup(ctx)
	t.Cleanup(func() {
		cancel()
		s.running.Wait()
		_ = s.Group.Stop() // who was killed on the way is the story's business
	})
	return s
}

// T is the test of the step that is played now.
func (s *Stage) T() *testing.T { return s.t }

// Background runs until the story ends, or stop is called.
func (s *Stage) Background(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(s.Ctx)
	ended := make(chan struct{})
	s.running.Go(func() {
		defer close(ended)
		if err := f(ctx); err != nil {
			s.t.Error(err)
		}
	})
	return func() { cancel(); <-ended }
}

// SideBySide does something for each of n at the same time.
func (s *Stage) SideBySide(n int, f func(i int) error) {
	s.t.Helper()
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		s.t.Fatal(err)
	}
}

// Eventually asks a living world until it has come round, and says how long that took.
func (s *Stage) Eventually(what string, within time.Duration, f func(context.Context) error) time.Duration {
	s.t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(s.Ctx, 10*time.Second)
		err := f(ctx)
		cancel()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > within {
			s.t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}

// Step plays one part of the story; the story ends at the first that fails, after
// lament was called.
func (s *Stage) Step(name string, play, lament func()) {
	outer := s.t
	began := time.Now()
	ok := outer.Run(name, func(t *testing.T) {
		s.t = t
		play()
		t.Logf("%.1f s", time.Since(began).Seconds())
	})
	s.t = outer
	if !ok {
		lament()
		outer.FailNow()
	}
}

// Folder is one below the story's own, made if need be.
func (s *Stage) Folder(parts ...string) string {
	s.t.Helper()
	dir, err := s.folder(parts...)
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

func (s *Stage) folder(parts ...string) (string, error) {
	dir := filepath.Join(append([]string{s.Dir}, parts...)...)
	return dir, os.MkdirAll(dir, 0o755)
}
