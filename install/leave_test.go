package install

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// shelf is a host with one workload, that may be silent.
type shelf struct {
	mu     sync.Mutex
	object *unstructured.Unstructured // nil: none
	silent error
	stream *watch.FakeWatcher
	lists  int
}

func (s *shelf) each(_ context.Context, show func(*unstructured.Unstructured)) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if s.silent != nil {
		return "", s.silent
	}
	if s.object != nil {
		show(s.object)
	}
	return "7", nil
}

func (s *shelf) watch(context.Context, string) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent != nil {
		return nil, s.silent
	}
	s.stream = watch.NewFake()
	return s.stream, nil
}

// says has the watch bring something; nil: it ends, as API servers do now and then.
func (s *shelf) says(o *unstructured.Unstructured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o == nil {
		s.stream.Stop()
		return
	}
	s.stream.Modify(o)
}

// falls has the host fall silent, its watch first.
func (s *shelf) falls(err error) {
	s.mu.Lock()
	s.silent = err
	stream := s.stream
	s.mu.Unlock()
	stream.Error(&unstructured.Unstructured{}) // too old a version
}

// returns has it answer again.
func (s *shelf) returns(o *unstructured.Unstructured) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object, s.silent = o, nil
}

// leaves lets us go, while a story is played beside it.
func leaves(t *testing.T, l Leaving, s *shelf, story func(context.CancelFunc)) (said string, took time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var out bytes.Buffer
		l.Name = "us"
		d := &departure{Leaving: &l, host: "host", books: s, began: time.Now(), say: Progress{W: &out}}
		if err = d.read(ctx); err != nil {
			return
		}
		done := make(chan struct{})
		go func() { defer close(done); story(cancel) }()
		err = d.wait(ctx)
		took = time.Since(d.began)
		<-done
		said = out.String()
	})
	return said, took, err
}

func pass(d time.Duration) { <-time.After(d) }

func has(t *testing.T, desired, ready int) *unstructured.Unstructured {
	t.Helper()
	o := fares(t, someWeb, "", seen+", clusters: ["+aRow("us", desired, ready, "waits until the others are ready")+"]")
	o.SetResourceVersion("8")
	return o
}

func TestLeaveWaitsForWorkloads(t *testing.T) {
	s := &shelf{object: has(t, 9, 9)}
	said, took, err := leaves(t, Leaving{Grace: 10 * time.Second}, s, func(context.CancelFunc) {
		pass(20 * time.Second)
		s.says(has(t, 5, 9))
		pass(20 * time.Second)
		s.says(has(t, 0, 3))
		s.says(nil)
		pass(20 * time.Second)
		s.says(fares(t, someWeb, "", seen))
	})
	if err != nil || took != time.Minute || s.lists != 1 {
		t.Errorf("after %s and %d lists: %v\n%s", took, s.lists, err, said)
	}
	for _, want := range []string{"us drains for 10s", "These move to other clusters, and leave it as they are ready there: 1 workload with 9 replicas there",
		"  … 1 workload with 9 replicas there\n    Deployment shop/web: 9 replicas: waits until the others are ready", "web: 3 replicas"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
}

func TestLeaveWaitsForTraffic(t *testing.T) {
	for _, l := range []Leaving{{Grace: time.Minute}, {Grace: time.Minute, Force: true}, {Grace: time.Minute, Keep: true}} {
		s := &shelf{object: has(t, 9, 9)}
		if !l.leaves() {
			s.object = nil
		}
		said, took, err := leaves(t, l, s, func(context.CancelFunc) {})
		if err != nil || took != time.Minute {
			t.Errorf("%+v: after %s: %v\n%s", l, took, err, said)
		}
		if what := "Not ready elsewhere, and not waited for: 1 workload with 9"; l.Force != strings.Contains(said, what) {
			t.Errorf("%+v:\n%s", l, said)
		}
	}
}

func TestLeaveHasNoPatienceForEver(t *testing.T) {
	_, took, err := leaves(t, Leaving{Timeout: 3 * time.Minute}, &shelf{object: has(t, 9, 9)}, func(context.CancelFunc) {})
	if took != 3*time.Minute || err == nil {
		t.Fatalf("after %s: %v", took, err)
	}
	for _, want := range []string{"after 3m0s us still has 1 workload with 9 replicas there", "Deployment shop/web: 9 replicas: waits", "It is still a member and still drains", "--keep-workloads", "--force",
		`patch cluster.meridian.dev us --type merge -p '{"spec":{"draining":false}}'`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}

// A host that falls silent is asked again, and what it said last is not taken for the end.
func TestLeaveOutlivesASilentHost(t *testing.T) {
	s := &shelf{object: has(t, 9, 9)}
	said, took, err := leaves(t, Leaving{}, s, func(context.CancelFunc) {
		pass(time.Second)
		s.falls(errors.New("the host is away"))
		pass(30 * time.Second)
		s.returns(fares(t, someWeb, "", seen))
	})
	if err != nil || took < 31*time.Second || took > 33*time.Second || !strings.Contains(said, "the host is away; asked again") {
		t.Errorf("after %s: %v\n%s", took, err, said)
	}
	s = &shelf{object: has(t, 9, 9)}
	if _, _, err := leaves(t, Leaving{}, s, func(context.CancelFunc) {
		pass(time.Second)
		s.falls(errors.New("the host is away"))
	}); err == nil || !strings.Contains(err.Error(), "nobody knows what us still has (the host is away)") {
		t.Error(err)
	}
}

func TestLeaveIsInterrupted(t *testing.T) {
	_, took, err := leaves(t, Leaving{Grace: time.Minute}, &shelf{}, func(cancel context.CancelFunc) {
		pass(10 * time.Second)
		cancel()
	})
	if !errors.Is(err, context.Canceled) || took != 10*time.Second || !strings.Contains(err.Error(), "is still a member") {
		t.Errorf("after %s: %v", took, err)
	}
}
