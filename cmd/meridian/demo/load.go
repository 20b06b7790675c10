package demo

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// load is the steady traffic of one region's users. Each request asks DNS anew,
// unless a fixed address is given: then it is a user whose resolver remembers.
type load struct {
	from  region
	every time.Duration
	to    netip.Addr // zero: ask DNS

	mu       sync.Mutex
	sent     int
	failures []failure
	served   map[string]int // by region
}

type failure struct {
	at  time.Time // when the request began
	err error
}

// Run sends requests until ctx ends. Requests under way then are not counted.
func (l *load) Run(ctx context.Context) error {
	c := newCaller(l.from)
	defer c.client.CloseIdleConnections()
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(l.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			wg.Go(func() { l.once(ctx, c) })
		}
	}
}

func (l *load) once(ctx context.Context, c caller) {
	began := time.Now()
	to, err := l.to, error(nil)
	if !to.IsValid() {
		to, err = dig(ctx, l.from, l.from.client)
	}
	var a answer
	if err == nil {
		a, err = c.curl(ctx, to)
	}
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.failures = append(l.failures, failure{began, err})
		return
	}
	if l.served == nil {
		l.served = map[string]int{}
	}
	l.served[a.Region]++
}

// count is how many of the requests that began at or after a moment failed,
// with the last reason.
func (l *load) count(since time.Time) (failed int, last error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.failures {
		if !f.at.Before(since) {
			failed++
			last = f.err
		}
	}
	return failed, last
}

func (l *load) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%d requests, %d failed, served by %v", l.sent, len(l.failures), l.served)
}
