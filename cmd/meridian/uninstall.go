package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/install"
)

func newUninstall(o *options) *cobra.Command {
	var k kube
	var kubeContext string
	var order install.Removing
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Take an installation out of a cluster", GroupID: "install", Args: cobra.NoArgs,
		Long: `uninstall removes what init has made in a cluster: daemons, gateways and their Services, roles, the
Secrets with the authority and all identities, and the namespace if nothing of anybody else's is in it.
It refuses while clusters are joined, unless --force says to forget them. CRDs stay, and FederatedObjects,
Placements, TrafficPolicies and Zones with them, unless --crds says otherwise. Run it again if it was
interrupted.

Workloads that are placed stay where they run, in this cluster too, and nobody tends them any more:
uninstall deletes none. Let members go with "meridian unjoin" first, which takes theirs away; delete
FederatedObjects first to have everything taken away. Those that stay are carried out again when init
is run again, and until then nobody finishes deleting one.

Each region that was installed with --share-with is uninstalled by itself, the host last.`,
		Example: `  meridian uninstall --context us --dry-run
  meridian uninstall --context eu --crds      # nothing stays`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := k.noTable(o.output); err != nil {
				return err
			}
			reach, err := install.Open(k.kubeconfig, kubeContext)
			if err != nil {
				return err
			}
			parts, err := install.Uninstall(c.Context(), reach, order, k.dryRun, k.progress(c))
			if err != nil {
				return err
			}
			if k.dryRun {
				return k.print(c.OutOrStdout(), o.output, parts)
			}
			if len(parts[0].Objects) == 0 {
				fmt.Fprintf(c.OutOrStdout(), "Nothing of Meridian is in %s.\n", reach.Name)
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "Meridian is gone from %s.\n", reach.Name)
			return nil
		},
	}
	k.flags(cmd)
	cmd.Flags().BoolVar(&k.dryRun, "dry-run", false, "delete nothing; print by their names the objects that would be deleted, the first first")
	k.contextFlag(cmd, &kubeContext, "context", "context of the cluster; default: the current one")
	cmd.Flags().BoolVar(&order.Force, "force", false, "also while clusters are joined: they are forgotten, and what was made in them stays there")
	cmd.Flags().BoolVar(&order.CRDs, "crds", false, "also the CRDs, and with them every Cluster, FederatedObject, Placement, TrafficPolicy and Zone")
	return cmd
}
