package node

import (
	"context"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// line is the way to an API server, and notes when it was broken. A watch that
// goes on after that may be blind: when the server came back from a backup, its
// versions are older than the one that the watch goes on from, and what happens
// until it gets there again is never told. So whoever watches begins anew.
type line struct {
	next   http.RoundTripper
	broken atomic.Bool
	mended chan struct{} // holds one
}

// dial makes a client without limits that says when its line was mended.
func dial(cfg *rest.Config) (kubernetes.Interface, *line, error) {
	l := &line{mended: make(chan struct{}, 1)}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		l.next = next
		return l
	})
	client, err := kubernetes.NewForConfig(cfg)
	return client, l, err
}

// RoundTrip makes a request.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	switch {
	case err == nil && l.broken.Swap(false):
		select {
		case l.mended <- struct{}{}:
		default:
		}
	case err != nil && r.Context().Err() == nil: // not one that was merely given up
		l.broken.Store(true)
	}
	return resp, err
}

// anew runs what watches, and begins anew whenever the line was mended.
func (l *line) anew(ctx context.Context, run func(ctx context.Context) error) error {
	for ctx.Err() == nil {
		once, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- run(once) }()
		var err error
		select {
		case <-l.mended:
			cancel()
			err = <-ended
		case err = <-ended:
		}
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
