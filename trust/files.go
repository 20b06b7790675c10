package trust

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
)

// FilesConfig is what Files needs.
type FilesConfig struct {
	Dir        string                // with tls.crt, tls.key and ca.crt
	Quiet      time.Duration         // that the directory must have been at rest before it is read; 0 means 100 ms
	Recheck    time.Duration         // between two looks that no event asked for; 0 means 15 s
	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

// Files are papers in a directory that somebody renews. What does not hold
// together is not taken: the papers before it stay in force, and Fault says why.
type Files struct {
	c       FilesConfig
	metrics *metrics
	papers  atomic.Pointer[Papers]

	mu     sync.Mutex
	fault  error // of the last look; nil: none
	logged string
}

// NewFiles reads the directory once. There is nothing to keep in force yet, so
// files that are not in order are an error here.
func NewFiles(c FilesConfig) (*Files, error) {
	if c.Quiet <= 0 {
		c.Quiet = 100 * time.Millisecond
	}
	if c.Recheck <= 0 {
		c.Recheck = 15 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	first, err := ReadPapers(c.Dir)
	if err != nil {
		return nil, err
	}
	f := &Files{c: c}
	f.papers.Store(first)
	if f.metrics, err = newMetrics(c.Registerer, f); err != nil {
		return nil, fmt.Errorf("registering the metrics of the identity: %w", err)
	}
	return f, nil
}

// Current is the papers in force, never nil.
func (f *Files) Current() *Papers { return f.papers.Load() }

// Identity is who the papers are of. It never changes.
func (f *Files) Identity() Identity { return f.Current().identity }

// Fault says what is wrong at this moment: files that were not taken, or papers
// that have expired meanwhile; nil: nothing.
func (f *Files) Fault() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// Run takes renewed papers over until ctx ends, when it returns nil. Its cases: the
// end; a change in the directory, after which it waits until that is at rest;
// the end of the rest; trouble of the watcher, such as lost events; and a look
// from time to time, since watches lose events.
func (f *Files) Run(ctx context.Context) error {
	var events <-chan fsnotify.Event // nil, and so silent, without a watcher
	var troubles <-chan error
	watch := func() {}
	if w, err := fsnotify.NewWatcher(); err != nil {
		f.c.Log.Warn("the identity's directory is not watched, only looked at from time to time; raise fs.inotify.max_user_instances to take renewed files at once",
			"error", err, "every", f.c.Recheck)
	} else {
		defer func() { _ = w.Close() }()
		events, troubles = w.Events, w.Errors
		watch = func() { _ = w.Add(f.c.Dir) } // one that is not there is tried again at the next recheck
	}
	watch()
	quiet := time.NewTimer(f.c.Quiet)
	defer quiet.Stop()
	recheck := time.NewTicker(f.c.Recheck)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil
			}
			quiet.Reset(f.c.Quiet)
		case _, ok := <-troubles:
			if !ok {
				troubles = nil
			}
			quiet.Reset(f.c.Quiet)
		case <-quiet.C:
			f.look()
		case <-recheck.C:
			watch()
			f.look()
		}
	}
}

// look takes the files over if they are new and in order.
func (f *Files) look() {
	next, err := f.next()
	now := f.Current()
	switch {
	case err == nil && next == nil && time.Now().After(now.notAfter):
		err = fmt.Errorf("the identity in %s expired %s and was not renewed, so nobody believes it; put new files there", f.c.Dir, now.notAfter.UTC().Format(time.RFC3339))
	case err != nil && time.Now().After(now.notAfter):
		err = fmt.Errorf("%w; what was read before expired %s", err, now.notAfter.UTC().Format(time.RFC3339))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = err
	if err != nil {
		if err.Error() != f.logged {
			f.logged = err.Error()
			f.metrics.refused.Inc()
			f.c.Log.Error("renewed files of the identity are not taken, what was read before stays in force", "error", err)
		}
		return
	}
	f.logged = ""
	if next != nil {
		f.papers.Store(next)
		f.metrics.taken.Inc()
		f.c.Log.Info("the identity is renewed", "identity", next.identity, "expires", next.notAfter)
	}
}

// next is the papers in the directory if they are others than those in force.
func (f *Files) next() (*Papers, error) {
	p, err := ReadPEM(f.c.Dir)
	if err != nil {
		return nil, err
	}
	now := f.Current()
	if p.sum() == now.sum {
		return nil, nil
	}
	next, err := ParsePapers(p, time.Now())
	if err != nil {
		return nil, fmt.Errorf("the identity in %s is not in order: %w", f.c.Dir, err)
	}
	if next.identity != now.identity {
		return nil, fmt.Errorf("the files in %s are of %s, and this process is %s; restart it if that is meant", f.c.Dir, next.identity, now.identity)
	}
	return next, nil
}
