package apply

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const shopScaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  minReplicas: 4
  maxReplicas: 30
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
`

// leastReady watches how many pods of the shop are ready in all, at the least.
func leastReady(t *testing.T, first int, where ...*site) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	least, done := first, make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			sum := 0
			for _, s := range where { // where something is left first, so that what moves is not missed
				n := s.ready()
				if n < 0 {
					sum = first
					break
				}
				sum += n
			}
			least = min(least, sum)
		}
	}()
	return func() int { cancel(); <-done; return least }
}

// A diary of an autoscaler that is placed together with what it scales. The controllers
// are real; there are no metrics, so that it only holds the bounds, and a test says the
// rest by the scale subresource, as it would.
func TestAutoscaler(t *testing.T) {
	host, eu, us, h := twoClusters(t)

	step(t, "its bounds are divided, and the replicas are its own", func(t *testing.T) {
		host.federate(t, "scaler", shopScaler, "")
		host.federate(t, "shop", shop, "")
		for _, s := range []*site{eu, us} {
			s.want(t, "2", hpas+"/shop", "spec", "minReplicas")
			s.want(t, "15", hpas+"/shop", "spec", "maxReplicas")
			host.wantStatus(t, "shop", told.Row(s.Name(), v1alpha1.WorkloadApplied, "an autoscaler there owns the replicas"))
			eventually(t, func() error {
				o, err := s.get(shopPath)
				if err == nil && newLive(o, usualReplicas).replicas {
					err = fmt.Errorf("%s: the replicas are still ours", s.Name())
				}
				return err
			})
		}
		eu.scale(t, shopPath, 8)
		us.scale(t, shopPath, 4)
		eventually(t, func() error {
			if a, b := eu.ready(), us.ready(); a != 8 || b != 4 {
				return fmt.Errorf("%d and %d are ready", a, b)
			}
			return nil
		})
		eu.want(t, "8", hpas+"/shop", "status", "currentReplicas")
		us.want(t, "4", hpas+"/shop", "status", "currentReplicas")
		h.wantNoRequests(t, func() {})
	})

	step(t, "a drained cluster is left, and at no time are there fewer", func(t *testing.T) {
		stop := leastReady(t, 12, eu, us)
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "eu", On: true}))
		eu.wantNone(t, shopPath)
		eu.wantNone(t, hpas+"/shop")
		if least := stop(); least < 12 {
			t.Errorf("%d were ready at one moment", least)
		}
		us.want(t, "4", hpas+"/shop", "spec", "minReplicas") // its siblings' bounds, and no more
		us.want(t, "30", hpas+"/shop", "spec", "maxReplicas")
		us.want(t, "12", shopPath, "spec", "replicas")
	})

	step(t, "when the drain is over, it has its bounds again", func(t *testing.T) {
		h.Update(everywhere("eu", "us"))
		eu.want(t, "15", hpas+"/shop", "spec", "maxReplicas")
		us.want(t, "15", hpas+"/shop", "spec", "maxReplicas")
	})

	step(t, "when it is deleted, the replicas are the author's again", func(t *testing.T) {
		host.delete(t, federated+"/scaler")
		host.wantNone(t, federated+"/scaler")
		eventually(t, func() error {
			sum := 0
			for _, s := range []*site{eu, us} {
				text, err := s.at(shopPath, "spec", "replicas")
				if err != nil {
					return err
				}
				n, _ := strconv.Atoi(text)
				sum += n
			}
			if sum != 6 {
				return fmt.Errorf("there are %d", sum)
			}
			return nil
		})
		host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionReady, "True", "6 of 6 are ready"))
	})

	step(t, "one that a cluster has of its own: others are told to make up for it", func(t *testing.T) {
		us.post(t, hpas, "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: own}, spec: {minReplicas: 9, maxReplicas: 20, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}}")
		us.want(t, "9", shopPath, "status", "readyReplicas")
		all := us.ready() + eu.ready()
		stop := leastReady(t, all, us, eu)
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "us", On: true}))
		us.wantNone(t, shopPath)
		if least := stop(); least < all {
			t.Errorf("%d of %d were ready at one moment", least, all)
		}
		eu.want(t, "6", shopPath, "spec", "replicas")
	})
}
