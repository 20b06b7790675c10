package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var here = identity{Host: "node-7", Pod: "whereami-0", Zone: "b", Region: "eu-west", Cluster: "eu-1"}

func testServer(t *testing.T, change func(*config)) *server {
	t.Helper()
	cfg := config{Identity: here, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	s, err := newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one request from an address, with headers as "Name: value".
func ask(s *server, method, target, from string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, http.NoBody)
	r.RemoteAddr = from
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return w
}

func TestAnswerJSON(t *testing.T) {
	w := ask(testServer(t, nil), "PUT", "http://shop.example/cart?x=1", "192.0.2.7:4711",
		"Accept: application/json", "User-Agent: curl", "Cookie: secret", "Authorization: secret",
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2", "X-Envoy-Attempt-Count: 2", "X-Request-Id: "+strings.Repeat("7", 2000))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, type %s", w.Code, w.Header().Get("Content-Type"))
	}
	var got report
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := report{
		identity: here, Method: "PUT", Path: "/cart", Protocol: "HTTP/1.1", Requested: "shop.example", RemoteAddr: "192.0.2.7:4711",
		Headers: map[string]string{
			"User-Agent": "curl", "X-Forwarded-For": "192.0.2.1, 192.0.2.2", "X-Envoy-Attempt-Count": "2",
			"X-Request-Id": strings.Repeat("7", 1024) + "…",
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(report{})); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
}

func TestAnswerText(t *testing.T) {
	s := testServer(t, func(c *config) { c.Identity.Zone = "" })
	w := ask(s, "GET", "http://shop.example/", "192.0.2.7:4711", "User-Agent: evil\x1b[31m", "Via: 1.1 envoy")
	want := `region:   eu-west
cluster:  eu-1
pod:      whereami-0
host:     node-7
request:  GET / HTTP/1.1
for:      shop.example
from:     192.0.2.7:4711
User-Agent: "evil\x1b[31m"
Via:      1.1 envoy
`
	if diff := cmp.Diff(want, w.Body.String()); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
}

func TestForm(t *testing.T) {
	for _, tt := range []struct {
		query, accept string
		json          bool
	}{
		{"", "", false},
		{"", "*/*", false},
		{"", "application/json", true},
		{"", "text/html, application/json;q=0.9, */*;q=0.1", true},
		{"", "text/plain, application/json", false},
		{"", "application/json;q=0, */*", false},
		{"", ";;;,application/json", true},
		{"?format=json", "text/plain", true},
		{"?format=text", "application/json", false},
		{"?format=xml", "application/json", true},
	} {
		w := ask(testServer(t, nil), "GET", "/"+tt.query, "192.0.2.7:1", "Accept: "+tt.accept)
		if got := json.Valid(w.Body.Bytes()); got != tt.json {
			t.Errorf("query %q, Accept %q: JSON is %v, want %v", tt.query, tt.accept, got, tt.json)
		}
	}
}

func TestFail(t *testing.T) {
	s := testServer(t, nil)
	want := func(answer, health int) {
		t.Helper()
		if got := ask(s, "GET", "/", "192.0.2.7:1").Code; got != answer {
			t.Errorf("answers %d, want %d", got, answer)
		}
		if got := ask(s, "GET", "/healthz", "192.0.2.7:1").Code; got != health {
			t.Errorf("is healthy with %d, want %d", got, health)
		}
	}
	tell := func(query string) {
		t.Helper()
		if w := ask(s, "POST", "/control/fail"+query, "127.0.0.1:1"); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	want(200, 200)
	tell("?on=true&status=500")
	want(500, 503)
	tell("?on=false")
	want(200, 200)
	tell("")
	want(503, 503)
	s = testServer(t, func(c *config) { c.Fail = true })
	want(503, 503)
}

func TestControlAnswers(t *testing.T) {
	w := ask(testServer(t, nil), "POST", "/control/slow?delay=1500ms", "[::1]:1")
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"failing": false, "status": 503.0, "delay": "1.5s"}, got); diff != "" {
		t.Errorf("the mood (-want +got):\n%s", diff)
	}
}

func TestControlRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, method, target, from string
		headers                    []string
		status                     int
		say                        string
	}{
		{"a stranger", "POST", "/control/fail", "192.0.2.7:1", nil, 403, "--control"},
		{"a stranger behind a proxy of this machine", "POST", "/control/fail", "127.0.0.1:1", []string{"X-Forwarded-For: 192.0.2.7"}, 403, "--control"},
		{"a page of another site", "POST", "/control/fail", "127.0.0.1:1", []string{"Sec-Fetch-Site: cross-site"}, 403, "cross-origin"},
		{"an address that is none", "POST", "/control/slow?delay=1s", "@", nil, 403, "--control"},
		{"a reader", "GET", "/control/slow?delay=1s", "127.0.0.1:1", nil, 405, "POST"},
		{"no truth", "POST", "/control/fail?on=perhaps", "127.0.0.1:1", nil, 400, "neither true nor false"},
		{"no failure", "POST", "/control/fail?status=200", "127.0.0.1:1", nil, 400, "400 to 599"},
		{"no number", "POST", "/control/fail?status=x", "127.0.0.1:1", nil, 400, "400 to 599"},
		{"no duration", "POST", "/control/slow", "127.0.0.1:1", nil, 400, "not a duration"},
		{"too slow", "POST", "/control/slow?delay=31s", "127.0.0.1:1", nil, 400, "not within 0 and 30s"},
		{"too fast", "POST", "/control/slow?delay=-1s", "127.0.0.1:1", nil, 400, "not within 0 and 30s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := testServer(t, nil)
			w := ask(s, tt.method, tt.target, tt.from, tt.headers...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.say) {
				t.Errorf("got %d %q, want %d and %q", w.Code, w.Body, tt.status, tt.say)
			}
			if m, _ := s.current(); m != (mood{Status: 503}) {
				t.Errorf("it was refused, but the mood is %+v", m)
			}
		})
	}
	open := testServer(t, func(c *config) { c.Control = true })
	if w := ask(open, "POST", "/control/fail", "192.0.2.7:1"); w.Code != http.StatusOK {
		t.Errorf("with --control a stranger gets %d", w.Code)
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer(t, func(c *config) { c.Delay = 20 * time.Second })
		took := func(target string) time.Duration {
			start := time.Now()
			ask(s, "GET", target, "127.0.0.1:1")
			return time.Since(start)
		}
		if got := took("/"); got != 20*time.Second {
			t.Errorf("the answer took %v, want 20s", got)
		}
		if got := took("/healthz"); got != 0 {
			t.Errorf("the health check took %v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start, w := time.Now(), httptest.NewRecorder()
		s.handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/", http.NoBody))
		if got := time.Since(start); got != time.Second || w.Body.Len() > 0 {
			t.Errorf("the client has gone after 1s, but the answer %q came after %v", w.Body, got)
		}
	})
}

// pipeListener accepts connections made in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.closed); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (l *pipeListener) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	}
}

// TestDrain: after the call to stop the service is unhealthy but serves, then
// closes the door, and the last slow request is still answered.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		client := &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
		get := func(path string) (int, error) {
			resp, err := client.Get("http://whereami" + path)
			if err != nil {
				return 0, err
			}
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
			return resp.StatusCode, err
		}
		s := testServer(t, func(c *config) { c.Drain, c.Delay = 10*time.Second, 20*time.Second })
		ctx, stop := context.WithCancel(t.Context())
		start := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, l) }()
		if status, err := get("/healthz"); status != 200 || err != nil {
			t.Errorf("before the end the health is %d, %v", status, err)
		}

		stop()
		synctest.Wait()
		if status, err := get("/healthz"); status != 503 || err != nil {
			t.Errorf("while draining the health is %d, %v", status, err)
		}
		time.Sleep(5 * time.Second)
		status, err := get("/") // comes late and takes until long after the door has closed
		if status != 200 || err != nil || time.Since(start) != 25*time.Second {
			t.Errorf("the last request got %d, %v after %v; want 200 after 25s", status, err, time.Since(start))
		}
		if _, err := get("/"); err == nil {
			t.Error("the door is closed, but somebody came in")
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestRun starts the whole command and asks it over both protocols.
func TestRun(t *testing.T) {
	s := testServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx, l) }()
	for name, set := range map[string]func(*http.Protocols, bool){
		"HTTP/1.1": (*http.Protocols).SetHTTP1,
		"HTTP/2.0": (*http.Protocols).SetUnencryptedHTTP2,
	} {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		set(transport.Protocols, true)
		resp, err := (&http.Client{Transport: transport}).Get("http://" + l.Addr().String() + "/?format=json")
		if err != nil {
			t.Fatal(err)
		}
		var got report
		if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
		if got.Protocol != name || got.identity != here {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestCommand(t *testing.T) {
	env := map[string]string{"POD_NAME": "pod-1", "NODE_NAME": "node-1", "ZONE": "a", "REGION": "asia-east", "CLUSTER": "asia-1", "LISTEN": "127.0.0.1:0"}
	getenv := func(key string) string { return env[key] }
	cfg, listen, err := parse([]string{"--zone=c", "--delay=1s", "--fail"}, getenv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := identity{Host: "node-1", Pod: "pod-1", Zone: "c", Region: "asia-east", Cluster: "asia-1"}
	if cfg.Identity != want || listen != "127.0.0.1:0" || cfg.Delay != time.Second || !cfg.Fail {
		t.Errorf("parsed %+v, %s", cfg, listen)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, getenv, &out); err != nil || strings.TrimSpace(out.String()) == "" {
		t.Errorf("--version prints %q, %v", &out, err)
	}
	if err := run(t.Context(), []string{"--help"}, getenv, io.Discard); err != nil {
		t.Errorf("--help says %v", err)
	}
	for want, args := range map[string][]string{
		"not within 0 and 30s":     {"--delay=1m"},
		"is negative":              {"--drain=-1s"},
		`"8080" is no flag`:        {"8080"},
		"listening: listen tcp":    {"--listen=127.0.0.1:99999"},
		"flag provided but not de": {"--nonsense"},
	} {
		if err := run(t.Context(), args, getenv, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got error %v, want one that says %q", args, err, want)
		}
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ended, nil, getenv, io.Discard); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop before it began: %v", err)
	}
}
