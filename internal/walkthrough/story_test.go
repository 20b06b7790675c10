//go:build e2e

package walkthrough

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// step is one part of the story; the story ends at the first that fails.
func (w *world) step(name string, play func()) { w.Step(name, play, w.logs) }

// logs shows what the daemons have said.
func (w *world) logs() {
	w.T().Helper()
	for _, s := range w.sites {
		if s.meridiand != nil {
			w.T().Logf("meridiand %s:\n%s", s.cluster, s.meridiand.Log())
		}
	}
}

// served wants a region's users to be answered by a region, at its own front door.
func (w *world) served(ctx context.Context, users, by *site) error {
	u := users.newUser(nil)
	defer u.client.CloseIdleConnections()
	addr, h, err := u.visit(ctx, host, "/")
	switch {
	case err != nil:
		return err
	case addr != by.front():
		return fmt.Errorf("DNS sends %s to %v, not to %v", users.people, addr, by.front())
	case h.Region != string(by.name):
		return fmt.Errorf("%s are answered by %s, not by %s", users.people, h.Region, by.name)
	}
	return nil
}

func (w *world) everybodyAtHome(within time.Duration) {
	w.T().Helper()
	for _, s := range w.sites {
		took := w.Eventually(s.people+" at home", within, func(ctx context.Context) error { return w.served(ctx, s, s) })
		w.T().Logf("%s are served by %s (%.1f s)", s.people, s.name, took.Seconds())
	}
}

// The walk-through of 2016, and what may go wrong on the way.
func TestWalkthrough(t *testing.T) {
	w := newWorld(t, false)
	us, eu, asia := w.site("us"), w.site("eu"), w.site("asia")

	w.step("init", func() {
		w.meridian("init", "--context", "us", "--region", "us-east1", "--network", "us", "--replicas", "1",
			"--domain", "shop.example.com", "--nameserver", "ns1.shop.example.com="+us.daemon().String(), "--set", "tlsNamespaces={default}",
			"--set", "meridiand.credentialSecrets={exec-plugin,wrong-ca,expired-token}") // those that no join makes
		peer := fmt.Sprintf("%s:%d", us.daemon(), peerPort)
		for _, s := range []*site{eu, asia} {
			w.meridian("init", "--context", s.cluster, "--region", string(s.name), "--network", s.cluster, "--replicas", "1", "--share-with", "us", "--peer", peer)
		}
	})
	us.kubectl(elder, "apply", "-f", "-")
	w.step("join", func() {
		for _, s := range w.sites {
			w.meridian("join", s.cluster, "--context", s.cluster, "--host-context", "us", "--gateway", s.front().String(),
				"--endpoint-network", s.pods(0).String(), "--endpoint-network", s.pods(1).String())
		}
		for _, s := range w.sites {
			s.startDaemon()
		}
		for _, s := range w.sites {
			s.startEnvoy()
		}
	})
	secret, pool := tlsSecret(t, "secure", "secure.shop.example.com")
	w.step("a workload everywhere, one Ingress", func() {
		for _, s := range w.sites {
			s.kubectl(deployment(2)+"---\n"+service, "apply", "-f", "-")
		}
		us.kubectl(secret+"---\n"+ingress, "apply", "-f", "-")
		for _, s := range w.sites {
			s.kubectl("", "rollout", "status", "deployment/whereami", "--timeout=60s")
		}
		for _, s := range w.sites {
			w.endpoints(s, 2, 30*time.Second) // one of two would do 70 % of the work, as Envoy counts
		}
		w.everybodyAtHome(60 * time.Second)
	})
	w.step("what an Ingress can say", func() { w.ingress(pool) })
	w.step("the dashboard", func() {
		w.Eventually("the Ingress says where it is served", 30*time.Second, func(context.Context) error {
			got := us.kubectl("", "get", "ingress", "shop", "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
			for _, s := range w.sites {
				if !strings.Contains(got, s.front().String()) {
					return fmt.Errorf("its status has %q", got)
				}
			}
			return nil
		})
		w.T().Logf("$ kubectl get clusters\n%s", us.kubectl("", "get", "clusters.meridian.dev"))
	})
	w.step("networks meet at relays with mutual TLS only", w.relays)
	w.step("an endpoint's change is everywhere at once", w.latency)
	w.step("Europe's pods go", func() { w.podsGo(eu, us) })
	w.step("faults in objects", w.faults)
	w.step("an older Ingress wants the shop's host", func() { w.hijack(us) })
	w.step("Europe's API server is away for a minute", func() { w.serverAway(eu) })
	w.step("Europe's API server comes back older", func() { w.serverOlder(eu) })
	w.step("the host's API server comes back older", func() { w.serverOlder(us) })
	w.step("the daemon restarts while an API server is dead", func() { w.daemonRestarts(us, asia) })
	w.step("the daemon restarts while the host's API server is dead", func() { w.daemonAlone(us, eu) })
	w.step("credentials are rotated", func() { w.rotate(eu) })
	w.step("Europe's gateway dies", func() { w.gatewayDies(eu, us) })
	w.step("Asia leaves", func() { w.leave(asia) })
	w.step("nobody was refused by an Envoy", w.accepted)
	w.step("destroy", w.destroy)
}

// ingress asks for every kind of rule, from everywhere, and over TLS.
func (w *world) ingress(pool *x509.CertPool) {
	for _, s := range w.sites {
		w.Eventually(s.people+" are served over TLS", 20*time.Second, func(ctx context.Context) error {
			secure := s.newUser(pool)
			defer secure.client.CloseIdleConnections()
			_, h, err := secure.visit(ctx, "secure.shop.example.com", "/")
			if err == nil && h.Region != string(s.name) {
				err = fmt.Errorf("by %s", h.Region)
			}
			return err
		})
		plain := s.newUser(nil)
		for _, c := range []struct {
			host, path string
			status     int
		}{
			{"paths.shop.example.com", "/exact", 200}, {"paths.shop.example.com", "/exact/more", 200}, // by the default backend
			{"paths.shop.example.com", "/prefix/more", 200}, {"paths.shop.example.com", "/own", 200},
			{"paths.shop.example.com", "/nobody", 503},
			{"a.wild.shop.example.com", "/", 200},
		} {
			addr, err := plain.dig(w.Ctx, c.host)
			if err != nil || addr != s.front() {
				w.T().Errorf("%s: %s is at %v (%v)", s.people, c.host, addr, err)
				continue
			}
			status, h, err := plain.get(w.Ctx, addr, c.host, c.path)
			if status != c.status || status == 200 && h.Region != string(s.name) {
				w.T().Errorf("%s: %s%s: %d by %q, want %d (%v)", s.people, c.host, c.path, status, h.Region, c.status, err)
			}
		}
		plain.client.CloseIdleConnections()
	}
}

// relays shows that the doors between regions open for Meridian's own gateways
// only, and that gateways know of other regions nothing but these doors.
func (w *world) relays() {
	for _, s := range w.sites {
		hosts, err := s.envoyGet(w.Ctx, "/clusters?filter=^default/whereami/80$")
		if err != nil {
			w.T().Fatal(err)
		}
		known := map[string]bool{}
		for line := range strings.Lines(hosts) {
			if parts := strings.Split(line, "::"); len(parts) > 2 && strings.Contains(parts[1], ":") {
				known[parts[1]] = true
			}
		}
		for addr := range known {
			at, err := netip.ParseAddrPort(addr)
			if own := s.pods(0).Contains(at.Addr()) || s.pods(1).Contains(at.Addr()); err != nil || !own && at.Port() != relayPort {
				w.T().Errorf("the gateway of %s reaches %s directly", s.cluster, addr)
			}
		}
		if len(known) != 4 { // two pods and two relays
			w.T().Errorf("the gateway of %s knows %v, want two pods and two relays", s.cluster, known)
		}
		addr := net.JoinHostPort(s.front().String(), fmt.Sprint(relayPort))
		req, err := http.NewRequestWithContext(w.Ctx, http.MethodGet, "http://"+addr+"/", http.NoBody)
		if err != nil {
			w.T().Fatal(err)
		}
		req.Header.Set("x-meridian-service", "default/whereami/80")
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
		if err == nil {
			resp.Body.Close()
			w.T().Errorf("%s: the relay answers plaintext: %s", s.cluster, resp.Status)
		}
	}
}
