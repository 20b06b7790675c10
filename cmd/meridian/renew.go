package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/install"
)

func newCertsRenew(o *options) *cobra.Command {
	var k kube
	var kubeContext, namespace string
	cmd := &cobra.Command{
		Use: "renew", Short: "Renew the certificates of an installation on Kubernetes", Args: cobra.NoArgs,
		Long: `renew looks at the Secrets that "meridian init" made and issues anew what has expired, what has less
than a third of its life left, and what another authority has issued than the one in force. Identities
and lifetimes stay, and daemons and gateways take notice. What is good is not written. The certificates
of a dedicated API are among them; your own kubeconfig has a copy of one, which "meridian init" writes anew.

The chart has it run every day in the cluster, where it needs no kubeconfig.`,
		Example: `  meridian certs renew --context eu --dry-run
  meridian certs renew --context eu`,
		RunE: func(c *cobra.Command, _ []string) error {
			reach, err := install.Open(k.kubeconfig, kubeContext)
			if err != nil {
				return err
			}
			var done install.Renewed
			if k.dryRun {
				done, err = install.Due(c.Context(), reach, namespace, time.Now())
			} else {
				done, err = install.Renew(c.Context(), reach, namespace, time.Now(), k.progress(c))
			}
			if err != nil && len(done.Renewals)+done.Good == 0 {
				return err // "0 good" would be a guess
			}
			return errors.Join(sayRenewed(c, o, done, k.dryRun), err)
		},
	}
	k.flags(cmd)
	k.contextFlag(cmd, &kubeContext, "context", "context of the cluster; default: the current one, or in a pod the cluster around it")
	cmd.Flags().StringVar(&namespace, "namespace", install.Namespace, "namespace of the installation")
	cmd.Flags().BoolVar(&k.dryRun, "dry-run", false, "write nothing; say what would be renewed")
	return cmd
}

// sayRenewed prints what was done, which a dry run has not.
func sayRenewed(c *cobra.Command, o *options, done install.Renewed, dryRun bool) error {
	var list []any
	for _, r := range done.Renewals {
		m := map[string]any{"secret": r.Secret, "key": r.Key, "why": r.Why}
		if !r.Until.IsZero() {
			m["identity"], m["expires"] = r.Who(), r.Until.UTC().Format(time.RFC3339)
		}
		list = append(list, m)
		if dryRun && (o.output == "" || o.output == formatTable) {
			if _, err := fmt.Fprintf(c.OutOrStdout(), "  Secret %s: %s %s\n", r.Secret, r.Key, r.Why); err != nil {
				return err
			}
		}
	}
	verb := "renewed"
	if dryRun {
		verb = "to be renewed"
	}
	return o.said(c, map[string]any{"renewals": list, "good": done.Good, "dryRun": dryRun}, "%d %s, %d good.", len(done.Renewals), verb, done.Good)
}
