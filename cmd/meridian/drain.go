package main

import (
	"context"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// order is what drain and undrain have in common.
type order struct {
	verb, short, example string
	force                bool
	give                 func(c *cobra.Command, s adminv1.Scope, name, reason string, force bool) (proto.Message, string, error)
}

func newDrain(o *options) *cobra.Command {
	return order{
		verb:  "drain",
		short: "Send nothing new to a region or cluster; requests under way finish",
		example: `  meridian drain region asia-east1 --reason "kernel upgrade"
  meridian drain cluster eu-2`,
		force: true,
		give: func(c *cobra.Command, s adminv1.Scope, name, reason string, force bool) (proto.Message, string, error) {
			a, err := ask(c.Context(), o, &adminv1.DrainRequest{Scope: s, Name: name, Reason: reason, By: whoami(), Force: force}, adminv1.AdminClient.Drain)
			if err != nil {
				return nil, "", err
			}
			if !a.GetChanged() {
				return a, fmt.Sprintf("%s was draining already, since %s.", name, a.GetDrain().GetSince().AsTime().Local().Format(time.DateTime)), nil
			}
			text := fmt.Sprintf("%s is draining. Take it back with: meridian undrain %s %s", name, c.Name(), name)
			if a.GetNote() != "" {
				text += "\n" + a.GetNote()
			}
			return a, text, nil
		},
	}.command(o)
}

func newUndrain(o *options) *cobra.Command {
	return order{
		verb:    "undrain",
		short:   "Take a drain back",
		example: "  meridian undrain region asia-east1",
		give: func(c *cobra.Command, s adminv1.Scope, name, reason string, _ bool) (proto.Message, string, error) {
			a, err := ask(c.Context(), o, &adminv1.UndrainRequest{Scope: s, Name: name, Reason: reason, By: whoami()}, adminv1.AdminClient.Undrain)
			if err != nil {
				return nil, "", err
			}
			text := name + " serves again."
			if !a.GetChanged() {
				text = name + " was not drained by anybody."
			}
			if a.GetNote() != "" {
				text += " " + a.GetNote()
			}
			return a, text, nil
		},
	}.command(o)
}

func (r order) command(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: r.verb, Short: r.short, Example: r.example, GroupID: "steer", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(
		r.about(o, "region", adminv1.Scope_SCOPE_REGION, regionNames),
		r.about(o, "cluster", adminv1.Scope_SCOPE_CLUSTER, clusterNames))
	return cmd
}

func (r order) about(o *options, what string, s adminv1.Scope, names func(context.Context, *options) []string) *cobra.Command {
	var reason string
	var force bool
	cmd := &cobra.Command{
		Use: what + " NAME", Short: fmt.Sprintf("%s a %s", r.verb, what), Args: cobra.ExactArgs(1),
		ValidArgsFunction: func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return names(c.Context(), o), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			m, text, err := r.give(c, s, args[0], reason, force)
			if err != nil {
				return err
			}
			return o.output.print(c.OutOrStdout(), m, func(t *sheet) { t.line("%s", text) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look later")
	if r.force {
		cmd.Flags().BoolVar(&force, "force", false, "drain even the last region that serves")
	}
	return cmd
}

func whoami() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

func regionNames(ctx context.Context, o *options) []string {
	a, err := ask(ctx, o, &adminv1.ListRegionsRequest{}, adminv1.AdminClient.ListRegions)
	if err != nil {
		return nil // completion has nowhere to say it
	}
	var names []string
	for _, r := range a.GetRegions() {
		names = append(names, r.GetName())
	}
	return names
}

func clusterNames(ctx context.Context, o *options) []string {
	a, err := ask(ctx, o, &adminv1.ListClustersRequest{}, adminv1.AdminClient.ListClusters)
	if err != nil {
		return nil // completion has nowhere to say it
	}
	var names []string
	for _, c := range a.GetClusters() {
		names = append(names, c.GetName())
	}
	return names
}
