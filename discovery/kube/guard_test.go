package kube

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/fleet"
)

// watched runs a member of its own, and ends it with the test.
func watched(t *testing.T, s *site, k *keeper, pace Pace, known []fleet.Update) *member {
	t.Helper()
	return watchedBy(t, s.Name(), s.Kubeconfig(), k, pace, known)
}

func watchedBy(t *testing.T, name string, kubeconfig []byte, k *keeper, pace Pace, known []fleet.Update) *member {
	t.Helper()
	cfg := Config{Instance: "i", Tell: k.tell, Pace: pace.filled(), Known: known, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil))}
	m := newMember(name, "i/kube/"+name, cfg, newMetrics(prometheus.NewRegistry()))
	ctx, done := t.Context(), make(chan struct{})
	go func() {
		defer close(done)
		m.run(ctx)
	}()
	t.Cleanup(func() { <-done }) // t.Context has ended
	c, err := credentials.Parse(kubeconfig, credentials.Options{Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	m.use(access{config: c, about: fleet.Origin{Cluster: "host", Kind: "Cluster", Name: name}, token: "1"})
	return m
}

// A list that takes most endpoints away is believed when it is said twice.
func TestMassDropIsHeld(t *testing.T) {
	eu := sites(t, "eu")["eu"]
	empty, err := eu.Backup()
	if err != nil {
		t.Fatal(err)
	}
	eu.service(t, "a", federated, "10.2.0.1", "10.2.0.2")
	eu.service(t, "b", federated, "10.2.0.3", "10.2.0.4")
	const source, a, b = "i/kube/eu", "backend eu/default/a 10.2.0.1,10.2.0.2", "backend eu/default/b 10.2.0.3,10.2.0.4"
	k := newKeeper()
	pace := quick()
	pace.Confirm = 6 * time.Second
	m := watched(t, eu, k, pace, nil)
	k.want(t, source, a, b)

	step(t, "the list is held, and forgotten when it was wrong", func(t *testing.T) {
		if err := eu.Restore(t.Context(), empty); err != nil {
			t.Fatal(err)
		}
		k.wantProblem(t, source, "Cluster eu in host: MassDrop: a list of cluster eu would take away 4 of its 4 ready endpoints")
		k.want(t, source, a, b)
		eu.service(t, "new", federated, "10.2.0.9")
		k.want(t, source, a, b, "backend eu/default/new 10.2.0.9") // what comes is not held
		eu.service(t, "a", federated, "10.2.0.1", "10.2.0.2")
		k.wantNoProblem(t, source)
		if n := testutil.ToFloat64(m.meter.drops.WithLabelValues("eu", "recovered")); n != 1 {
			t.Errorf("%v drops recovered, want 1", n)
		}
		k.want(t, source, a, "backend eu/default/new 10.2.0.9")
	})
	step(t, "said twice, it is believed", func(t *testing.T) {
		full := k.lines(source)
		if err := eu.Restore(t.Context(), empty); err != nil {
			t.Fatal(err)
		}
		k.wantProblem(t, source, "MassDrop")
		begin := time.Now()
		for _, l := range full {
			if strings.HasPrefix(l, "backend ") && !slices.Contains(k.lines(source), l) {
				t.Errorf("%q went at once", l)
			}
		}
		k.want(t, source)
		k.wantNoProblem(t, source)
		if held := time.Since(begin); held < pace.Confirm*3/4 {
			t.Errorf("held for %s only", held)
		}
	})
}

// A watch that has lost an event is mended by the next audit.
func TestAuditMends(t *testing.T) {
	eu := sites(t, "eu")["eu"]
	eu.service(t, "a", federated, "10.2.0.1")
	eu.service(t, "b", federated, "10.2.0.2")
	const source, a, b = "i/kube/eu", "backend eu/default/a 10.2.0.1", "backend eu/default/b 10.2.0.2"
	k := newKeeper()
	pace := quick()
	pace.Audit = 500 * time.Millisecond
	m := watched(t, eu, k, pace, nil)
	k.want(t, source, a, b)

	// As if the watch had missed that the service came, and had made one up.
	m.services.mu.Lock()
	lost := types.NamespacedName{Namespace: "default", Name: "a"}
	made, _ := m.services.take(lost)
	ghost := made.DeepCopy()
	ghost.Name, ghost.UID = "ghost", "made-up"
	m.services.put(types.NamespacedName{Namespace: "default", Name: "ghost"}, ghost)
	m.services.mu.Unlock()
	m.services.changed([]change[*corev1.Service]{{name: lost, before: made, went: true}, {after: ghost, came: true}}, false)
	k.want(t, source, b, "backend eu/default/ghost")
	k.want(t, source, a, b)
	if n := testutil.ToFloat64(m.meter.differences.WithLabelValues("eu", "services")); n != 2 {
		t.Errorf("%v differences counted, want 2", n)
	}
}

// After a restart, what was told before is there to compare with, and what left
// meanwhile goes.
func TestMemberRemembers(t *testing.T) {
	eu := sites(t, "eu")["eu"]
	for name, addr := range map[string]string{"a": "10.2.0.1", "b": "10.2.0.2", "c": "10.2.0.3"} {
		eu.service(t, name, federated, addr)
	}
	const source = "i/kube/eu"
	k := newKeeper()
	known := []fleet.Update{{Source: source, Put: []fleet.Fact{
		fleet.NewFact("eu/default/a", &fleet.Backend{Cluster: "eu", Service: fleet.ServiceName{Namespace: "default", Name: "a"}}),
		fleet.NewFact("eu/default/gone", &fleet.Backend{Cluster: "eu", Service: fleet.ServiceName{Namespace: "default", Name: "gone"}}),
	}}}
	eu.patch(t, "/api/v1/namespaces/default/services/a", `{"spec":{"ports":[{"port":80,"protocol":"UDP","name":"http"}]}}`)
	watched(t, eu, k, quick(), known)
	k.want(t, source, "backend eu/default/a", "backend eu/default/b 10.2.0.2", "backend eu/default/c 10.2.0.3")
	k.wantProblem(t, source, "holds no usable TCP port")
}
