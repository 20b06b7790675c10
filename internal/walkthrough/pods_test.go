//go:build e2e

package walkthrough

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/internal/lab"
	"github.com/meridian-lb/meridian/internal/lab/node"
	"github.com/meridian-lb/meridian/internal/lab/services"
	"github.com/meridian-lb/meridian/xds/bootstrap"
)

// images are what the chart's images stand for, so that what is installed runs as the
// pods that it says.
func (s *site) images() map[string]node.Image {
	w := s.world
	return map[string]node.Image{
		"etcd": node.Server(w.Programs.Etcd), "kube-apiserver": node.Server(w.Programs.APIServer),
		"meridian": node.Server(filepath.Join(w.Bin, "meridian")), "meridiand": s.daemonImage, "envoy": s.gatewayImage,
		"whereami": node.Whereami(filepath.Join(w.Bin, "whereami")), "sleep": node.Program("/bin/sleep"),
	}
}

// daemonImage probes from its pod's address, by which the ocean knows where it stands.
func (s *site) daemonImage(c node.Container) (lab.Command, error) {
	command, err := node.Server(filepath.Join(s.world.Bin, "meridiand"))(c)
	command.Args = append(command.Args, "--probe-source="+c.Addr.String())
	return command, err
}

// gatewayImage is an Envoy with a bootstrap of its own: the chart's would have all Envoys
// of this network listen on all of its addresses. It has the chart's name and identity,
// and looks for its daemons where the chart's would.
func (s *site) gatewayImage(c node.Container) (lab.Command, error) {
	at := slices.Index(c.Args, "--service-node")
	if at < 0 || at+1 >= len(c.Args) {
		return lab.Command{}, fmt.Errorf("the gateway is given no name in %v", c.Args)
	}
	dir := filepath.Join(s.world.Dir, s.cluster, c.Pod.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return lab.Command{}, err
	}
	a := c.Addr.As4()
	cfg := bootstrap.Config{
		ID: c.Args[at+1], Region: s.name, Zone: c.Zone, Network: fleet.Network(s.cluster), Bind: c.Addr, Source: c.Addr,
		XDS:   []bootstrap.HostPort{{Host: "meridiand.meridian-system.svc", Port: xdsPort}},
		Admin: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, a[1], a[2], a[3]}), envoyAdmin), Identity: c.Local("/etc/meridian/identity"), Domain: "meridian.internal", Secrets: dir,
	}
	files, err := bootstrap.Secrets(cfg)
	if err != nil {
		return lab.Command{}, err
	}
	if files["envoy.yaml"], err = bootstrap.YAML(cfg); err != nil {
		return lab.Command{}, err
	}
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return lab.Command{}, err
		}
	}
	return lab.Command{Path: s.world.envoy, Args: []string{
		"-c", filepath.Join(dir, "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart", "--drain-time-s", "2", "--log-level", "warning",
	}}, nil
}

// serve has the Services of the cluster work. Its load balancers stand at public
// addresses; before the gateways' is the ocean.
func (s *site) serve() error {
	public := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 10*s.n + i}) }
	fronts := map[string]services.Front{
		"meridian-gateway": {Public: s.front(), Listen: s.region.envoy()},
		"meridian-dns":     {Public: public(1), Listen: s.daemon()},
		"meridiand-public": {Public: public(2)},
		"meridian-api":     {Public: public(3)},
	}
	network, err := services.New(services.Config{REST: s.REST(), Names: s.names(), Balance: func(n types.NamespacedName) services.Front {
		if n.Namespace != "meridian-system" {
			return services.Front{}
		}
		return fronts[n.Name]
	}})
	if err != nil {
		return err
	}
	s.world.Background(network.Run)
	return nil
}
