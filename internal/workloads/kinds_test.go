//go:build e2e

package workloads

import (
	"context"
	"fmt"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// waiterPod is a pod template, behind "template:".
func waiterPod(app, seconds, more string) string {
	return fmt.Sprintf(`{metadata: {labels: {app: %s}}, spec: {automountServiceAccountToken: false, nodeSelector: {pool: wide}, terminationGracePeriodSeconds: 1, %s`+
		`containers: [{name: waiter, image: waiter, command: [sleep, "%s"]}]}}`, app, more, seconds)
}

func aJob() string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: count}\nspec: {parallelism: 12, completions: 12, template: " + waiterPod("count", "1", "restartPolicy: Never, ") + "}\n"
}

func aStatefulSet() string {
	return "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {replicas: 6, podManagementPolicy: Parallel, selector: {matchLabels: {app: db}}, template: " + waiterPod("db", "1000000", "") + "}\n"
}

func scaledDeployment() string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: front}\nspec: {replicas: 3, selector: {matchLabels: {app: front}}, template: " + waiterPod("front", "1000000", "") + "}\n" + `---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: front}
spec: {minReplicas: 6, maxReplicas: 30, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: front}}
`
}

// farmDefinition is a kind that keeps its replicas elsewhere than Kubernetes does.
const farmDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: farms.example.com}
spec:
  group: example.com
  names: {kind: Farm, plural: farms}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.there}}
`

const aFarm = "apiVersion: example.com/v1\nkind: Farm\nmetadata: {name: wheat}\nspec: {size: 6, crop: wheat}\n"

// kinds places what does not only have replicas, over three clusters.
func (w *world) kinds() {
	three := []*site{w.site("us"), w.site("eu"), w.site("asia")}
	for _, s := range three {
		s.kubectl(farmDefinition, "apply", "-f", "-")
		s.kubectl("", "wait", "--for=condition=Established", "--timeout=20s", "crd/farms.example.com")
	}
	where := []string{"--where", "clusters=us,eu,asia"}
	w.federate(aJob(), where...)
	w.federate(aStatefulSet(), append(where, "--mode", "divide")...)
	w.federate(scaledDeployment(), where...)
	w.federate(aFarm, append(where, "--mode", "divide")...)

	w.told("job-count", 20*time.Second, told.Condition(v1alpha1.ConditionReady, "True", "12 of 12 completions are done"))
	took := w.eventually("12 pods of the Job have succeeded, 4 in each cluster", 20*time.Second, func(ctx context.Context) error {
		for _, s := range three {
			if n, err := s.succeeded(ctx, "app=count"); err != nil || n != 4 {
				return fmt.Errorf("%d in %s: %w", n, s.continent.name, err)
			}
		}
		return nil
	})
	w.t.Logf("the Job was done %.1f s after it was said to be", took.Seconds())

	w.told("statefulset-db", 20*time.Second, told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
	names := map[string]string{}
	for _, s := range three {
		pods, err := s.kube.CoreV1().Pods("default").List(w.ctx, metav1.ListOptions{LabelSelector: "app=db"})
		if err != nil || len(pods.Items) != 2 {
			w.t.Fatalf("%s has %d pods of the StatefulSet: %v", s.continent.name, len(pods.Items), err)
		}
		for _, p := range pods.Items {
			if other := names[p.Name]; other != "" {
				w.t.Errorf("%s is in %s and in %s", p.Name, other, s.continent.name)
			}
			names[p.Name] = s.continent.name
		}
	}

	// Its real controller holds the bounds, and by the subresource it says more.
	w.eventually("each autoscaler has its part of the bounds", 20*time.Second, func(ctx context.Context) error {
		for _, s := range three {
			a, err := s.kube.AutoscalingV2().HorizontalPodAutoscalers("default").Get(ctx, "front", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if a.Spec.MinReplicas == nil || *a.Spec.MinReplicas != 2 || a.Spec.MaxReplicas != 10 {
				return fmt.Errorf("%s: %v to %d", s.continent.name, a.Spec.MinReplicas, a.Spec.MaxReplicas)
			}
		}
		return nil
	})
	for _, s := range three {
		w.told("deployment-front", 20*time.Second, told.Row(s.continent.name, v1alpha1.WorkloadApplied, "an autoscaler there owns the replicas"))
	}
	three[0].scale(w.ctx, "front", 5)
	w.told("deployment-front", 20*time.Second, told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	w.eventually("what the autoscaler says stays", 20*time.Second, func(ctx context.Context) error {
		if n, err := three[0].ready(ctx, "app=front"); err != nil || n != 5 {
			return fmt.Errorf("%d are ready: %w", n, err)
		}
		return nil
	})

	for _, s := range three {
		w.eventually("a Farm's size is divided", 20*time.Second, func(context.Context) error {
			out := strings.TrimSpace(s.kubectl("", "get", "farms", "-o", "jsonpath={.items[*].spec.size}"))
			if out != "2" {
				return fmt.Errorf("%s: it is %q", s.continent.name, out)
			}
			return nil
		})
	}
}

func (s *site) succeeded(ctx context.Context, selector string) (n int, err error) {
	pods, err := s.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: selector, FieldSelector: "status.phase=Succeeded"})
	if err != nil {
		return 0, err
	}
	return len(pods.Items), nil
}

func (s *site) ready(ctx context.Context, selector string) (n int, err error) {
	pods, err := s.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return 0, err
	}
	for i := range pods.Items {
		if ready(&pods.Items[i]) {
			n++
		}
	}
	return n, nil
}

// scale is what an autoscaler does.
func (s *site) scale(ctx context.Context, name string, n int32) {
	s.world.t.Helper()
	_, err := s.kube.AppsV1().Deployments("default").UpdateScale(ctx, name, &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: autoscalingv1.ScaleSpec{Replicas: n},
	}, metav1.UpdateOptions{})
	if err != nil {
		s.world.t.Fatal(err)
	}
}
