package apply

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// whistle is the file that workers of a cluster wait for, to end.
func (s *site) whistle() string { return filepath.Join(s.dir, "whistle") }

// machines gives a cluster a node and a scheduler, so that its pods run.
func (s *site) machines(t *testing.T, n byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	machine, err := node.New(node.Config{
		Name: s.Name() + "-node", REST: s.REST(), Addr: netip.AddrFrom4([4]byte{10, 1, 1, n}),
		Pods: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 4 * n, 0}), 22), Region: s.Name(), Zone: "a", Dir: t.TempDir(),
		Images: map[string]node.Image{"whereami": func(node.Container) (lab.Command, error) {
			return lab.Command{Name: "whereami", Path: "/bin/sleep", Args: []string{"1000000"}}, nil
		}, "worker": func(node.Container) (lab.Command, error) {
			return lab.Command{Name: "worker", Path: "/bin/sh", Args: []string{"-c", "until [ -e " + s.whistle() + " ]; do sleep 0.1; done"}}, nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	scheduler, err := node.NewScheduler(s.REST(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []func(context.Context) error{machine.Run, scheduler.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, func() error {
		o, err := s.admin.CoreV1().Nodes().Get(t.Context(), s.Name()+"-node", metav1.GetOptions{})
		if err == nil && len(o.Spec.Taints) > 0 {
			err = fmt.Errorf("the node has the taints %v", o.Spec.Taints)
		}
		return err
	})
}

// twoClusters are two members with controllers, a machine each, and an applier that runs.
func twoClusters(t *testing.T) (host, eu, us *site, h *house) {
	t.Helper()
	all := sites(t, "host", "eu+", "us+")
	host, eu, us = all["host"], all["eu"], all["us"]
	host.install(t)
	eu.machines(t, 1)
	us.machines(t, 2)
	return host, eu, us, applier(t, "one", host, eu, us).run(t)
}

// ready is how many pods of the shop are ready; negative: nobody knows.
func (s *site) ready() int {
	pods, err := s.admin.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{LabelSelector: "app=shop"})
	if err != nil {
		return -1
	}
	n := 0
	for _, p := range pods.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
				n++
			}
		}
	}
	return n
}

// Replicas move only when others are ready.
func TestMoves(t *testing.T) {
	host, eu, us, h := twoClusters(t)
	whole := t

	step(t, "replicas run, and that is told", func(t *testing.T) {
		host.federate(t, "shop", shop, "spread: {grace: 10s}")
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
		eu.want(t, "3", shopPath, "spec", "replicas")
		h.wantNoRequests(t, func() {})
	})

	step(t, "a drained cluster is left, and at no time are there fewer", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		least, done := 6, make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if a, b := us.ready(), eu.ready(); a >= 0 && b >= 0 { // eu last: what moves there is not missed
					least = min(least, a+b)
				}
			}
		}()
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "us", On: true, By: "alice"}))
		eu.want(t, "6", shopPath, "spec", "replicas")
		us.wantNone(t, shopPath)
		stop()
		<-done
		if least < 6 {
			t.Errorf("%d were ready at one moment", least)
		}
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
	})

	step(t, "when the drain is over, nothing that runs is moved", func(t *testing.T) {
		h.wantNoRequests(t, func() { h.Update(everywhere("eu", "us")) })
		eu.want(t, "6", shopPath, "spec", "replicas")
	})

	step(t, "growth goes to the other cluster", func(t *testing.T) {
		host.patch(t, federated+"/shop", `{"spec":{"template":{"spec":{"replicas":8}}}}`)
		us.want(t, "2", shopPath, "spec", "replicas")
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionReady, "True", "8 of 8 are ready"))
	})

	step(t, "who leaves where is left once the others are ready", func(t *testing.T) {
		host.federate(t, "everywhere", strings.NewReplacer("name: shop", "name: front", "app: shop", "app: front", "replicas: 6", "replicas: 1").Replace(shop), "spread: {mode: duplicate}")
		host.wantStatus(t, "everywhere", told.Condition(v1alpha1.ConditionReady, "True", "2 of 2 are ready"))
		host.patch(t, federated+"/everywhere", `{"spec":{"where":{"clusters":["us"]}}}`)
		eu.wantNone(t, deployments+"/front")
		us.want(t, "1", deployments+"/front", "spec", "replicas")
	})

	step(t, "who takes over in the middle of a move goes on, and at no time are there fewer", func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		least, done := 8, make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if a, b := us.ready(), eu.ready(); a >= 0 && b >= 0 {
					least = min(least, a+b)
				}
			}
		}()
		drained := world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "us", On: true})
		h.Update(drained)
		eu.want(t, "7", shopPath, "spec", "replicas")
		h.stop()
		h = applier(whole, "two", host, eu, us)
		h.Update(drained)
		h.run(whole)
		eu.want(t, "8", shopPath, "spec", "replicas")
		us.wantNone(t, shopPath)
		stop()
		<-done
		if least < 8 {
			t.Errorf("%d were ready at one moment", least)
		}
		h.Update(everywhere("eu", "us"))
	})

	// The last, since controllers come back late to an API server that was away.
	step(t, "a lost cluster's replicas are replaced after its grace, and it keeps them", func(t *testing.T) {
		if err := eu.StopAPI(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		us.want(t, "8", shopPath, "spec", "replicas")
		if took := time.Since(begin); took < 9*time.Second {
			t.Errorf("they were replaced after %s", took)
		}
		host.wantStatus(t, "shop", told.Row("eu", v1alpha1.WorkloadUnreachable, "placed elsewhere"))
		if err := eu.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		host.wantStatus(t, "shop", told.Row("eu", v1alpha1.WorkloadApplied, "not built upon yet"))
		if n, err := eu.at(shopPath, "spec", "replicas"); err != nil || n != "8" {
			t.Errorf("it has %q replicas, %v", n, err)
		}
	})
}

// Pods that no node takes move, and an autoscaler of a member says its replicas.
func TestRoom(t *testing.T) {
	host, eu, us, h := twoClusters(t)

	step(t, "pods that no node takes are counted", func(t *testing.T) {
		eu.patch(t, "/api/v1/nodes/eu-node", `{"spec":{"unschedulable":true}}`)
		host.federate(t, "shop", shop, "")
		eu.want(t, "3", shopPath, "spec", "replicas")
		// Once the scheduler has said so, they have waited for a while.
		said := func(p corev1.Pod) bool {
			return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable
			})
		}
		eventually(t, func() error {
			pods, err := eu.admin.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
			if err != nil || len(pods.Items) != 3 {
				return fmt.Errorf("%d pods, %w", len(pods.Items), err)
			}
			for _, p := range pods.Items {
				if !said(p) {
					return fmt.Errorf("the scheduler has not said of %s that no node takes it", p.Name)
				}
			}
			for _, p := range pods.Items {
				at := metav1.NewTime(time.Now().Add(-2 * time.Minute))
				p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available", LastTransitionTime: at}}
				if _, err := eu.admin.CoreV1().Pods("default").UpdateStatus(t.Context(), &p, metav1.UpdateOptions{}); err != nil {
					return err
				}
			}
			return nil
		})
	})

	step(t, "and move where there is room", func(t *testing.T) {
		us.want(t, "6", shopPath, "spec", "replicas")
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
		h.wantNoRequests(t, func() {})
	})

	step(t, "an autoscaler takes over the replicas that there are, and gives them back", func(t *testing.T) {
		const path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
		us.post(t, path, "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: shop}, spec: {minReplicas: 2, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}}")
		eventually(t, func() error {
			o, err := us.get(shopPath)
			if err != nil {
				return err
			}
			if l := newLive(o, usualReplicas); l.replicas {
				return fmt.Errorf("the replicas are still ours")
			}
			if n, err := us.at(shopPath, "spec", "replicas"); err != nil || n != "6" {
				t.Fatalf("there are %q, %v", n, err)
			}
			return nil
		})
		h.wantNoRequests(t, func() { us.patch(t, shopPath, `{"spec":{"replicas":7}}`) })
		us.want(t, "7", shopPath, "spec", "replicas")
		us.delete(t, path+"/shop")
		us.want(t, "6", shopPath, "spec", "replicas")
	})
}
