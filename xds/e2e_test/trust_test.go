//go:build linux

package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// mesh hands out identities and renews them.
type mesh struct {
	domain  string
	control atomic.Pointer[trust.Papers]
	dirs    map[fleet.Region]string
}

func newMesh(t *testing.T, a *trust.Authority) *mesh {
	t.Helper()
	m := &mesh{domain: a.Domain(), dirs: map[fleet.Region]string{}}
	m.renewControl(t, a, a)
	for _, r := range []fleet.Region{"near", "far"} {
		m.dirs[r] = t.TempDir()
		m.renew(t, r, a, a)
	}
	return m
}

// Current implements trust.Source.
func (m *mesh) Current() *trust.Papers { return m.control.Load() }

func (m *mesh) credentials() credentials.TransportCredentials {
	return trust.Credentials(trust.ServerTLS(m, nil), nil)
}

// renew gives a region's Envoy a new certificate and authorities to trust.
func (m *mesh) renew(t *testing.T, r fleet.Region, from *trust.Authority, trusted ...*trust.Authority) {
	t.Helper()
	if err := trust.WritePEM(m.dirs[r], withBundle(issue(t, from, trust.Gateway, r, string(r)), trusted...)); err != nil {
		t.Fatal(err)
	}
}

// renewControl does the same for the control plane.
func (m *mesh) renewControl(t *testing.T, from *trust.Authority, trusted ...*trust.Authority) {
	t.Helper()
	m.control.Store(papers(t, issue(t, from, trust.Control, "near", "control-0"), trusted...))
}

func newAuthority(t *testing.T) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *trust.Authority, role trust.Role, region fleet.Region, name string) trust.PEM {
	t.Helper()
	p, err := a.Issue(trust.Request{Identity: trust.Identity{Domain: a.Domain(), Role: role, Region: region, Name: name}, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withBundle(p trust.PEM, trusted ...*trust.Authority) trust.PEM {
	p.Bundle = nil
	for _, a := range trusted {
		p.Bundle = append(p.Bundle, a.Bundle()...)
	}
	return p
}

func papers(t *testing.T, p trust.PEM, trusted ...*trust.Authority) *trust.Papers {
	t.Helper()
	got, err := trust.ParsePapers(withBundle(p, trusted...), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// gate is a pod that answers only when so many requests have come that each needs
// a connection of its own.
type gate struct {
	mu      sync.Mutex
	waiting int
	until   int
	open    chan struct{}
}

func (g *gate) expect(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting, g.until, g.open = 0, n, make(chan struct{})
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.waiting++
	if g.waiting == g.until {
		close(g.open)
	}
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}

// Two regions with identities, from their first day to a new authority.
func TestMutualTLS(t *testing.T) {
	first := newAuthority(t)
	m := newMesh(t, first)
	http80 := fleet.Port{Name: "http", Number: 80}
	crowd := &gate{}
	h := furnish(t, m, []*fleet.Service{
		service("web", http80, []*pod{newPod(t, "web-near-0", nil)}, []*pod{newPod(t, "web-far-0", nil)}),
		service("remote", http80, nil, []*pod{newPod(t, "remote-far-0", nil)}),
		service("farstream", fleet.Port{Number: 50051, AppProtocol: "grpc"}, nil, []*pod{newPod(t, "farstream-far-0", nil)}),
		service("crowd", http80, nil, []*pod{newPod(t, "crowd-far-0", crowd.serve)}),
	}, &fleet.Routes{Hosts: []fleet.Host{
		whole("crowd.example.org", "crowd", 80), whole("farstream.example.org", "farstream", 50051),
		whole("remote.example.org", "remote", 80), whole("www.example.org", "web", 80),
	}})
	c := client(t)
	t.Run("everything is accepted", func(t *testing.T) { h.accepted(t) })
	t.Run("regions reach each other", func(t *testing.T) {
		for host, want := range map[string]string{"www.example.org": "web-near-0", "remote.example.org": "remote-far-0", "farstream.example.org": "farstream-far-0"} {
			if got := (ask{to: h.near.front(), host: host, path: "/"}).must(t, c); got.heard.Pod != want {
				t.Errorf("%s: %d from %q: %s", host, got.status, got.heard.Pod, got.body)
			}
		}
	})
	t.Run("who may speak to a relay", func(t *testing.T) { h.strangers(t, first) })
	t.Run("an impostor", func(t *testing.T) { h.impostor(t, c, first) })
	t.Run("everything is replaced under load", func(t *testing.T) { h.replaced(t, c, crowd, first) })
	t.Run("still accepted", func(t *testing.T) { h.accepted(t) })
}

func whole(host, name string, port uint16) fleet.Host {
	return fleet.Host{Name: host, Routes: []fleet.Route{{Host: host, Match: fleet.Match{Path: "/"}, To: []fleet.Target{to(name, port, 1)}}}}
}

// atRelay asks a relay for a service, as somebody.
func (h *house) atRelay(t *testing.T, config *tls.Config) (int, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	scheme := "https"
	if config == nil {
		scheme = "http"
	} else {
		config.NextProtos = nil // the transport of net/http chooses
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://"+h.far.relay().String()+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Meridian-Service", "shop/web/80")
	resp, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

func (h *house) strangers(t *testing.T, a *trust.Authority) {
	other := newAuthority(t)
	bundle, err := trust.ParseBundle(a.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	as := func(from *trust.Authority, role trust.Role, region fleet.Region) *tls.Config {
		p := issue(t, from, role, region, "x")
		return trust.ClientTLS(papers(t, p, from, a), trust.Only(trust.Gateway))
	}
	old := as(a, trust.Gateway, "near")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, s := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"a gateway":                 {as(a, trust.Gateway, "near"), true},
		"a gateway of a third":      {as(a, trust.Gateway, "elsewhere"), true},
		"plaintext":                 {nil, false},
		"no certificate":            {trust.ClientTLS(bundle, nil), false},
		"another authority":         {as(other, trust.Gateway, "near"), false},
		"a daemon":                  {as(a, trust.Control, "near"), false},
		"an operator":               {as(a, trust.Operator, "near"), false},
		"a gateway with an old TLS": {old, false},
	} {
		status, err := h.atRelay(t, s.config)
		if s.ok && (err != nil || status != http.StatusOK) || !s.ok && err == nil {
			t.Errorf("%s: %d %v", name, status, err)
		}
	}
}

// impostor: a machine with a good certificate of the near region stands where the
// far region's relay should. Nobody speaks to it.
func (h *house) impostor(t *testing.T, c *http.Client, a *trust.Authority) {
	var heard atomic.Int64
	config := trust.ServerTLS(papers(t, issue(t, a, trust.Gateway, "near", "evil"), a), nil)
	l, err := net.Listen("tcp", "127.0.82.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:  http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }),
		ErrorLog: log.New(io.Discard, "", 0), // every handshake fails
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(tls.NewListener(l, config)) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
	whom := h.snapshot.World.Edges[0].Gateways[0].RelayPort
	put := func(port uint16) {
		// A snapshot is never changed; the next one differs.
		next, world := *h.snapshot, *h.snapshot.World
		edge := *world.Edges[0]
		edge.Gateways = []fleet.GatewayView{edge.Gateways[0]}
		edge.Gateways[0].RelayPort = port
		world.Edges = []*fleet.Edge{&edge, world.Edges[1]}
		next.World = &world
		h.snapshot = &next
		h.publish(t)
	}
	status := func(want int) {
		t.Helper()
		eventually(t, func() error {
			got, err := ask{to: h.near.front(), host: "remote.example.org", path: "/"}.do(c)
			if err != nil || got.status != want {
				return fmt.Errorf("%d %w, want %d", got.status, err, want)
			}
			return nil
		})
	}
	status(http.StatusOK)
	put(l.Addr().(*net.TCPAddr).AddrPort().Port())
	status(http.StatusServiceUnavailable)
	for range 20 {
		if got := (ask{to: h.near.front(), host: "remote.example.org", path: "/"}).must(t, c); got.status == http.StatusOK {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if heard.Load() != 0 {
		t.Errorf("the impostor heard %d requests", heard.Load())
	}
	put(whom)
	status(http.StatusOK)
}

// replaced: certificates are renewed and the authority is exchanged while requests
// cross the regions. After each step so many requests are in flight at once that
// new connections are made, and none may fail.
func (h *house) replaced(t *testing.T, c *http.Client, crowd *gate, first *trust.Authority) {
	var failed, asked atomic.Int64
	var once sync.Once
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for i := range 16 {
		load.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a := ask{to: h.near.front(), host: "remote.example.org", path: "/"}
				if (i+n)%4 == 0 {
					a.host = "farstream.example.org"
				}
				if (i+n)%3 == 0 {
					a.method, a.body = http.MethodPost, "x"
				}
				got, err := a.do(c)
				asked.Add(1)
				if err != nil || got.status != http.StatusOK {
					failed.Add(1)
					once.Do(func() { t.Logf("first failure: %v %d %q %v", err, got.status, got.body, got.header) })
				}
			}
		})
	}
	size := 0
	burst := func(step string) {
		t.Helper()
		size += 20
		crowd.expect(size)
		var all sync.WaitGroup
		for range size {
			all.Go(func() {
				got, err := ask{to: h.near.front(), host: "crowd.example.org", path: "/", method: http.MethodPost, body: "x"}.do(c)
				if err != nil || got.status != http.StatusNoContent {
					failed.Add(1)
					once.Do(func() { t.Logf("%s: first failure: %v %d %q", step, err, got.status, got.body) })
				}
			})
		}
		all.Wait()
	}
	second := newAuthority(t)
	shown := func(step string, from *trust.Authority, trusted ...*trust.Authority) {
		t.Helper()
		h.mesh.renewControl(t, from, trusted...)
		for _, at := range []*site{h.far, h.near} { // in between, each is at another step
			h.mesh.renew(t, at.view.Region, from, trusted...)
			eventually(t, func() error { return at.shown(t) })
			burst(step)
		}
	}
	burst("before")
	shown("renewed", first, first)
	shown("both are trusted", first, first, second)
	shown("certificates of the new authority", second, first, second)
	shown("only the new one is trusted", second, second)
	stop()
	load.Wait()
	t.Logf("%d requests under way, %d failed", asked.Load(), failed.Load())
	if failed.Load() > 0 || asked.Load() < 100 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
	// Whom the old authority certified is a stranger now.
	p := papers(t, issue(t, first, trust.Gateway, "near", "x"), first, second)
	if status, err := h.atRelay(t, trust.ClientTLS(p, nil)); err == nil {
		t.Errorf("the old authority's gateway is answered %d", status)
	}
	// A daemon that starts anew believes and is believed.
	h.restart(t)
	h.snapshot.Routes = &fleet.Routes{Hosts: []fleet.Host{whole("new.example.org", "remote", 80)}}
	h.publish(t)
	eventually(t, func() error {
		got, err := ask{to: h.near.front(), host: "new.example.org", path: "/"}.do(c)
		if err != nil || got.heard.Pod != "remote-far-0" {
			return fmt.Errorf("a route that was told after the exchange: %d %w", got.status, err)
		}
		return nil
	})
}

// shown reports whether a relay shows the certificate that is in its directory.
func (s *site) shown(t *testing.T) error {
	want, err := trust.ReadPEM(s.view.Identity)
	if err != nil {
		return err
	}
	own, err := tls.X509KeyPair(want.Certificate, want.Key)
	if err != nil {
		return err
	}
	var leaf []byte
	conn, err := (&tls.Dialer{Config: &tls.Config{
		Certificates: []tls.Certificate{own}, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error { leaf = cs.PeerCertificates[0].Raw; return nil },
	}}).DialContext(t.Context(), "tcp", s.relay().String())
	if err != nil {
		return fmt.Errorf("%s: %w", s.view.Region, err)
	}
	conn.Close()
	if !bytes.Equal(leaf, own.Certificate[0]) {
		return errors.New(string(s.view.Region) + " still shows its old certificate")
	}
	return nil
}

// restart ends the control plane and begins another one at the same address.
func (h *house) restart(t *testing.T) {
	t.Helper()
	h.stop()
	h.serve(t)
	h.near.renderer, h.far.renderer = nil, nil
}
