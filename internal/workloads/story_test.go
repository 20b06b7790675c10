//go:build e2e

package workloads

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// What was promised in 2016, and what may go wrong on the way.
func TestWorkloads(t *testing.T) {
	w := newWorld(t)
	shop := w.open("shop")
	five := []string{"us", "eu", "asia", "africa", "oceania"}

	w.step("init, and five clusters join", func() {
		w.meridian("", "init", "--context", hostCluster, "--region", "us-east1", "--network", hostCluster, "--replicas", "1",
			"--domain", "shop.example.com", "--nameserver", "ns1.shop.example.com="+w.site(hostCluster).addr(2, 1).String())
		for _, name := range five {
			w.join(w.site(name))
		}
		w.startDaemon()
	})
	w.step("a DaemonSet has a pod on every machine, a later one included", w.daemons)
	w.step("1000 replicas are 200 in each of five clusters", func() {
		began := time.Now()
		w.federate(waiters("shop", wide), "--replicas", "1000", "--grace", "10s")
		shop.want("200 ready in each", 3*time.Minute, equally(five, 200))
		w.t.Logf("1000 replicas ran in five clusters %.1f s after the command, as processes", time.Since(began).Seconds())
		w.told("replicaset-shop", 20*time.Second, told.Condition(v1alpha1.ConditionReady, "True", "1000 of 1000 are ready"), told.Condition(v1alpha1.ConditionPlaced, "True", "5 clusters"))
		shop.guard(1000, 0)
		w.weigh()
	})
	narrow := w.open("narrow")
	w.step("a cluster that can hold 50 gets more than that at first", func() {
		w.federate(waiters("narrow", `nodeSelector: {narrow: "true"}`), "--replicas", "140", "--where", "clusters=eu,asia")
		narrow.want("50 of 70 run in Europe", time.Minute, map[string]int64{"asia": 70})
	})
	w.step("pods are asked by HTTP", w.asked)
	w.step("an edit of a ConfigMap is everywhere at once", w.edits)
	w.step("a sixth cluster joins", func() { w.sixth(shop, five) })
	w.step("a cluster dies", func() { w.death(shop, w.site("oceania")) })
	w.step("it returns, and nothing hurries", func() { w.site("oceania").rise(); shop.lost(w.site("oceania"), false) })
	returned := time.Now()
	w.step("what somebody changes or deletes in a member is mended", w.meddled)
	w.step("a cluster that refuses says why, and disturbs nobody", w.refused)
	w.step("bad input is told in sentences", w.badInput)
	w.step("nobody climbs", w.climbs)
	w.step("the daemon is killed in the middle of a roll-out", w.killed)
	w.step("an API server is cut off in the middle of a roll-out", w.cutOff)
	w.step("50 are where there is room for 50, the rest is elsewhere", func() {
		narrow.want("50 in Europe", 2*time.Minute, map[string]int64{"eu": 50, "asia": 90})
		w.told("replicaset-narrow", 20*time.Second, told.Condition(v1alpha1.ConditionReady, "True", "140 of 140 are ready"), told.Row("eu", v1alpha1.WorkloadApplied, "no node"))
		w.say("replicaset-narrow", "eu")
	})
	w.step("no surplus is left of the cluster that returned", func() {
		shop.total("1000 are asked for and ready", 2*time.Minute, 1000)
		w.t.Logf("the surplus was gone %.1f s after the cluster was back", time.Since(returned).Seconds())
		w.told("replicaset-shop", 20*time.Second, told.Condition(v1alpha1.ConditionReady, "True", "1000 of 1000 are ready"))
		shop.passed("since the replacement")
	})
	w.step("a Job, a divided StatefulSet, an autoscaler and a kind of one's own", w.kinds)
	w.step("a cluster leaves, and nobody misses it", func() { w.unjoined(shop, w.site("africa")) })
	w.step("a dead cluster is let go", func() { w.letGo(shop, w.site("brazil")) })
	w.step("nothing happens when nothing is to be done", func() { w.calm(20 * time.Second) })
}

func equally(names []string, n int64) map[string]int64 {
	each := map[string]int64{}
	for _, name := range names {
		each[name] = n
	}
	return each
}

// daemons places a DaemonSet, and puts one more machine into Europe.
func (w *world) daemons() {
	w.federate(everyNode)
	w.told("daemonset-agent", time.Minute, told.Condition(v1alpha1.ConditionPlaced, "True", "5 clusters"))
	everywhere := func(ctx context.Context) error {
		for _, s := range w.members {
			pods, err := s.kube.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=agent"})
			if err != nil {
				return err
			}
			on := map[string]int{}
			for _, p := range pods.Items {
				if ready(&p) {
					on[p.Spec.NodeName]++
				}
			}
			for name := range s.machines {
				if on[s.continent.name+"-"+name] != 1 {
					return fmt.Errorf("%s has %v, want one on each of %d machines", s.continent.name, on, len(s.machines))
				}
			}
		}
		return nil
	}
	w.eventually("one pod on every machine", time.Minute, everywhere)
	// Room for 50 besides the DaemonSet's; what is wide does not go there.
	if err := w.site("eu").machine("small", 1, 51, map[string]string{"narrow": "true"}); err != nil {
		w.t.Fatal(err)
	}
	took := w.eventually("and on the new one", time.Minute, everywhere)
	w.t.Logf("a machine that was added had its pod after %.1f s", took.Seconds())
}

func ready(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// asked wants an answer of the right region from a pod of every cluster.
func (w *world) asked() {
	w.federate(whereami, "--replicas", "10")
	w.told("deployment-whereami", time.Minute, told.Condition(v1alpha1.ConditionReady, "True", "10 of 10 are ready"))
	for _, s := range w.members {
		pods, err := s.kube.CoreV1().Pods("default").List(w.ctx, metav1.ListOptions{LabelSelector: "app=whereami"})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(pods.Items) != 2 {
			w.t.Errorf("%s has %d pods", s.continent.name, len(pods.Items))
		}
		for _, p := range pods.Items {
			req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, fmt.Sprintf("http://%s:8080/?format=json", p.Status.PodIP), http.NoBody)
			if err != nil {
				w.t.Fatal(err)
			}
			resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
			if err != nil {
				w.t.Fatal(err)
			}
			var a struct{ Pod, Region string }
			err = json.NewDecoder(resp.Body).Decode(&a)
			resp.Body.Close()
			if err != nil || a.Pod != p.Name || a.Region != s.region {
				w.t.Errorf("%s in %s answers %+v, %v", p.Name, s.continent.name, a, err)
			}
		}
	}
}

// edits changes a ConfigMap again and again, and looks when each cluster has it.
func (w *world) edits() {
	w.federate(settings)
	w.told("configmap-settings", time.Minute, told.Condition(v1alpha1.ConditionPlaced, "True", "5 clusters"))
	host := w.site(hostCluster).kube.CoreV1().RESTClient()
	const edits = 100
	arrived := make([]chan string, len(w.members))
	for i, s := range w.members {
		arrived[i] = make(chan string, edits)
		watching, err := s.kube.CoreV1().ConfigMaps("default").Watch(w.ctx, metav1.ListOptions{FieldSelector: "metadata.name=settings"})
		if err != nil {
			w.t.Fatal(err)
		}
		defer watching.Stop()
		go func() {
			for e := range watching.ResultChan() {
				if m, ok := e.Object.(*corev1.ConfigMap); ok {
					arrived[i] <- m.Data["edit"]
				}
			}
		}()
	}
	var took []time.Duration
	for n := 1; n <= edits; n++ {
		began := time.Now()
		patch := fmt.Appendf(nil, `{"spec":{"template":{"data":{"edit":"%d"}}}}`, n)
		if err := host.Patch(types.MergePatchType).AbsPath(fmt.Sprintf(federated, "default", "configmap-settings")).Body(patch).Do(w.ctx).Error(); err != nil {
			w.t.Fatal(err)
		}
		var all sync.WaitGroup
		late := make([]time.Duration, len(w.members))
		for i := range w.members {
			all.Go(func() {
				patience := time.After(30 * time.Second)
				for {
					select {
					case got := <-arrived[i]:
						if got == fmt.Sprint(n) {
							late[i] = time.Since(began)
							return
						}
					case <-patience:
						return
					}
				}
			})
		}
		all.Wait()
		if slices.Contains(late, 0) {
			w.t.Fatalf("edit %d has not reached all clusters after 30 s: %v", n, late)
		}
		took = append(took, late...)
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	w.t.Logf("%d edits of a ConfigMap were in five clusters after %v (median), %v (p99), %v (slowest), beside 1000 pods", edits,
		took[len(took)/2].Round(time.Millisecond), p99.Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	if p99 > time.Second {
		w.t.Errorf("p99 is %v, want at most 1 s", p99)
	}
}

// sixth lets a cluster join: what runs stays, what is new may go there, and with
// --rebalance it gets its share by and by.
func (w *world) sixth(shop *ledger, five []string) {
	brazil := w.site("brazil")
	before := shopPods(w)
	w.join(brazil)
	w.told("configmap-settings", time.Minute, told.Row("brazil", v1alpha1.WorkloadApplied, ""))
	shop.want("all stays where it is", 10*time.Second, equally(five, 200))
	for name, uids := range shopPods(w) {
		if !slices.Equal(uids, before[name]) {
			w.t.Errorf("pods of %s are others than before", name)
		}
	}
	w.federate(waiters("shop", wide), "--replicas", "1030", "--grace", "10s")
	shop.want("what is new goes there", time.Minute, map[string]int64{"brazil": 30, "us": 200, "eu": 200, "asia": 200, "africa": 200, "oceania": 200})

	const budget = 103 // a tenth
	shop.passed("while a sixth joined")
	shop.guard(1030, 1030+budget)
	began := time.Now()
	w.federate(waiters("shop", wide), "--replicas", "1030", "--grace", "10s", "--rebalance")
	w.eventually("it has its share", 2*time.Minute, func(context.Context) error {
		for _, s := range w.members {
			if p := shop.of(s.continent.name); p.ready != p.asked || p.asked < 171 || p.asked > 172 {
				return fmt.Errorf("%s has %d of %d", s.continent.name, p.ready, p.asked)
			}
		}
		return nil
	})
	w.t.Logf("the sixth had its share %.1f s after --rebalance", time.Since(began).Seconds())
	shop.passed("while it got its share")
	shop.guard(1000, 0)
	w.federate(waiters("shop", wide), "--replicas", "1000", "--grace", "10s")
	shop.total("1000 again", time.Minute, 1000)
	shop.passed("while it shrank")
}

// shopPods are the UIDs of the shop's pods, by cluster, sorted.
func shopPods(w *world) map[string][]types.UID {
	w.t.Helper()
	all := map[string][]types.UID{}
	for _, s := range w.members {
		pods, err := s.kube.CoreV1().Pods("default").List(w.ctx, metav1.ListOptions{LabelSelector: "app=shop"})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, p := range pods.Items {
			all[s.continent.name] = append(all[s.continent.name], p.UID)
		}
		slices.Sort(all[s.continent.name])
	}
	return all
}

// death takes a cluster away: after the grace period its share is ready elsewhere, and
// from then on there is no gap.
func (w *world) death(shop *ledger, s *site) {
	share := shop.of(s.continent.name).ready
	shop.guard(0, 0)
	s.die()
	shop.lost(s, true)
	began := time.Now()
	shop.total("its share is ready elsewhere", 2*time.Minute, 1000)
	took := time.Since(began)
	w.t.Logf("%d replicas of a dead cluster were ready elsewhere after %.1f s, 10 s of them grace", share, took.Seconds())
	if took < 8*time.Second {
		w.t.Errorf("they were replaced after %v, before the grace was over", took)
	}
	w.told("replicaset-shop", 20*time.Second, told.Row(s.continent.name, v1alpha1.WorkloadUnreachable, "placed elsewhere"))
	w.say("replicaset-shop", s.continent.name)
	shop.guard(1000, 0)
}

// replicaSet reads one in a member.
func (s *site) replicaSet(ctx context.Context, name string) (*appsv1.ReplicaSet, error) {
	return s.kube.AppsV1().ReplicaSets("default").Get(ctx, name, metav1.GetOptions{})
}
