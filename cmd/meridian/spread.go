package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

func getWorkloads(o *options) *cobra.Command {
	var namespace string
	var all bool
	cmd := noun("workloads", "workload", "Workloads over many clusters, and how they fare", func(c *cobra.Command) error {
		if all && namespace != "" {
			return errors.New("-A is every namespace, and -n is one; leave one of the two out")
		}
		a, err := ask(c.Context(), o, &adminv1.ListWorkloadsRequest{Namespace: namespace}, adminv1.AdminClient.ListWorkloads)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			if len(a.GetWorkloads()) == 0 {
				t.line("No workloads.")
				return
			}
			t.row("NAMESPACE", "NAME", "KIND", "DESIRED", "READY", "CLUSTERS", "STATE", "SEEN", "WHY")
			for _, w := range a.GetWorkloads() {
				t.row(w.GetNamespace(), w.GetName(), w.GetKind(), w.GetDesired(), w.GetReady(), w.GetInClusters(), stateOf(w), ago(w.GetSeenAgo()), whyOf(w))
			}
			leftOut(t, a.GetLeftOut())
		})
	})
	cmd.Long = `workloads lists the FederatedObjects that the daemons place: how many replicas are wanted and ready over
all clusters (of what has none: clusters), in how many clusters they are as they are wanted, and the worst that
is to be said of them. Ask a daemon that watches the host cluster; others say which do.`
	cmd.Example = `  meridian get workloads
  meridian get workloads -n shop -o json`
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only workloads of this namespace")
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "those of every namespace, which is the default")
	return cmd
}

// stateOf is the state of a workload with its reason.
func stateOf(w *adminv1.Workload) string {
	state := cmp.Or(w.GetState(), "Unknown")
	if reason := w.GetReason(); reason != "" && reason != state {
		state += " (" + reason + ")"
	}
	return oneLine(state)
}

// whyOf is the message of a workload that is not placed, or not looked at as it is now.
func whyOf(w *adminv1.Workload) string {
	switch {
	case w.GetObservedGeneration() < w.GetGeneration():
		return fmt.Sprintf("generation %d is still to be looked at", w.GetGeneration())
	case w.GetState() == "Placed":
		return ""
	}
	return oneLine(w.GetMessage())
}

func newSpread(o *options) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use: "spread NAME", Short: "Say what each cluster gets of a workload, and why", GroupID: "look", Args: cobra.ExactArgs(1),
		Long: `spread prints a line for every cluster that has a workload or should: its goal when all moves are done, what
it is told to run now, what of that is ready or finds no node, how it stands there, and every reason for that.
NAME is the FederatedObject's, "deployment-web", or KIND/NAME of what it wraps. Ask a daemon that watches the
host cluster; others say which do.`,
		Example: `  meridian spread deployment-web -n shop
  meridian spread deployment/web -n shop -o json`,
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return workloadsOf(c, o, namespace), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			a, err := ask(c.Context(), o, &adminv1.ExplainSpreadRequest{Namespace: namespace, Name: workloadName(args[0])}, adminv1.AdminClient.ExplainSpread)
			if err != nil {
				return err
			}
			return o.output.print(c.OutOrStdout(), a, func(t *sheet) { spreadTable(t, a) })
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the workload")
	return cmd
}

// workloadsOf are the names that a daemon knows, for a shell.
func workloadsOf(c *cobra.Command, o *options, namespace string) []string {
	ctx, cancel := context.WithTimeout(c.Context(), completing)
	defer cancel()
	a, err := ask(ctx, o, &adminv1.ListWorkloadsRequest{Namespace: namespace}, adminv1.AdminClient.ListWorkloads)
	if err != nil {
		return nil // a shell has no place for errors
	}
	var names []string
	for _, w := range a.GetWorkloads() {
		names = append(names, w.GetName())
	}
	slices.Sort(names)
	return names
}

func spreadTable(t *sheet, a *adminv1.ExplainSpreadResponse) {
	w := a.GetWorkload()
	t.line("%s %s (%s) in %s clusters, %d of %d ready: %s", printable(w.GetKind()), printable(w.GetNamespace()+"/"+w.GetObject()),
		cmp.Or(w.GetMode(), "no mode"), cmp.Or(w.GetInClusters(), "no"), w.GetReady(), w.GetDesired(), stateOf(w))
	if why := whyOf(w); why != "" {
		t.line("%s", why)
	}
	if len(a.GetHoldings()) > 0 {
		t.row("CLUSTER", "GOAL", "TOLD", "READY", "NO NODE", "STATE", "FOR", "WHY")
	}
	for _, h := range a.GetHoldings() {
		state := h.GetState()
		if h.GetReason() != "" && h.GetReason() != state {
			state += " (" + h.GetReason() + ")"
		}
		t.row(h.GetCluster(), count(h.Goal), count(h.Told), h.GetReady(), h.GetUnschedulable(), state, lasting(h.GetStateFor()), whyHolding(h))
	}
	leftOut(t, a.GetLeftOut())
	if a.Unplaced != nil {
		t.line("Without a place: %d", a.GetUnplaced())
	}
	if in := a.GetAgainIn(); in != nil {
		t.line("Looked at again in %s, or when something changes.", in.AsDuration().Round(time.Second))
	}
}

func count(n *int64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func lasting(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return d.AsDuration().Round(time.Second).String()
}

// whyHolding is every reason for what a cluster gets, first what is wrong there.
func whyHolding(h *adminv1.Holding) string {
	var why []string
	for _, r := range append([]string{h.GetMessage()}, h.GetReasons()...) {
		if r != "" {
			why = append(why, r)
		}
	}
	return strings.Join(why, "; ")
}
