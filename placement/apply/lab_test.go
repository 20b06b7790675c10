package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.0.0.0/8")) }

// quick is a pace at which a test does not wait long.
func quick() Pace {
	return Pace{Pulse: 200 * time.Millisecond, Timeout: time.Second, Audit: time.Hour, Status: 50 * time.Millisecond, Survey: time.Second, Rights: 200 * time.Millisecond, Lease: 3 * time.Second}
}

// patience is how long anything real may take.
const patience = 30 * time.Second

// site is a real API server with its admin.
type site struct {
	*cluster.Cluster
	admin kubernetes.Interface
	dir   string
}

// sites starts API servers that end with the test, each at an address of its own.
// Those of members whose names end in "+" have controllers.
func sites(t *testing.T, names ...string) map[string]*site {
	t.Helper()
	programs := lab.Kube(t)
	group := lab.Begin(t)
	out := map[string]*site{}
	for i, name := range names {
		name, controllers := strings.CutSuffix(name, "+")
		c, err := cluster.Start(t.Context(), group, cluster.Config{
			Name: name, Addr: netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)}), Dir: t.TempDir(), Programs: programs, NoControllers: !controllers,
		})
		if err != nil {
			t.Fatal(err)
		}
		admin, err := kubernetes.NewForConfig(c.REST())
		if err != nil {
			t.Fatal(err)
		}
		out[name] = &site{Cluster: c, admin: admin, dir: t.TempDir()}
	}
	return out
}

func (s *site) rest() rest.Interface { return s.admin.CoreV1().RESTClient() }

// post creates an object.
func (s *site) post(t *testing.T, path, text string) {
	t.Helper()
	eventually(t, func() error {
		err := s.rest().Post().AbsPath(path).SetHeader("Content-Type", "application/yaml").Body([]byte(text)).Do(t.Context()).Error()
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}

// patch changes an object by a merge patch, in the name of somebody else.
func (s *site) patch(t *testing.T, path, patch string) {
	t.Helper()
	if err := s.rest().Patch("application/merge-patch+json").AbsPath(path).Param("fieldManager", "somebody").Body([]byte(patch)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

func (s *site) delete(t *testing.T, path string) {
	t.Helper()
	if err := s.rest().Delete().AbsPath(path).Param("propagationPolicy", "Background").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
}

// get reads an object; nil: there is none.
func (s *site) get(path string) (*unstructured.Unstructured, error) {
	raw, err := s.rest().Get().AbsPath(path).Do(context.Background()).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // none is fine
	}
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	return o, json.Unmarshal(raw, &o.Object)
}

// at reads a field of an object, as people write it; "" when there is none.
func (s *site) at(path string, fields ...string) (string, error) {
	o, err := s.get(path)
	if o == nil || err != nil {
		return "", err
	}
	v, ok, _ := unstructured.NestedFieldNoCopy(o.Object, fields...)
	if !ok {
		return "", nil
	}
	return fmt.Sprint(v), nil
}

// want waits until a field of an object says this.
func (s *site) want(t *testing.T, want, path string, fields ...string) {
	t.Helper()
	eventually(t, func() error {
		got, err := s.at(path, fields...)
		if err == nil && got != want {
			err = fmt.Errorf("%s: %s %v is %q, want %q", s.Name(), path, fields, got, want)
		}
		return err
	})
}

// wantNone waits until an object is not there.
func (s *site) wantNone(t *testing.T, path string) {
	t.Helper()
	eventually(t, func() error {
		o, err := s.get(path)
		if err == nil && o != nil {
			err = fmt.Errorf("%s: %s is there", s.Name(), path)
		}
		return err
	})
}

// install sets up a host cluster with the CRDs and the installation's namespace.
func (s *site) install(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../../deploy/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %d CRDs", err, len(files))
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s.post(t, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", string(data))
	}
	if _, err := s.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.HostNamespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

const federated = "/apis/meridian.dev/v1alpha1/namespaces/default/federatedobjects"

// federate creates a FederatedObject; terms is YAML of its spec besides the template.
func (s *site) federate(t *testing.T, name, template, terms string) {
	t.Helper()
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(terms), &spec); err != nil {
		t.Fatal(err)
	}
	if spec == nil {
		spec = map[string]any{}
	}
	var object map[string]any
	if err := yaml.Unmarshal([]byte(template), &object); err != nil {
		t.Fatal(err)
	}
	spec["template"] = object
	data, err := json.Marshal(map[string]any{"apiVersion": "meridian.dev/v1alpha1", "kind": "FederatedObject", "metadata": map[string]any{"name": name}, "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	s.post(t, federated, string(data))
}

// object reads a FederatedObject.
func (s *site) object(name string) (*v1alpha1.FederatedObject, error) {
	raw, err := s.rest().Get().AbsPath(federated + "/" + name).Do(context.Background()).Raw()
	if err != nil {
		return nil, err
	}
	o := &v1alpha1.FederatedObject{}
	return o, json.Unmarshal(raw, o)
}

// wantStatus waits until the status of a FederatedObject pleases.
func (s *site) wantStatus(t *testing.T, name string, pleases func(v1alpha1.WorkloadStatus) error) {
	t.Helper()
	eventually(t, func() error {
		o, err := s.object(name)
		if err != nil {
			return err
		}
		if err := pleases(o.Status); err != nil {
			text, _ := json.Marshal(o.Status)
			return fmt.Errorf("%w in %s", err, text)
		}
		return nil
	})
}

// requests counts what is asked of a member.
type requests struct {
	next http.RoundTripper
	slow map[string]time.Duration // by path: how long an answer takes
	deny map[string]bool          // by path: what is forbidden
	mu   sync.Mutex
	log  []string
}

// RoundTrip counts all but pulses.
func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.Contains(req.URL.RawQuery, "kube-system") {
		r.mu.Lock()
		r.log = append(r.log, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
	}
	if r.denies(req.URL.Path) {
		return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
			Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"no","code":403}`))}, nil
	}
	if wait := r.slow[req.URL.Path]; wait > 0 {
		select {
		case <-time.After(wait):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	return r.next.RoundTrip(req)
}

func (r *requests) denies(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.deny[path]
}

// forbid forbids just these paths from now on.
func (r *requests) forbid(paths ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny = map[string]bool{}
	for _, p := range paths {
		r.deny[p] = true
	}
}

// since are the requests after the first n.
func (r *requests) since(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log[n:len(r.log):len(r.log)]
}

// house is an applier with its members.
type house struct {
	said *record // its log
	*Applier
	host     *site
	requests map[string]*requests
	access   map[string]Member
	registry *prometheus.Registry
	stop     func()
}

// place is where a test's cluster stands.
type place struct {
	region string
	labels map[string]string
	taints []fleet.Taint
}

// world is a plan that knows these clusters.
func world(places map[string]place, drains ...fleet.Drain) *steer.Plan {
	snapshot := fleet.EmptySnapshot()
	for name, p := range places {
		c := &fleet.Cluster{Name: name, At: fleet.Vantage{Region: fleet.Region(p.region)}, Taints: p.taints}
		for k, v := range p.labels {
			c.Labels = append(c.Labels, fleet.Label{Key: k, Value: v})
		}
		snapshot.World.Edges = append(snapshot.World.Edges, &fleet.Edge{Region: c.At.Region, Clusters: []*fleet.Cluster{c}})
	}
	snapshot.World.Drains = drains
	return steer.New(snapshot)
}

// everywhere is a world in which all these clusters stand somewhere.
func everywhere(names ...string) *steer.Plan {
	places := map[string]place{}
	for _, n := range names {
		places[n] = place{region: "r-" + n}
	}
	return world(places)
}

// applier makes an applier of a host for members, which are in the world.
func applier(t *testing.T, instance string, host *site, members ...*site) *house {
	t.Helper()
	h := &house{host: host, said: &record{}, requests: map[string]*requests{}, access: map[string]Member{}, registry: prometheus.NewRegistry()}
	a, err := New(Config{Instance: instance, Host: host.REST(), Pace: quick(), Registerer: h.registry,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(testWriter{t}, h.said), nil)).With("instance", instance)})
	if err != nil {
		t.Fatal(err)
	}
	h.Applier = a
	var names []string
	for _, m := range members {
		count := &requests{}
		cfg := rest.CopyConfig(m.REST())
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
		client, err := rest.HTTPClientFor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.requests[m.Name()] = count
		h.access[m.Name()] = Member{Config: cfg, Client: client, Token: "1"}
		names = append(names, m.Name())
	}
	a.Members(h.access)
	a.Update(everywhere(names...))
	return h
}

// run runs an applier until the test ends, or stop is called.
func (h *house) run(t *testing.T) *house {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
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
	t.Cleanup(h.stop)
	return h
}

// quiet waits until nothing was asked of any member for a while, and returns how
// many requests there have been.
func (h *house) quiet(t *testing.T, while time.Duration) map[string]int {
	t.Helper()
	last := map[string]int{}
	since := time.Now()
	eventually(t, func() error {
		for name, r := range h.requests {
			if n := len(r.since(0)); n != last[name] {
				last[name], since = n, time.Now()
			}
		}
		if time.Since(since) < while {
			return fmt.Errorf("requests go on: %v", last)
		}
		return nil
	})
	return last
}

// record is what was logged.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s %s", time.Now().Format("15:04:05.000"), strings.TrimSpace(string(p)))
	return len(p), nil
}

var _ io.Writer = testWriter{}

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
