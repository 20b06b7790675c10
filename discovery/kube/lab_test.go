package kube

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.1.0.0/16")) }

// quick is a pace at which a test does not wait long.
func quick() Pace {
	return Pace{Pulse: 200 * time.Millisecond, Timeout: time.Second, Audit: time.Hour, Settle: 300 * time.Millisecond,
		Confirm: 1500 * time.Millisecond, Status: 50 * time.Millisecond}
}

// site is a real API server with its admin.
type site struct {
	*cluster.Cluster
	admin kubernetes.Interface
}

// sites starts API servers that end with the test, each at an address of its own.
func sites(t *testing.T, names ...string) map[string]*site {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	out := map[string]*site{}
	for i, name := range names {
		c, err := cluster.Start(t.Context(), group, cluster.Config{
			Name: name, Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), Dir: t.TempDir(), Programs: programs, NoControllers: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		admin, err := kubernetes.NewForConfig(c.REST())
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &site{Cluster: c, admin: admin}
	}
	return out
}

// apply creates what a YAML file of a CRD holds, and waits until it is served.
func (s *site) apply(t *testing.T, files ...string) {
	t.Helper()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(data), "\n---\n") {
			if strings.TrimSpace(doc) != "" {
				s.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", doc)
			}
		}
	}
}

func (s *site) rest() rest.Interface { return s.admin.CoreV1().RESTClient() }

// post creates an object.
func (s *site) post(t *testing.T, path, yaml string) {
	t.Helper()
	eventually(t, func() error {
		err := s.rest().Post().AbsPath(path).SetHeader("Content-Type", "application/yaml").Body([]byte(yaml)).Do(t.Context()).Error()
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// put makes an object what the YAML says, whatever it was.
func (s *site) patch(t *testing.T, path, patch string) {
	t.Helper()
	if err := s.rest().Patch("application/merge-patch+json").AbsPath(path).Body([]byte(patch)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

func (s *site) delete(t *testing.T, path string) {
	t.Helper()
	if err := s.rest().Delete().AbsPath(path).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

// service creates a federated Service with one EndpointSlice of ready endpoints.
func (s *site) service(t *testing.T, name string, labels map[string]string, addrs ...string) {
	t.Helper()
	if _, err := s.admin.CoreV1().Services("default").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr("http"), Port: ptr(int32(8080))}}}
	for _, a := range addrs {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	if _, err := s.admin.DiscoveryV1().EndpointSlices("default").Create(t.Context(), slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// endpoints replaces the endpoints of a service.
func (s *site) endpoints(t *testing.T, name string, addrs ...string) {
	t.Helper()
	slices := s.admin.DiscoveryV1().EndpointSlices("default")
	slice, err := slices.Get(t.Context(), name+"-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slice.Endpoints = nil
	for _, a := range addrs {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

var federated = map[string]string{"meridian.dev/federate": "true"}

// keeper stands for the hub: it keeps what is told by the same rules.
type keeper struct {
	mu    sync.Mutex
	facts map[string]map[fleet.FactName]fleet.Value
	stale map[string]string
	whole map[string]bool
	news  chan struct{}
	count int
}

func newKeeper() *keeper {
	return &keeper{facts: map[string]map[fleet.FactName]fleet.Value{}, stale: map[string]string{}, whole: map[string]bool{}, news: make(chan struct{}, 1)}
}

func (k *keeper) tell(_ context.Context, u fleet.Update) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.count++
	if k.facts[u.Source] == nil || u.Whole && u.Stale == "" {
		k.facts[u.Source] = map[fleet.FactName]fleet.Value{}
	}
	k.whole[u.Source] = k.whole[u.Source] || u.Whole && u.Stale == ""
	for _, f := range u.Put {
		k.facts[u.Source][fleet.FactName{Kind: f.Kind, Name: f.Name}] = f.Value
	}
	for _, n := range u.Gone {
		delete(k.facts[u.Source], n)
	}
	k.stale[u.Source] = u.Stale
	select {
	case k.news <- struct{}{}:
	default:
	}
}

// known is what is in force of all sources, as a disk would keep it.
func (k *keeper) known() []fleet.Update {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []fleet.Update
	for source, facts := range k.facts {
		u := fleet.Update{Source: source}
		for n, v := range facts {
			u.Put = append(u.Put, fleet.NewFact(n.Name, v))
		}
		list = append(list, u)
	}
	return list
}

// lines is what is in force of a source, one fact a line.
func (k *keeper) lines(source string) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []string
	for n, v := range k.facts[source] {
		switch v := v.(type) {
		case *fleet.Backend:
			list = append(list, strings.TrimSpace("backend "+n.Name+" "+addresses(v)))
		case *fleet.RouteSet:
			for _, r := range v.Routes {
				list = append(list, strings.TrimSpace(fmt.Sprintf("route %s %s%s -> %v %s", n.Name, r.Host, r.Match.Path, r.To[0].Service, r.Certificate)))
			}
		case fleet.Problems:
			for _, p := range v {
				list = append(list, fmt.Sprintf("problem %s: %s: %s", p.About, p.Reason, p.Message))
			}
		default:
			list = append(list, string(n.Kind)+" "+n.Name)
		}
	}
	slices.Sort(list)
	return list
}

func addresses(b *fleet.Backend) string {
	var list []string
	for _, p := range b.Ports {
		for _, e := range p.Endpoints {
			text := e.Addr.Addr().String()
			if e.Zone != "" {
				text += "@" + e.Zone
			}
			list = append(list, text)
		}
	}
	return strings.Join(list, ",")
}

func (k *keeper) staleness(source string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stale[source]
}

// patience is how long anything real may take.
const patience = 30 * time.Second

// want waits until a source says just these lines besides its problems.
func (k *keeper) want(t *testing.T, source string, want ...string) {
	t.Helper()
	k.until(t, func() error {
		got := slices.DeleteFunc(k.lines(source), func(l string) bool { return strings.HasPrefix(l, "problem ") })
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s says %q, want %q; stale: %q; all: %q", source, got, want, k.staleness(source), k.lines(source))
		}
		return nil
	})
}

// wantProblem waits until a source has a problem that says this.
func (k *keeper) wantProblem(t *testing.T, source, says string) {
	t.Helper()
	k.until(t, func() error {
		for _, l := range k.lines(source) {
			if strings.HasPrefix(l, "problem ") && strings.Contains(l, says) {
				return nil
			}
		}
		return fmt.Errorf("%s says %q, want a problem with %q", source, k.lines(source), says)
	})
}

func (k *keeper) wantNoProblem(t *testing.T, source string) {
	t.Helper()
	k.until(t, func() error {
		for _, l := range k.lines(source) {
			if strings.HasPrefix(l, "problem ") {
				return fmt.Errorf("%s has the problem %q", source, l)
			}
		}
		return nil
	})
}

// wantStale waits until a source is stale for that reason; empty: fresh.
func (k *keeper) wantStale(t *testing.T, source, says string) {
	t.Helper()
	k.until(t, func() error {
		got := k.staleness(source)
		if (got == "") != (says == "") || !strings.Contains(got, says) {
			return fmt.Errorf("%s is stale because of %q, want %q", source, got, says)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if says == "" && !k.whole[source] {
			return fmt.Errorf("%s has not told everything", source)
		}
		return nil
	})
}

// until waits for what is told.
func (k *keeper) until(t *testing.T, f func() error) {
	t.Helper()
	deadline := time.After(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-k.news:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// step is a part of a diary: what comes after it builds on it.
func step(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// eventually asks a real process until it has come round.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-poll.C {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// installed makes an installation at a test's pace.
func installed(t *testing.T, cfg *Config) *Installation {
	t.Helper()
	cfg.Instance = "i"
	if cfg.Pace == (Pace{}) {
		cfg.Pace = quick()
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	i, err := New(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// started runs an installation until the test ends, or stop is called.
func started(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	return run(t, installed(t, &cfg))
}

func run(t *testing.T, i *Installation) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s %s", time.Now().Format("15:04:05.000"), strings.TrimSpace(string(p)))
	return len(p), nil
}

var _ io.Writer = testWriter{}

// ours are Meridian's CRDs.
func ours(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d CRDs", err, len(files))
	}
	return files
}

// ofModule are files that another module ships.
func ofModule(t *testing.T, module string, files ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("finding %s: %v", module, err)
	}
	for i, f := range files {
		files[i] = filepath.Join(strings.TrimSpace(string(out)), f)
	}
	return files
}

// install sets up a host cluster with the CRDs and the installation's namespace.
func (s *site) install(t *testing.T) {
	t.Helper()
	s.apply(t, ours(t)...)
	if _, err := s.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.HostNamespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

const clustersPath = "/apis/meridian.dev/v1alpha1/clusters"

// join makes the Cluster object of a member, and its Secret.
func (s *site) join(t *testing.T, name string, kubeconfig []byte) {
	t.Helper()
	s.credentials(t, name, kubeconfig)
	s.post(t, clustersPath, fmt.Sprintf(`{apiVersion: meridian.dev/v1alpha1, kind: Cluster, metadata: {name: %s},
spec: {region: %s, place: {lat: "50", lon: "4"}, gateways: [{address: 192.0.2.%d}], credentialsRef: {name: %s}}}`, name, name, len(name), name))
}

// credentials makes or rotates a member's Secret.
func (s *site) credentials(t *testing.T, name string, kubeconfig []byte) {
	t.Helper()
	secrets := s.admin.CoreV1().Secrets(v1alpha1.HostNamespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	_, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}
