//go:build e2e

package walkthrough

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

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/trust"
	"github.com/meridian-lb/meridian/xds/bootstrap"
)

// Everything has an address of its own: machines and pods in 10.0.0.0/8, front
// doors in 192.0.2.0/24, and users where real ones live.
func TestMain(m *testing.M) {
	netns.Main(m, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("128.112.128.0/24"), netip.MustParsePrefix("193.0.6.0/24"), netip.MustParsePrefix("203.178.141.0/24"))
}

const (
	frontPort  = 80
	securePort = 443
	relayPort  = 15443
	xdsPort    = 18000
	peerPort   = 17443
	adminPort  = 9443
	debugPort  = 9090
	envoyAdmin = 9901
)

// region is a part of the world: one cluster, one meridiand, one Envoy, and users.
type region struct {
	name    fleet.Region
	cluster string // also its network and the name of its context
	people  string
	n       byte
	place   fleet.Place
	user    netip.Addr
	subnet  netip.Prefix
}

// regions: the users' addresses are those of Princeton, RIPE NCC and WIDE, which
// the embedded country table knows.
func regions() []region {
	return []region{
		{name: "us-east1", cluster: "us", people: "Americans", n: 1, place: fleet.Place{Lat: 33.20, Lon: -80.01},
			user: netip.MustParseAddr("128.112.128.15"), subnet: netip.MustParsePrefix("128.112.128.0/24")},
		{name: "europe-west1", cluster: "eu", people: "Europeans", n: 2, place: fleet.Place{Lat: 50.45, Lon: 3.82},
			user: netip.MustParseAddr("193.0.6.139"), subnet: netip.MustParsePrefix("193.0.6.0/24")},
		{name: "asia-east1", cluster: "asia", people: "Asians", n: 3, place: fleet.Place{Lat: 24.05, Lon: 120.52},
			user: netip.MustParseAddr("203.178.141.194"), subnet: netip.MustParsePrefix("203.178.141.0/24")},
	}
}

func (r region) addr(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{10, r.n, c, d}) }
func (r region) api() netip.Addr           { return r.addr(0, 1) }
func (r region) daemon() netip.Addr        { return r.addr(2, 1) }
func (r region) envoy() netip.Addr         { return r.addr(2, 2) }
func (r region) front() netip.Addr         { return netip.AddrFrom4([4]byte{192, 0, 2, 10 * r.n}) }
func (r region) inside() netip.Prefix      { return netip.PrefixFrom(r.addr(0, 0), 16) }
func (r region) pods(zone byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + r.n, 4 * zone, 0}), 22)
}

// site is a region at work.
type site struct {
	region
	*cluster.Cluster
	world *world
	kube  kubernetes.Interface
	// mounted are Secrets as they were read last.
	mounted map[string]map[string][]byte

	meridiand, gateway *lab.Process
}

// world is all of it.
type world struct {
	t        *testing.T
	dir      string
	programs kubebin.Programs
	envoy    string
	bin      string
	group    *lab.Group
	wan      *lab.WAN
	sites    []*site
	running  sync.WaitGroup
	ctx      context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), programs: lab.Kube(t), envoy: lab.Envoy(t)}
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
	for _, r := range regions() {
		w.sites = append(w.sites, &site{region: r, world: w, mounted: map[string]map[string][]byte{}})
	}
	w.makeOcean()
	w.startClusters()
	return w
}

func (w *world) site(name string) *site {
	for _, s := range w.sites {
		if s.cluster == name {
			return s
		}
	}
	w.t.Fatalf("no site %s", name)
	return nil
}

// background runs until the world ends.
func (w *world) background(f func(context.Context) error) {
	w.running.Go(func() {
		if err := f(w.ctx); err != nil {
			w.t.Error(err)
		}
	})
}

// makeOcean puts the distance between continents before every front door.
func (w *world) makeOcean() {
	w.t.Helper()
	cfg := lab.WANConfig{FreeConnect: true, KeepSource: true}
	for _, s := range w.sites {
		cfg.Sites = append(cfg.Sites, lab.Site{Name: s.cluster, Sources: []netip.Prefix{s.inside(), s.subnet}, Place: s.place})
		for _, port := range []int{frontPort, securePort, relayPort} {
			cfg.Gateways = append(cfg.Gateways, lab.Gateway{
				Name:   fmt.Sprintf("%s:%d", s.cluster, port),
				Listen: fmt.Sprintf("%s:%d", s.front(), port),
				Target: fmt.Sprintf("%s:%d", s.region.envoy(), port),
				Place:  s.place,
			})
		}
	}
	var err error
	if w.wan, err = lab.NewWAN(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.background(w.wan.Run)
}

// startClusters starts the control planes side by side, and their machines.
func (w *world) startClusters() {
	w.t.Helper()
	began := time.Now()
	var starting sync.WaitGroup
	errs := make([]error, len(w.sites))
	for i, s := range w.sites {
		starting.Go(func() { errs[i] = s.startCluster() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("%d clusters with two machines each after %.1f s", len(w.sites), time.Since(began).Seconds())
}

func (s *site) startCluster() error {
	w := s.world
	dir := filepath.Join(w.dir, s.cluster)
	if err := os.MkdirAll(filepath.Join(dir, "kube"), 0o755); err != nil {
		return err
	}
	var err error
	s.Cluster, err = cluster.Start(w.ctx, w.group, cluster.Config{
		Name: s.cluster, Addr: s.api(), Dir: filepath.Join(dir, "kube"), Programs: w.programs,
	})
	if err != nil {
		return err
	}
	if s.kube, err = kubernetes.NewForConfig(s.REST()); err != nil {
		return err
	}
	for i, zone := range []string{"b", "c"} {
		n, err := node.New(node.Config{
			Name: s.cluster + "-" + zone, REST: s.REST(), Addr: s.addr(1, byte(i+1)), Pods: s.pods(byte(i)),
			Region: string(s.name), Zone: string(s.name) + "-" + zone, Dir: mkdir(dir, "node-"+zone),
			Images: map[string]node.Image{
				"whereami": node.Whereami(filepath.Join(w.bin, "whereami")),
				// These run beside the cluster, since nothing here routes the addresses of Services.
				"meridiand": nil, "envoy": nil,
			},
		})
		if err != nil {
			return err
		}
		w.background(n.Run)
	}
	scheduler, err := node.NewScheduler(s.REST(), nil)
	if err != nil {
		return err
	}
	w.background(scheduler.Run)
	return nil
}

func mkdir(parts ...string) string {
	dir := filepath.Join(parts...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		panic(err)
	}
	return dir
}

// kubeconfig is an operator's: a context for each cluster.
func (w *world) kubeconfig() string {
	w.t.Helper()
	all := clientcmdapi.NewConfig()
	for _, s := range w.sites {
		one, err := clientcmd.Load(s.Kubeconfig())
		if err != nil {
			w.t.Fatal(err)
		}
		c := one.Contexts[one.CurrentContext]
		all.Clusters[s.cluster], all.AuthInfos[s.cluster] = one.Clusters[c.Cluster], one.AuthInfos[c.AuthInfo]
		all.Contexts[s.cluster] = &clientcmdapi.Context{Cluster: s.cluster, AuthInfo: s.cluster}
	}
	file := filepath.Join(w.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*all, file); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// run runs a command as an operator does and returns what it printed.
func (w *world) run(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Minute)
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
func (w *world) meridian(args ...string) string {
	w.t.Helper()
	out, err := w.run("", filepath.Join(w.bin, "meridian"), args...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("$ meridian %s\n%s", strings.Join(args, " "), out)
	return out
}

// kubectl runs the real one on a cluster.
func (s *site) kubectl(stdin string, args ...string) string {
	s.world.t.Helper()
	out, err := s.world.run(stdin, s.world.programs.Kubectl, append([]string{"--context", s.cluster}, args...)...)
	if err != nil {
		s.world.t.Fatal(err)
	}
	return out
}

// secret reads what is mounted into pods elsewhere.
func (s *site) secret(name string) map[string][]byte {
	s.world.t.Helper()
	got, err := s.kube.CoreV1().Secrets("meridian-system").Get(s.world.ctx, name, metav1.GetOptions{})
	switch last, mounted := s.mounted[name]; {
	case err == nil:
		s.mounted[name] = got.Data
	case mounted: // a volume stays while the API server is away
		return last
	default:
		s.world.t.Fatal(err)
	}
	return got.Data
}

// identity writes an identity to a directory as a mounted Secret has it, and says whose it is.
func (s *site) identity(dir string, cert, key, bundle []byte) trust.Identity {
	s.world.t.Helper()
	p := trust.PEM{Certificate: cert, Key: key, Bundle: bundle}
	papers, err := trust.ParsePapers(p, time.Now())
	if err != nil {
		s.world.t.Fatal(err)
	}
	if err := trust.WritePEM(mkdir(dir), p); err != nil {
		s.world.t.Fatal(err)
	}
	return papers.Identity()
}

// startDaemon starts the region's meridiand with the identity that init has made.
func (s *site) startDaemon() {
	s.world.t.Helper()
	dir := mkdir(s.world.dir, s.cluster, "meridiand")
	papers := s.secret("meridiand-identity")
	who := s.identity(filepath.Join(dir, "identity"), papers["meridiand-0.crt"], papers["meridiand-0.key"], papers["ca.crt"])
	args := []string{
		"--instance", who.Name, "--region", string(s.name), "--state", mkdir(dir, "state"), "--identity", filepath.Join(dir, "identity"),
		"--xds", fmt.Sprintf("%s:%d", s.daemon(), xdsPort), "--admin", fmt.Sprintf("%s:%d", s.daemon(), adminPort),
		"--dns", fmt.Sprintf("%s:53", s.daemon()), "--debug", fmt.Sprintf("%s:%d", s.daemon(), debugPort),
		"--peer-listen", fmt.Sprintf("%s:%d", s.daemon(), peerPort), "--probe-source", s.daemon().String(),
	}
	for _, p := range s.world.sites {
		if p != s {
			args = append(args, "--peer", fmt.Sprintf("%s:%d", p.daemon(), peerPort))
		}
	}
	if s.n == 1 { // the host
		args = append(args, "--kubeconfig", s.serviceAccount(dir))
	}
	var err error
	s.meridiand, err = s.world.group.Start(lab.Command{
		Name: "meridiand " + s.cluster, Path: filepath.Join(s.world.bin, "meridiand"), Args: args, Log: filepath.Join(dir, "log"),
		Ready: lab.HTTPReady(fmt.Sprintf("http://%s:%d/healthz", s.daemon(), debugPort)),
	})
	if err != nil {
		s.world.t.Fatal(err)
	}
}

// serviceAccount writes a kubeconfig of the account that the chart gives to the daemon.
func (s *site) serviceAccount(dir string) string {
	s.world.t.Helper()
	file := filepath.Join(dir, "kubeconfig")
	if _, err := os.Stat(file); err == nil {
		return file // as after a restart of the pod; the API server may be gone
	}
	token, err := s.kube.CoreV1().ServiceAccounts("meridian-system").CreateToken(s.world.ctx, "meridiand", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		s.world.t.Fatal(err)
	}
	cfg, err := s.KubeconfigWithToken("meridiand", token.Status.Token)
	if err != nil {
		s.world.t.Fatal(err)
	}
	if err := os.WriteFile(file, cfg, 0o600); err != nil {
		s.world.t.Fatal(err)
	}
	return file
}

// startEnvoy starts the region's gateway.
func (s *site) startEnvoy() {
	s.world.t.Helper()
	dir := mkdir(s.world.dir, s.cluster, "envoy")
	papers := s.secret("meridian-gateway-identity")
	id := filepath.Join(dir, "identity")
	who := s.identity(id, papers["tls.crt"], papers["tls.key"], papers["ca.crt"])
	cfg := bootstrap.Config{
		ID: who.Name, Region: s.name, Zone: string(s.name) + "-b", Network: fleet.Network(s.cluster),
		Bind: s.region.envoy(), HTTPPort: frontPort, HTTPSPort: securePort, RelayPort: relayPort,
		XDS:   []bootstrap.HostPort{{Host: s.daemon().String(), Port: xdsPort}},
		Admin: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, s.n, 1}), envoyAdmin), Source: s.region.envoy(),
		Identity: id, Domain: who.Domain, Secrets: dir,
	}
	files, err := bootstrap.Secrets(cfg)
	if err != nil {
		s.world.t.Fatal(err)
	}
	if files["envoy.yaml"], err = bootstrap.YAML(cfg); err != nil {
		s.world.t.Fatal(err)
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			s.world.t.Fatal(err)
		}
	}
	s.gateway, err = s.world.group.Start(lab.Command{
		Name: "envoy " + s.cluster, Path: s.world.envoy, Log: filepath.Join(dir, "log"),
		Args: []string{"-c", filepath.Join(dir, "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id", "--drain-time-s", "2",
			"--parent-shutdown-time-s", "3", "--log-level", "warning"},
		Ready: lab.HTTPReady(fmt.Sprintf("http://%s%s", netip.AddrPortFrom(s.region.envoy(), frontPort), fleet.GatewayHealthPath)),
	})
	if err != nil {
		s.world.t.Fatal(err)
	}
}
