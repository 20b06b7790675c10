package node_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/node"
)

const shop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: whereami
        image: registry.example/meridian/whereami:v1
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
        env:
        - {name: CLUSTER, value: eu-1}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{port: 80, targetPort: http}]
`

// TestShop is the story of a Deployment: it appears, grows, loses a pod, sits out a
// hung API server and goes back in time with its cluster.
func TestShop(t *testing.T) {
	w := newWorld(t, map[string]node.Image{"whereami": node.Whereami(lab.Build(t, "whereami"))})
	ctx := t.Context()
	w.apply(shop)
	addrs := w.wantReady("two pods are ready", "shop", 2)
	zones := map[string]bool{}
	for _, addr := range addrs {
		a := get(t, "http://"+addr+"/?format=json")
		if a.Cluster != "eu-1" || a.Region != "eu-west" || a.Host != "node-"+a.Zone || !strings.HasPrefix(a.Pod, "shop-") {
			t.Errorf("%s says it is %+v", addr, a)
		}
		zones[a.Zone] = true
	}
	if len(zones) != 2 {
		t.Errorf("both pods stand in zone %v: the scheduler takes the node with fewer", zones)
	}

	backup, err := w.cluster.Backup()
	if err != nil {
		t.Fatal(err)
	}
	scale := []byte(`{"spec":{"replicas":3}}`)
	scaled, err := w.client.AppsV1().Deployments("default").Patch(ctx, "shop", types.MergePatchType, scale, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	addrs = w.wantReady("a third is ready", "shop", 3)

	victim := get(t, "http://"+addrs[0]+"/?format=json").Pod
	if err := w.client.CoreV1().Pods("default").Delete(ctx, victim, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("a deleted pod is gone and replaced", func(ctx context.Context) error {
		if _, err := w.client.CoreV1().Pods("default").Get(ctx, victim, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s is still there (%w)", victim, err)
		}
		now, err := w.ready(ctx, "shop")
		if err == nil && (len(now) != 3 || slices.Contains(now, addrs[0])) {
			err = fmt.Errorf("ready are %v", now)
		}
		return err
	})
	if _, err := http.Get("http://" + addrs[0]); err == nil {
		t.Error("the deleted pod still answers")
	}

	if err := w.cluster.PauseAPI(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	if _, err := w.ready(short, "shop"); err == nil || short.Err() == nil {
		t.Errorf("a hung API server answers: %v", err)
	}
	cancel()
	get(t, "http://"+addrs[1]+"/?format=json") // who serves does not care
	if err := w.cluster.ResumeAPI(); err != nil {
		t.Fatal(err)
	}
	addrs = w.wantReady("the API server goes on", "shop", 3)

	if err := w.cluster.Restore(ctx, backup); err != nil {
		t.Fatal(err)
	}
	restored, err := w.client.AppsV1().Deployments("default").Get(ctx, "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *restored.Spec.Replicas != 2 || restored.Generation >= scaled.Generation {
		t.Errorf("after the restore there are %d replicas of generation %d, want 2 of one before %d", *restored.Spec.Replicas, restored.Generation, scaled.Generation)
	}
	w.eventually("two pods serve after the restore", func(ctx context.Context) error {
		now, err := w.ready(ctx, "shop")
		if err != nil || len(now) != 2 {
			return fmt.Errorf("ready are %v, %w", now, err)
		}
		for _, addr := range now {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, http.NoBody)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			resp.Body.Close()
		}
		return nil
	})
}
