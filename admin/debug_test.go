package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestDebugPages(t *testing.T) {
	reg := prometheus.NewRegistry()
	newMetrics(reg).watchers.Set(3)
	notReady := errors.New("there is no plan yet")
	for _, c := range []struct {
		name, path, from, host string
		ready                  error
		code                   int
		body                   string
	}{
		{"metrics from anywhere", "/metrics", "203.0.113.9:1", "eu.example", nil, 200, "meridian_admin_watchers 3"},
		{"alive before the first plan", "/healthz", "203.0.113.9:1", "eu.example", notReady, 200, "ok"},
		{"not ready before the first plan", "/readyz", "203.0.113.9:1", "eu.example", notReady, 503, "no plan yet"},
		{"ready", "/readyz", "203.0.113.9:1", "eu.example", nil, 200, "ok"},
		{"profiles here", "/debug/pprof/", "127.0.0.1:1", "127.0.0.1:9000", nil, 200, "goroutine"},
		{"profiles here by name", "/debug/pprof/cmdline", "[::1]:1", "localhost:9000", nil, 200, ""},
		{"profiles from afar", "/debug/pprof/heap", "203.0.113.9:1", "localhost", nil, 403, "this machine only"},
		{"profiles through a browser led here", "/debug/pprof/heap", "127.0.0.1:1", "evil.example:9000", nil, 403, "this machine only"},
		{"profiles of nobody", "/debug/pprof/heap", "@", "localhost", nil, 403, "this machine only"},
		{"nothing else", "/", "127.0.0.1:1", "localhost", nil, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, c.path, nil)
			r.RemoteAddr, r.Host = c.from, c.host
			w := httptest.NewRecorder()
			debugHandler(reg, func() error { return c.ready }).ServeHTTP(w, r)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.body) {
				t.Errorf("%d %.200s; want %d with %q", w.Code, w.Body, c.code, c.body)
			}
		})
	}
}

func TestServeDebugEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeDebug(ctx, ln, prometheus.NewRegistry(), func() error { return nil }) }()
	res, err := http.Get("http://" + ln.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("%q, %v", body, err)
	}
	res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := ServeDebug(t.Context(), ln, prometheus.NewRegistry(), nil); err == nil {
		t.Error("a listener that is closed is no error")
	}
}
