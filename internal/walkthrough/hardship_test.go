//go:build e2e

package walkthrough

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
)

// settle waits until the crowd has been served some more.
func (w *world) settle(c *crowd, n int) {
	w.T().Helper()
	goal := c.total() + n
	w.Eventually("the crowd goes on", 60*time.Second, func(context.Context) error {
		if got := c.total(); got < goal {
			return fmt.Errorf("%d of %d requests", got, goal)
		}
		return nil
	})
}

// operator runs a command of the command line on the host's daemon, as its operator.
func (w *world) operator(args ...string) (string, error) {
	us := w.site("us")
	dir := filepath.Join(w.Dir, "operator")
	w.Identity(dir, us.secret("meridian-operator-identity"), "tls")
	return w.Run("", filepath.Join(w.Bin, "meridian"), append(args, "--server", us.asked, "--identity", dir)...)
}

// says waits until an operator's command prints all the words.
func (w *world) says(within time.Duration, command string, words ...string) {
	w.T().Helper()
	w.Eventually("meridian "+command, within, func(context.Context) error {
		out, err := w.operator(strings.Fields(command)...)
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(out, word) {
				return fmt.Errorf("no %q in\n%s", word, out)
			}
		}
		return nil
	})
}

// endpoints waits until the host's daemon knows so many ready endpoints of the workload in a cluster.
func (w *world) endpoints(s *site, want int, within time.Duration) {
	w.T().Helper()
	w.Eventually(fmt.Sprintf("%d endpoints in %s", want, s.cluster), within, func(context.Context) error {
		out, err := w.operator("get", "services", "-o", "json")
		if err != nil {
			return err
		}
		var list struct {
			Services []struct {
				Name     string
				Backends []struct {
					Cluster string
					Ready   int
				}
			}
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, svc := range list.Services {
			for _, b := range svc.Backends {
				if svc.Name == "whereami" && b.Cluster == s.cluster {
					if b.Ready == want {
						return nil
					}
					return fmt.Errorf("%d are ready", b.Ready)
				}
			}
		}
		return fmt.Errorf("the service is not known there: %s", out)
	})
}

// destroy lets the members go and removes Meridian from every cluster, the host last.
func (w *world) destroy() {
	for _, name := range []string{"eu", "us"} { // asia has left
		w.meridian("unjoin", name, "--context", name, "--host-context", "us", "--grace", "0s")
	}
	for _, name := range []string{"eu", "asia", "us"} { // the host last
		s := w.site(name)
		w.meridian("uninstall", "--context", name, "--crds")
		for _, kind := range []string{"namespaces", "crds", "clusterroles", "clusterrolebindings", "ingressclasses"} {
			for _, left := range strings.Fields(s.kubectl("", "get", kind, "-o", "name")) {
				if strings.Contains(left, "meridian") {
					w.T().Errorf("%s still has %s", name, left)
				}
			}
		}
	}
}

func (s *site) envoyGet(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.%d.1:%d%s", s.n, envoyAdmin, path), http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return string(raw), err
}

const flip = `apiVersion: v1
kind: Service
metadata: {name: flip, labels: {meridian.dev/federate: "true"}}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: flip-1, labels: {kubernetes.io/service-name: flip}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.102.3.250], conditions: {ready: true}}]
`

// latency changes the endpoints of one service in Europe again and again, and
// looks when each Envoy has just that many, and what else it was sent.
func (w *world) latency() {
	eu := w.site("eu")
	eu.kubectl(flip, "apply", "-f", "-")
	for _, s := range w.sites {
		w.Eventually("the service is known in "+s.cluster, 20*time.Second, func(ctx context.Context) error { return s.holds(ctx, "default/flip/80", eu.name, 1) })
	}
	before := w.updates()
	const changes = 200
	var took []time.Duration
	for i := range changes {
		want := 2 + i%7 // none twice in a row, and no old one that could pass for a new one
		began := time.Now()
		if _, err := eu.kube.DiscoveryV1().EndpointSlices("default").Patch(w.Ctx, "flip-1", types.MergePatchType, flipTo(want), metav1.PatchOptions{}); err != nil {
			w.T().Fatal(err)
		}
		var all sync.WaitGroup
		late := make([]time.Duration, len(w.sites))
		for at, s := range w.sites {
			all.Go(func() {
				for time.Since(began) < time.Minute {
					if s.holds(w.Ctx, "default/flip/80", eu.name, want) == nil {
						late[at] = time.Since(began)
						return
					}
					<-time.After(time.Millisecond)
				}
			})
		}
		all.Wait()
		for at, s := range w.sites {
			switch {
			case late[at] == 0:
				w.T().Fatalf("change %d has not reached %s after a minute", i, s.cluster)
			case late[at] > 200*time.Millisecond:
				w.T().Logf("change %d at %s was in %s after %v", i, began.UTC().Format("15:04:05.000"), s.cluster, late[at].Round(time.Millisecond))
			}
			took = append(took, late[at])
		}
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	w.T().Logf("%d changes of one endpoint were in the Envoys of three regions after %v (median), %v (p99), %v (slowest)",
		changes, took[len(took)/2].Round(time.Millisecond), p99.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if p99 > 500*time.Millisecond {
		w.T().Errorf("p99 is %v, want at most 500 ms", p99)
	}
	after := w.updates()
	for _, s := range w.sites {
		// What clients' requests are divided by, and at home what the relay's are.
		want := map[string]int{"cluster.default/flip/80.update_success": changes}
		if s == eu {
			want["cluster.local|default/flip/80.update_success"] = changes
		}
		got := map[string]int{}
		for name, n := range after[s.cluster] {
			if n != before[s.cluster][name] {
				got[name] = n - before[s.cluster][name]
			}
		}
		if !maps.Equal(got, want) {
			w.T().Errorf("%s was sent %v updates, want %v", s.cluster, got, want)
		}
	}
}

// flipTo is a patch after which the slice has that many endpoints.
func flipTo(n int) []byte {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"addresses":["10.102.3.%d"],"conditions":{"ready":true}}`, 240+i))
	}
	return fmt.Appendf(nil, `{"endpoints":[%s]}`, strings.Join(list, ","))
}

// holds wants the region's Envoy to have that many endpoints of a cluster in some
// region: so many hosts at home, or the weight of so many behind that region's relay.
func (s *site) holds(ctx context.Context, cluster string, in fleet.Region, want int) error {
	text, err := s.envoyGet(ctx, "/config_dump?include_eds&resource=dynamic_endpoint_configs&name_regex=^"+cluster+"$")
	if err != nil {
		return err
	}
	var dump struct {
		Configs []struct {
			Endpoint struct {
				Localities []struct {
					Locality struct{ Region fleet.Region }
					Hosts    []struct{} `json:"lb_endpoints"`
					Weight   int        `json:"load_balancing_weight"`
				} `json:"endpoints"`
			} `json:"endpoint_config"`
		} `json:"configs"`
	}
	if err := json.Unmarshal([]byte(text), &dump); err != nil {
		return err
	}
	got := 0
	for _, c := range dump.Configs {
		for _, l := range c.Endpoint.Localities {
			if l.Locality.Region == in {
				got += max(l.Weight, len(l.Hosts))
			}
		}
	}
	if got != want {
		return fmt.Errorf("%s has %d endpoints of %s in %s, not %d", s.cluster, got, cluster, in, want)
	}
	return nil
}

// updates counts, by region, what each Envoy was sent of what.
func (w *world) updates() map[string]map[string]int {
	all := map[string]map[string]int{}
	for _, s := range w.sites {
		all[s.cluster] = map[string]int{}
		text, err := s.envoyGet(w.Ctx, "/stats?filter=update_success$")
		if err != nil {
			w.T().Fatal(err)
		}
		for line := range strings.Lines(text) {
			var n int
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if _, err := fmt.Sscan(value, &n); err == nil {
				all[s.cluster][name] = n
			}
		}
	}
	return all
}

// podsGo scales Europe's workload to nothing and back. What crosses the sea
// meanwhile crosses it sealed, by relays.
func (w *world) podsGo(from, to *site) {
	ctx, hangUp := context.WithCancel(w.Ctx)
	defer hangUp()
	wire := w.tap(ctx)
	c := w.crowd(host, true)
	w.settle(c, 100)
	from.kubectl("", "scale", "deployment/whereami", "--replicas=0")
	w.Eventually("Europeans are served from America", 30*time.Second, func(ctx context.Context) error { return w.served(ctx, from, to) })
	w.settle(c, 200)
	wire.secret(w)
	from.kubectl("", "scale", "deployment/whereami", "--replicas=2")
	w.Eventually("Europeans are back", 60*time.Second, func(ctx context.Context) error { return w.served(ctx, from, from) })
	w.settle(c, 100)
	c.home("Europe's pods were gone")
}

// serverAway stops an API server for a minute; its pods live.
func (w *world) serverAway(s *site) {
	c := w.crowd(host, true)
	w.settle(c, 50)
	if err := s.StopAPI(); err != nil {
		w.T().Fatal(err)
	}
	down := time.Now()
	w.says(20*time.Second, "get sources", "does not answer")
	for _, x := range w.sites {
		if err := w.served(w.Ctx, x, x); err != nil {
			w.T().Error(err)
		}
	}
	<-time.After(time.Minute - time.Since(down)) // what is shown is a minute
	if err := s.StartAPI(w.Ctx); err != nil {
		w.T().Fatal(err)
	}
	w.fresh(s)
	w.settle(c, 50)
	c.home("an API server was away for a minute")
}

// fresh waits until the host's daemon is in touch with a member again.
func (w *world) fresh(s *site) {
	w.T().Helper()
	w.inTouch(s.cluster)
}

// inTouch waits until the host's daemon is in touch with a member, or with the host.
func (w *world) inTouch(cluster string) {
	w.T().Helper()
	w.Eventually(cluster+" is in touch", 60*time.Second, func(context.Context) error {
		out, err := w.operator("get", "sources")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "/kube/"+cluster+" ") && strings.Contains(line, "fresh") {
				return nil
			}
		}
		return fmt.Errorf("%s", out)
	})
}

// serverOlder puts a cluster back to where it was; what happens afterwards must be seen.
func (w *world) serverOlder(s *site) {
	c := w.crowd(host, true)
	was, err := s.Backup()
	if err != nil {
		w.T().Fatal(err)
	}
	s.kubectl("", "scale", "deployment/whereami", "--replicas=3")
	w.endpoints(s, 3, 2*time.Minute) // the controllers have not forgotten that the API server was away
	if err := s.Restore(w.Ctx, was); err != nil {
		w.T().Fatal(err)
	}
	w.inTouch("host")
	w.fresh(s)
	w.endpoints(s, 2, 60*time.Second)
	s.kubectl("", "scale", "deployment/whereami", "--replicas=4")
	w.endpoints(s, 4, 60*time.Second)
	s.kubectl("", "scale", "deployment/whereami", "--replicas=2")
	w.endpoints(s, 2, 60*time.Second)
	w.settle(c, 50)
	c.home("an API server came back older")
}

// daemonRestarts kills the host's daemon while another cluster's API server is dead.
func (w *world) daemonRestarts(s, dead *site) {
	c := w.crowd(host, true)
	w.settle(c, 50)
	if err := dead.StopAPI(); err != nil {
		w.T().Fatal(err)
	}
	w.says(20*time.Second, "get sources", "does not answer")
	if err := s.meridiand.Kill(); err != nil {
		w.T().Fatal(err)
	}
	w.settle(c, 100)
	s.startDaemon()
	w.endpoints(dead, 2, 30*time.Second) // as on disk
	w.settle(c, 100)
	if err := dead.StartAPI(w.Ctx); err != nil {
		w.T().Fatal(err)
	}
	w.fresh(dead)
	w.endpoints(dead, 2, 30*time.Second)
	w.settle(c, 50)
	c.home("the daemon was killed while an API server was dead")
}

// daemonAlone kills the host's daemon while the host's own API server is dead, which
// says what members there are. What their pods do is seen all the same, everywhere.
func (w *world) daemonAlone(s, alive *site) {
	c := w.crowd(host, true)
	w.settle(c, 50)
	if err := s.StopAPI(); err != nil {
		w.T().Fatal(err)
	}
	w.says(20*time.Second, "get sources", "does not answer")
	if err := s.meridiand.Kill(); err != nil {
		w.T().Fatal(err)
	}
	w.settle(c, 100)
	s.startDaemon()
	w.fresh(alive)
	for _, x := range w.sites {
		w.Eventually("all is as before in "+x.cluster, 30*time.Second, func(ctx context.Context) error { return x.holds(ctx, "default/whereami/80", alive.name, 2) })
	}
	alive.kubectl("", "scale", "deployment/whereami", "--replicas=3")
	for _, x := range w.sites {
		took := w.Eventually("a new pod of "+alive.cluster+" is known in "+x.cluster, 30*time.Second, func(ctx context.Context) error { return x.holds(ctx, "default/whereami/80", alive.name, 3) })
		w.T().Logf("a new pod of %s was in the Envoy of %s %.1f s later, the host's API server being dead", alive.cluster, x.cluster, took.Seconds())
	}
	w.settle(c, 100)
	if err := s.StartAPI(w.Ctx); err != nil {
		w.T().Fatal(err)
	}
	w.inTouch("host")
	w.fresh(s)
	alive.kubectl("", "scale", "deployment/whereami", "--replicas=2")
	w.endpoints(alive, 2, 30*time.Second)
	w.settle(c, 50)
	c.home("the daemon was killed while the host's API server was dead")
}

// rotate takes the member's account away, and joins again.
func (w *world) rotate(s *site) {
	c := w.crowd(host, true)
	s.kubectl("", "delete", "serviceaccount", "meridian", "-n", "meridian-system")
	w.says(60*time.Second, "get sources", "(401)")
	w.settle(c, 50)
	w.meridian("join", s.cluster, "--context", s.cluster, "--host-context", "us", "--gateway", s.front().String(),
		"--endpoint-network", s.pods(0).String(), "--endpoint-network", s.pods(1).String())
	w.fresh(s)
	s.kubectl("", "scale", "deployment/whereami", "--replicas=3")
	w.endpoints(s, 3, 30*time.Second)
	s.kubectl("", "scale", "deployment/whereami", "--replicas=2")
	w.endpoints(s, 2, 30*time.Second)
	w.settle(c, 50)
	c.home("credentials were revoked and given anew")
}

// gatewayDies kills a front door: whoever asks DNS is sent elsewhere.
func (w *world) gatewayDies(s, next *site) {
	if err := s.gateway.Kill(); err != nil {
		w.T().Fatal(err)
	}
	took := w.Eventually("DNS leaves", 20*time.Second, func(ctx context.Context) error { return w.served(ctx, s, next) })
	w.T().Logf("%s are sent to %s %.1f s after their gateway died", s.people, next.name, took.Seconds())
	s.startEnvoy()
	took = w.Eventually("home again", 30*time.Second, func(ctx context.Context) error { return w.served(ctx, s, s) })
	w.T().Logf("and home %.1f s after it is back", took.Seconds())
}

// leave lets a cluster go while it is in use.
func (w *world) leave(s *site) {
	c := w.crowd(host, true)
	w.settle(c, 100)
	w.meridian("unjoin", s.cluster, "--context", s.cluster, "--host-context", "us", "--grace", "5s")
	w.Eventually("its users are served elsewhere", 20*time.Second, func(ctx context.Context) error {
		u := s.newUser(nil)
		defer u.client.CloseIdleConnections()
		addr, h, err := u.visit(ctx, host, "/")
		if err == nil && (addr == s.front() || h.Region == string(s.name)) {
			err = fmt.Errorf("%s are at %v, in %s", s.people, addr, h.Region)
		}
		return err
	})
	w.settle(c, 200)
	c.home("a cluster left")
	w.Eventually("it is no longer listed", 20*time.Second, func(context.Context) error {
		out, err := w.operator("get", "sources")
		if err == nil && strings.Contains(out, "/kube/"+s.cluster+" ") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	if out := w.site("us").kubectl("", "get", "clusters.meridian.dev", "-o", "name"); strings.Contains(out, "/"+s.cluster) {
		w.T().Errorf("it is still there: %s", out)
	}
	if out, err := w.Run("", w.Programs.Kubectl, "--context", s.cluster, "get", "serviceaccount", "meridian", "-n", "meridian-system"); err == nil {
		w.T().Errorf("its account is still there: %s", out)
	}
}

// faults puts wrong objects beside the good ones: each is told to its author, and
// nothing else is disturbed.
func (w *world) faults() {
	c := w.crowd(host, true)
	us, eu := w.site("us"), w.site("eu")
	refused := func(s *site, object, want string) {
		w.T().Helper()
		if out, err := w.Run(object, w.Programs.Kubectl, "--context", s.cluster, "apply", "-f", "-"); err == nil || !strings.Contains(out, want) {
			w.T().Errorf("%s: %v, want %q in\n%s", object, err, want, out)
		}
	}
	refused(us, `{apiVersion: meridian.dev/v1alpha1, kind: TrafficPolicy, metadata: {name: bad}, spec: {strategy: fastest}}`, "Unsupported value")
	refused(us, `{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: bad}, spec: {region: mars, place: {lat: "91", lon: "0"}}}`, "lat must lie between")

	us.kubectl("", "create", "namespace", "other-team")
	us.kubectl(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: sneaky, namespace: other-team}
spec:
  ingressClassName: meridian
  rules:
  - host: www.shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: evil, port: {number: 80}}}}]}
`, "apply", "-f", "-")
	cluster := func(name, kubeconfig string) {
		us.kubectl(fmt.Sprintf(`{apiVersion: v1, kind: Secret, metadata: {name: %[1]s, namespace: meridian-system}, stringData: {kubeconfig: %[2]q}}
---
{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: %[1]s}, spec: {region: mars, place: {lat: "10", lon: "10"}, credentialsRef: {name: %[1]s}}}
`, name, kubeconfig), "apply", "-f", "-")
	}
	good := func(auth string, server string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],"clusters":[{"name":"x","cluster":%s}],"users":[{"name":"x","user":%s}]}`, server, auth)
	}
	other := fmt.Sprintf(`{"server":"https://%s","certificate-authority-data":%q}`, eu.Addr(), caOf(w, us))
	own := fmt.Sprintf(`{"server":"https://%s","certificate-authority-data":%q}`, eu.Addr(), caOf(w, eu))
	cluster("exec-plugin", good(`{"exec":{"apiVersion":"client.authentication.k8s.io/v1","command":"/bin/sh","interactiveMode":"Never"}}`, own))
	cluster("wrong-ca", good(`{"token":"x"}`, other))
	cluster("expired-token", good(`{"token":"expired"}`, own))

	eu.kubectl(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: flip-2, labels: {kubernetes.io/service-name: flip}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.101.0.1], conditions: {ready: true}}]
`, "apply", "-f", "-")

	w.says(60*time.Second, "get problems", "HostConflict", "ServiceNotFound", "nobody", "AddressNotAllowed", "10.101.0.1")
	w.says(30*time.Second, "get sources", "(401)")
	said := func(name, want string) {
		w.T().Helper()
		w.Eventually("Cluster "+name+" says why", 30*time.Second, func(context.Context) error {
			out := us.kubectl("", "get", "clusters.meridian.dev", name, "-o", "jsonpath={.status.conditions[*].message}")
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in %q", want, out)
			}
			return nil
		})
	}
	said("exec-plugin", "exec")
	said("wrong-ca", "certificate signed by unknown authority")
	said("expired-token", "401")
	w.Eventually("the conflict is an event of its Ingress", 30*time.Second, func(context.Context) error {
		out := us.kubectl("", "get", "events", "-n", "other-team", "-o", "jsonpath={.items[*].message}")
		if !strings.Contains(out, "belongs to namespace") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	for _, x := range w.sites {
		if err := w.served(w.Ctx, x, x); err != nil {
			w.T().Error(err)
		}
	}
	us.kubectl("", "delete", "clusters.meridian.dev", "exec-plugin", "wrong-ca", "expired-token")
	us.kubectl("", "delete", "secrets", "-n", "meridian-system", "exec-plugin", "wrong-ca", "expired-token")
	us.kubectl("", "delete", "namespace", "other-team", "--wait=false")
	eu.kubectl("", "delete", "endpointslice", "flip-2")
	w.settle(c, 50)
	c.home("wrong objects lay about")
}

// hijack has an Ingress that is older than the shop's add the shop's host. It does not
// get it, neither at once nor from a daemon that starts again, with or without what it
// knew.
func (w *world) hijack(s *site) {
	made := func(args ...string) string {
		return s.kubectl("", append([]string{"get", "ingress", "-o", "jsonpath={.metadata.creationTimestamp}"}, args...)...)
	}
	if elder, shop := made("elder", "-n", "elders"), made("shop"); elder >= shop {
		w.T().Fatalf("the elder Ingress was made at %s and the shop's at %s", elder, shop)
	}
	kept := func(when string) {
		w.T().Helper()
		w.says(60*time.Second, "get problems", "Ingress elders/elder", `host "www.shop.example.com" belongs to namespace "default"`)
		for _, x := range w.sites {
			w.Eventually(x.people+" are served "+when, 60*time.Second, func(ctx context.Context) error { return w.served(ctx, x, x) })
		}
	}
	c := w.crowd(host, true)
	w.settle(c, 50)
	s.kubectl("", "patch", "ingress", "elder", "-n", "elders", "--type=json", "-p", greedy)
	kept("though an older Ingress names their host")
	w.Eventually("it is recorded", 30*time.Second, func(context.Context) error {
		out := s.kubectl("", "get", "configmap", "-n", "meridian-system", "--field-selector=metadata.name=meridian-hosts", "-o", "jsonpath={.items[*].data.claims}")
		if !strings.Contains(out, " default www.shop.example.com") || !strings.Contains(out, " elders www.shop.example.com") {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	restart := func(between func()) {
		if err := s.meridiand.Kill(); err != nil {
			w.T().Fatal(err)
		}
		between()
		s.startDaemon()
		for _, x := range w.sites {
			w.fresh(x)
		}
	}
	w.settle(c, 500) // longer than a daemon takes to save what it knows
	restart(func() {})
	kept("by a daemon that started again")
	w.settle(c, 100)
	c.home("an older Ingress wanted their host")
	restart(func() {
		if err := os.RemoveAll(filepath.Join(w.Dir, s.cluster, "meridiand", "state")); err != nil {
			w.T().Fatal(err)
		}
	})
	kept("by a daemon that remembers nothing")
	s.kubectl("", "delete", "namespace", "elders", "--wait=false")
	s.kubectl("", "delete", "ingress", "elder", "-n", "elders")
}

func caOf(w *world, s *site) string {
	w.T().Helper()
	out, err := w.Run("", w.Programs.Kubectl, "config", "view", "--raw", "-o", fmt.Sprintf(`jsonpath={.clusters[?(@.name==%q)].cluster.certificate-authority-data}`, s.cluster))
	if err != nil || out == "" {
		w.T().Fatalf("the CA of %s: %q %v", s.cluster, out, err)
	}
	return out
}

// accepted: no Envoy has refused anything it was sent, from beginning to end.
func (w *world) accepted() {
	for _, s := range w.sites {
		text, err := s.envoyGet(w.Ctx, "/stats?filter=update_rejected")
		if err != nil {
			w.T().Fatal(err)
		}
		for line := range strings.Lines(text) {
			if !strings.HasSuffix(strings.TrimSpace(line), ": 0") {
				w.T().Errorf("%s: %s", s.cluster, line)
			}
		}
	}
}
