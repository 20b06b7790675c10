package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/install"
)

// installing is what "init" is told.
type installing struct {
	kube
	kubeContext string
	region      string
	domain      string
	nameservers []string
	shareWith   string
	peers       []string
	files, sets []string
	offline     bool
	settings    install.Settings
}

func newInit(o *options) *cobra.Command {
	i := &installing{}
	cmd := &cobra.Command{
		Use: "init", Short: "Install Meridian into a cluster", GroupID: "install", Args: cobra.NoArgs,
		Long: `init makes a cluster the host of an installation: the namespace meridian-system, CRDs, roles,
an authority with the certificates of daemons and gateways, and what the Helm chart of this version
holds. What is there and right already is not written again; certificates that near their end are
renewed. Run it again after an upgrade of this program.

With --share-with it installs another region's daemons and gateways into another cluster, under the
authority of the installation that the named context leads to; --peer says where its daemons listen.`,
		Example: `  meridian init --context eu --region europe-west1 --network eu-1
  meridian init --context eu --domain shop.example.com --nameserver ns1.shop.example.com=192.0.2.53
  meridian init --context asia --region asia-east1 --network asia-1 --share-with eu --peer 192.0.2.60:17443
  meridian init --region europe-west1 --dry-run --offline > meridian.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return i.run(c, o) },
	}
	i.flags(cmd)
	i.dryRunFlag(cmd)
	i.contextFlag(cmd, &i.kubeContext, "context", "context of the cluster to install into; default: the current one")
	f := cmd.Flags()
	f.StringVar(&i.region, "region", "", "region that the cluster stands in; default: what its nodes' labels say")
	f.StringVar(&i.settings.Network, "network", "", "network whose endpoints the gateways reach directly: the name that this cluster will join by, if nothing else")
	f.StringVar(&i.settings.TrustDomain, "trust-domain", install.DefaultTrustDomain, "trust domain of the identities")
	f.StringVar(&i.domain, "domain", "", "DNS zone to serve, as object Zone")
	f.StringArrayVar(&i.nameservers, "nameserver", nil, "name server of the zone, name or name=address,…; may be repeated; default: ns1 of the domain")
	f.IntVar(&i.settings.Replicas, "replicas", 2, "daemons")
	f.DurationVar(&i.settings.CertificateLifetime, "certificate-lifetime", 0, "of new certificates; default 90 days")
	i.contextFlag(cmd, &i.shareWith, "share-with", "context of an installation whose authority to use")
	f.StringArrayVar(&i.peers, "peer", nil, "daemon of another region to follow, host:port; may be repeated")
	f.StringArrayVarP(&i.files, "values", "f", nil, "YAML file with values of the chart; may be repeated")
	f.StringArrayVar(&i.sets, "set", nil, "value of the chart, as helm writes it: gateway.autoscaling.maxReplicas=20")
	f.BoolVar(&i.offline, "offline", false, "with --dry-run: contact nobody; a new authority and new certificates are printed")
	return cmd
}

func (i *installing) run(c *cobra.Command, o *options) error {
	ctx := c.Context()
	if err := i.noTable(o.output); err != nil {
		return err
	}
	if err := i.read(); err != nil {
		return err
	}
	var reach *install.Reach
	if !i.offline {
		var err error
		if reach, err = install.Open(i.kubeconfig, i.kubeContext); err != nil {
			return err
		}
		if err := i.ask(ctx, reach); err != nil {
			return err
		}
	}
	objects, err := install.Host(ctx, reach, i.settings)
	if err != nil {
		return err
	}
	if i.dryRun {
		return i.print(c.OutOrStdout(), o.output, []install.Part{{Where: "host cluster", Objects: objects}})
	}
	p := i.progress(c)
	p.Say("%s, region %s:", reach.Name, i.settings.Region)
	did, err := reach.Apply(ctx, objects, p)
	if err != nil {
		return err
	}
	p.Say("  %s", did)
	fmt.Fprintf(c.OutOrStdout(), `Meridian is installed in %s. Its daemons are ready when the first cluster has joined:
  meridian join NAME --context CONTEXT --host-context %s
  meridian check --context %s
`, reach.Name, reach.Name, reach.Name)
	return nil
}

// read takes over what flags and files say.
func (i *installing) read() error {
	switch {
	case i.offline && !i.dryRun:
		return errors.New("--offline contacts nobody, so nothing can be applied; add --dry-run")
	case i.offline && i.shareWith != "":
		return errors.New("--share-with has to ask the cluster that it names; leave --offline out")
	}
	i.settings.Region = fleet.Region(i.region)
	values := map[string]any{}
	for _, file := range i.files {
		b, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--values: %w", err)
		}
		var v map[string]any
		if err := yaml.Unmarshal(b, &v); err != nil {
			return fmt.Errorf("--values %s is no YAML: %w", file, err)
		}
		install.Merge(values, v)
	}
	if i.shareWith != "" {
		install.Merge(values, map[string]any{"meridiand": map[string]any{"kube": false}})
	}
	if len(i.peers) > 0 {
		var list []any
		for _, p := range i.peers {
			list = append(list, p)
		}
		install.Merge(values, map[string]any{"meridiand": map[string]any{"peers": list}})
	}
	for _, s := range i.sets {
		if err := strvals.ParseInto(s, values); err != nil {
			return fmt.Errorf("--set %q: %w", s, err)
		}
	}
	i.settings.Values = values
	if i.domain == "" {
		return nil
	}
	var err error
	i.settings.Zone, err = install.NewZone(i.domain, i.nameservers)
	return err
}

// ask completes the settings from clusters.
func (i *installing) ask(ctx context.Context, reach *install.Reach) error {
	if i.settings.Region == "" {
		site, err := reach.Site(ctx)
		if err != nil {
			return err
		}
		if i.settings.Region, err = site.Region(); err != nil {
			return fmt.Errorf("the region of %s is not known: %w", reach.Name, err)
		}
	}
	if i.shareWith == "" {
		return nil
	}
	with, err := install.Open(i.kubeconfig, i.shareWith)
	if err != nil {
		return err
	}
	i.settings.Authority, err = with.Authority(ctx, install.Namespace)
	return err
}
