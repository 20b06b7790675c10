//go:build linux

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/render"
)

// Two regions with a real Envoy each. The steps share the Envoys, but each step
// that breaks something has a service of its own.
func TestEnvoy(t *testing.T) {
	pods := func(region string, n int, service string) []*pod {
		var list []*pod
		for i := range n {
			list = append(list, newPod(t, fmt.Sprintf("%s-%s-%d", service, region, i), nil))
		}
		return list
	}
	http80 := fleet.Port{Name: "http", Number: 80}
	cut := newPod(t, "cut-near-0", cutOff)
	busy := newPod(t, "busy-near-0", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "come back later")
	})
	fail := pods("near", 4, "fail")
	gone := pods("near", 1, "gone")
	deaf := []*pod{newDeafPod(t), newDeafPod(t), newDeafPod(t)}
	halfNear, halfFar := pods("near", 2, "half"), pods("far", 1, "half")
	services := []*fleet.Service{
		service("web", http80, pods("near", 2, "web"), pods("far", 2, "web")),
		service("api", http80, pods("near", 1, "api"), nil),
		service("remote", http80, nil, pods("far", 2, "remote")),
		service("stream", fleet.Port{Number: 50051, AppProtocol: "kubernetes.io/h2c"}, pods("near", 1, "stream"), nil),
		service("farstream", fleet.Port{Number: 50051, AppProtocol: "grpc"}, nil, pods("far", 1, "farstream")),
		service("fail", http80, fail, pods("far", 2, "fail")),
		service("cut", http80, []*pod{cut}, pods("far", 1, "cut")),
		service("busy", http80, []*pod{busy}, pods("far", 1, "busy")),
		service("deaf", http80, deaf, pods("far", 1, "deaf")),
		service("gone", http80, gone, nil),
		service("half", http80, halfNear, halfFar),
	}
	h := newHouse(t, services, table())
	c := client(t)

	t.Run("everything is accepted", func(t *testing.T) { h.accepted(t) })
	t.Run("routing", func(t *testing.T) { h.routing(t, c) })
	t.Run("health path", func(t *testing.T) {
		for _, at := range []ask{{to: h.near.front()}, {to: h.near.relay()}} {
			at.host, at.path = "nobody.knows.example", fleet.GatewayHealthPath
			if got := at.must(t, c); got.status != http.StatusOK {
				t.Errorf("%s: %d %s", at.to, got.status, got.body)
			}
		}
	})
	t.Run("relay", func(t *testing.T) { h.relaying(t, c) })
	t.Run("HTTP/2", func(t *testing.T) {
		for host, name := range map[string]string{"stream.example.org": "stream-near-0", "farstream.example.org": "farstream-far-0"} {
			got := ask{to: h.near.front(), host: host, path: "/"}.must(t, c)
			if got.heard.Pod != name || got.heard.Proto != "HTTP/2.0" {
				t.Errorf("%s: %d, pod %q by %s: %s", host, got.status, got.heard.Pod, got.heard.Proto, got.body)
			}
		}
	})
	t.Run("a client cannot choose", func(t *testing.T) { h.forged(t, c) })
	t.Run("what may be repeated", func(t *testing.T) { h.repeating(t, c, cut, busy) })
	t.Run("part of a region dies", func(t *testing.T) {
		halfNear[0].die()
		h.load(t, c, "half.example.org", nil)
	})
	t.Run("a region swallows connections", func(t *testing.T) { h.load(t, c, "deaf.example.org", nil) })
	t.Run("a region dies under load", func(t *testing.T) {
		h.load(t, c, "fail.example.org", func() {
			for _, p := range fail {
				p.die()
			}
		})
		h.leftAlone(t, c)
	})
	t.Run("nobody is left", func(t *testing.T) {
		gone[0].die()
		got := ask{to: h.near.front(), host: "gone.example.org", path: "/"}.must(t, c)
		if got.status != http.StatusServiceUnavailable {
			t.Errorf("%d %s", got.status, got.body)
		}
	})
	t.Run("still accepted", func(t *testing.T) { h.accepted(t) })
}

// cutOff reads a request and hangs up without an answer.
func cutOff(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func table() *fleet.Routes {
	prefix := func(p string) fleet.Match { return fleet.Match{Type: fleet.PathPrefix, Path: p} }
	one := func(host, name string, port uint16) fleet.Host {
		return fleet.Host{Name: host, Routes: []fleet.Route{{Host: host, Match: prefix("/"), To: []fleet.Target{to(name, port, 1)}}}}
	}
	return &fleet.Routes{Hosts: []fleet.Host{
		{Name: "", Routes: []fleet.Route{{Match: prefix("/fallback"), To: []fleet.Target{to("api", 80, 1)}}}},
		{Name: "*.example.org", Routes: []fleet.Route{{Match: prefix("/"), To: []fleet.Target{to("api", 80, 1)}}}},
		one("busy.example.org", "busy", 80),
		one("cut.example.org", "cut", 80),
		one("deaf.example.org", "deaf", 80),
		one("fail.example.org", "fail", 80),
		one("farstream.example.org", "farstream", 50051),
		one("gone.example.org", "gone", 80),
		one("half.example.org", "half", 80),
		one("missing.example.org", "nothing", 80),
		one("remote.example.org", "remote", 80),
		{Name: "split.example.org", Routes: []fleet.Route{{Match: prefix("/"), To: []fleet.Target{to("web", 80, 3), to("api", 80, 1)}}}},
		one("stream.example.org", "stream", 50051),
		{Name: "www.example.org", Routes: []fleet.Route{
			{Match: fleet.Match{Type: fleet.PathExact, Path: "/api/exact"}, To: []fleet.Target{to("web", 80, 1)}},
			{Match: prefix("/api"), To: []fleet.Target{to("api", 80, 1)}},
			{Match: prefix("/web"), To: []fleet.Target{to("web", 80, 1)}},
		}},
	}}
}

// accepted asks the Envoys whether they refused anything, or took anything with a warning.
func (h *house) accepted(t *testing.T) {
	for _, s := range []*site{h.near, h.far} {
		for line := range strings.Lines(s.get(t, "/stats?filter=update_rejected")) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if value != "0" {
				t.Errorf("%s: %s is %s", s.view.Region, name, value)
			}
		}
		for _, want := range []string{"cluster_manager.cds.update_success", "listener_manager.lds.update_success", "http.front.rds.front.update_success", "http.relay.rds.relay.update_success"} {
			if got := strings.TrimSpace(s.get(t, "/stats?filter="+want)); got == "" || strings.HasSuffix(got, ": 0") {
				t.Errorf("%s: never succeeded: %q", s.view.Region, got)
			}
		}
		if dump := s.get(t, "/config_dump"); strings.Contains(dump, "error_state") {
			t.Errorf("%s: its configuration has an error state:\n%s", s.view.Region, dump)
		}
		said, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(said)) {
			if strings.Contains(line, "rejected") || strings.Contains(line, "deprecated") || strings.Contains(line, "][error]") || strings.Contains(line, "][critical]") {
				t.Errorf("%s says: %s", s.view.Region, line)
			}
		}
	}
}

func (h *house) routing(t *testing.T, c *http.Client) {
	for _, step := range []struct {
		name, host, path string
		status           int
		pods             string // prefix of the pod's name
		says             string
	}{
		{"own region", "www.example.org", "/web", 200, "web-near-", ""},
		{"prefix below", "www.example.org", "/web/a?b=c", 200, "web-near-", ""},
		{"prefix is whole elements", "www.example.org", "/webber", 404, "", "no route serves this path"},
		{"exact before prefix", "www.example.org", "/api/exact", 200, "web-near-", ""},
		{"exact is exact", "www.example.org", "/api/exact/no", 200, "api-near-", ""},
		{"host in capitals with port and dot", "WWW.Example.ORG.:80", "/api", 200, "api-near-", ""},
		{"wildcard", "any.example.org", "/", 200, "api-near-", ""},
		{"wildcard with port", "any.example.org:8443", "/", 200, "api-near-", ""},
		{"wildcard is one label", "two.labels.example.org", "/", 404, "", "no route serves this path"},
		{"host beyond a wildcard gets the default", "two.labels.example.org", "/fallback", 200, "api-near-", ""},
		{"default", "unknown.example.net", "/fallback/x", 200, "api-near-", ""},
		{"default has no such path", "unknown.example.net", "/", 404, "", "no route serves this path"},
		{"service does not exist", "missing.example.org", "/", 503, "", "does not exist"},
		{"another region by its relay", "remote.example.org", "/a%20b?c=%2F", 200, "remote-far-", ""},
	} {
		t.Run(step.name, func(t *testing.T) {
			got := ask{to: h.near.front(), host: step.host, path: step.path}.must(t, c)
			if got.status != step.status || !strings.HasPrefix(got.heard.Pod, step.pods) || !strings.Contains(got.body, step.says) {
				t.Errorf("%d from %q, want %d from %s…: %s", got.status, got.heard.Pod, step.status, step.pods, got.body)
			}
			if got.status == http.StatusOK && got.heard.Path != step.path {
				t.Errorf("the pod was asked for %q", got.heard.Path)
			}
		})
	}
	t.Run("weights", func(t *testing.T) {
		seen := map[string]int{}
		for range 400 {
			service, _, _ := strings.Cut(ask{to: h.near.front(), host: "split.example.org", path: "/"}.must(t, c).heard.Pod, "-")
			seen[service]++
		}
		if seen["web"]+seen["api"] != 400 || seen["web"] < 240 || seen["web"] > 360 {
			t.Errorf("3:1 came out as %v", seen)
		}
	})
	t.Run("edge rules", func(t *testing.T) {
		got := ask{to: h.near.front(), host: "www.example.org", path: "/web//x/../y"}.must(t, c)
		if got.heard.Path != "/web/y" {
			t.Errorf("the path arrived as %q", got.heard.Path)
		}
		got = ask{to: h.near.front(), host: "www.example.org", path: "/web", header: http.Header{"X_Under": {"1"}}}.must(t, c)
		if got.status != http.StatusBadRequest {
			t.Errorf("a header with an underscore: %d", got.status)
		}
		got = ask{to: h.near.front(), host: "www.example.org", path: "/web", header: http.Header{"X-Envoy-Upstream-Rq-Timeout-Ms": {"1"}, "X-Forwarded-For": {"6.6.6.6"}}}.must(t, c)
		// For a client on loopback Envoy writes the machine's own address.
		if said, added, _ := strings.Cut(got.heard.Header.Get("X-Forwarded-For"), ","); got.status != http.StatusOK || said != "6.6.6.6" || added == "" {
			t.Errorf("%d, X-Forwarded-For %q", got.status, got.heard.Header.Get("X-Forwarded-For"))
		}
		if server := got.header.Get("Server"); server != "meridian" {
			t.Errorf("the server calls itself %q", server)
		}
	})
}

// relaying speaks to a relay as another region's Envoy does.
func (h *house) relaying(t *testing.T, c *http.Client) {
	named := func(s string) http.Header { return http.Header{"X-Meridian-Service": {s}} }
	got := ask{to: h.far.relay(), host: "Any.Host:1", path: "//a/../b%2Fc?d", header: named("shop/web/80")}.must(t, c)
	if !strings.HasPrefix(got.heard.Pod, "web-far-") || got.heard.Host != "Any.Host:1" || got.heard.Path != "//a/../b%2Fc?d" {
		t.Errorf("%d %+v", got.status, got.heard)
	}
	for k := range got.heard.Header {
		if strings.HasPrefix(k, "X-Meridian") {
			t.Errorf("the pod sees %s: %s", k, got.heard.Header.Get(k))
		}
	}
	for name, header := range map[string]http.Header{
		"a service of another region":    named("shop/remote/80"),
		"an unknown service":             named("shop/unknown/80"),
		"a cluster that is not local":    named("../shop/remote/80"),
		"the control plane":              named("meridian-xds"),
		"two services":                   {"X-Meridian-Service": {"shop/unknown/80", "shop/remote/80"}},
		"a cluster by our inward header": {"X-Meridian-Service": {"shop/unknown/80"}, "X-Meridian-Local-Cluster": {"shop/remote/80"}},
	} {
		got := ask{to: h.near.relay(), host: "remote.example.org", path: "/", header: header}.must(t, c)
		if got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "does not have the service") || got.header.Get(render.UnservedHeader) == "" {
			t.Errorf("%s: %d %q %v", name, got.status, got.body, got.header)
		}
	}
	if got := (ask{to: h.near.relay(), host: "www.example.org", path: "/web"}).must(t, c); got.status != http.StatusNotFound || !strings.Contains(got.body, "names no service") {
		t.Errorf("no service: %d %q", got.status, got.body)
	}
}

func (h *house) forged(t *testing.T, c *http.Client) {
	for host, name := range map[string]string{"www.example.org": "web-near-", "remote.example.org": "remote-far-"} {
		got := ask{to: h.near.front(), host: host, path: "/web", header: http.Header{
			"X-Meridian-Service": {"shop/api/80"}, "X-Meridian-Local-Cluster": {"local|shop/api/80"},
		}}.must(t, c)
		if !strings.HasPrefix(got.heard.Pod, name) {
			t.Errorf("%s: %d from %q", host, got.status, got.heard.Pod)
		}
		for k := range got.heard.Header {
			if strings.HasPrefix(k, "X-Meridian") {
				t.Errorf("%s: the pod sees %s: %s", host, k, got.heard.Header.Get(k))
			}
		}
	}
}

// repeating: a request that a pod has begun on is repeated only if it is
// idempotent, and an application's own answer is never repeated.
func (h *house) repeating(t *testing.T, c *http.Client, cut, busy *pod) {
	for _, method := range []string{http.MethodPost, http.MethodPatch} {
		before := cut.requests.Load()
		got := ask{to: h.near.front(), method: method, host: "cut.example.org", path: "/", body: "once"}.must(t, c)
		if n := cut.requests.Load() - before; got.status != http.StatusServiceUnavailable || n != 1 {
			t.Errorf("%s cut off by its pod: %d from %q after %d requests to that pod", method, got.status, got.heard.Pod, n)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		got := ask{to: h.near.front(), method: method, host: "cut.example.org", path: "/", body: "again"}.must(t, c)
		if got.heard.Pod != "cut-far-0" || got.heard.Body != "again" {
			t.Errorf("%s cut off by its pod: %d from %q with body %q", method, got.status, got.heard.Pod, got.heard.Body)
		}
	}
	got := ask{to: h.near.front(), host: "busy.example.org", path: "/"}.must(t, c)
	if got.status != http.StatusServiceUnavailable || got.body != "come back later" || busy.requests.Load() != 1 {
		t.Errorf("an application's 503: %d %q after %d requests", got.status, got.body, busy.requests.Load())
	}
	cut.die()
	got = ask{to: h.near.front(), method: http.MethodPost, host: "cut.example.org", path: "/", body: "first"}.must(t, c)
	if got.heard.Pod != "cut-far-0" || got.heard.Body != "first" {
		t.Errorf("POST to a pod that refuses the connection: %d from %q", got.status, got.heard.Pod)
	}
}

// load sends requests from many clients while something breaks. None may fail,
// none may take long, and few may be slow at all.
func (h *house) load(t *testing.T, c *http.Client, host string, breaks func()) {
	const clients, each, slow, noticed = 64, 60, 2 * time.Second, 500 * time.Millisecond
	var failed, late, waited atomic.Int64
	var worst atomic.Int64
	var report sync.Once
	var wg sync.WaitGroup
	lag, began := watchLag(t), time.Now()
	underWay := make(chan struct{}, clients*each)
	for i := range clients {
		wg.Go(func() {
			for j := range each {
				method := http.MethodGet
				if (i+j)%4 == 0 {
					method = http.MethodPut
				}
				began := time.Now()
				got, err := ask{to: h.near.front(), method: method, host: host, path: "/", body: "x"}.do(c)
				took := time.Since(began)
				if err != nil || got.status != http.StatusOK {
					failed.Add(1)
					report.Do(func() { t.Logf("first failure: %v %d %q %v", err, got.status, got.body, got.header) })
				}
				if took > slow+lag() {
					late.Add(1)
				}
				if took > noticed {
					waited.Add(1)
				}
				for w := worst.Load(); int64(took) > w && !worst.CompareAndSwap(w, int64(took)); w = worst.Load() {
				}
				underWay <- struct{}{}
			}
		})
	}
	if breaks != nil {
		for range clients * each / 4 {
			<-underWay
		}
		breaks()
	}
	wg.Wait()
	t.Logf("%d requests, %d failed, the slowest took %v, %d more than %v", clients*each, failed.Load(), time.Duration(worst.Load()), waited.Load(), noticed)
	if failed.Load() > 0 || late.Load() > 0 {
		t.Errorf("of %d requests %d failed and %d took longer than %v", clients*each, failed.Load(), late.Load(), slow)
	}
	// A client may wait while the Envoy learns; then the region is left alone, until
	// its hosts are tried once more, every 5 s at the most.
	lessons := int64(time.Since(began)/(5*time.Second)) + 1
	if waited.Load() > lessons*clients*each/10 {
		t.Errorf("%d clients waited %d times for more than %v", clients, waited.Load(), noticed)
	}
}

// watchLag says by how much this machine was at most late to run anything, so
// that a limit in seconds speaks of the gateway and not of who else is at work.
func watchLag(t *testing.T) func() time.Duration {
	var worst atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	wg.Go(func() {
		const every = 5 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				worst.Store(max(worst.Load(), int64(time.Since(last)-every)))
			}
		}
	})
	return func() time.Duration { return time.Duration(worst.Load()) }
}

// leftAlone: after the region died its hosts are ejected, so that requests no
// longer knock there first.
func (h *house) leftAlone(t *testing.T, c *http.Client) {
	got := ask{to: h.near.front(), host: "fail.example.org", path: "/"}.must(t, c)
	if !strings.HasPrefix(got.heard.Pod, "fail-far-") {
		t.Errorf("%d from %q", got.status, got.heard.Pod)
	}
	stat := strings.TrimSpace(h.near.get(t, "/stats?filter=cluster.shop/fail/80.outlier_detection.ejections_active"))
	if !strings.HasSuffix(stat, ": 4") {
		t.Errorf("%q, want all 4 hosts ejected", stat)
	}
}
