//go:build e2e

package walkthrough

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/cluster"
	"github.com/meridian-lb/meridian/internal/lab/netns"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/internal/lab/stage"
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
func (r region) names() netip.Addr         { return r.addr(0, 53) }
func (r region) services() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 200 + r.n, 0, 0}), 16)
}
func (r region) front() netip.Addr    { return netip.AddrFrom4([4]byte{192, 0, 2, 10 * r.n}) }
func (r region) inside() netip.Prefix { return netip.PrefixFrom(r.addr(0, 0), 16) }

// inhabitants are all pods.
func (r region) inhabitants() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + r.n, 0, 0}), 16)
}
func (r region) pods(zone byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + r.n, 4 * zone, 0}), 22)
}

// site is a region at work.
type site struct {
	region
	*cluster.Cluster
	world    *world
	kube     kubernetes.Interface
	machines []*node.Node
	// asked is where an operator asks the daemon.
	asked string
	// mounted are Secrets as they were read last.
	mounted map[string]map[string][]byte

	meridiand, gateway *lab.Process
}

// world is all of it.
type world struct {
	*stage.Stage
	envoy string
	wan   *lab.WAN
	sites []*site
}

// newWorld is one with three clusters, each with two machines. Installed daemons and
// gateways run inside as pods, or else beside the clusters, as the story starts them.
func newWorld(t *testing.T, inside bool) *world {
	t.Helper()
	w := &world{Stage: stage.New(t), envoy: lab.Envoy(t)}
	for _, r := range regions() {
		w.sites = append(w.sites, &site{region: r, world: w, asked: fmt.Sprintf("%s:%d", r.daemon(), adminPort), mounted: map[string]map[string][]byte{}})
	}
	w.makeOcean()
	began := time.Now()
	w.SideBySide(len(w.sites), func(i int) error { return w.sites[i].start(inside) })
	t.Logf("%d clusters with two machines each after %.1f s", len(w.sites), time.Since(began).Seconds())
	var clusters []*cluster.Cluster
	for _, s := range w.sites {
		clusters = append(clusters, s.Cluster)
	}
	w.Kubeconfig(clusters...)
	return w
}

func (w *world) site(name string) *site {
	for _, s := range w.sites {
		if s.cluster == name {
			return s
		}
	}
	w.T().Fatalf("no site %s", name)
	return nil
}

// makeOcean puts the distance between continents before every front door.
func (w *world) makeOcean() {
	w.T().Helper()
	cfg := lab.WANConfig{FreeConnect: true, KeepSource: true}
	for _, s := range w.sites {
		cfg.Sites = append(cfg.Sites, lab.Site{Name: s.cluster, Sources: []netip.Prefix{s.inside(), s.inhabitants(), s.subnet}, Place: s.place})
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
		w.T().Fatal(err)
	}
	w.Background(w.wan.Run)
}

// start starts a cluster and its machines.
func (s *site) start(inside bool) (err error) {
	w := s.world
	if s.Cluster, s.kube, err = w.Cluster(s.cluster, s.api(), func(c *cluster.Config) {
		c.Services = s.services()
		c.ControllerArgs = []string{"--horizontal-pod-autoscaler-sync-period=1s"}
	}); err != nil {
		return err
	}
	images, names := map[string]node.Image{"whereami": node.Whereami(filepath.Join(w.Bin, "whereami")), "meridiand": nil, "envoy": nil}, netip.Addr{}
	if inside {
		images, names = s.images(), s.names()
		if err := s.serve(); err != nil {
			return err
		}
	}
	for i, zone := range []string{"b", "c"} {
		n, _, err := w.Machine(node.Config{
			Name: s.cluster + "-" + zone, Names: names, REST: s.REST(), Addr: s.addr(1, byte(i+1)), Pods: s.pods(byte(i)),
			Region: string(s.name), Zone: string(s.name) + "-" + zone, Images: images,
		})
		if err != nil {
			return err
		}
		s.machines = append(s.machines, n)
	}
	_, err = w.Scheduler(s.REST())
	return err
}

// meridian runs the command line and logs it.
func (w *world) meridian(args ...string) string {
	w.T().Helper()
	return w.Meridian("", args...)
}

// kubectl runs the real one on a cluster.
func (s *site) kubectl(stdin string, args ...string) string {
	s.world.T().Helper()
	return s.world.Kubectl(s.cluster, stdin, args...)
}

// secret reads what is mounted into pods elsewhere.
func (s *site) secret(name string) map[string][]byte {
	s.world.T().Helper()
	got, err := s.kube.CoreV1().Secrets("meridian-system").Get(s.world.Ctx, name, metav1.GetOptions{})
	switch last, mounted := s.mounted[name]; {
	case err == nil:
		s.mounted[name] = got.Data
	case mounted: // a volume stays while the API server is away
		return last
	default:
		s.world.T().Fatal(err)
	}
	return got.Data
}

// startDaemon starts the region's meridiand with the identity that init has made.
func (s *site) startDaemon() {
	s.world.T().Helper()
	dir := s.world.Folder(s.cluster, "meridiand")
	who := s.world.Identity(filepath.Join(dir, "identity"), s.secret("meridiand-identity"), "meridiand-0")
	args := []string{
		"--instance", who.Name, "--region", string(s.name), "--state", s.world.Folder(s.cluster, "meridiand", "state"), "--identity", filepath.Join(dir, "identity"),
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
	s.meridiand, err = s.world.Group.Start(lab.Command{
		Name: "meridiand " + s.cluster, Path: filepath.Join(s.world.Bin, "meridiand"), Args: args, Log: filepath.Join(dir, "log"),
		Ready: lab.HTTPReady(fmt.Sprintf("http://%s:%d/healthz", s.daemon(), debugPort)),
	})
	if err != nil {
		s.world.T().Fatal(err)
	}
}

// serviceAccount writes a kubeconfig of the account that the chart gives to the daemon.
func (s *site) serviceAccount(dir string) string {
	s.world.T().Helper()
	if file := filepath.Join(dir, "kubeconfig"); exists(file) {
		return file // as after a restart of the pod; the API server may be gone
	}
	return s.world.Account(s.Cluster, s.kube, dir)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// startEnvoy starts the region's gateway.
func (s *site) startEnvoy() {
	s.world.T().Helper()
	dir := s.world.Folder(s.cluster, "envoy")
	id := filepath.Join(dir, "identity")
	who := s.world.Identity(id, s.secret("meridian-gateway-identity"), "tls")
	cfg := bootstrap.Config{
		ID: who.Name, Region: s.name, Zone: string(s.name) + "-b", Network: fleet.Network(s.cluster),
		Bind: s.region.envoy(), HTTPPort: frontPort, HTTPSPort: securePort, RelayPort: relayPort,
		XDS:   []bootstrap.HostPort{{Host: s.daemon().String(), Port: xdsPort}},
		Admin: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, s.n, 1}), envoyAdmin), Source: s.region.envoy(),
		Identity: id, Domain: who.Domain, Secrets: dir,
	}
	files, err := bootstrap.Secrets(cfg)
	if err != nil {
		s.world.T().Fatal(err)
	}
	if files["envoy.yaml"], err = bootstrap.YAML(cfg); err != nil {
		s.world.T().Fatal(err)
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			s.world.T().Fatal(err)
		}
	}
	s.gateway, err = s.world.Group.Start(lab.Command{
		Name: "envoy " + s.cluster, Path: s.world.envoy, Log: filepath.Join(dir, "log"),
		Args: []string{"-c", filepath.Join(dir, "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id", "--drain-time-s", "2",
			"--parent-shutdown-time-s", "3", "--log-level", "warning"},
		Ready: lab.HTTPReady(fmt.Sprintf("http://%s%s", netip.AddrPortFrom(s.region.envoy(), frontPort), fleet.GatewayHealthPath)),
	})
	if err != nil {
		s.world.T().Fatal(err)
	}
}
