package services_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/internal/lab/services"
)

func TestMain(m *testing.M) {
	netns.Main(m, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"))
}

const (
	names   = "10.1.0.53"
	balance = "192.0.2.1"
)

// world is a cluster with one node, whose Services work.
type world struct {
	t      *testing.T
	client kubernetes.Interface
	node   *node.Node
}

func newWorld(t *testing.T) *world {
	t.Helper()
	programs := lab.Kube(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	group := lab.NewGroup(ctx)
	ended := make(chan error)
	running := 0
	t.Cleanup(func() {
		cancel()
		for range running {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
	})
	run := func(f func(context.Context) error) {
		running++
		go func() { ended <- f(ctx) }()
	}
	c, err := cluster.Start(ctx, group, cluster.Config{Name: "one", Addr: netip.MustParseAddr("10.1.0.1"), Dir: t.TempDir(), Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t}
	if w.client, err = kubernetes.NewForConfig(c.REST()); err != nil {
		t.Fatal(err)
	}
	w.node, err = node.New(node.Config{
		Name: "node", REST: c.REST(), Addr: netip.MustParseAddr("10.1.1.1"), Pods: netip.MustParsePrefix("10.101.0.0/24"), Dir: t.TempDir(), Names: netip.MustParseAddr(names),
		Images: map[string]node.Image{"whereami": node.Whereami(lab.Build(t, "whereami")), "sh": node.Program("/bin/sh")},
	})
	if err != nil {
		t.Fatal(err)
	}
	scheduler, err := node.NewScheduler(c.REST(), nil)
	if err != nil {
		t.Fatal(err)
	}
	network, err := services.New(services.Config{REST: c.REST(), Names: netip.MustParseAddr(names), Balance: func(n types.NamespacedName) services.Front {
		if n.Name == "public" {
			return services.Front{Public: netip.MustParseAddr(balance)}
		}
		return services.Front{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	run(w.node.Run)
	run(scheduler.Run)
	run(network.Run)
	return w
}

func (w *world) eventually(what string, ask func(context.Context) error) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
		err := ask(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) pod(text string) {
	w.t.Helper()
	if _, err := w.client.CoreV1().Pods("default").Create(w.t.Context(), parse[corev1.Pod](w.t, text), metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) service(text string) *corev1.Service {
	w.t.Helper()
	made, err := w.client.CoreV1().Services("default").Create(w.t.Context(), parse[corev1.Service](w.t, text), metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// get asks from an address of a user's.
func get(ctx context.Context, url string) (string, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7)}}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", resp.Status)
	}
	return string(raw), err
}

func dig(ctx context.Context, at, name string) (string, error) {
	in, _, err := (&dns.Client{Timeout: time.Second}).ExchangeContext(ctx, new(dns.Msg).SetQuestion(name, dns.TypeA), at)
	if err != nil {
		return "", err
	}
	if in.Rcode != dns.RcodeSuccess {
		return dns.RcodeToString[in.Rcode], nil
	}
	var all []string
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			all = append(all, a.A.String())
		}
	}
	return strings.Join(all, " "), nil
}

// A Service is reached by its name, its own address and its load balancer's, as long as
// it has pods; what a pod claims to keep is there for the next one.
func TestServices(t *testing.T) {
	w := newWorld(t)
	const selects = "selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]"
	inside := w.service("{metadata: {name: inside}, spec: {" + selects + "}}")
	w.service("{metadata: {name: public}, spec: {type: LoadBalancer, " + selects + "}}")
	w.service("{metadata: {name: bare}, spec: {clusterIP: None, " + selects + "}}")
	w.service("{metadata: {name: names}, spec: {selector: {app: web}, ports: [{name: dns, port: 53, protocol: UDP, targetPort: 5353}]}}")

	own := "http://" + inside.Spec.ClusterIP
	w.eventually("a Service without pods refuses", func(ctx context.Context) error {
		if out, err := get(ctx, own); err == nil || !strings.Contains(err.Error(), "reset") {
			return errors.Join(fmt.Errorf("it says %q, and not that it was reset", out), err)
		}
		return nil
	})
	w.pod(`
metadata: {name: web-0, labels: {app: web}}
spec:
  hostname: web-0
  subdomain: bare
  containers:
  - name: whereami
    image: whereami
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /healthz, port: http}}
`)
	for _, url := range []string{own, "http://" + balance} {
		w.eventually(url, func(ctx context.Context) error {
			out, err := get(ctx, url+"/?format=json")
			if err == nil && (!strings.Contains(out, `"web-0"`) || !strings.Contains(out, "198.51.100.7")) {
				err = fmt.Errorf("the pod that is asked, or the user that it sees, is another: %s", out)
			}
			return err
		})
	}
	w.eventually("the status says where the load balancer is", func(ctx context.Context) error {
		svc, err := w.client.CoreV1().Services("default").Get(ctx, "public", metav1.GetOptions{})
		if err == nil && (len(svc.Status.LoadBalancer.Ingress) != 1 || svc.Status.LoadBalancer.Ingress[0].IP != balance) {
			err = fmt.Errorf("%+v", svc.Status)
		}
		return err
	})
	for name, want := range map[string]string{
		"inside.default.svc.cluster.local.": inside.Spec.ClusterIP, "bare.default.svc.cluster.local.": "10.101.0.1", "web-0.bare.default.svc.cluster.local.": "10.101.0.1",
		"web-1.bare.default.svc.cluster.local.": "NXDOMAIN", "other.default.svc.cluster.local.": "NXDOMAIN", "example.com.": "NXDOMAIN",
	} {
		w.eventually(name, func(ctx context.Context) error {
			got, err := dig(ctx, names+":53", name)
			if err == nil && got != want {
				err = fmt.Errorf("it is %s, want %s", got, want)
			}
			return err
		})
	}

	// Datagrams: a name server of this test's stands for one in the pod.
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "10.101.0.1:5353")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 99)}}
		_ = rw.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	defer func() { _ = server.Shutdown() }() // the test is over
	w.eventually("a Service carries datagrams", func(ctx context.Context) error {
		svc, err := w.client.CoreV1().Services("default").Get(ctx, "names", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got, err := dig(ctx, svc.Spec.ClusterIP+":53", "x."); err != nil || got != "192.0.2.99" {
			return fmt.Errorf("%s %w", got, err)
		}
		return nil
	})
}

// What pods claim to keep is there for the next one; a pod that is killed lives again;
// and pods see their own names.
func TestPodsKeep(t *testing.T) {
	w := newWorld(t)
	const keeper = `
metadata: {name: keeper, labels: {app: keeper}}
spec:
  hostname: keeper
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
  containers:
  - name: sh
    image: sh
    command: [sh, -c]
    args: ["echo life >>/data/lives; cat /data/lives /etc/hosts /etc/resolv.conf; exec sleep 600"]
    volumeMounts: [{name: data, mountPath: /data}]
`
	if _, err := w.client.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), parse[corev1.PersistentVolumeClaim](t,
		`{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	says := func(what string, lives int) {
		t.Helper()
		w.eventually(what, func(ctx context.Context) error {
			raw, err := w.client.CoreV1().Pods("default").GetLogs("keeper", &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil {
				return err
			}
			for _, want := range []string{"10.101.0.", " localhost\n", " keeper\n", "nameserver " + names, "search default.svc.cluster.local svc.cluster.local"} {
				if !strings.Contains(string(raw), want) {
					return fmt.Errorf("no %q in %s", want, raw)
				}
			}
			if got := strings.Count(string(raw), "life\n"); got != lives {
				return fmt.Errorf("it counts %d lives, want %d", got, lives)
			}
			return nil
		})
	}
	w.pod(keeper)
	says("it lives", 1)
	if err := w.node.Kill("default", "keeper"); err != nil {
		t.Fatal(err)
	}
	says("it lives again", 2)
	if err := w.client.CoreV1().Pods("default").Delete(t.Context(), "keeper", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("it is gone", func(ctx context.Context) error {
		list, err := w.client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%s is there", list.Items[0].Name)
		}
		return err
	})
	w.pod(keeper)
	says("its successor finds what it kept", 3)
	if err := w.node.Kill("default", "nobody"); err == nil || !strings.Contains(err.Error(), "runs no pod default/nobody") {
		t.Errorf("got %v", err)
	}
}
