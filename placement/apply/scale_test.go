package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const (
	crds  = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	farms = "/apis/example.com/v1/namespaces/default/farms"
)

// farm is a kind of somebody else's, which keeps its replicas elsewhere than Kubernetes does.
const farm = `
apiVersion: apiextensions.k8s.io/v1
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
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.there, labelSelectorPath: .status.selector}
`

// operator runs farms as somebody's operator would: what is asked for is there at once.
func (s *site) operator(t *testing.T) {
	t.Helper()
	client, err := dynamic.NewForConfig(s.REST())
	if err != nil {
		t.Fatal(err)
	}
	on := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "farms"}).Namespace("default")
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			list, err := on.List(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for _, o := range list.Items {
				size, _, _ := unstructured.NestedInt64(o.Object, "spec", "size")
				if there, _, _ := unstructured.NestedInt64(o.Object, "status", "there"); there == size {
					continue
				}
				o.Object["status"] = map[string]any{"there": size, "selector": "farm=" + o.GetName()}
				if _, err := on.UpdateStatus(ctx, &o, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	}()
}

// scale is what an autoscaler does: it says how many by the subresource.
func (s *site) scale(t *testing.T, path string, n int) {
	t.Helper()
	s.patch(t, path+"/scale", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
}

// A kind that others defined is divided as its definition says.
func TestScale(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	for _, s := range []*site{eu, us} {
		s.post(t, crds, farm)
		s.want(t, "farms", crds+"/farms.example.com", "status", "acceptedNames", "plural")
		eventually(t, func() error { _, err := s.rest().Get().AbsPath(farms).Do(t.Context()).Raw(); return err })
		s.operator(t)
	}
	h, whole := applier(t, "one", host, eu, us), t
	h.requests["us"].forbid(crds + "/farms.example.com")
	h.run(t)

	step(t, "what keeps a definition from being read is said", func(t *testing.T) {
		host.federate(t, "wheat", "{apiVersion: example.com/v1, kind: Farm, metadata: {name: wheat}, spec: {size: 6, crop: wheat}}", "spread: {mode: divide, grace: 10s}")
		host.wantStatus(t, "wheat", told.Condition(v1alpha1.ConditionPlaced, "False", `us: the cluster does not let us read the definition farms.example.com, which says where replicas are; let "meridian join --workloads" name farms.example.com there again`))
		eu.wantNone(t, farms+"/wheat")
		h.requests["us"].forbid()
		for _, m := range h.desk.members { // as when a join opened the connection anew
			m.relist()
		}
	})

	step(t, "replicas are divided, and counted by the scale", func(t *testing.T) {
		eu.want(t, "3", farms+"/wheat", "spec", "size")
		us.want(t, "3", farms+"/wheat", "spec", "size")
		host.wantStatus(t, "wheat", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
		h.wantNoRequests(t, func() {})
	})

	step(t, "drift is mended, and an autoscaler's word is not", func(t *testing.T) {
		us.scale(t, farms+"/wheat", 9)
		us.want(t, "3", farms+"/wheat", "spec", "size")
		us.post(t, hpas, "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: wheat}, spec: {maxReplicas: 9, scaleTargetRef: {apiVersion: example.com/v1, kind: Farm, name: wheat}}}")
		host.wantStatus(t, "wheat", told.Row("us", v1alpha1.WorkloadApplied, "an autoscaler there owns the replicas"))
		eventually(t, func() error {
			o, err := us.get(farms + "/wheat")
			if err == nil && newLive(o, []string{"spec", "size"}).replicas {
				err = fmt.Errorf("the replicas are still ours")
			}
			return err
		})
		h.wantNoRequests(t, func() { us.scale(t, farms+"/wheat", 5) })
		us.want(t, "5", farms+"/wheat", "spec", "size")
		us.delete(t, hpas+"/wheat")
		us.want(t, "3", farms+"/wheat", "spec", "size")
		host.wantStatus(t, "wheat", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
	})

	step(t, "who takes over, and a drain", func(t *testing.T) {
		h.stop()
		h = applier(whole, "two", host, eu, us)
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "eu", On: true}))
		h.run(whole)
		us.want(t, "6", farms+"/wheat", "spec", "size")
		eu.wantNone(t, farms+"/wheat")
		h.Update(everywhere("eu", "us"))
	})

	step(t, "a kind without a scale is the same everywhere", func(t *testing.T) {
		barn := strings.NewReplacer("farms", "barns", "Farm", "Barn", "      scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.there, labelSelectorPath: .status.selector}\n", "").Replace(farm)
		eu.post(t, crds, barn)
		us.post(t, crds, barn)
		host.federate(t, "red", "{apiVersion: example.com/v1, kind: Barn, metadata: {name: red}, spec: {replicas: 6}}", "spread: {mode: divide}")
		us.want(t, "6", strings.ReplaceAll(farms, "farms", "barns")+"/red", "spec", "replicas")
		host.wantStatus(t, "red", told.Condition(v1alpha1.ConditionAccepted, "True", "Barn has no scale subresource"))
	})
}
