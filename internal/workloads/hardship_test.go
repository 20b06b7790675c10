//go:build e2e

package workloads

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// settled has a small workload of its own in all members.
func (w *world) settled(name string, replicas int64) {
	w.t.Helper()
	w.federate(waiters(name, wide), "--replicas", fmt.Sprint(replicas))
	w.told("replicaset-"+name, time.Minute, told.Condition(v1alpha1.ConditionReady, "True", fmt.Sprintf("%d of %d are ready", replicas, replicas)))
}

// meddled changes and deletes by hand what Meridian has placed.
func (w *world) meddled() {
	w.settled("small", 12)
	asia, africa := w.site("asia"), w.site("africa")
	before, err := asia.replicaSet(w.ctx, "small")
	if err != nil {
		w.t.Fatal(err)
	}
	asia.kubectl("", "label", "replicaset", "small", "team=asia")
	edit := []byte(`{"spec":{"replicas":9,"template":{"spec":{"terminationGracePeriodSeconds":5,"nodeSelector":{"pool":"other"}}}}}`)
	if _, err := asia.kube.AppsV1().ReplicaSets("default").Patch(w.ctx, "small", types.MergePatchType, edit, metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
		w.t.Fatal(err)
	}
	took := w.eventually("the edit is mended", 30*time.Second, func(ctx context.Context) error {
		r, err := asia.replicaSet(ctx, "small")
		switch {
		case err != nil:
			return err
		case *r.Spec.Replicas != *before.Spec.Replicas || r.Spec.Template.Spec.NodeSelector["pool"] != "wide":
			return fmt.Errorf("it has %d replicas on %v", *r.Spec.Replicas, r.Spec.Template.Spec.NodeSelector)
		case r.Labels["team"] != "asia" || *r.Spec.Template.Spec.TerminationGracePeriodSeconds != 5:
			return errors.New("what others own was taken away")
		}
		return nil
	})
	w.t.Logf("an edit by hand was mended after %.2f s, and fields of others were left", took.Seconds())
	old, err := africa.replicaSet(w.ctx, "small")
	if err != nil {
		w.t.Fatal(err)
	}
	africa.kubectl("", "delete", "replicaset", "small")
	took = w.eventually("what was deleted is there again", 30*time.Second, func(ctx context.Context) error {
		r, err := africa.replicaSet(ctx, "small")
		if err == nil && (r.UID == old.UID || r.Status.ReadyReplicas != *old.Spec.Replicas) {
			err = fmt.Errorf("%d are ready", r.Status.ReadyReplicas)
		}
		return err
	})
	w.t.Logf("a ReplicaSet deleted by hand was there again, with its pods, after %.2f s", took.Seconds())
}

// refused has one cluster's admission refuse a workload.
func (w *world) refused() {
	africa := w.site("africa")
	africa.kubectl(refusal, "apply", "-f", "-")
	w.eventually("the policy is in force", 30*time.Second, func(context.Context) error {
		out, err := w.run(waiters("choosy", wide), w.programs.Kubectl, "--context", "africa", "create", "--dry-run=server", "-f", "-")
		if err == nil {
			return errors.New("it takes " + out)
		}
		return nil
	})
	w.federate(waiters("choosy", wide), "--replicas", "12")
	w.told("replicaset-choosy", 30*time.Second, told.Row("africa", v1alpha1.WorkloadRefused, "we do not want the choosy here"),
		told.Row("asia", v1alpha1.WorkloadApplied, ""), told.Row("us", v1alpha1.WorkloadApplied, ""), told.Condition(v1alpha1.ConditionPlaced, "False", "we do not want the choosy here"))
	w.eventually("the others have theirs ready", 30*time.Second, func(ctx context.Context) error {
		for _, name := range []string{"us", "eu", "asia"} {
			r, err := w.site(name).replicaSet(ctx, "choosy")
			if err != nil {
				return err
			}
			if r.Status.ReadyReplicas == 0 || r.Status.ReadyReplicas != *r.Spec.Replicas {
				return fmt.Errorf("%s has %d of %d", name, r.Status.ReadyReplicas, *r.Spec.Replicas)
			}
		}
		return nil
	})
	w.say("replicaset-choosy", "africa")
	africa.kubectl(refusal, "delete", "-f", "-")
	w.told("replicaset-choosy", 2*time.Minute, told.Row("africa", v1alpha1.WorkloadApplied, ""))
	w.site(hostCluster).kubectl("", "delete", "federatedobject", "replicaset-choosy")
}

// says wants a command to be refused with these words.
func (w *world) says(stdin string, words []string, program string, args ...string) {
	w.t.Helper()
	out, err := w.run(stdin, program, args...)
	if err == nil {
		w.t.Errorf("%s %v is not refused: %s", filepath.Base(program), args, out)
		return
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			w.t.Errorf("%s %v says no %q in\n%s", filepath.Base(program), args, word, out)
		}
	}
	w.t.Logf("%s: %s", filepath.Base(program), strings.TrimSpace(out[:min(len(out), 400)]))
}

// badInput gives what cannot be placed, and looks what is said of it.
func (w *world) badInput() {
	host := w.site(hostCluster)
	meridian := filepath.Join(w.bin, "meridian")
	var before []string
	for _, s := range w.members {
		before = append(before, s.kubectl("", "get", "replicaset", "shop", "-o", "jsonpath={.metadata.uid} {.metadata.generation}"))
	}

	w.federate(`{"apiVersion": "example.com/v1", "kind": "Gizmo", "metadata": {"name": "odd"}, "spec": {}}`)
	for _, s := range w.members {
		if s.continent.name != "asia" {
			s.kubectl(definition, "apply", "-f", "-")
		}
	}
	w.federate(`{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}, "spec": {"size": 3}}`)
	host.kubectl(wrapped("kube-system", "configmap-x", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}", ""), "apply", "-f", "-")
	host.kubectl(wrapped("default", "configmap-pasted", "{apiVersion: v1, kind: ConfigMap, metadata: {name: pasted, uid: abc, resourceVersion: '7'}}", ""), "apply", "-f", "-")
	host.kubectl(wrapped("default", "configmap-patched", "{apiVersion: v1, kind: ConfigMap, metadata: {name: patched}, data: {a: b}}",
		"  overrides: [{where: {clusters: [eu]}, patch: [{op: replace, path: /data/none/at/all, value: c}]}]\n"), "apply", "-f", "-")

	w.says(wrapped("default", "configmap-status", "{apiVersion: v1, kind: ConfigMap, metadata: {name: status}, status: {ready: true}}", ""),
		[]string{"must not have a status"}, w.programs.Kubectl, "--context", hostCluster, "apply", "-f", "-")
	w.says(large(), []string{"has 1400107 bytes", "make it smaller, or divide it into several objects"}, meridian, "federate", "-f", "-", "--apply")
	host.kubectl(wrapped("default", "configmap-large", large(), ""), "create", "-f", "-") // API servers keep just about that

	w.told("gizmo-odd", 30*time.Second, told.Row("us", v1alpha1.WorkloadRefused, "the cluster has no kind Gizmo"), told.Condition(v1alpha1.ConditionPlaced, "False", "no kind Gizmo"))
	w.say("gizmo-odd", "us")
	w.told("widget-one", 30*time.Second, told.Row("asia", v1alpha1.WorkloadRefused, "the cluster has no kind Widget"), told.Row("us", v1alpha1.WorkloadApplied, ""), told.Row("eu", v1alpha1.WorkloadApplied, ""))
	w.say("widget-one", "asia")
	w.toldIn("kube-system", "configmap-x", 30*time.Second, told.Condition("Accepted", "False", "belongs to the clusters; choose another"))
	w.told("configmap-pasted", 30*time.Second, told.Condition("Accepted", "False", "metadata.resourceVersion: is set by a server"),
		told.Condition(v1alpha1.ConditionPlaced, "False", "see condition Accepted"), told.Condition(v1alpha1.ConditionReady, "False", "see condition Accepted"))
	w.told("configmap-large", 30*time.Second, told.Condition("Accepted", "False", "spec.template: has 1400085 bytes"), told.Condition("Accepted", "False", "make it smaller"))
	w.told("configmap-patched", 30*time.Second, told.Row("eu", v1alpha1.WorkloadRefused, "/data/none"), told.Row("us", v1alpha1.WorkloadApplied, ""))
	w.say("configmap-patched", "eu")

	for i, s := range w.members {
		if after := s.kubectl("", "get", "replicaset", "shop", "-o", "jsonpath={.metadata.uid} {.metadata.generation}"); after != before[i] && s.continent.name != "oceania" {
			w.t.Errorf("the shop in %s was disturbed", s.continent.name)
		}
		for _, name := range []string{"pasted", "large", "x"} {
			for _, ns := range []string{"default", "kube-system"} {
				if _, err := s.kube.CoreV1().ConfigMaps(ns).Get(w.ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					w.t.Errorf("%s has ConfigMap %s/%s (%v)", s.continent.name, ns, name, err)
				}
			}
		}
	}
	w.site("asia").kubectl(definition, "apply", "-f", "-")
	w.told("widget-one", time.Minute, told.Row("asia", v1alpha1.WorkloadApplied, ""))
	host.kubectl("", "delete", "federatedobject", "gizmo-odd", "configmap-pasted", "configmap-patched", "configmap-large")
	host.kubectl("", "delete", "federatedobject", "-n", "kube-system", "configmap-x")
}

// underWay waits until some member has begun with a workload, and not all have it.
func (w *world) underWay(l *ledger, n int64) {
	w.t.Helper()
	w.eventually("the roll-out has begun", time.Minute, func(context.Context) error {
		if p := l.sum(); p.asked == 0 {
			return errors.New("nothing is asked for yet")
		}
		return nil
	})
	w.t.Logf("in the middle: %d of %d are ready", l.sum().ready, n)
}

// once wants each member to have created a ReplicaSet once, and all of them together
// to come to just its pods. A controller whose request stood still may have sent it again,
// and an order may be carried out late that was given to another meanwhile; what is
// too much then goes.
func (w *world) once(name string, n int64) {
	w.t.Helper()
	w.eventually("just its pods", 3*time.Minute, func(ctx context.Context) error {
		var asked, alive int64
		var each []string
		for _, s := range w.members {
			r, err := s.replicaSet(ctx, name)
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("%s: %w", s.continent.name, err)
			}
			p := page{}
			if err == nil {
				p = pageOf(r)
			}
			all, err := s.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
			if err != nil {
				return fmt.Errorf("%s: %w", s.continent.name, err)
			}
			here := int64(0)
			for i := range all.Items {
				if all.Items[i].DeletionTimestamp == nil {
					here++
				}
			}
			asked, alive = asked+p.asked, alive+here
			each = append(each, fmt.Sprintf("%s is asked for %d and has %d ready, %d pods and %d that end", s.continent.name, p.asked, p.ready, here, int64(len(all.Items))-here))
		}
		if asked != n || alive != n {
			return fmt.Errorf("%d of %s are asked for and there are %d pods, want %d: %s", asked, name, alive, n, strings.Join(each, "; "))
		}
		return nil
	})
	for _, s := range w.members {
		list, err := s.writes()
		if err != nil {
			w.t.Fatal(err)
		}
		created := 0
		for _, x := range list {
			if x.created && x.what == "replicasets/default/"+name {
				created++
			}
		}
		if created > 1 {
			w.t.Errorf("%s was created %d times in %s", name, created, s.continent.name)
		}
	}
}

// standstill has an API server stand still. Once it may have been taken for silent its
// share is placed elsewhere at once, since it was never seen to have it; what it was
// ordered before is carried out late then, and is too much for a while.
func (w *world) standstill(s *site) (over func(l *ledger, n int64)) {
	w.t.Helper()
	began := time.Now()
	if err := s.PauseAPI(); err != nil {
		w.t.Fatal(err)
	}
	return func(l *ledger, n int64) {
		w.t.Helper()
		if stood := time.Since(began); stood > 3*time.Second { // a pulse has that long to be answered
			w.t.Logf("%s stood still for %.1f s, and may have been taken for silent", s.continent.name, stood.Seconds())
			l.guard(0, n+n/int64(len(w.members)))
		}
		if err := s.ResumeAPI(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// killed kills the daemon while it rolls something out, when one cluster has not been
// written to yet, and starts it again.
func (w *world) killed() {
	const n = 120
	asia := w.site("asia")
	l := w.open("torn")
	l.guard(0, n)
	over := w.standstill(asia)
	w.federate(waiters("torn", wide), "--replicas", fmt.Sprint(n))
	w.underWay(l, n)
	if err := w.meridiand.Kill(); err != nil {
		w.t.Fatal(err)
	}
	if p := l.of("asia"); p.asked != 0 {
		w.t.Errorf("a cluster that stands still has %d", p.asked)
	}
	over(l, n)
	w.startDaemon()
	began := time.Now()
	l.total("all are ready", 2*time.Minute, n)
	w.told("replicaset-torn", time.Minute, told.Condition(v1alpha1.ConditionReady, "True", fmt.Sprintf("%d of %d are ready", n, n)))
	w.t.Logf("all was told as ready %.1f s after the daemon was back", time.Since(began).Seconds())
	w.once("torn", n)
	l.passed("with the daemon killed in between")
}

// cutOff has an API server stand still while something is rolled out.
func (w *world) cutOff() {
	const n = 120
	asia := w.site("asia")
	l := w.open("cut")
	l.guard(0, n)
	over := w.standstill(asia)
	w.federate(waiters("cut", wide), "--replicas", fmt.Sprint(n))
	w.underWay(l, n)
	if n := l.of("asia").asked; n != 0 {
		w.t.Errorf("a cluster that stands still has %d", n)
	}
	over(l, n)
	l.total("all are ready", 2*time.Minute, n)
	w.told("replicaset-cut", time.Minute, told.Condition(v1alpha1.ConditionReady, "True", fmt.Sprintf("%d of %d are ready", n, n)))
	w.once("cut", n)
	l.passed("with an API server cut off in between")

	// And now with a part of it there already.
	l.guard(0, 0)
	patch := func(n int) {
		err := w.site(hostCluster).kube.CoreV1().RESTClient().Patch(types.MergePatchType).AbsPath(fmt.Sprintf(federated, "default", "replicaset-cut")).
			Body(fmt.Appendf(nil, `{"spec":{"template":{"spec":{"replicas":%d}}}}`, n)).Do(w.ctx).Error()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	patch(n + 60)
	if err := asia.PauseAPI(); err != nil {
		w.t.Fatal(err)
	}
	w.told("replicaset-cut", 30*time.Second, told.Row("asia", v1alpha1.WorkloadUnreachable, "does not answer"))
	w.say("replicaset-cut", "asia")
	if err := asia.ResumeAPI(); err != nil {
		w.t.Fatal(err)
	}
	l.total("all are ready again", 3*time.Minute, n+60)
	w.once("cut", n+60)
}
