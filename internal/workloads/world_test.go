//go:build e2e

package workloads

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/trust"
)

func TestMain(m *testing.M) { netns.Main(m, netip.MustParsePrefix("10.0.0.0/8")) }

// The installation's cluster, and the namespace of its daemon.
const (
	hostCluster = "us"
	ours        = "meridian-system"
)

// continents are the clusters, each in a region that the table of clouds knows. The last joins late.
func continents() []continent {
	return []continent{
		{hostCluster, "us-east1", 1}, {"eu", "europe-west1", 2}, {"asia", "asia-east1", 3},
		{"africa", "africa-south1", 4}, {"oceania", "australia-southeast1", 5}, {"brazil", "southamerica-east1", 6},
	}
}

type continent struct {
	name, region string
	n            byte
}

func (c continent) addr(third, fourth byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, c.n, third, fourth})
}
func (c continent) pods(machine byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + c.n, 4 * machine, 0}), 22)
}

// site is a cluster at work.
type site struct {
	continent
	*cluster.Cluster
	world    *world
	kube     kubernetes.Interface
	machines map[string]*machine
	watch    func() // switches its scheduler off
}

// machine is a node with its switch.
type machine struct {
	*node.Node
	off func() // returns when its processes are gone
}

// world is all of it.
type world struct {
	t         *testing.T
	dir       string
	programs  kubebin.Programs
	bin       string
	group     *lab.Group
	sites     []*site
	members   []*site // those that have joined
	meridiand *lab.Process
	running   sync.WaitGroup
	ctx       context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), programs: lab.Kube(t)}
	var err error
	if w.bin, err = filepath.Abs("../../bin"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"meridian", "meridiand", "whereami"} {
		if _, err := os.Stat(filepath.Join(w.bin, p)); err != nil {
			t.Fatalf("%s is not built; run: make build (%v)", p, err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t.Context ends before Cleanup
	w.ctx, w.group = ctx, lab.NewGroup(ctx)
	t.Cleanup(func() {
		cancel()
		w.running.Wait()
		_ = w.group.Stop() // who was killed on the way is the story's business
	})
	began := time.Now()
	var starting sync.WaitGroup
	errs := make([]error, len(continents()))
	for i, c := range continents() {
		s := &site{continent: c, world: w, machines: map[string]*machine{}}
		w.sites = append(w.sites, s)
		starting.Go(func() { errs[i] = s.start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d clusters after %.1f s", len(w.sites), time.Since(began).Seconds())
	w.kubeconfig()
	return w
}

func (w *world) site(name string) *site {
	for _, s := range w.sites {
		if s.continent.name == name {
			return s
		}
	}
	w.t.Fatalf("no site %s", name)
	return nil
}

// background runs until the world ends, or stop is called.
func (w *world) background(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	ended := make(chan struct{})
	w.running.Go(func() {
		defer close(ended)
		if err := f(ctx); err != nil {
			w.t.Error(err)
		}
	})
	return func() { cancel(); <-ended }
}

// auditPolicy has every write of Meridian's own accounts noted, and nothing else.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ["system:serviceaccount:meridian-system:meridian", "system:serviceaccount:meridian-system:meridiand"]
  verbs: [create, update, patch, delete, deletecollection]
- level: None
`

func (s *site) start() error {
	dir := filepath.Join(s.world.dir, s.continent.name)
	if err := os.MkdirAll(filepath.Join(dir, "kube"), 0o755); err != nil {
		return err
	}
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	var err error
	s.Cluster, err = cluster.Start(s.world.ctx, s.world.group, cluster.Config{
		Name: s.continent.name, Addr: s.addr(0, 1), Dir: filepath.Join(dir, "kube"), Programs: s.world.programs,
		APIServerArgs: []string{"--audit-policy-file=" + policy, "--audit-log-path=" + s.auditLog()},
	})
	if err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(s.REST()); err != nil {
		return err
	}
	labels := map[string]string{"pool": "wide"}
	if s.continent.name != "eu" { // where room is small, see the story
		labels["narrow"] = "true"
	}
	if err := s.machine("wide", 0, 700, labels); err != nil {
		return err
	}
	return s.schedule()
}

func (s *site) auditLog() string { return filepath.Join(s.world.dir, s.continent.name, "audit.log") }

// schedule has a scheduler bind pods.
func (s *site) schedule() error {
	scheduler, err := node.NewScheduler(s.REST(), nil)
	if err != nil {
		return err
	}
	s.watch = s.world.background(scheduler.Run)
	return nil
}

// machine puts a machine into the cluster and switches it on.
func (s *site) machine(name string, i byte, most int, labels map[string]string) error {
	dir := filepath.Join(s.world.dir, s.continent.name, "node-"+name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	n, err := node.New(node.Config{
		Name: s.continent.name + "-" + name, REST: s.REST(), Addr: s.addr(1, i+1), Pods: s.pods(i), Most: most, Labels: labels,
		Region: s.region, Zone: s.region + "-b", Dir: dir,
		Images: map[string]node.Image{
			"whereami": node.Whereami(filepath.Join(s.world.bin, "whereami")),
			"waiter":   node.Program("/bin/sleep"),
			// These run beside the cluster, since nothing here routes the addresses of Services.
			"meridiand": nil, "envoy": nil,
		},
	})
	if err != nil {
		return err
	}
	s.machines[name] = &machine{Node: n, off: s.world.background(n.Run)}
	return nil
}

// die takes a cluster away, with all that runs in it.
func (s *site) die() {
	s.world.t.Helper()
	s.watch()
	for _, m := range s.machines {
		m.off()
	}
	if err := s.Stop(); err != nil {
		s.world.t.Fatal(err)
	}
}

// rise brings it back as it was.
func (s *site) rise() {
	s.world.t.Helper()
	if err := s.Restart(s.world.ctx); err != nil {
		s.world.t.Fatal(err)
	}
	for _, m := range s.machines {
		m.off = s.world.background(m.Run)
	}
	if err := s.schedule(); err != nil {
		s.world.t.Fatal(err)
	}
}

// kubeconfig is an operator's: a context for each cluster.
func (w *world) kubeconfig() {
	w.t.Helper()
	all := clientcmdapi.NewConfig()
	for _, s := range w.sites {
		one, err := clientcmd.Load(s.Kubeconfig())
		if err != nil {
			w.t.Fatal(err)
		}
		name, c := s.continent.name, one.Contexts[one.CurrentContext]
		all.Clusters[name], all.AuthInfos[name] = one.Clusters[c.Cluster], one.AuthInfos[c.AuthInfo]
		all.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: "default"}
	}
	all.CurrentContext = hostCluster
	if err := clientcmd.WriteToFile(*all, filepath.Join(w.dir, "kubeconfig")); err != nil {
		w.t.Fatal(err)
	}
}

// run runs a command as an operator does and returns what it printed.
func (w *world) run(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(w.dir, "kubeconfig"), "HOME="+w.dir)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// meridian runs the command line and logs it.
func (w *world) meridian(stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.run(stdin, filepath.Join(w.bin, "meridian"), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("$ meridian %s\n%s", strings.Join(args, " "), out)
	return out
}

// federate has ordinary YAML placed.
func (w *world) federate(yaml string, args ...string) {
	w.t.Helper()
	w.meridian(yaml, append([]string{"federate", "-f", "-", "--apply"}, args...)...)
}

// kubectl runs the real one on a cluster.
func (s *site) kubectl(stdin string, args ...string) string {
	s.world.t.Helper()
	out, err := s.world.run(stdin, s.world.programs.Kubectl, append([]string{"--context", s.continent.name}, args...)...)
	if err != nil {
		s.world.t.Fatal(err)
	}
	return out
}

// join makes a cluster a member that takes workloads.
func (w *world) join(s *site) {
	w.t.Helper()
	w.meridian("", "join", s.continent.name, "--context", s.continent.name, "--host-context", hostCluster, "--endpoint-network", "any",
		"--workloads=configmaps,daemonsets.apps,deployments.apps,gizmos.example.com,replicasets.apps,widgets.example.com")
	w.members = append(w.members, s)
}

// startDaemon starts meridiand with the identity that init has made, or once more.
func (w *world) startDaemon() {
	w.t.Helper()
	s := w.site(hostCluster)
	dir := filepath.Join(w.dir, "meridiand")
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
		w.t.Fatal(err)
	}
	papers, err := s.kube.CoreV1().Secrets(ours).Get(w.ctx, "meridiand-identity", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	pem := trust.PEM{Certificate: papers.Data["meridiand-0.crt"], Key: papers.Data["meridiand-0.key"], Bundle: papers.Data["ca.crt"]}
	who, err := trust.ParsePapers(pem, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	identity := filepath.Join(dir, "identity")
	if err := os.MkdirAll(identity, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := trust.WritePEM(identity, pem); err != nil {
		w.t.Fatal(err)
	}
	at := func(port int) string { return fmt.Sprintf("%s:%d", s.addr(2, 1), port) }
	w.meridiand, err = w.group.Start(lab.Command{
		Name: "meridiand", Path: filepath.Join(w.bin, "meridiand"), Log: filepath.Join(dir, "log"),
		Args: []string{
			"--instance", who.Identity().Name, "--region", s.region, "--state", filepath.Join(dir, "state"), "--identity", identity,
			"--xds", at(18000), "--admin", at(9443), "--dns", at(53), "--debug", at(9090), "--peer-listen", at(17443),
			"--probe-source", s.addr(2, 1).String(), "--kubeconfig", w.serviceAccount(s, dir),
		},
		Ready: lab.HTTPReady("http://" + at(9090) + "/healthz"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// serviceAccount writes a kubeconfig of the account that the chart gives to the daemon.
func (w *world) serviceAccount(s *site, dir string) string {
	w.t.Helper()
	file := filepath.Join(dir, "kubeconfig")
	token, err := s.kube.CoreV1().ServiceAccounts(ours).CreateToken(w.ctx, "meridiand", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg, err := s.KubeconfigWithToken("meridiand", token.Status.Token)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// eventually asks a living world until it has come round, and says how long that took.
func (w *world) eventually(what string, within time.Duration, f func(context.Context) error) time.Duration {
	w.t.Helper()
	began := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		err := f(ctx)
		cancel()
		took := time.Since(began)
		if err == nil {
			return took
		}
		if took > within {
			w.t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		<-tick.C
	}
}

// step is one part of the story; the story ends at the first that fails.
func (w *world) step(name string, f func()) {
	outer := w.t
	began := time.Now()
	ok := outer.Run(name, func(t *testing.T) {
		w.t = t
		f()
		t.Logf("%.1f s", time.Since(began).Seconds())
	})
	w.t = outer
	if !ok {
		if w.meridiand != nil {
			outer.Logf("meridiand:\n%s", w.meridiand.Log())
		}
		outer.FailNow()
	}
}
