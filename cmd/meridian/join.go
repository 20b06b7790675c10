package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/install"
)

// joining is what "join" is told.
type joining struct {
	kube
	member, host string // contexts
	region       string
	place        string
	gateways     []string
	networks     []string
	order        install.Joining
	workloads    []string
	workloadsAs  []string
}

func newJoin(o *options) *cobra.Command {
	j := &joining{}
	cmd := &cobra.Command{
		Use: "join NAME", Short: "Make a cluster a member, so that its services are served", GroupID: "install", Args: cobra.ExactArgs(1),
		Long: `join makes a ServiceAccount in the member that may see services, endpoints, nodes and namespaces
and nothing else, gives the host a token of it that ends by itself and is renewed in time, and
describes the member to the host as object Cluster. Before anything is written, everything that is
missing is said at once. With --workloads the host may write objects of the named kinds too, so that
FederatedObjects are carried out there; with --workloads-as it writes none by rights of its own, and
acts as the named ServiceAccounts of the objects' namespaces, which may do what the member lets them. Joining again changes what is said anew, keeps the rest, and renews the token if need be.

Region, zone and place come from the nodes' topology labels and a table of the regions of AWS,
Azure and Google Cloud; elsewhere say them with --region and --place.`,
		Example: `  meridian join us-1 --context gke_us --host-context gke_eu --gateway 192.0.2.20
  meridian join lab --context kind-lab --region lab --place 52.5,13.4 --endpoint-network 10.244.0.0/16
  meridian join us-1 --context gke_us --workloads=deployments.apps,configmaps --workloads-as=deployer
  meridian join us-1 --context gke_us --dry-run`,
		ValidArgsFunction: j.members(&j.host),
		RunE: func(c *cobra.Command, args []string) error {
			j.order.Name = args[0]
			return j.run(c, o)
		},
	}
	j.flags(cmd)
	j.dryRunFlag(cmd)
	j.contextFlag(cmd, &j.member, "context", "context of the cluster that joins; default: the current one")
	j.contextFlag(cmd, &j.host, "host-context", "context of the host cluster; default: the current one")
	f := cmd.Flags()
	f.StringVar(&j.region, "region", "", "region that it stands in; default: what its nodes' labels say")
	f.StringVar(&j.order.Zone, "zone", "", "zone that all of it stands in; default: what its nodes' labels say")
	f.BoolVar(&j.order.ZoneLabels, "zone-labels", false, "refuse a cluster with nodes that do not say their zone")
	f.StringVar(&j.place, "place", "", "where on earth it stands, lat,lon in degrees; default: where its cloud's region is")
	f.StringArrayVar(&j.gateways, "gateway", nil, "address of a front door, with :port if it is not 80; may be repeated")
	f.StringVar(&j.order.Network, "network", "", "network that its endpoints belong to, if it shares one with other clusters; default: its own")
	f.StringArrayVar(&j.networks, "endpoint-network", nil, "prefix that its endpoints' addresses lie in, or \"any\"; may be repeated; default: what its nodes say")
	f.StringVar(&j.order.Server, "api-server", "", "https URL by which the host reaches its API server; default: that of its context")
	f.StringSliceVar(&j.workloads, "workloads", nil, "let the host place workloads there: resources that it may write (\"deployments.apps,configmaps\"), or without a value "+strings.Join(install.DefaultWorkloads(), ", ")+"; default: as it was, and none at first")
	f.Lookup("workloads").NoOptDefVal = strings.Join(install.DefaultWorkloads(), ",")
	f.StringSliceVar(&j.workloadsAs, "workloads-as", nil, "with --workloads: the host only looks at these resources, and writes them in the name of ServiceAccounts that are called so, in their namespaces, by the rights that these have")
	f.DurationVar(&j.order.TokenLifetime, "token-lifetime", install.DefaultTokenLifetime, "life of the host's token, which is renewed in time")
	return cmd
}

func (j *joining) run(c *cobra.Command, o *options) error {
	if err := j.noTable(o.output); err != nil {
		return err
	}
	if err := j.read(); err != nil {
		return err
	}
	member, err := install.Open(j.kubeconfig, j.member)
	if err != nil {
		return err
	}
	host, err := install.Open(j.kubeconfig, j.host)
	if err != nil {
		return err
	}
	parts, err := install.Join(c.Context(), member, host, j.order, j.dryRun, j.progress(c))
	if err != nil {
		return err
	}
	if j.dryRun {
		return j.print(c.OutOrStdout(), o.output, parts)
	}
	fmt.Fprintf(c.OutOrStdout(), `%s is a member. Services there are served when they are exported (ServiceExport) or labelled:
  kubectl --context %s label service NAME meridian.dev/federate=true
`, j.order.Name, member.Name)
	return nil
}

// read takes over what flags say.
func (j *joining) read() (err error) {
	if j.order.Workloads, err = install.ParseWorkloads(j.workloads); err != nil {
		return err
	}
	if j.order.WorkloadsAs, err = install.ParseAccounts(j.workloadsAs); err != nil {
		return err
	}
	j.order.Region = fleet.Region(j.region)
	if j.place != "" {
		if j.order.Place, err = install.ParsePlace(j.place); err != nil {
			return err
		}
	}
	for _, text := range j.gateways {
		g, err := install.ParseGateway(text)
		if err != nil {
			return err
		}
		j.order.Gateways = append(j.order.Gateways, g)
	}
	if len(j.networks) == 1 && j.networks[0] == "any" {
		j.order.AnyEndpoint = true
		return nil
	}
	j.order.Endpoints, err = install.ParseNetworks(j.networks)
	return err
}
