//go:build e2e

package workloads

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/internal/lab/stage"
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
	*stage.Stage
	t         *testing.T // of the step that is played now
	dir       string
	programs  kubebin.Programs
	bin       string
	group     *lab.Group
	sites     []*site
	members   []*site // those that have joined
	meridiand *lab.Process
	ctx       context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := stage.New(t)
	w := &world{Stage: s, t: t, dir: s.Dir, programs: s.Programs, bin: s.Bin, group: s.Group, ctx: s.Ctx}
	for _, c := range continents() {
		w.sites = append(w.sites, &site{continent: c, world: w, machines: map[string]*machine{}})
	}
	began := time.Now()
	w.SideBySide(len(w.sites), func(i int) error { return w.sites[i].start() })
	t.Logf("%d clusters after %.1f s", len(w.sites), time.Since(began).Seconds())
	var clusters []*cluster.Cluster
	for _, s := range w.sites {
		clusters = append(clusters, s.Cluster)
	}
	w.Kubeconfig(clusters...)
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
func (w *world) background(f func(context.Context) error) (stop func()) { return w.Background(f) }

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

func (s *site) start() (err error) {
	policy := filepath.Join(s.world.Folder(s.continent.name), "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	s.Cluster, s.kube, err = s.world.Cluster(s.continent.name, s.addr(0, 1), func(c *cluster.Config) {
		c.APIServerArgs = []string{"--audit-policy-file=" + policy, "--audit-log-path=" + s.auditLog()}
	})
	if err != nil {
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
func (s *site) schedule() (err error) {
	s.watch, err = s.world.Scheduler(s.REST())
	return err
}

// machine puts a machine into the cluster and switches it on.
func (s *site) machine(name string, i byte, most int, labels map[string]string) error {
	n, off, err := s.world.Machine(node.Config{
		Name: s.continent.name + "-" + name, REST: s.REST(), Addr: s.addr(1, i+1), Pods: s.pods(i), Most: most, Labels: labels,
		Region: s.region, Zone: s.region + "-b",
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
	s.machines[name] = &machine{Node: n, off: off}
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

// run runs a command as an operator does and returns what it printed.
func (w *world) run(stdin, program string, args ...string) (string, error) {
	return w.Run(stdin, program, args...)
}

// meridian runs the command line and logs it.
func (w *world) meridian(stdin string, args ...string) string {
	w.t.Helper()
	return w.Meridian(stdin, args...)
}

// federate has ordinary YAML placed.
func (w *world) federate(yaml string, args ...string) {
	w.t.Helper()
	w.meridian(yaml, append([]string{"federate", "-f", "-", "--apply"}, args...)...)
}

// kubectl runs the real one on a cluster.
func (s *site) kubectl(stdin string, args ...string) string {
	s.world.t.Helper()
	return s.world.Kubectl(s.continent.name, stdin, args...)
}

// join makes a cluster a member that takes workloads.
func (w *world) join(s *site) {
	w.t.Helper()
	w.meridian("", "join", s.continent.name, "--context", s.continent.name, "--host-context", hostCluster, "--endpoint-network", "any",
		"--workloads=configmaps,daemonsets.apps,deployments.apps,farms.example.com,gizmos.example.com,horizontalpodautoscalers.autoscaling,jobs.batch,replicasets.apps,statefulsets.apps,widgets.example.com")
	w.members = append(w.members, s)
}

// startDaemon starts meridiand with the identity that init has made, or once more.
func (w *world) startDaemon() {
	w.t.Helper()
	s := w.site(hostCluster)
	dir, identity := w.Folder("meridiand"), w.Folder("meridiand", "identity")
	papers, err := s.kube.CoreV1().Secrets(ours).Get(w.ctx, "meridiand-identity", metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	who := w.Identity(identity, papers.Data, "meridiand-0")
	at := func(port int) string { return fmt.Sprintf("%s:%d", s.addr(2, 1), port) }
	w.meridiand, err = w.group.Start(lab.Command{
		Name: "meridiand", Path: filepath.Join(w.bin, "meridiand"), Log: filepath.Join(dir, "log"),
		Args: []string{
			"--instance", who.Name, "--region", s.region, "--state", w.Folder("meridiand", "state"), "--identity", identity,
			"--xds", at(18000), "--admin", at(9443), "--dns", at(53), "--debug", at(9090), "--peer-listen", at(17443),
			"--probe-source", s.addr(2, 1).String(), "--kubeconfig", w.Account(s.Cluster, s.kube, dir),
		},
		Ready: lab.HTTPReady("http://" + at(9090) + "/healthz"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually asks a living world until it has come round, and says how long that took.
func (w *world) eventually(what string, within time.Duration, f func(context.Context) error) time.Duration {
	w.t.Helper()
	return w.Eventually(what, within, f)
}

// step is one part of the story; the story ends at the first that fails.
func (w *world) step(name string, play func()) {
	outer := w.t
	defer func() { w.t = outer }()
	w.Step(name, func() { w.t = w.T(); play() }, func() {
		if w.meridiand != nil {
			outer.Logf("meridiand:\n%s", w.meridiand.Log())
		}
	})
}
