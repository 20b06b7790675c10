package apply

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const (
	jobs    = "/apis/batch/v1/namespaces/default/jobs"
	sumPath = jobs + "/sum"
)

const sum = `
apiVersion: batch/v1
kind: Job
metadata: {name: sum}
spec:
  parallelism: 4
  completions: 6
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{name: worker, image: "worker:1"}]
`

// blow lets the workers of a cluster end, those that come later too.
func (s *site) blow(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.whistle(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// done is how many pods of a Job that are there have succeeded.
func (s *site) done(t *testing.T, job string) int {
	t.Helper()
	pods, err := s.admin.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{LabelSelector: "job-name=" + job})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range pods.Items {
		if p.Status.Phase == "Succeeded" {
			n++
		}
	}
	return n
}

func succeeded(n int64) func(v1alpha1.WorkloadStatus) error {
	return func(s v1alpha1.WorkloadStatus) error {
		if s.Succeeded != n {
			return fmt.Errorf("%d have succeeded, want %d", s.Succeeded, n)
		}
		return nil
	}
}

// A diary of a Job in two clusters: what is done is never done again.
func TestJobs(t *testing.T) {
	host, eu, us, h := twoClusters(t)

	step(t, "pods and completions are divided", func(t *testing.T) {
		host.federate(t, "sum", sum, "spread: {grace: 10s}")
		for _, s := range []*site{eu, us} {
			s.want(t, "2", sumPath, "spec", "parallelism")
			s.want(t, "3", sumPath, "spec", "completions")
		}
		host.wantStatus(t, "sum", told.Condition(v1alpha1.ConditionReady, "True", "0 of 6 completions are done, and 4 of 4 pods are ready"))
		h.wantNoRequests(t, func() {})
	})

	step(t, "more pods at one time", func(t *testing.T) {
		host.patch(t, federated+"/sum", `{"spec":{"template":{"spec":{"parallelism":6}}}}`)
		eu.want(t, "3", sumPath, "spec", "parallelism")
		us.want(t, "3", sumPath, "spec", "parallelism")
	})

	step(t, "a part that is done is left alone, and told", func(t *testing.T) {
		us.blow(t)
		us.want(t, "3", sumPath, "status", "succeeded")
		host.wantStatus(t, "sum", told.Row("us", v1alpha1.WorkloadApplied, "Finished: its part is done"))
		host.wantStatus(t, "sum", succeeded(3))
		h.wantNoRequests(t, func() {})
		eu.want(t, "3", sumPath, "spec", "parallelism")
	})

	step(t, "a Job that is done and gone is not begun again", func(t *testing.T) {
		us.delete(t, sumPath)
		host.wantStatus(t, "sum", told.Row("us", v1alpha1.WorkloadApplied, "its Job is gone"))
		host.wantStatus(t, "sum", succeeded(3))
		h.quiet(t, time.Second)
		us.wantNone(t, sumPath)
	})

	step(t, "a lost cluster's rest is done elsewhere, after its grace", func(t *testing.T) {
		if err := eu.StopAPI(); err != nil {
			t.Fatal(err)
		}
		us.want(t, "3", sumPath, "spec", "completions")
		us.want(t, "3", sumPath, "status", "succeeded")
		host.wantStatus(t, "sum", succeeded(6))
		host.wantStatus(t, "sum", told.Condition(v1alpha1.ConditionReady, "True", "Complete: 6 of 6 completions are done"))
		host.wantStatus(t, "sum", told.Row("eu", v1alpha1.WorkloadUnreachable, "given to others"))
		eventually(t, func() error { // and by an Event on the object
			events, err := host.admin.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=sum,involvedObject.kind=FederatedObject,reason=Complete"})
			if err == nil && len(events.Items) == 0 {
				err = fmt.Errorf("there is no Event")
			}
			return err
		})
	})

	step(t, "when it is back, nothing is done twice", func(t *testing.T) {
		if err := eu.StartAPI(t.Context()); err != nil {
			t.Fatal(err)
		}
		eu.wantNone(t, sumPath)
		// Its garbage collector comes back late to an API server that was away.
		now := int64(0)
		err := eu.admin.CoreV1().Pods("default").DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: "job-name=sum"})
		if err != nil {
			t.Fatal(err)
		}
		eu.blow(t)
		host.wantStatus(t, "sum", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		h.quiet(t, time.Second)
		if a, b := eu.done(t, "sum"), us.done(t, "sum"); a != 0 || b != 3 {
			t.Errorf("%d pods have succeeded in eu and %d in us", a, b)
		}
		host.wantStatus(t, "sum", succeeded(6))
	})

	slow := strings.NewReplacer("name: sum", "name: slow", "completions: 6", "completions: 4\n  suspend: true").Replace(sum)
	slowPath := jobs + "/slow"
	step(t, "a suspended Job waits", func(t *testing.T) {
		host.federate(t, "slow", slow, "")
		host.wantStatus(t, "slow", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		host.wantStatus(t, "slow", told.Condition(v1alpha1.ConditionReady, "False", "Suspended"))
		eu.want(t, "2", slowPath, "spec", "completions")
	})

	step(t, "what cannot be changed is said once, and not fought for", func(t *testing.T) {
		host.patch(t, federated+"/slow", `{"spec":{"template":{"spec":{"template":{"spec":{"containers":[{"name":"worker","image":"worker:2"}]}}}}}}`)
		for _, name := range []string{"eu", "us"} {
			host.wantStatus(t, "slow", told.Row(name, v1alpha1.WorkloadRefused, "Immutable: spec.template"))
		}
		h.wantNoRequests(t, func() { eu.patch(t, slowPath, `{"metadata":{"labels":{"team":"a"}}}`) })
		host.patch(t, federated+"/slow", `{"spec":{"template":{"spec":{"template":{"spec":{"containers":[{"name":"worker","image":"worker:1"}]}}}}}}`)
		host.wantStatus(t, "slow", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	})

	step(t, "more is wanted: who is through does it, and a drained cluster ends what it has", func(t *testing.T) {
		h.Update(world(map[string]place{"eu": {region: "r-eu"}, "us": {region: "r-us"}}, fleet.Drain{Scope: fleet.ScopeCluster, Name: "us", On: true}))
		host.patch(t, federated+"/slow", `{"spec":{"template":{"spec":{"suspend":false,"completions":7}}}}`)
		us.wantNone(t, slowPath)
		eu.want(t, "3", slowPath, "spec", "completions")
		host.wantStatus(t, "slow", told.Condition(v1alpha1.ConditionReady, "True", "7 of 7"))
		host.wantStatus(t, "slow", succeeded(7))
		h.Update(everywhere("eu", "us"))
	})

	step(t, "indexes are not divided, and what is there stays", func(t *testing.T) {
		host.federate(t, "rows", strings.NewReplacer("name: sum", "name: rows", "completions: 6", "completions: 2\n  completionMode: Indexed").Replace(sum), "")
		host.wantStatus(t, "rows", told.Condition(v1alpha1.ConditionPlaced, "False", "an Indexed Job cannot be divided"))
		host.patch(t, federated+"/rows", `{"spec":{"where":{"clusters":["eu"]}}}`)
		host.wantStatus(t, "rows", told.Condition(v1alpha1.ConditionReady, "True", "2 of 2"))
		host.patch(t, federated+"/rows", `{"spec":{"where":null}}`)
		h.quiet(t, time.Second)
		eu.want(t, "Indexed", jobs+"/rows", "spec", "completionMode")
		us.wantNone(t, jobs+"/rows")
	})
}
