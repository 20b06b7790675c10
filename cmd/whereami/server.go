package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

type config struct {
	Identity identity
	Fail     bool          // begin failing, with 503
	Delay    time.Duration // before each answer, 0 to maxDelay
	Control  bool          // take control requests from any address
	Drain    time.Duration // unhealthy but still serving, before the end
	Log      *slog.Logger
}

type server struct {
	cfg config
	log *slog.Logger

	mu       sync.Mutex
	mood     mood
	draining bool
}

// mood is what the service has been told to do.
type mood struct {
	Failing bool          `json:"failing"`
	Status  int           `json:"status"` // answered while failing
	Delay   time.Duration `json:"-"`
}

func newServer(cfg config) (*server, error) {
	if err := checkDelay(cfg.Delay); err != nil {
		return nil, fmt.Errorf("--delay: %w", err)
	}
	if cfg.Drain < 0 {
		return nil, fmt.Errorf("--drain: %s is negative", cfg.Drain)
	}
	m := mood{Failing: cfg.Fail, Status: http.StatusServiceUnavailable, Delay: cfg.Delay}
	return &server{cfg: cfg, log: cfg.Log, mood: m}, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.answer)
	mux.HandleFunc("GET /healthz", s.health)
	mux.Handle("POST /control/fail", s.guarded(s.controlFail))
	mux.Handle("POST /control/slow", s.guarded(s.controlSlow))
	// Without these a GET would be answered like any other page.
	mux.HandleFunc("/control/fail", postOnly)
	mux.HandleFunc("/control/slow", postOnly)
	return mux
}

// run serves until ctx ends, then drains: it is unhealthy for a while, closes the
// door and lets the requests under way finish.
func (s *server) run(ctx context.Context, listener net.Listener) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler:           s.handler(),
		Protocols:         &protocols,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute, // more than maxDelay
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	id := s.cfg.Identity
	s.log.Info("serving", "address", listener.Addr(), "pod", id.Pod, "zone", id.Zone, "region", id.Region, "cluster", id.Cluster)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}

	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.log.Info("draining", "for", s.cfg.Drain)
	select {
	case err := <-served:
		return fmt.Errorf("serving while draining: %w", err)
	case <-time.After(s.cfg.Drain):
	}
	rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	if err := srv.Shutdown(rest); err != nil {
		return errors.Join(fmt.Errorf("finishing the last requests: %w", err), srv.Close())
	}
	return nil
}

func (s *server) current() (m mood, draining bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mood, s.draining
}

// health is for probes: it is never slow, for a probe asks whether to send users here.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	m, draining := s.current()
	status, word := http.StatusOK, "ok"
	switch {
	case m.Failing:
		status, word = http.StatusServiceUnavailable, "failing: told to by /control/fail or --fail"
	case draining:
		status, word = http.StatusServiceUnavailable, "draining"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, word) // the client may have gone
}

// guarded lets control requests in only from this machine itself, unless
// --control opened the door. A request that came through a proxy is not from
// here, whatever its last hop, and neither is one that another site's page sent.
func (s *server) guarded(next http.HandlerFunc) http.Handler {
	local := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.cfg.Control && !fromHere(r) {
			http.Error(w, "control requests are taken from this machine itself only; start with --control to take them from anywhere", http.StatusForbidden)
			return
		}
		next(w, r)
	})
	return http.NewCrossOriginProtection().Handler(local)
}

func fromHere(r *http.Request) bool {
	for _, h := range []string{"Forwarded", "X-Forwarded-For", "Via", "X-Envoy-External-Address"} {
		if r.Header.Get(h) != "" {
			return false
		}
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// controlFail takes ?on=true|false&status=400…599; both may be left out.
func (s *server) controlFail(w http.ResponseWriter, r *http.Request) {
	on, status := true, http.StatusServiceUnavailable
	var err error
	if v := r.URL.Query().Get("on"); v != "" {
		if on, err = strconv.ParseBool(v); err != nil {
			http.Error(w, fmt.Sprintf("on=%.20q is neither true nor false", v), http.StatusBadRequest)
			return
		}
	}
	if v := r.URL.Query().Get("status"); v != "" {
		if status, err = strconv.Atoi(v); err != nil || status < 400 || status > 599 {
			http.Error(w, fmt.Sprintf("status=%.20q is not a number from 400 to 599", v), http.StatusBadRequest)
			return
		}
	}
	s.change(w, func(m *mood) { m.Failing, m.Status = on, status })
}

// controlSlow takes ?delay=200ms, at most maxDelay; 0 is fast again.
func (s *server) controlSlow(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query().Get("delay")
	delay, err := time.ParseDuration(v)
	if err != nil {
		http.Error(w, fmt.Sprintf("delay=%.20q is not a duration such as 200ms", v), http.StatusBadRequest)
		return
	}
	if err := checkDelay(delay); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.change(w, func(m *mood) { m.Delay = delay })
}

func (s *server) change(w http.ResponseWriter, to func(*mood)) {
	s.mu.Lock()
	before := s.mood
	to(&s.mood)
	now := s.mood
	s.mu.Unlock()
	if now != before {
		s.log.Info("told to change", "failing", now.Failing, "status", now.Status, "delay", now.Delay)
	}
	writeJSON(w, http.StatusOK, struct {
		mood
		Delay string `json:"delay"`
	}{now, now.Delay.String()})
}

func checkDelay(d time.Duration) error {
	if d < 0 || d > maxDelay {
		return fmt.Errorf("a delay of %s is not within 0 and %s", d, maxDelay)
	}
	return nil
}

func postOnly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", http.MethodPost)
	http.Error(w, "control requests are made with POST", http.StatusMethodNotAllowed)
}
