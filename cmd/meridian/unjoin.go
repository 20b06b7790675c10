package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/install"
)

func newUnjoin(o *options) *cobra.Command {
	var k kube
	var memberContext, hostContext string
	var order install.Leaving
	cmd := &cobra.Command{
		Use: "unjoin NAME", Short: "Let a member go: drain it, then remove what join has made", GroupID: "install", Args: cobra.ExactArgs(1),
		Long: `unjoin orders that nothing new be sent to a member, waits for what is under way, and removes the
Cluster and its credentials from the host and the ServiceAccount and its roles from the member. Run
it again if it was interrupted.`,
		Example: `  meridian unjoin us-1 --context gke_us --host-context gke_eu
  meridian unjoin us-1 --host-context gke_eu --force     # the member is gone for good`,
		ValidArgsFunction: k.members(&hostContext),
		RunE: func(c *cobra.Command, args []string) error {
			order.Name = args[0]
			if err := k.noTable(o.output); err != nil {
				return err
			}
			host, err := install.Open(k.kubeconfig, hostContext)
			if err != nil {
				return err
			}
			var member *install.Reach
			if memberContext != "" {
				if member, err = install.Open(k.kubeconfig, memberContext); err != nil {
					return err
				}
			}
			if k.dryRun {
				return k.print(c.OutOrStdout(), o.output, install.Left(member, order))
			}
			if err := install.Unjoin(c.Context(), member, host, order, k.progress(c)); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is no member any more.\n", order.Name)
			return nil
		},
	}
	k.flags(cmd)
	cmd.Flags().BoolVar(&k.dryRun, "dry-run", false, "delete nothing; print by their names the objects that would be deleted, the first first")
	k.contextFlag(cmd, &memberContext, "context", "context of the member; needed unless it is let go by --force")
	k.contextFlag(cmd, &hostContext, "host-context", "context of the host cluster; default: the current one")
	cmd.Flags().DurationVar(&order.Grace, "grace", time.Minute, "how long what is under way may take; resolvers keep an answer for the TTL of its policy, 20s if that says nothing; 0: do not drain")
	cmd.Flags().BoolVar(&order.Force, "force", false, "also when the member cannot be reached: what was made there stays there")
	return cmd
}
