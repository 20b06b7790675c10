package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/install"
	"github.com/meridian-lb/meridian/trust"
)

// installing is what "init" is told.
type installing struct {
	kube
	kubeContext string
	region      string
	network     string
	trustDomain string
	replicas    int64
	domain      string
	nameservers []string
	shareWith   string
	peers       []string
	workloadsAs string
	files, sets []string
	offline     bool
	api         dedicatedAPI
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

Run again, it stays with what it was told before, but for what is said anew: new values are laid over
old ones, --peer replaces the list, and --reset-values forgets what --set and --values said. The Secret
meridian-installation keeps it. Region and trust domain stay for good.

With --dedicated-api a Kubernetes API of its own runs beside the daemons: etcd and an API server without
controllers. Clusters, Zones and Ingresses are then written there, and plain Deployments, Services and so on
that are written there are federated ones. It is reached by the context "meridian", which init writes into
your kubeconfig; nothing of that name that leads elsewhere is written over.

With --share-with it installs another region's daemons and gateways into another cluster, under the
authority of the installation that the named context leads to; --peer says where its daemons listen.`,
		Example: `  meridian init --context eu --region europe-west1 --network eu-1
  meridian init --context eu --domain shop.example.com --nameserver ns1.shop.example.com=192.0.2.53
  meridian init --context asia --region asia-east1 --network asia-1 --share-with eu --peer 192.0.2.60:17443
  meridian init --context eu --region europe-west1 --dedicated-api
  meridian init --context eu --workloads-as deployer
  meridian init --context eu --set gateway.autoscaling.maxReplicas=20   # again; the rest stays
  meridian init --region europe-west1 --dry-run --offline > meridian.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return i.run(c, o) },
	}
	i.flags(cmd)
	i.dryRunFlag(cmd)
	i.contextFlag(cmd, &i.kubeContext, "context", "context of the cluster to install into; default: the current one")
	f := cmd.Flags()
	f.StringVar(&i.region, "region", "", "region that the cluster stands in; default: what its nodes' labels say")
	f.StringVar(&i.network, "network", "", "network whose endpoints the gateways reach directly: the name that this cluster will join by, if nothing else")
	f.StringVar(&i.trustDomain, "trust-domain", "", "trust domain of the identities; default: that of the authority, or "+install.DefaultTrustDomain)
	f.StringVar(&i.domain, "domain", "", "DNS zone to serve, as object Zone")
	f.StringArrayVar(&i.nameservers, "nameserver", nil, "name server of the zone, name or name=address,…; may be repeated; default: ns1 of the domain")
	f.Int64Var(&i.replicas, "replicas", 0, "daemons; default 2")
	f.DurationVar(&i.settings.CertificateLifetime, "certificate-lifetime", 0, "of new certificates; default 90 days")
	i.contextFlag(cmd, &i.shareWith, "share-with", "context of an installation whose authority to use")
	f.StringArrayVar(&i.peers, "peer", nil, "daemon of another region to follow, host:port; may be repeated; \"\": none any more")
	f.StringVar(&i.workloadsAs, "workloads-as", "", "ServiceAccount of its namespace on behalf of which a workload is carried out that names none; \"\": none any more, so that it is by the rights that members gave")
	f.StringArrayVarP(&i.files, "values", "f", nil, "YAML file with values of the chart, - for standard input; may be repeated")
	f.StringArrayVar(&i.sets, "set", nil, "value of the chart, as helm writes it: gateway.autoscaling.maxReplicas=20")
	f.BoolVar(&i.settings.ResetValues, "reset-values", false, "forget what --set and --values have said before")
	i.api.flags(f)
	f.BoolVar(&i.offline, "offline", false, "with --dry-run: contact nobody; a new authority and new certificates are printed")
	return cmd
}

func (i *installing) run(c *cobra.Command, o *options) error {
	ctx := c.Context()
	if err := i.noTable(o.output); err != nil {
		return err
	}
	if err := i.read(c); err != nil {
		return err
	}
	if i.offline {
		parts, err := install.Offline(i.settings)
		if err != nil {
			return err
		}
		return i.print(c.OutOrStdout(), o.output, parts)
	}
	reach, err := install.Open(i.kubeconfig, i.kubeContext)
	if err != nil {
		return err
	}
	if i.shareWith != "" {
		if i.settings.Authority, err = i.share(ctx, reach); err != nil {
			return err
		}
	}
	if err := i.api.check(i.kubeconfig, i.settings.Values, i.dryRun); err != nil {
		return err
	}
	parts, _, err := install.Init(ctx, reach, i.settings, i.dryRun, i.progress(c))
	if err != nil {
		return err
	}
	if i.dryRun {
		return i.print(c.OutOrStdout(), o.output, parts)
	}
	if i.api.there(parts) {
		return i.api.finish(c, reach, i.kubeconfig, i.settings.Zone, i.progress(c))
	}
	if i.shareWith != "" {
		fmt.Fprintf(c.OutOrStdout(), `Daemons and gateways of this region are installed in %s; what they do is written in %s. See how they fare:
  meridian check --context %[1]s
`, reach.Name, i.shareWith)
		return nil
	}
	fmt.Fprintf(c.OutOrStdout(), `Meridian is installed in %s. Its daemons are ready when the first cluster has joined:
  meridian join NAME --context CONTEXT --host-context %s
  meridian check --context %s
`, reach.Name, reach.Name, reach.Name)
	return nil
}

// read takes over what flags and files say. A flag that is given wins over what was
// told before even when it is empty, and --set over all.
func (i *installing) read(c *cobra.Command) error {
	switch {
	case i.offline && !i.dryRun:
		return errors.New("--offline contacts nobody, so nothing can be applied; add --dry-run")
	case i.offline && i.shareWith != "":
		return errors.New("--share-with has to ask the cluster that it names; leave --offline out")
	}
	given := c.Flags().Changed
	values := map[string]any{}
	for _, file := range i.files {
		v, err := readValuesFile(c, file)
		if err != nil {
			return err
		}
		install.Merge(values, v)
	}
	for _, word := range []struct{ flag, key, value string }{
		{"region", "region", i.region}, {"network", "network", i.network}, {"trust-domain", "trustDomain", i.trustDomain},
	} {
		if given(word.flag) {
			values[word.key] = word.value
		}
	}
	daemon := map[string]any{}
	if given("replicas") {
		daemon["replicas"] = i.replicas
	}
	if i.shareWith != "" {
		daemon["kube"] = false
	}
	if given("peer") {
		list := []any{}
		for _, p := range i.peers {
			if p != "" {
				list = append(list, p)
			}
		}
		daemon["peers"] = list
	}
	install.Merge(values, map[string]any{"meridiand": daemon})
	if given("workloads-as") {
		if i.workloadsAs != "" {
			if err := v1alpha1.AccountName(i.workloadsAs); err != nil {
				return fmt.Errorf("--workloads-as: %w", err)
			}
		}
		install.Merge(values, map[string]any{"workloads": map[string]any{"serviceAccount": i.workloadsAs}})
	}
	if given("dedicated-api") {
		install.Merge(values, map[string]any{"api": map[string]any{"enabled": i.api.wanted}})
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

// readValuesFile reads a file of values, or what is piped in; no file: none.
func readValuesFile(c *cobra.Command, file string) (v map[string]any, err error) {
	var b []byte
	switch file {
	case "":
		return nil, nil
	case "-":
		b, err = io.ReadAll(c.InOrStdin())
	default:
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("--values: %w", err)
	}
	if err := yaml.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("--values %s is no YAML: %w", file, err)
	}
	return v, nil
}

// share is the authority of the installation that another region's shall have too.
func (i *installing) share(ctx context.Context, reach *install.Reach) (trust.PEM, error) {
	with, err := install.Open(i.kubeconfig, i.shareWith)
	if err != nil {
		return trust.PEM{}, err
	}
	if with.Config.Host == reach.Config.Host {
		return trust.PEM{}, fmt.Errorf("--share-with %s leads to the very cluster that %s does; name the context of the host cluster there, and the one of another region with --context", with.Name, reach.Name)
	}
	return with.Authority(ctx, install.Namespace)
}
