// Package bootstrap writes the file that an Envoy of Meridian starts with.
//
// The file says who the Envoy is and where its control plane listens; everything
// else comes from there.
package bootstrap

import (
	"errors"
	"fmt"
	"net/netip"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridian-lb/meridian/fleet"
)

// Config is what one Envoy is told at its start.
type Config struct {
	ID      string        // of this Envoy, unique over all regions, never empty
	Region  fleet.Region  // where it stands, never empty
	Zone    string        // empty when unknown
	Network fleet.Network // whose endpoints it reaches directly; empty when it has no name
	Class   string        // gateway class; empty means "meridian"

	Bind      netip.Addr // of its listeners; zero means every IPv4 address
	HTTPPort  uint16     // of the front listener; 0 means 8080
	RelayPort uint16     // of the relay listener; 0 means 15443
	Source    netip.Addr // that its own connections come from; zero leaves it to the routing table

	// XDS is where the control plane listens, in order of preference: a name is
	// looked up again and again, and all of its addresses are used. Never empty.
	XDS []HostPort
	// Admin is the address of Envoy's admin page, which gives everything to
	// everybody; it has to be a loopback address. Zero means 127.0.0.1:9901.
	Admin netip.AddrPort

	// Identity is the directory, on the Envoy's machine, with its tls.crt, tls.key and
	// ca.crt. With it the Envoy speaks mutual TLS to its control plane and to other
	// regions. Empty: plaintext. The certificate has to name ID and Region.
	Identity string
	Domain   string // the trust domain of that identity; required with it
	// Secrets is the directory, on the Envoy's machine, that holds what Secrets
	// returns. Empty means /etc/envoy.
	Secrets string

	MaxConnections int64  // from clients, at once; 0 means 50000
	MaxHeapBytes   uint64 // at which Envoy sheds load; 0 means 1 GiB
}

// HostPort is a DNS name or address with a port.
type HostPort struct {
	Host string
	Port uint16
}

// The names that the file gives to its own clusters.
const xdsCluster = "meridian-xds"

// YAML renders the file. Equal configurations give equal bytes.
func YAML(c Config) ([]byte, error) {
	m, err := Message(c)
	if err != nil {
		return nil, err
	}
	return toYAML(m)
}

// Message is the same as a message, checked against Envoy's own rules.
func Message(c Config) (*bootstrapv3.Bootstrap, error) {
	c, err := c.complete()
	if err != nil {
		return nil, fmt.Errorf("making an Envoy bootstrap: %w", err)
	}
	m := &bootstrapv3.Bootstrap{
		Node: node(c),
		Admin: &bootstrapv3.Admin{
			Address: socketAddress(c.Admin.Addr().String(), c.Admin.Port()),
		},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: deltaStream(),
			CdsConfig: overADS(),
			LdsConfig: overADS(),
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: controlPlane(c)},
		ClusterManager: &bootstrapv3.ClusterManager{
			LoadStatsConfig: loadStream(),
			// Workers build a cluster when its first request comes: most Envoys see
			// few of their services.
			EnableDeferredClusterCreation: true,
			UpstreamBindConfig:            source(c.Source),
		},
		StatsConfig:     stats(),
		LayeredRuntime:  runtime(),
		OverloadManager: overload(c),
	}
	if err := m.ValidateAll(); err != nil {
		return nil, fmt.Errorf("making an Envoy bootstrap: %w", err)
	}
	return m, nil
}

// complete fills the defaults in and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if !c.Bind.IsValid() {
		c.Bind = netip.IPv4Unspecified()
	}
	if c.Class == "" {
		c.Class = "meridian"
	}
	c.HTTPPort = orDefault(c.HTTPPort, 8080)
	c.RelayPort = orDefault(c.RelayPort, 15443)
	c.MaxConnections = orDefault(c.MaxConnections, 50_000)
	c.MaxHeapBytes = orDefault(c.MaxHeapBytes, 1<<30)
	if c.Secrets == "" {
		c.Secrets = "/etc/envoy"
	}
	if !c.Admin.IsValid() {
		c.Admin = netip.MustParseAddrPort("127.0.0.1:9901")
	}
	switch {
	case c.ID == "":
		return c, errors.New("the Envoy has no ID; give it one that no other Envoy has")
	case c.Region == "":
		return c, errors.New("the Envoy has no region; name the one it stands in")
	case len(c.XDS) == 0:
		return c, errors.New("no address of the control plane is given")
	case !c.Admin.Addr().IsLoopback():
		return c, fmt.Errorf("the admin address %s is not a loopback address; whoever reaches it owns the Envoy", c.Admin)
	case c.HTTPPort == c.RelayPort:
		return c, fmt.Errorf("front and relay listener both have port %d; give each its own", c.HTTPPort)
	case c.MaxConnections < 0:
		return c, fmt.Errorf("a limit of %d connections lets nobody in", c.MaxConnections)
	}
	if err := c.checkIdentity(); err != nil {
		return c, err
	}
	for _, x := range c.XDS {
		if x.Host == "" || x.Port == 0 {
			return c, fmt.Errorf("the control plane's address %q port %d is not complete", x.Host, x.Port)
		}
	}
	return c, nil
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// node says who the Envoy is, in the words that the control plane reads.
func node(c Config) *corev3.Node {
	fields := map[string]*structpb.Value{
		"class":      structpb.NewStringValue(c.Class),
		"bind":       structpb.NewStringValue(c.Bind.String()),
		"http_port":  structpb.NewNumberValue(float64(c.HTTPPort)),
		"relay_port": structpb.NewNumberValue(float64(c.RelayPort)),
	}
	if c.Network != "" {
		fields["network"] = structpb.NewStringValue(string(c.Network))
	}
	if c.Identity != "" {
		fields["identity"] = structpb.NewStringValue(c.Identity)
	}
	return &corev3.Node{
		Id:       c.ID,
		Cluster:  c.Class,
		Locality: &corev3.Locality{Region: string(c.Region), Zone: c.Zone},
		Metadata: &structpb.Struct{Fields: fields},
	}
}
