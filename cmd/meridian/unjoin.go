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
		Use: "unjoin NAME", Short: "Let a member go: move its workloads away, then remove what join has made", GroupID: "install", Args: cobra.ExactArgs(1),
		Long: `unjoin orders that nothing new be sent to a member and that its workloads move to others. It waits for
what is under way, and until all replicas that were divided among the clusters are ready elsewhere;
what is in every cluster, like DaemonSets and ConfigMaps, is there already. Then it removes what was
placed in the member, the Cluster and its credentials from the host, and the ServiceAccount and its
roles from the member. Namespaces that were made for workloads stay.

When that takes longer than --timeout, unjoin stops and says what is still there and why: the cluster
is still a member then, and drains. Run it again if it was interrupted.

With --keep-workloads what was placed in the member stays there and goes on running, as nobody's: it
bears no mark of Meridian any more, and is placed elsewhere as well. If the cluster joins again, these
objects are conflicts, unless their FederatedObjects say adopt: true.

With --force nobody waits for workloads: what is not ready elsewhere yet is missing until it is. The
member may be out of reach then, and keeps what it has, with our marks, so that it is taken up again if
the cluster joins again. No FederatedObject waits for a cluster that has left.`,
		Example: `  meridian unjoin us-1 --context gke_us --host-context gke_eu --dry-run
  meridian unjoin us-1 --context gke_us --host-context gke_eu
  meridian unjoin us-1 --context gke_us --host-context gke_eu --keep-workloads
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
				parts, err := install.Foresee(c.Context(), member, host, order, k.progress(c))
				if err != nil {
					return err
				}
				return k.print(c.OutOrStdout(), o.output, parts)
			}
			if err := install.Unjoin(c.Context(), member, host, order, k.progress(c)); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is no member any more.\n", order.Name)
			return nil
		},
	}
	k.flags(cmd)
	cmd.Flags().BoolVar(&k.dryRun, "dry-run", false, "delete nothing; say what would move, and print by their names the objects that would be deleted")
	k.contextFlag(cmd, &memberContext, "context", "context of the member; needed unless it is let go by --force")
	k.contextFlag(cmd, &hostContext, "host-context", "context of the host cluster; default: the current one")
	cmd.Flags().DurationVar(&order.Grace, "grace", time.Minute, "how long what is under way may take; resolvers keep an answer for the TTL of its policy, 20s if that says nothing; 0: do not wait for that")
	cmd.Flags().DurationVar(&order.Timeout, "timeout", 10*time.Minute, "how long workloads may take to be ready elsewhere")
	cmd.Flags().BoolVar(&order.Keep, "keep-workloads", false, "what was placed in the member stays there and runs on, without our marks")
	cmd.Flags().BoolVar(&order.Force, "force", false, "do not wait for workloads, also when the member cannot be reached: what was made there stays there then")
	return cmd
}
