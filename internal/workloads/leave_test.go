//go:build e2e

package workloads

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
	"github.com/meridian-lb/meridian/placement"
)

// gone is no member any more.
func (w *world) gone(s *site) {
	w.members = slices.DeleteFunc(slices.Clone(w.members), func(m *site) bool { return m == s })
}

// nothingOfOurs wants a cluster to have nothing that was placed there, no pod of it, and
// nothing that join made.
func (w *world) nothingOfOurs(s *site) {
	w.t.Helper()
	w.eventually("nothing of ours is left in "+s.continent.name, time.Minute, func(ctx context.Context) error {
		for _, kind := range []string{"replicasets", "deployments", "daemonsets", "configmaps", "widgets.example.com"} {
			if left := strings.Fields(s.kubectl("", "get", kind, "-A", "-l", placement.LabelPlaced, "-o", "name")); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
		}
		pods, err := s.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("%d pods, one of them %v", len(pods.Items), labels.Set(pods.Items[0].Labels))
		}
		switch _, err := s.kube.CoreV1().Namespaces().Get(ctx, ours, metav1.GetOptions{}); {
		case err == nil:
			return fmt.Errorf("the namespace %s is there", ours)
		case !apierrors.IsNotFound(err):
			return err
		}
		if left := s.kubectl("", "get", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/part-of=meridian", "-o", "name"); left != "" {
			return errors.New(left)
		}
		return nil
	})
}

// unjoined lets a cluster leave in which a share of everything runs.
func (w *world) unjoined(shop *ledger, s *site) {
	name := s.continent.name
	before := shop.of(name)
	if before.ready == 0 {
		w.t.Fatalf("%s has nothing of the shop to move", name)
	}
	foreseen := w.meridian("", "unjoin", name, "--context", name, "--host-context", hostCluster, "--dry-run")
	if want := fmt.Sprintf("ReplicaSet default/shop: %d replicas", before.ready); !strings.Contains(foreseen, want) {
		w.t.Errorf("the dry run says no %q", want)
	}
	if now := shop.of(name); now != before {
		w.t.Errorf("the dry run moved something: %v, before %v", now, before)
	}
	shop.guard(1000, 0)
	began := time.Now()
	said := w.meridian("", "unjoin", name, "--context", name, "--host-context", hostCluster, "--grace", "2s", "--timeout", "90s")
	w.t.Logf("%s with %d of 1000 replicas had left %.1f s after the command", name, before.ready, time.Since(began).Seconds())
	if p := shop.sum(); p.ready < 1000 {
		w.t.Errorf("%d are ready when it has left", p.ready)
	}
	if strings.Contains(said, "Not ready elsewhere") {
		w.t.Error("something was left behind")
	}
	w.gone(s)
	w.nothingOfOurs(s)
	shop.total("1000 in the others", time.Minute, 1000)
	shop.passed("while a cluster left")
	w.told("replicaset-shop", 20*time.Second, told.Condition(v1alpha1.ConditionPlaced, "True", fmt.Sprintf("%d clusters", len(w.members))), nowhere(name))
	w.told("configmap-settings", 20*time.Second, nowhere(name))
}

// nowhere pleases when a status does not speak of a cluster.
func nowhere(cluster string) func(v1alpha1.WorkloadStatus) error {
	return func(s v1alpha1.WorkloadStatus) error {
		if slices.ContainsFunc(s.Clusters, func(c v1alpha1.ClusterWorkload) bool { return c.Cluster == cluster }) {
			return fmt.Errorf("%s is told of", cluster)
		}
		return nil
	}
}

// letGo lets a cluster go that is dead for good: what it had is placed elsewhere without
// waiting for any grace, and nothing waits for it.
func (w *world) letGo(shop *ledger, s *site) {
	name := s.continent.name
	small, torn := w.open("small"), w.open("torn")
	small.total("twelve are ready", time.Minute, 12)
	torn.total("all are ready", time.Minute, 120)
	if small.of(name).ready == 0 {
		w.t.Fatalf("%s has nothing that is waited for by the default grace", name)
	}
	shop.guard(0, 0)
	s.die()
	for _, l := range []*ledger{shop, small, torn} {
		l.lost(s, true)
	}
	w.says("", []string{"--force"}, filepath.Join(w.bin, "meridian"), "unjoin", name, "--host-context", hostCluster)
	w.meridian("", "unjoin", name, "--host-context", hostCluster, "--grace", "0s", "--force")
	began := time.Now()
	w.gone(s)
	small.total("they are ready elsewhere", time.Minute, 12) // its grace is five minutes
	w.t.Logf("what waits five minutes for a silent cluster was ready elsewhere %.1f s after that was let go", time.Since(began).Seconds())
	shop.total("1000 in the others", time.Minute, 1000)
	shop.guard(1000, 0)
	w.site(hostCluster).kubectl("", "delete", "federatedobject", "replicaset-torn", "--timeout=60s")
	w.eventually("it is deleted everywhere else", time.Minute, func(ctx context.Context) error {
		for _, m := range w.members {
			switch _, err := m.replicaSet(ctx, "torn"); {
			case err == nil:
				return fmt.Errorf("%s still has it", m.continent.name)
			case !apierrors.IsNotFound(err):
				return err
			}
		}
		return nil
	})
}
