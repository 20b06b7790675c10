package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// config is what a process needs to start. Policy is not here: it is told by
// objects, like everything else about the fleet.
type config struct {
	instance string
	region   string
	zone     string

	identity string

	watch string
	state string

	kube         bool
	kubeconfig   string
	kubeLoopback bool
	namespace    string
	member       string
	plainObjects bool

	workloadsAs       string
	workloadResources []string

	tokenAudiences []string

	xds        string
	admin      string
	debug      string
	dns        []string
	peerListen string
	peers      []string

	city    string
	country string
	nsid    string

	probeSource   string
	probeLoopback bool
	logFormat     string
}

func newCommand() *cobra.Command {
	c := &config{}
	hostname, _ := os.Hostname()
	cmd := &cobra.Command{
		Use:   "meridiand",
		Short: "Steer Envoys and resolvers of one region",
		Long: `meridiand watches what runs in its clusters, exchanges it with the meridiands of other
regions, probes every region's gateways, and steers: Envoys over xDS, resolvers as an
authoritative name server, people over the admin API.

Flags say only what this process needs to start. How traffic is steered is said by
objects (Cluster, TrafficPolicy, Zone, Ingress), which take effect when they change.`,
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), *c) },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w; see meridiand --help", err) })
	f := cmd.Flags()
	f.StringVar(&c.instance, "instance", hostname, "name of this process, unique over all regions")
	f.StringVar(&c.region, "region", "", "region it stands in (required)")
	f.StringVar(&c.zone, "zone", "", "zone it stands in")
	f.StringVar(&c.identity, "identity", "", "directory with tls.crt, tls.key and ca.crt, reread when they are renewed; xDS, peers and admin API then speak mutual TLS; empty: plaintext")
	f.StringVar(&c.watch, "watch", "", "directory with one directory of YAML files per cluster")
	f.BoolVar(&c.kube, "kube", false, "watch the Kubernetes cluster that this process runs in, and the members that it names")
	f.StringVar(&c.kubeconfig, "kubeconfig", "", "watch the cluster of this kubeconfig instead, and the members that it names")
	f.StringVar(&c.namespace, "namespace", v1alpha1.HostNamespace, "namespace of the installation in that cluster, where credentials of members lie")
	f.StringVar(&c.member, "member", "", "name of the Cluster object that is that very cluster, which is then watched with the same credentials; empty: it is no member")
	f.BoolVar(&c.plainObjects, "plain-objects", false, "federate the plain Deployments, Services and so on of that cluster, which is an API server of its own without controllers")
	f.StringVar(&c.workloadsAs, "workloads-as", "", "ServiceAccount of its namespace on behalf of which a workload is carried out that names none; empty: by the rights that members gave")
	f.StringArrayVar(&c.workloadResources, "workload-resource", nil, "resource of a kind that is not Kubernetes' own, as RBAC names it, Widget.example.com=widgets; may be repeated")
	f.StringArrayVar(&c.tokenAudiences, "token-audience", nil, "whom bearer tokens for the admin API must be meant for, with --kube or --kubeconfig and --identity; may be repeated; default: the cluster's API server")
	f.BoolVar(&c.kubeLoopback, "kube-loopback", false, "allow members' API servers on loopback addresses (demos, tests)")
	f.StringVar(&c.state, "state", "", "directory for the last known good facts; empty: a restart begins with nothing")
	f.StringVar(&c.xds, "xds", ":18000", "address for Envoys (xDS)")
	f.StringVar(&c.admin, "admin", "127.0.0.1:9443", "address for the admin API (gRPC)")
	f.StringVar(&c.debug, "debug", "127.0.0.1:9090", "address for metrics and health; profiles are shown to this machine only")
	f.StringArrayVar(&c.dns, "dns", []string{":53"}, "address for resolvers, UDP and TCP; may be repeated")
	f.StringVar(&c.peerListen, "peer-listen", "", "address for the meridiands of other regions; empty: nobody may follow")
	f.StringArrayVar(&c.peers, "peer", nil, "address of another meridiand to follow; may be repeated")
	f.StringVar(&c.city, "geoip-city", "", "City database in MaxMind format; reloaded when it changes")
	f.StringVar(&c.country, "geoip-country", "", "Country database in MaxMind format; reloaded when it changes")
	f.StringVar(&c.nsid, "nsid", "", "name that this name server gives for NSID (RFC 5001)")
	f.StringVar(&c.probeSource, "probe-source", "", "source address of probes")
	f.BoolVar(&c.probeLoopback, "probe-loopback", false, "allow gateways on loopback addresses to be probed (demos, tests)")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	_ = cmd.MarkFlagRequired("region")
	return cmd
}

// check refuses what cannot be right before anything is started.
func (c config) check() error {
	if strings.Contains(c.instance, "/") || c.instance == "" {
		return fmt.Errorf("--instance %q: write a name without slash, unique over all regions", c.instance)
	}
	if err := field.Label(c.region); err != nil {
		return fmt.Errorf("--region %q: %w", c.region, err)
	}
	if err := c.checkKube(); err != nil {
		return err
	}
	if _, err := c.resources(); err != nil {
		return err
	}
	if c.workloadsAs != "" {
		if err := v1alpha1.AccountName(c.workloadsAs); err != nil {
			return fmt.Errorf("--workloads-as: %w", err)
		}
	}
	for _, p := range c.peers {
		host, port, err := net.SplitHostPort(p)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 || host == "" {
			return fmt.Errorf("--peer %q: write host:port, the --peer-listen of another meridiand", p)
		}
	}
	return nil
}

// vantage is where this process stands.
func (c config) vantage() fleet.Vantage {
	return fleet.Vantage{Region: fleet.Region(c.region), Zone: c.zone}
}

func (c config) source() (netip.Addr, error) {
	if c.probeSource == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(c.probeSource)
	if err != nil {
		return a, fmt.Errorf("--probe-source %q is not an IP address", c.probeSource)
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		return a, fmt.Errorf("--probe-source %s is no address of this machine; name one that is: %w", a, err)
	}
	return a, l.Close()
}

func (c config) logger() (*slog.Logger, error) {
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, nil)), nil
	}
	return nil, errors.New("--log-format: write text or json")
}
