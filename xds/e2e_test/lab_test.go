//go:build linux

// Package e2e_test starts real Envoys against rendered resources.
package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/xds"
	"github.com/meridian-lb/meridian/xds/bootstrap"
	"github.com/meridian-lb/meridian/xds/render"
)

// site is one region with its Envoy.
type site struct {
	view  render.View
	place fleet.Place
	admin netip.AddrPort
	log   string

	renderer *render.Renderer
}

func (s *site) front() netip.AddrPort { return netip.AddrPortFrom(s.view.Bind, s.view.HTTPPort) }
func (s *site) relay() netip.AddrPort { return netip.AddrPortFrom(s.view.Bind, s.view.RelayPort) }

func (s *site) cluster() *fleet.Cluster {
	return &fleet.Cluster{
		Name: "c-" + string(s.view.Region),
		At:   fleet.Vantage{Region: s.view.Region, Network: s.view.Network, Place: s.place},
		Gateways: []fleet.Gateway{{
			Addr: s.view.Bind, Port: s.view.HTTPPort, RelayPort: s.view.RelayPort,
		}},
	}
}

// house is two regions and what is told to their Envoys.
type house struct {
	near, far *site
	mesh      *mesh // nil: everybody speaks plaintext
	control   netip.AddrPort
	server    *xds.Server
	stop      func() // ends the control plane
	segments  *render.Segments
	loads     loads
	snapshot  *fleet.Snapshot
}

// newHouse starts the Envoys of two regions with what a snapshot's services and
// routes make of them.
func newHouse(t *testing.T, services []*fleet.Service, routes *fleet.Routes) *house {
	t.Helper()
	return furnish(t, nil, services, routes)
}

// furnish does the same for Envoys that have identities, unless m is nil.
func furnish(t *testing.T, m *mesh, services []*fleet.Service, routes *fleet.Routes) *house {
	t.Helper()
	envoy := lab.Envoy(t)
	h := &house{mesh: m, segments: render.NewSegments(), loads: loads{rps: map[string]float64{}}}
	h.control = freePort(t, "127.0.0.1")
	h.serve(t)
	h.near = newSite(t, "near", "127.0.81.1", fleet.Place{Lat: 50, Lon: 8})
	h.far = newSite(t, "far", "127.0.82.1", fleet.Place{Lat: 40, Lon: -74})
	if m != nil {
		for _, s := range []*site{h.near, h.far} {
			s.view.Domain, s.view.Identity = m.domain, m.dirs[s.view.Region]
		}
	}
	h.snapshot = fleet.EmptySnapshot()
	h.snapshot.Routes = routes
	for _, s := range services {
		h.snapshot.Services[s.Name] = s
	}
	for _, s := range []*site{h.far, h.near} { // sorted by region
		c := s.cluster()
		verdict := fleet.Verdict{State: fleet.Healthy}
		h.snapshot.World.Edges = append(h.snapshot.World.Edges, &fleet.Edge{
			Region: s.view.Region, Place: s.place, Clusters: []*fleet.Cluster{c}, Health: verdict,
			Gateways: []fleet.GatewayView{{Gateway: c.Gateways[0], Cluster: c.Name, Health: verdict}},
		})
	}
	h.publish(t)
	g := lab.NewGroup(t.Context())
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range []*site{h.near, h.far} {
		start(t, g, envoy, s, h.control)
	}
	return h
}

func newSite(t *testing.T, region fleet.Region, host string, place fleet.Place) *site {
	t.Helper()
	return &site{
		place: place,
		admin: freePort(t, "127.0.0.1"),
		view: render.View{
			Region: region, Network: fleet.Network("net-" + region), Class: render.DefaultClass, Bind: netip.MustParseAddr(host),
			HTTPPort: freePort(t, host).Port(), RelayPort: freePort(t, host).Port(),
		},
	}
}

func freePort(t *testing.T, host string) netip.AddrPort {
	t.Helper()
	n, err := lab.FreePort(host)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(host), uint16(n))
}

// serve runs the control plane until the test's end, or until stop is called.
func (h *house) serve(t *testing.T) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", h.control.String())
	if err != nil {
		t.Fatal(err)
	}
	c := xds.Config{
		Listener: l, Log: slog.New(slog.DiscardHandler),
		Load: h.loads.take, ServiceOf: render.ServiceOf, ReportEvery: 200 * time.Millisecond,
	}
	domain := ""
	if h.mesh != nil {
		c.Creds, domain = h.mesh.credentials(), h.mesh.domain
	}
	c.ViewOf = func(n *corev3.Node) (string, error) {
		v, err := render.ViewOf(n, domain)
		return v.Key(), err
	}
	h.server, err = xds.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := h.server
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
}

// publish renders the snapshot anew for both Envoys; what has changed is sent.
func (h *house) publish(t *testing.T) {
	t.Helper()
	plan := steer.New(h.snapshot)
	for _, s := range []*site{h.near, h.far} {
		if s.renderer == nil {
			s.renderer = render.NewRenderer(s.view, h.segments)
		}
		if err := h.server.Publish(s.view.Key(), s.renderer.Update(plan)); err != nil {
			t.Fatal(err)
		}
	}
}

// loads keeps what Envoys report.
type loads struct {
	mu  sync.Mutex
	rps map[string]float64 // summed up, by "service to region"
}

func (l *loads) take(_ *corev3.Node, reports []fleet.LoadReport) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range reports {
		l.rps[r.Service.String()+" to "+string(r.To)] += r.RPS
	}
}

func (l *loads) of(what string) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rps[what]
}

func start(t *testing.T, g *lab.Group, envoy string, s *site, control netip.AddrPort) {
	t.Helper()
	dir := t.TempDir()
	c := bootstrap.Config{
		ID: string(s.view.Region), Region: s.view.Region, Network: s.view.Network,
		Bind: s.view.Bind, HTTPPort: s.view.HTTPPort, RelayPort: s.view.RelayPort,
		XDS:   []bootstrap.HostPort{{Host: control.Addr().String(), Port: control.Port()}},
		Admin: s.admin, Identity: s.view.Identity, Domain: s.view.Domain, Secrets: dir,
	}
	body, err := bootstrap.YAML(c)
	if err != nil {
		t.Fatal(err)
	}
	files, err := bootstrap.Secrets(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	s.log = filepath.Join(dir, "envoy.log")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = g.Start(lab.Command{
		Name: "envoy " + string(s.view.Region), Path: envoy, Log: s.log,
		Args:  []string{"-c", file, "--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warning"},
		Ready: lab.HTTPReady("http://" + s.front().String() + fleet.GatewayHealthPath),
		Grace: 2 * time.Second,
	})
	if err != nil {
		said, _ := os.ReadFile(s.log)
		t.Fatalf("%v\n%s", err, said)
	}
}

// ask is one request to a listener.
type ask struct {
	to     netip.AddrPort
	method string // empty: GET
	host   string
	path   string
	header http.Header
	body   string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	heard  heard // when a pod answered
}

// client keeps connections but follows nothing.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (a ask) do(c *http.Client) (answer, error) {
	method := a.method
	if method == "" {
		method = http.MethodGet
	}
	var body io.Reader = http.NoBody
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	req, err := http.NewRequest(method, "http://"+a.to.String()+a.path, body)
	if err != nil {
		return answer{}, err
	}
	req.Host = a.host
	for k, v := range a.header {
		req.Header[k] = slices.Clone(v)
	}
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	if resp.Header.Get("Content-Type") == "application/json" {
		err = json.NewDecoder(bytes.NewReader(raw)).Decode(&got.heard)
	}
	return got, err
}

func (a ask) must(t *testing.T, c *http.Client) answer {
	t.Helper()
	got, err := a.do(c)
	if err != nil {
		t.Fatalf("%s %s%s: %v", a.method, a.host, a.path, err)
	}
	return got
}

// get reads from an Envoy's admin page.
func (s *site) get(t *testing.T, path string) string {
	t.Helper()
	resp, err := http.Get("http://" + s.admin.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %v\n%s", path, resp.Status, err, raw)
	}
	return string(raw)
}

// service makes a service of pods by region, all with one port.
func service(name string, port fleet.Port, near, far []*pod) *fleet.Service {
	policy := fleet.DefaultPolicy()
	s := &fleet.Service{Name: fleet.ServiceName{Namespace: "shop", Name: name}, Policy: &policy}
	for _, r := range []struct {
		region fleet.Region
		pods   []*pod
	}{{"far", far}, {"near", near}} {
		if r.pods == nil {
			continue
		}
		p := port
		for _, q := range r.pods {
			p.Endpoints = append(p.Endpoints, q.endpoint())
		}
		slices.SortFunc(p.Endpoints, func(a, b fleet.Endpoint) int { return a.Addr.Compare(b.Addr) })
		s.Backends = append(s.Backends, fleet.BackendView{Region: r.region, Backend: &fleet.Backend{
			Cluster: "c-" + string(r.region), Service: s.Name, Ports: []fleet.Port{p},
		}})
	}
	return s
}

func to(name string, port uint16, weight uint32) fleet.Target {
	return fleet.Target{Service: fleet.ServiceName{Namespace: "shop", Name: name}, Port: fleet.PortRef{Number: port}, Weight: weight}
}
