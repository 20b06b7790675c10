package main

import (
	"github.com/spf13/cobra"

	"github.com/meridian-lb/meridian/cmd/meridian/demo"
)

func newDemo() *cobra.Command {
	cfg := demo.Config{}
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Run three regions on this machine: real Envoys, real DNS, real HTTP",
		GroupID: "try",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg.Out = c.OutOrStdout()
			return demo.Run(c.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&cfg.Story, "story", false, "kill, drain and restore things by itself; exit 0 only if every promise held")
	cmd.Flags().BoolVar(&cfg.Keep, "keep", false, "leave files and logs for a look")
	return cmd
}
