//go:build e2e

package walkthrough

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// What Cluster Federation promised in 2016: one API for many clusters. Everything that
// "meridian init" writes runs as the pods that it says.
func TestPromise(t *testing.T) {
	w := newWorld(t, true)
	us, eu, asia := w.site("us"), w.site("eu"), w.site("asia")

	w.promise("init: a dedicated API in America, daemons and gateways everywhere", func() {
		more := []string{"--replicas", "1", "--set", "meridiand.peersService.enabled=true", "--set", "gateway.autoscaling.enabled=false", "--set", "gateway.replicas=1"}
		w.meridian(append([]string{"init", "--context", "us", "--region", "us-east1", "--network", "us", "--dedicated-api"}, more...)...)
		var others []string
		for _, s := range []*site{eu, asia} {
			w.meridian(append([]string{"init", "--context", s.cluster, "--region", string(s.name), "--network", s.cluster,
				"--share-with", "us", "--peer", us.address("meridiand-public") + ":17443"}, more...)...)
			others = append(others, "--peer", s.address("meridiand-public")+":17443")
		}
		w.meridian(append([]string{"init", "--context", "us", "--domain", "shop.example.com", "--nameserver", "ns1.shop.example.com=" + us.address("meridian-dns")}, others...)...)
		w.T().Logf("$ kubectl --context us -n meridian-system get pods,services\n%s", us.kubectl("", "-n", "meridian-system", "get", "pods,services"))
	})
	w.promise("three clusters join", func() {
		for _, s := range w.sites {
			w.meridian("join", s.cluster, "--context", s.cluster, "--host-context", one, "--workloads", "--gateway", s.address("meridian-gateway"),
				"--endpoint-network", s.pods(0).String(), "--endpoint-network", s.pods(1).String())
		}
		w.shows("three clusters are reached", 60*time.Second, "True True True", "clusters", `-o=jsonpath={.items[*].status.conditions[?(@.type=="Reachable")].status}`)
		w.shows("their gateways are up", 60*time.Second, "Healthy Healthy Healthy", "clusters", `-o=jsonpath={.items[*].status.health}`)
		w.look("get", "clusters")
	})
	w.promise("a ReplicaSet and a Service", func() {
		w.create("replicaset.yaml", replicaSet)
		w.create("service.yaml", plainService)
		began := time.Now()
		w.shares("rs", "whereami", map[string]int{"us": 3, "eu": 3, "asia": 3})
		w.shows("all nine are told as ready", 30*time.Second, "9 9", "rs", "whereami", "-o=jsonpath={.status.replicas} {.status.readyReplicas}")
		w.T().Logf("nine replicas ran in three clusters %.1f s after they were created", time.Since(began).Seconds())
		w.look("get", "rs,federatedobjects", "-o", "wide")
		us.asked = us.kubectl("", "-n", "meridian-system", "get", "service", "meridiand-admin", "-o=jsonpath={.spec.clusterIP}:{.spec.ports[0].port}")
		out, err := w.operator("spread", "replicaset-whereami")
		if err != nil {
			w.T().Fatal(err)
		}
		w.T().Logf("$ meridian spread replicaset-whereami\n%s", out)
	})
	w.promise("one Ingress, and everybody is served nearby", func() {
		w.create("ingress.yaml", plainIngress)
		w.shows("the Ingress says where it is served", 30*time.Second, "192.0.2.10 192.0.2.20 192.0.2.30", "ingress", "whereami", "-o=jsonpath={.status.loadBalancer.ingress[*].ip}")
		w.everybodyAtHome(60 * time.Second)
		for _, s := range []*site{us, eu} {
			w.curl(s)
		}
	})
	w.promise("what else one writes to a cluster", w.everyKind)
	w.promise("edits", w.rewrite)
	w.promise("the dedicated API is killed", func() { w.killAPI(us) })
	w.promise("destroy", w.undo)
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

// address is that of a load balancer, when it has one.
func (s *site) address(name string) (address string) {
	s.world.T().Helper()
	s.world.Eventually("an address of Service "+name+" in "+s.cluster, 30*time.Second, func(ctx context.Context) error {
		svc, err := s.kube.CoreV1().Services("meridian-system").Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(svc.Status.LoadBalancer.Ingress) == 0 {
			return errors.New("it has none yet")
		}
		address = svc.Status.LoadBalancer.Ingress[0].IP
		return nil
	})
	return address
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
	if err != nil || h.Region != string(s.name) {
		w.T().Errorf("%s are answered by %q: %v", s.people, h.Region, err)
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
	for _, s := range w.sites {
		w.meridian("unjoin", s.cluster, "--context", s.cluster, "--host-context", one, "--grace", "0s")
	}
	w.look("get", "clusters")
	for _, s := range slices.Backward(w.sites) { // the host last
		w.meridian("uninstall", "--context", s.cluster, "--crds", "--force")
	}
	for _, s := range w.sites {
		for _, kind := range []string{"namespaces", "crds", "clusterroles", "clusterrolebindings", "ingressclasses"} {
			for _, left := range strings.Fields(s.kubectl("", "get", kind, "-o", "name")) {
				if strings.Contains(left, "meridian") {
					w.T().Errorf("%s still has %s", s.cluster, left)
				}
			}
		}
		if left := s.kubectl("", "get", kinds, "-A", "-l", "of=promise", "-o", "name"); left != "" {
			w.T().Errorf("%s still has %s", s.cluster, left)
		}
	}
}
