package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.0.0.0/8")) }

// world is one cluster with two nodes.
type world struct {
	t       *testing.T
	cluster *cluster.Cluster
	client  kubernetes.Interface
	dir     string
	nodes   map[string]*node.Node
	off     map[string]func() // switches a node off
	run     func(func(context.Context) error) (stop func())
}

// newWorld makes a world that ends with the test, and wants nothing left of it.
func newWorld(t *testing.T, images map[string]node.Image) *world {
	t.Helper()
	programs := lab.Kube(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t.Context ends before Cleanup
	group := lab.NewGroup(ctx)
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
		wantNoChildren(t)
	})
	begin := time.Now()
	c, err := cluster.Start(t.Context(), group, cluster.Config{
		Name: "eu-1", Addr: netip.MustParseAddr("10.1.0.1"), Dir: t.TempDir(), Programs: programs,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the cluster is usable after %s", since(begin))
	w := &world{t: t, cluster: c, dir: t.TempDir(), nodes: map[string]*node.Node{}, off: map[string]func(){}}
	w.run = func(f func(context.Context) error) (stop func()) {
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		running.Go(func() {
			defer close(ended)
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
		return func() { cancel(); <-ended }
	}
	for i, zone := range []string{"a", "b"} {
		n, err := node.New(node.Config{
			Name: "node-" + zone, REST: c.REST(), Addr: netip.AddrFrom4([4]byte{10, 1, 1, byte(i + 1)}),
			Pods:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(4 * i), 0}), 22),
			Region: "eu-west", Zone: zone, Images: images, Dir: w.dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		w.nodes["node-"+zone], w.off["node-"+zone] = n, w.run(n.Run)
	}
	scheduler, err := node.NewScheduler(c.REST(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.run(scheduler.Run)
	if w.client, err = kubernetes.NewForConfig(c.REST()); err != nil {
		t.Fatal(err)
	}
	w.eventually("both nodes are ready", func(ctx context.Context) error {
		nodes, err := w.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes.Items {
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && len(n.Spec.Taints) == 0 {
					ready++
				}
			}
		}
		if ready != 2 {
			return fmt.Errorf("%d are ready", ready)
		}
		return nil
	})
	return w
}

func since(begin time.Time) time.Duration { return time.Since(begin).Round(10 * time.Millisecond) }

// wantNoChildren reads what the kernel says of this process's children.
func wantNoChildren(t *testing.T) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("asking for children: %v, %v", tasks, err)
	}
	for _, file := range tasks {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			t.Errorf("processes %s live on", b)
		}
	}
}

// eventually asks until there is nothing to complain of.
func (w *world) eventually(what string, ask func(ctx context.Context) error) {
	w.t.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			w.t.Logf("%s: after %s", what, since(begin))
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: %v", what, err)
		case <-poll.C:
		}
	}
}

// apply creates the objects of a YAML text.
func (w *world) apply(text string) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, doc := range strings.Split(text, "\n---\n") {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			w.t.Fatal(err)
		}
		var err error
		switch head.Kind {
		case "ConfigMap":
			_, err = w.client.CoreV1().ConfigMaps("default").Create(ctx, parse[corev1.ConfigMap](w.t, doc), metav1.CreateOptions{})
		case "Secret":
			_, err = w.client.CoreV1().Secrets("default").Create(ctx, parse[corev1.Secret](w.t, doc), metav1.CreateOptions{})
		case "Service":
			_, err = w.client.CoreV1().Services("default").Create(ctx, parse[corev1.Service](w.t, doc), metav1.CreateOptions{})
		case "Pod":
			_, err = w.client.CoreV1().Pods("default").Create(ctx, parse[corev1.Pod](w.t, doc), metav1.CreateOptions{})
		case "Deployment":
			_, err = w.client.AppsV1().Deployments("default").Create(ctx, parse[appsv1.Deployment](w.t, doc), metav1.CreateOptions{})
		case "DaemonSet":
			_, err = w.client.AppsV1().DaemonSets("default").Create(ctx, parse[appsv1.DaemonSet](w.t, doc), metav1.CreateOptions{})
		case "Job":
			_, err = w.client.BatchV1().Jobs("default").Create(ctx, parse[batchv1.Job](w.t, doc), metav1.CreateOptions{})
		default:
			err = fmt.Errorf("no kind %q here", head.Kind)
		}
		if err != nil {
			w.t.Fatalf("%v in\n%s", err, doc)
		}
	}
}

func parse[T any](t *testing.T, doc string) *T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict([]byte(doc), &object); err != nil {
		t.Fatal(err)
	}
	return &object
}

// ready returns the addresses of the ready endpoints of a service, sorted.
func (w *world) ready(ctx context.Context, service string) ([]string, error) {
	found, err := w.client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, s := range found.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				addrs = append(addrs, fmt.Sprintf("%s:%d", e.Addresses[0], *s.Ports[0].Port))
			}
		}
	}
	slices.Sort(addrs)
	return addrs, nil
}

func (w *world) wantReady(what, service string, n int) (addrs []string) {
	w.t.Helper()
	w.eventually(what, func(ctx context.Context) (err error) {
		if addrs, err = w.ready(ctx, service); err == nil && len(addrs) != n {
			err = fmt.Errorf("%d ready endpoints instead of %d", len(addrs), n)
		}
		return err
	})
	return addrs
}

type answer struct{ Host, Pod, Zone, Region, Cluster string }

func get(t *testing.T, url string) answer {
	t.Helper()
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return a
}

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

// TestKinds is about what pods are made of: files, variables, daemons and jobs.
func TestKinds(t *testing.T) {
	w := newWorld(t, map[string]node.Image{"sh": node.Program("/bin/sh"), "pause": nil})
	ctx := t.Context()
	out := t.TempDir()

	t.Run("files follow their ConfigMap", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {tier: gold}}
spec:
  nodeSelector: {topology.kubernetes.io/zone: b}
  terminationGracePeriodSeconds: 5
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, items: [{key: a, path: deep/a}]}}
  containers:
  - name: sh
    image: sh
    command: [sh, -c]
    args: ['cp -rL /etc/settings /etc/keys ` + out + `; cp /var/run/secrets/kubernetes.io/serviceaccount/token ` + out + `; env >` + out + `/env; echo started; exec sleep 600']
    volumeMounts: [{name: settings, mountPath: /etc/settings}, {name: keys, mountPath: /etc/keys}]
    env:
    - {name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ADDR, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: a}}}
    - {name: NONE, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
    - {name: ALL, value: "$(WHO) at $(WHERE), $$(WHO), $(UNKNOWN)"}
    - {name: FILE, value: /etc/settings/greeting}
`)
		w.eventually("it waits for what it needs", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "reader", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, `ConfigMap "settings" is not there`) {
					return nil
				}
			}
			return fmt.Errorf("its status is %+v", p.Status)
		})
		w.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {greeting: hello}\n---\n" +
			"apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: s3cret, b: other}\n")
		var pod *corev1.Pod
		w.eventually("it runs", func(ctx context.Context) (err error) {
			pod, err = w.client.CoreV1().Pods("default").Get(ctx, "reader", metav1.GetOptions{})
			if err == nil && (pod.Status.Phase != corev1.PodRunning || len(read(out+"/env")) == 0) {
				err = fmt.Errorf("it is %s", pod.Status.Phase)
			}
			return err
		})
		env := strings.Split(read(out+"/env"), "\n")
		for _, want := range []string{
			"WHO=reader", "WHERE=node-b", "ADDR=" + pod.Status.PodIP, "TIER=gold", "GREETING=hello", "KEY=s3cret",
			"ALL=reader at node-b, $(WHO), $(UNKNOWN)", "KUBERNETES_SERVICE_HOST=10.1.0.1",
		} {
			if !slices.Contains(env, want) {
				t.Errorf("its environment lacks %s: %q", want, env)
			}
		}
		if slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "NONE=") }) {
			t.Error("an optional key that is not there makes a variable")
		}
		if got := read(out+"/settings/greeting") + read(out+"/keys/deep/a"); got != "hellos3cret" {
			t.Errorf("its files hold %q", got)
		}
		file := ""
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, "FILE="); ok {
				file = v
			}
		}
		if got := read(file); got != "hello" {
			t.Fatalf("the variable that names a file leads to %q, which holds %q", file, got)
		}
		change := []byte(`{"data":{"greeting":"good evening","more":"x"}}`)
		if _, err := w.client.CoreV1().ConfigMaps("default").Patch(ctx, "settings", types.MergePatchType, change, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually("the file changes", func(context.Context) error {
			if got := read(file) + read(filepath.Dir(file)+"/more"); got != "good eveningx" {
				return fmt.Errorf("it holds %q", got)
			}
			return nil
		})
		kubeconfig, err := w.cluster.KubeconfigWithToken("reader", read(out+"/token"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		asPod, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		who, err := asPod.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:default:default" || who.Status.UserInfo.Extra["authentication.kubernetes.io/pod-name"][0] != "reader" {
			t.Errorf("its token makes it %+v, %v", who, err)
		}
		log, err := w.client.CoreV1().Pods("default").GetLogs("reader", &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil || string(log) != "started\n" {
			t.Errorf("its log is %q, %v", log, err)
		}
	})

	t.Run("a container that dies starts again", func(t *testing.T) {
		w.t = t
		w.apply(pod("mortal", "Always", "echo dying; exit 3"))
		w.eventually("it has started three times", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "mortal", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].RestartCount >= 2 && s[0].LastTerminationState.Terminated != nil {
				if last := s[0].LastTerminationState.Terminated; last.ExitCode != 3 || last.Message != "dying" {
					t.Errorf("its last end was %+v", last)
				}
				return nil
			}
			return errors.New("not yet")
		})
	})

	t.Run("a daemon runs on every node", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec:
  selector: {matchLabels: {app: daemon}}
  template:
    metadata: {labels: {app: daemon}}
    spec: {containers: [{name: x, image: pause}]}
`)
		w.eventually("it is ready on both", func(ctx context.Context) error {
			d, err := w.client.AppsV1().DaemonSets("default").Get(ctx, "daemon", metav1.GetOptions{})
			if err == nil && (d.Status.NumberReady != 2 || d.Status.DesiredNumberScheduled != 2) {
				err = fmt.Errorf("%+v", d.Status)
			}
			return err
		})
	})

	t.Run("a job ends", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  completions: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: x, image: sh, args: ["-c", "exit 0"]}]
`)
		w.eventually("it is complete", func(ctx context.Context) error {
			j, err := w.client.BatchV1().Jobs("default").Get(ctx, "job", metav1.GetOptions{})
			if err == nil && (j.Status.Succeeded != 2 || j.Status.CompletionTime == nil) {
				err = fmt.Errorf("%+v", j.Status)
			}
			return err
		})
	})

	t.Run("a pod that is told to go has time for it", func(t *testing.T) {
		w.t = t
		w.apply(pod("polite", "Always", "trap 'sleep 0.3; echo bye >"+out+"/bye; exit 0' TERM; echo >"+out+"/up; while :; do sleep 0.02; done"))
		w.apply(pod("deaf", "Always", "trap '' TERM; echo >"+out+"/deaf; while :; do sleep 0.02; done"))
		w.eventually("they run", func(context.Context) error {
			if read(out+"/up") == "" || read(out+"/deaf") == "" {
				return errors.New("not yet")
			}
			return nil
		})
		second := int64(1)
		for name, grace := range map[string]*int64{"polite": nil, "deaf": &second} {
			if err := w.client.CoreV1().Pods("default").Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: grace}); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		w.eventually("they are gone", func(ctx context.Context) error {
			for _, name := range []string{"polite", "deaf"} {
				if _, err := w.client.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("%s is there: %w", name, err)
				}
			}
			return nil
		})
		if read(out+"/bye") == "" || time.Since(begin) < time.Second {
			t.Errorf("gone after %s, having said %q", time.Since(begin), read(out+"/bye"))
		}
	})

	t.Run("hundreds of pods without a process", func(t *testing.T) {
		w.t = t
		w.apply(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: 300
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec: {containers: [{name: x, image: pause, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: crowd}
spec: {selector: {app: crowd}, ports: [{port: 80}]}
`)
		addrs := w.wantReady("all are ready", "crowd", 300)
		if unique := slices.Compact(slices.Clone(addrs)); len(unique) != 300 {
			t.Errorf("300 pods share %d addresses", len(unique))
		}
		if err := w.client.AppsV1().Deployments("default").Delete(ctx, "crowd", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.eventually("all are gone", func(ctx context.Context) error {
			pods, err := w.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=crowd"})
			if err == nil && len(pods.Items) > 0 {
				err = fmt.Errorf("%d are there", len(pods.Items))
			}
			return err
		})
	})

	t.Run("a node that loses its power comes back", func(t *testing.T) {
		w.t = t
		w.apply(strings.Replace(pod("phoenix", "Always", "echo $$ >"+out+"/pid; exec sleep 600"), "spec:", "spec:\n  nodeName: node-b", 1))
		var before *corev1.Pod
		runs := func(restarts int32) func(context.Context) error {
			return func(ctx context.Context) error {
				p, err := w.client.CoreV1().Pods("default").Get(ctx, "phoenix", metav1.GetOptions{})
				if err != nil {
					return err
				}
				if s := p.Status.ContainerStatuses; len(s) != 1 || s[0].State.Running == nil || s[0].RestartCount != restarts || read(out+"/pid") == "" {
					return fmt.Errorf("its status is %+v", p.Status)
				}
				before = p
				return nil
			}
		}
		w.eventually("it runs", runs(0))
		addr, pid := before.Status.PodIP, strings.TrimSpace(read(out+"/pid"))
		w.off["node-b"]()
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its process outlived its node: %v", err)
		}
		w.off["node-b"] = w.run(w.nodes["node-b"].Run)
		w.eventually("it runs again", runs(1))
		if before.Status.PodIP != addr {
			t.Errorf("its address was %s and is %s", addr, before.Status.PodIP)
		}
	})

	t.Run("an image that nobody has", func(t *testing.T) {
		w.t = t
		w.apply(strings.ReplaceAll(pod("stranger", "Always", ""), "image: sh", "image: nginx:latest"))
		w.eventually("its status says so", func(ctx context.Context) error {
			p, err := w.client.CoreV1().Pods("default").Get(ctx, "stranger", metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, `no image "nginx:latest"; it has pause, sh`) {
					return nil
				}
			}
			return fmt.Errorf("its status is %+v", p.Status)
		})
	})
}

func pod(name, policy, script string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: %s
  containers: [{name: x, image: sh, args: ["-c", %q]}]
`, name, policy, script)
}

// read is the content of a file; empty when there is none yet.
func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b)
}
