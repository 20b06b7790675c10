package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/install"
)

// kube is how a command finds API servers: in the user's own kubeconfig.
type kube struct {
	kubeconfig string
	dryRun     bool
}

func (k *kube) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.kubeconfig, "kubeconfig", "", "kubeconfig file; default: as kubectl finds it")
}

func (k *kube) dryRunFlag(c *cobra.Command) {
	c.Flags().BoolVar(&k.dryRun, "dry-run", false, "write nothing; print the objects that would be applied, as -o yaml (default) or json")
}

// contextFlag adds a flag that names a context, completed from the kubeconfig.
func (k *kube) contextFlag(c *cobra.Command, into *string, name, usage string) {
	c.Flags().StringVar(into, name, "", usage)
	_ = c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return install.ContextNames(k.kubeconfig), cobra.ShellCompDirectiveNoFileComp
	})
}

// completing is how long the shell of a person who pressed a key may wait.
const completing = 3 * time.Second

// members completes the one name that a command takes by those of the host's members.
func (k *kube) members(hostContext *string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		host, err := install.Open(k.kubeconfig, *hostContext)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completing)
		defer cancel()
		names, _ := host.Members(ctx) // a shell has no place for errors
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// progress goes beside the answer, so that the answer may go into a file.
func (k *kube) progress(c *cobra.Command) install.Progress {
	return install.Progress{W: c.ErrOrStderr()}
}

// print writes what a dry run would apply.
func (k *kube) print(w io.Writer, f format, parts []install.Part) error {
	if f == formatJSON {
		return install.WriteJSON(w, parts)
	}
	return install.WriteYAML(w, parts)
}

// noTable refuses a format that a command which applies things does not have.
func (k *kube) noTable(f format) error {
	if !k.dryRun && f != "" && f != formatTable {
		return fmt.Errorf("-o %s prints objects, which only --dry-run does; add it", f)
	}
	return nil
}
