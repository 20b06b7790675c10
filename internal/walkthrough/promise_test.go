//go:build e2e

package walkthrough

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meridian-lb/meridian/internal/lab/node"
)

// one is the context of the dedicated API: all clusters as one.
const one = "meridian"

// What Cluster Federation promised in 2016: one API for many clusters. The scripts of
// deploy/walkthrough are run as they are, and everything that "meridian init" writes runs
// as the pods that it says.
func TestPromise(t *testing.T) {
	w := newWorld(t, true)
	us, eu := w.site("us"), w.site("eu")

	w.promise("init: a dedicated API in America, daemons and gateways everywhere", func() {
		w.script("10-create.sh")
		w.script("20-credentials.sh")
		w.script("30-init.sh")
		w.T().Logf("$ kubectl --context us -n meridian-system get pods,services\n%s", us.kubectl("", "-n", "meridian-system", "get", "pods,services"))
	})
	w.promise("three clusters join", func() { w.script("40-join.sh") })
	w.promise("a ReplicaSet and a Service", func() {
		began := time.Now()
		w.script("50-workload.sh")
		w.T().Logf("nine replicas ran in three clusters %.1f s after the script began", time.Since(began).Seconds())
		w.shares("rs", "whereami", map[string]int{"us": 3, "eu": 3, "asia": 3})
		us.asked = us.kubectl("", "-n", "meridian-system", "get", "service", "meridiand-admin", "-o=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
		out, err := w.operator("spread", "replicaset-whereami")
		if err != nil {
			w.T().Fatal(err)
		}
		w.T().Logf("$ meridian spread replicaset-whereami\n%s", out)
	})
	w.promise("one Ingress, and everybody is served nearby", func() {
		w.script("60-ingress.sh")
		w.everybodyAtHome(60 * time.Second)
		for _, s := range []*site{us, eu} {
			w.curl(s)
		}
		w.shows("the Ingress says where it is served", 30*time.Second, "192.0.2.10 192.0.2.20 192.0.2.30", "ingress", "whereami", "-o=jsonpath={.status.loadBalancer.ingress[*].ip}")
	})
	w.promise("what else one writes to a cluster", w.everyKind)
	w.promise("edits", w.rewrite)
	w.promise("the dedicated API is killed", func() { w.killAPI(us) })
	w.promise("destroy", w.undo)
}

// script runs one of the walk-through, and logs it.
func (w *world) script(name string) {
	w.T().Helper()
	out, err := w.Run("", "env", "PLATFORM=yours", "MEMBERS=us eu asia", "CONTEXTS=", "DOMAIN=shop.example.com", "GRACE=0s", "MERIDIAN="+filepath.Join(w.Bin, "meridian"),
		"INIT_FLAGS=--replicas 1 --set gateway.autoscaling.enabled=false --set gateway.replicas=1",
		"PATH="+filepath.Dir(w.Programs.Kubectl)+":"+os.Getenv("PATH"), "bash", filepath.Join("..", "..", "deploy", "walkthrough", name))
	if err != nil {
		w.T().Fatal(err)
	}
	w.T().Logf("$ deploy/walkthrough/%s\n%s", name, out)
}

// promise is a step of this story.
func (w *world) promise(name string, play func()) {
	w.Step(name, play, func() {
		out, err := w.Run("", w.Programs.Kubectl, "--context", one, "get", "federatedobjects,events", "-o", "wide")
		w.T().Logf("%v\n%s", err, out)
		for _, s := range w.sites {
			for _, of := range []string{"meridian-api", "meridiand", "meridian-gateway"} {
				out, err := w.Run("", w.Programs.Kubectl, "--context", s.cluster, "-n", "meridian-system", "logs", "--selector=app.kubernetes.io/name="+of, "--all-containers", "--prefix", "--tail=25")
				w.T().Logf("%s in %s: %v\n%s", of, s.cluster, err, out)
			}
			out, err := w.Run("", w.Programs.Kubectl, "--context", s.cluster, "-n", "meridian-system", "get", "pods", "-o", "wide")
			w.T().Logf("%s: %v\n%s", s.cluster, err, out)
		}
	})
}

// create writes objects to the dedicated API.
func (w *world) create(file, yaml string) {
	w.T().Helper()
	w.T().Logf("$ kubectl --context=meridian create -f %s\n%s", file, w.Kubectl(one, yaml, "create", "-f", "-"))
}

// look prints what kubectl says of the dedicated API.
func (w *world) look(args ...string) {
	w.T().Helper()
	w.T().Logf("$ kubectl --context=meridian %s\n%s", strings.Join(args, " "), w.Kubectl(one, "", args...))
}

// shows waits until "kubectl get" prints just this of the dedicated API.
func (w *world) shows(what string, within time.Duration, want string, args ...string) time.Duration {
	w.T().Helper()
	return w.Eventually(what, within, func(context.Context) error {
		out, err := w.Run("", w.Programs.Kubectl, append([]string{"--context", one, "get"}, args...)...)
		if err != nil {
			return err
		}
		if out != want {
			return fmt.Errorf("kubectl get %s: %q, want %q", strings.Join(args, " "), out, want)
		}
		return nil
	})
}

// shares waits until each cluster runs its share of a workload, all of it ready.
func (w *world) shares(kind, name string, each map[string]int) {
	w.T().Helper()
	for _, cluster := range slices.Sorted(maps.Keys(each)) {
		w.Eventually(fmt.Sprintf("%d of %s %s in %s", each[cluster], kind, name, cluster), 90*time.Second, func(context.Context) error {
			out, err := w.Run("", w.Programs.Kubectl, "--context", cluster, "get", kind, name, "-o=jsonpath={.spec.replicas} {.status.readyReplicas}")
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("%d %[1]d", each[cluster]); out != want {
				return fmt.Errorf("%q, want %q", out, want)
			}
			return nil
		})
	}
}

// curl asks as somebody who lives there does.
func (w *world) curl(s *site) {
	w.T().Helper()
	u := s.newUser(nil)
	defer u.client.CloseIdleConnections()
	addr, h, err := u.visit(w.Ctx, host, "/")
	if err != nil || h.Region != string(s.name) || h.Cluster != s.cluster { // the cluster is what the Placement says of it
		w.T().Errorf("%s are answered by %+v: %v", s.people, h, err)
	}
	w.T().Logf("%s at %s$ curl http://%s/   # DNS says %s\n%s in %s, zone %s", s.people, s.user, host, addr, h.Pod, h.Region, h.Zone)
}

// everyKind writes one of each kind that has a number, and looks at the sums.
func (w *world) everyKind() {
	w.create("more.yaml", everyKindOfThem)
	w.shows("the HorizontalPodAutoscaler's minimum runs", 90*time.Second, "6 6", "deploy", "web", "-o=jsonpath={.status.replicas} {.status.readyReplicas}")
	w.shows("the HorizontalPodAutoscaler says so", 30*time.Second, "6 6", "hpa", "web", "-o=jsonpath={.status.currentReplicas} {.status.desiredReplicas}")
	w.shows("one on every machine", 60*time.Second, "6 6", "ds", "agent", "-o=jsonpath={.status.desiredNumberScheduled} {.status.numberReady}")
	w.shows("as many in every cluster", 60*time.Second, "6 6", "sts", "store", "-o=jsonpath={.status.replicas} {.status.readyReplicas}")
	w.shows("a Job is divided and ends", 60*time.Second, "6 Complete", "job", "once", `-o=jsonpath={.status.succeeded} {.status.conditions[?(@.type=="Complete")].type}`)
	for _, s := range w.sites {
		bounds := s.kubectl("", "get", "hpa", "web", "-o=jsonpath={.spec.minReplicas} {.spec.maxReplicas}")
		share := s.kubectl("", "get", "job", "once", "-o=jsonpath={.spec.completions}")
		if ordinals := s.kubectl("", "get", "pods", "-l", "app=store", "-o=jsonpath={.items[*].metadata.name}"); bounds != "2 4" || share != "2" || ordinals != "store-0 store-1" {
			w.T().Errorf("%s has %q of the HorizontalPodAutoscaler, %q of the Job and %q of the StatefulSet", s.cluster, bounds, share, ordinals)
		}
		s.kubectl("", "get", "cronjob", "nightly")
		if got := s.kubectl("", "get", "configmap", "settings", "-o=jsonpath={.data.colour}"); got != "blue" {
			w.T().Errorf("%s has the colour %q", s.cluster, got)
		}
	}
	w.look("get", "rs,deploy,ds,sts,job,cronjob,hpa,svc,ingress,clusters")
}

// rewrite changes what is there, as one does in a cluster.
func (w *world) rewrite() {
	c := w.crowd(host, true)
	w.settle(c, 50)
	w.look("scale", "rs/whereami", "--replicas=12")
	w.shares("rs", "whereami", map[string]int{"us": 4, "eu": 4, "asia": 4})
	w.look("set", "env", "deployment/web", "COLOUR=green")
	w.look("rollout", "status", "deployment/web", "--timeout=90s")
	for _, s := range w.sites {
		pods, err := s.kube.CoreV1().Pods("default").List(w.Ctx, metav1.ListOptions{LabelSelector: "app=web"})
		if err != nil {
			w.T().Fatal(err)
		}
		fresh := 0
		for _, p := range pods.Items {
			if p.DeletionTimestamp == nil && slices.Contains(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "COLOUR", Value: "green"}) {
				fresh++
			}
		}
		if fresh != 2 {
			w.T().Errorf("kubectl says that all is rolled out, and %s has %d new pods", s.cluster, fresh)
		}
	}
	w.look("patch", "configmap", "settings", "--type=merge", `-p={"data":{"colour":"green"}}`)
	for _, s := range w.sites {
		w.Eventually("the ConfigMap in "+s.cluster, 20*time.Second, func(context.Context) error {
			if got := s.kubectl("", "get", "configmap", "settings", "-o=jsonpath={.data.colour}"); got != "green" {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		})
	}
	w.settle(c, 50)
	c.home("replicas were added")
}

// killAPI kills the dedicated API. Nobody but its writers notices.
func (w *world) killAPI(s *site) {
	c := w.crowd(host, true)
	w.settle(c, 50)
	before := w.placed()
	pod, err := s.kube.CoreV1().Pods("meridian-system").Get(w.Ctx, "meridian-api-0", metav1.GetOptions{})
	if err != nil {
		w.T().Fatal(err)
	}
	at := slices.IndexFunc(s.machines, func(n *node.Node) bool { return n.Name() == pod.Spec.NodeName })
	if at < 0 {
		w.T().Fatalf("no machine %s", pod.Spec.NodeName)
	}
	answers := func() error {
		_, err := w.Run("", w.Programs.Kubectl, "--context", one, "--request-timeout=2s", "get", "--raw", "/readyz")
		return err
	}
	killed := time.Now()
	for range 3 { // as soon as it is back, it is killed again
		if err := s.machines[at].Kill("meridian-system", "meridian-api-0"); err != nil {
			w.T().Fatal(err)
		}
		w.Eventually("it does not answer", 20*time.Second, func(context.Context) error {
			if answers() == nil {
				return errors.New("it answers")
			}
			return nil
		})
		w.Eventually("it answers again", 90*time.Second, func(context.Context) error { return answers() })
	}
	w.T().Logf("killed three times, the dedicated API was back for good after %.1f s", time.Since(killed).Seconds())
	w.settle(c, 100)
	if after := w.placed(); !maps.Equal(before, after) {
		w.T().Errorf("what was placed is not what it was:\n%v\n%v", before, after)
	}
	w.look("scale", "rs/whereami", "--replicas=9")
	w.shares("rs", "whereami", map[string]int{"us": 3, "eu": 3, "asia": 3})
	w.settle(c, 50)
	c.home("the dedicated API was killed three times")
}

// placed are the pods of all clusters, with their containers' restarts.
func (w *world) placed() map[string]int32 {
	w.T().Helper()
	all := map[string]int32{}
	for _, s := range w.sites {
		pods, err := s.kube.CoreV1().Pods("default").List(w.Ctx, metav1.ListOptions{LabelSelector: "app"})
		if err != nil {
			w.T().Fatal(err)
		}
		for _, p := range pods.Items {
			all[s.cluster+"/"+string(p.UID)] = p.Status.ContainerStatuses[0].RestartCount
		}
	}
	return all
}

// undo takes everything down again, and looks what is left.
func (w *world) undo() {
	const kinds = "ingress,svc,rs,deploy,ds,sts,job,cronjob,hpa,configmap"
	w.T().Logf("$ kubectl --context=meridian delete …\n%s", w.Kubectl(one, "", "delete", kinds, "-l", "of=promise", "--timeout=90s"))
	w.script("90-destroy.sh")
	for _, s := range w.sites {
		for _, kind := range []string{"namespaces", "crds", "clusterroles", "clusterrolebindings", "ingressclasses"} {
			for _, left := range strings.Fields(s.kubectl("", "get", kind, "-o", "name")) {
				if strings.Contains(left, "meridian") {
					w.T().Errorf("%s still has %s", s.cluster, left)
				}
			}
		}
		for _, of := range []string{"of=promise", "app=whereami", "meridian.dev/placed"} {
			if left := s.kubectl("", "get", kinds+",pods,serviceaccounts,secrets,roles,rolebindings", "-A", "-l", of, "-o", "name"); left != "" {
				w.T().Errorf("%s still has %s", s.cluster, left)
			}
		}
	}
}
