package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const (
	statefulSets = "/apis/apps/v1/namespaces/default/statefulsets"
	dbPath       = statefulSets + "/db"
)

const db = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 4
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: "whereami:1"}]
`

// names watches the pods of the db until stop is called: at no time are two clusters to
// have one of a name, and none of those that stays is to go.
func names(t *testing.T, stay []string, where ...*site) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	first := map[string]string{} // UIDs of those that stay
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			in := map[string]string{}
			for _, s := range where {
				pods, err := s.admin.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=db"})
				if err != nil {
					continue
				}
				for _, p := range pods.Items {
					if other := in[p.Name]; other != "" {
						t.Errorf("%s is in %s and in %s", p.Name, other, s.Name())
					}
					in[p.Name] = s.Name()
					if uid := first[p.Name]; uid != "" && uid != string(p.UID) {
						t.Errorf("%s is another one now", p.Name)
					}
					for _, name := range stay {
						if name == p.Name {
							first[name] = string(p.UID)
						}
					}
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
		if len(first) != len(stay) {
			t.Errorf("of %v, %v were seen", stay, first)
		}
	}
}

func (s *site) ordinals(t *testing.T, start, replicas string) {
	t.Helper()
	s.want(t, start, dbPath, "spec", "ordinals", "start")
	s.want(t, replicas, dbPath, "status", "readyReplicas")
	s.want(t, replicas, dbPath, "status", "replicas")
}

// A diary of a StatefulSet in two clusters: who has a name keeps it.
func TestStatefulSets(t *testing.T) {
	host, eu, us, h := twoClusters(t)
	whole := t

	step(t, "unasked, each cluster has all of it", func(t *testing.T) {
		host.federate(t, "copies", strings.NewReplacer("name: db", "name: copies", "app: db", "app: copies", "replicas: 4", "replicas: 1").Replace(db), "")
		host.wantStatus(t, "copies", told.Condition(v1alpha1.ConditionReady, "True", "2 of 2 are ready"))
	})

	step(t, "to divide what has the same names everywhere is refused, and how it is done is said", func(t *testing.T) {
		host.patch(t, federated+"/copies", `{"spec":{"spread":{"mode":"divide"}}}`)
		host.wantStatus(t, "copies", told.Condition(v1alpha1.ConditionPlaced, "False", "us has it with ordinals that another cluster has too"))
		host.patch(t, federated+"/copies", `{"spec":{"where":{"clusters":["eu"]},"spread":{"mode":"duplicate"}}}`)
		us.wantNone(t, statefulSets+"/copies")
		host.patch(t, federated+"/copies", `{"spec":{"where":null,"spread":{"mode":"divide"},"template":{"spec":{"replicas":2}}}}`)
		us.want(t, "1000", statefulSets+"/copies", "spec", "ordinals", "start")
		eu.want(t, "1", statefulSets+"/copies", "status", "readyReplicas")
		host.delete(t, federated+"/copies")
	})

	step(t, "divided, each cluster has names of its own", func(t *testing.T) {
		host.federate(t, "db", db, "spread: {mode: divide}")
		eu.ordinals(t, "0", "2")
		us.ordinals(t, "1000", "2")
		host.wantStatus(t, "db", told.Condition(v1alpha1.ConditionReady, "True", "4 of 4 are ready"))
		h.wantNoRequests(t, func() {})
	})

	step(t, "shares change at the end of the ranges", func(t *testing.T) {
		stop := names(t, []string{"db-0", "db-1", "db-1000"}, eu, us)
		host.patch(t, federated+"/db", `{"spec":{"template":{"spec":{"replicas":6}}}}`)
		eu.ordinals(t, "0", "3")
		us.ordinals(t, "1000", "3")
		host.patch(t, federated+"/db", `{"spec":{"spread":{"rebalance":true,"limits":[{"cluster":"eu","weight":5},{"cluster":"us","weight":1}]}}}`)
		eu.ordinals(t, "0", "5")
		us.ordinals(t, "1000", "1")
		stop()
	})

	step(t, "a cluster that was left gets its names again", func(t *testing.T) {
		stop := names(t, []string{"db-0", "db-4"}, eu, us)
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "us", On: true}))
		us.wantNone(t, dbPath)
		eu.ordinals(t, "0", "6")
		h.Update(everywhere("eu", "us"))
		us.ordinals(t, "1000", "1")
		eu.ordinals(t, "0", "5")
		stop()
	})

	step(t, "who takes over gives the same names, and an autoscaler changes none", func(t *testing.T) {
		stop := names(t, []string{"db-0", "db-4", "db-1000"}, eu, us)
		h.stop()
		h = applier(whole, "two", host, eu, us).run(whole)
		us.post(t, hpas, "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: db}, spec: {minReplicas: 2, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: db}}}")
		us.ordinals(t, "1000", "2") // the real one raises it to its minimum
		us.delete(t, hpas+"/db")
		us.ordinals(t, "1000", "1")
		host.patch(t, federated+"/db", `{"spec":{"spread":{"mode":"duplicate","rebalance":null,"limits":null},"template":{"spec":{"replicas":5}}}}`)
		us.ordinals(t, "1000", "5")
		eu.ordinals(t, "0", "5")
		stop()
	})

	step(t, "what cannot be changed is said, and what helps", func(t *testing.T) {
		host.patch(t, federated+"/db", `{"spec":{"template":{"spec":{"volumeClaimTemplates":[{"metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}}}}`)
		host.wantStatus(t, "db", told.Row("eu", v1alpha1.WorkloadRefused, "Immutable: spec.volumeClaimTemplates of a StatefulSet cannot be changed once it is there"))
		h.wantNoRequests(t, func() { eu.patch(t, dbPath, `{"metadata":{"labels":{"team":"a"}}}`) })
		eventually(t, func() error { // as the message says
			return eu.rest().Delete().AbsPath(dbPath).Param("propagationPolicy", "Orphan").Do(t.Context()).Error()
		})
		eventually(t, func() error {
			o, err := eu.get(dbPath)
			if err != nil || o == nil {
				return fmt.Errorf("it is not made anew: %w", err)
			}
			if spec, _ := o.Object["spec"].(map[string]any); spec["volumeClaimTemplates"] == nil {
				return fmt.Errorf("it is the old one still")
			}
			return nil
		})
		host.wantStatus(t, "db", told.Row("eu", v1alpha1.WorkloadApplied, ""))
	})
}

const hpas = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
