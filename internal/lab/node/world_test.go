package node_test

import (
	"context"
	"encoding/json"
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
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
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

// read is the content of a file; empty when there is none yet.
func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b)
}
