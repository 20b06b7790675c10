package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/install"
)

func newCheck(o *options) *cobra.Command {
	var k kube
	var hostContext string
	var delegation, all bool
	cmd := &cobra.Command{
		Use: "check", Short: "Say what is wrong with an installation, and what helps", GroupID: "install", Args: cobra.NoArgs,
		Long: `check looks at the host cluster: CRDs, daemons and gateways, addresses of Services, certificates,
and what the daemons say of Clusters, TrafficPolicies, Zones, FederatedObjects and Placements. It exits with 1 when something is wrong.`,
		Example: `  meridian check
  meridian check --context eu --delegation -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			host, err := install.Open(k.kubeconfig, hostContext)
			if err != nil {
				return err
			}
			what := install.Checking{}
			if delegation {
				what.Lookup = install.LookupNS
			}
			report, err := install.Check(c.Context(), host, what)
			if err != nil {
				return err
			}
			if err := printReport(c.OutOrStdout(), o.output, report, all); err != nil {
				return err
			}
			switch n := report.Faults(); n {
			case 0:
				return nil
			case 1:
				return fmt.Errorf("one thing is wrong with the installation in %s", host.Name)
			default:
				return fmt.Errorf("%d things are wrong with the installation in %s", n, host.Name)
			}
		},
	}
	k.flags(cmd)
	k.contextFlag(cmd, &hostContext, "context", "context of the host cluster; default: the current one")
	cmd.Flags().BoolVar(&delegation, "delegation", false, "ask this machine's resolver whether zones are delegated to their name servers")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show also what is in order")
	return cmd
}

func printReport(w io.Writer, f format, r *install.Report, all bool) error {
	if f == formatJSON || f == formatYAML {
		b, err := json.MarshalIndent(r, "", "  ")
		if err == nil && f == formatYAML {
			b, err = yaml.JSONToYAML(b)
		}
		if err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	t := &sheet{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	shown := 0
	for _, x := range r.Findings {
		if x.Severity == install.Fine && !all {
			continue
		}
		if shown == 0 {
			t.row("", "ABOUT", "WHAT", "REMEDY")
		}
		shown++
		t.row(x.Severity, x.About, x.Message, x.Remedy)
	}
	if shown == 0 {
		t.line("All is well: %d things were looked at.", len(r.Findings))
	}
	return t.w.Flush()
}
