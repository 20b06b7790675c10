package apply

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func named(name string) ref {
	return ref{schema.GroupKind{Kind: "ConfigMap"}, types.NamespacedName{Namespace: "default", Name: name}}
}

// An object is looked at once however often it was added, by one at a time, and
// later and later while it fails.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		var mu sync.Mutex
		var log []string
		busy := map[ref]bool{}
		attend := func(_ context.Context, r ref) {
			mu.Lock()
			if busy[r] {
				t.Errorf("two look at %s", r)
			}
			busy[r] = true
			log = append(log, fmt.Sprintf("%s %s", r.Name, time.Since(begin)))
			mu.Unlock()
			<-time.After(10 * time.Millisecond)
			mu.Lock()
			busy[r] = false
			mu.Unlock()
			if r.Name == "bad" {
				q.later(r)
			}
		}
		for range 3 {
			q.add(named("a"))
		}
		q.add(named("bad"))
		if n, oldest := q.length(begin.Add(time.Second)); n != 2 || oldest != time.Second {
			t.Errorf("%d wait, the first for %s", n, oldest)
		}
		var workers sync.WaitGroup
		for range 2 {
			workers.Go(func() { q.work(ctx, attend) })
		}
		time.Sleep(5 * time.Millisecond)
		q.add(named("a")) // while it is being looked at
		time.Sleep(4 * time.Second)
		cancel()
		workers.Wait()
		q.end()
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(log)
		want := []string{"a 0s", "a 10ms", "bad 0s", "bad 1.52s", "bad 3.53s", "bad 510ms"}
		if !slices.Equal(log, want) {
			t.Errorf("\n got %q\nwant %q", log, want)
		}
	})
}

// Whoever changes what we write is answered at once a few times, then ever more
// slowly; after a while of peace it begins anew.
func TestContest(t *testing.T) {
	var c contest
	now := time.Now()
	var waits []int
	for range 14 {
		c = c.next("x", now)
		waits = append(waits, int(c.wait("x", now).Seconds()))
	}
	want := []int{0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60}
	for i, w := range want {
		if waits[i] != w {
			t.Fatalf("the waits are %v", waits)
		}
	}
	if w := c.wait("y", now); w != 0 {
		t.Errorf("other content waits for %s", w)
	}
	if c = c.next("x", now.Add(3*time.Minute)); c.n != 1 {
		t.Errorf("it is not forgotten: %+v", c)
	}
}
