package apply

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
)

// How long an object is let alone after a failure: twice as long each time.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// queue holds the objects of one member that are to be looked at, each once.
type queue struct {
	limit workqueue.TypedRateLimiter[ref]

	mu      sync.Mutex
	waiting map[ref]time.Time // since when
	busy    map[ref]bool
	order   []ref
	timers  map[ref]*time.Timer // of retries
	wake    chan struct{}
	ended   bool
}

func newQueue() *queue {
	return &queue{
		limit:   workqueue.NewTypedItemExponentialFailureRateLimiter[ref](firstRetry, lastRetry),
		waiting: map[ref]time.Time{}, busy: map[ref]bool{}, timers: map[ref]*time.Timer{}, wake: make(chan struct{}, 1),
	}
}

// add has an object looked at, at once. It never blocks.
func (q *queue) add(r ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, there := q.waiting[r]; there || q.ended {
		return
	}
	if t := q.timers[r]; t != nil {
		t.Stop()
		delete(q.timers, r)
	}
	q.waiting[r] = time.Now()
	q.order = append(q.order, r)
	q.poke()
}

// later has an object looked at after a while that grows with every failure.
func (q *queue) later(r ref) {
	q.after(r, q.limit.When(r))
}

// after has an object looked at after a while.
func (q *queue) after(r ref, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, there := q.waiting[r]; there || q.ended || q.timers[r] != nil {
		return
	}
	q.timers[r] = time.AfterFunc(wait, func() { q.add(r) })
}

// well forgets an object's failures.
func (q *queue) well(r ref) { q.limit.Forget(r) }

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default: // somebody will look anyway
	}
}

// take takes the object that has waited longest of those that nobody works on.
func (q *queue) take() (r ref, ok, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, r := range q.order {
		if q.busy[r] {
			continue
		}
		if i == 0 {
			q.order = q.order[1:]
		} else {
			q.order = slices.Delete(q.order, i, i+1)
		}
		delete(q.waiting, r)
		q.busy[r] = true
		return r, true, len(q.order) > 0
	}
	return ref{}, false, false
}

func (q *queue) done(r ref) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, r)
	if len(q.order) > 0 {
		q.poke()
	}
}

// work looks at one object after the other until ctx ends. Several may work.
func (q *queue) work(ctx context.Context, attend func(context.Context, ref)) {
	for ctx.Err() == nil {
		r, ok, more := q.take()
		if !ok {
			select {
			case <-ctx.Done():
				q.poke() // the others too
			case <-q.wake:
			}
			continue
		}
		if more {
			q.poke()
		}
		attend(ctx, r)
		q.done(r)
	}
}

// length is how many objects wait, and for how long the first of them does.
func (q *queue) length(now time.Time) (n int, oldest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, since := range q.waiting {
		oldest = max(oldest, now.Sub(since))
	}
	return len(q.waiting), oldest
}

func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	for _, t := range q.timers {
		t.Stop()
	}
}
