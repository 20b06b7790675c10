package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

func newWatch(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Show the regions now and at every change, until interrupted", GroupID: "look", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, stop, err := o.dial()
			if err != nil {
				return err
			}
			defer stop()
			stream, err := client.WatchPlan(c.Context(), &adminv1.WatchPlanRequest{})
			if err != nil {
				return unreachable{o.server, err}
			}
			for {
				s, err := stream.Recv()
				switch {
				case c.Context().Err() != nil, errors.Is(err, io.EOF):
					return nil
				case err != nil:
					return unreachable{o.server, err}
				}
				if err := o.output.print(c.OutOrStdout(), s, func(t *sheet) { summaryTable(t, s) }); err != nil {
					return err
				}
			}
		},
	}
}

func summaryTable(t *sheet, s *adminv1.PlanSummary) {
	t.line("plan %d of %s in %s: %d services, %d hosts, %.1f requests/s, %d problems",
		s.GetGeneration(), s.GetInstance(), s.GetFrom(), s.GetServices(), s.GetHosts(), s.GetRps(), s.GetProblems())
	regionTable(t, s.GetRegions())
	for _, src := range s.GetStaleSources() {
		t.line("stale: %s", src)
	}
	t.line("")
}

func newVersion(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version and where the embedded geo data comes from", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			m, err := structpb.NewStruct(map[string]any{
				"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				"revision": revision(), "data": attribution,
			})
			if err != nil {
				return fmt.Errorf("printing the version: %w", err)
			}
			return o.output.print(c.OutOrStdout(), m, func(t *sheet) {
				t.line("meridian %s %s (%s, %s/%s)", version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
				t.line("%s", attribution)
			})
		},
	}
}

// attribution is asked for by the licence of the embedded country table.
const attribution = "This product includes IP2Location LITE data available from http://www.ip2location.com"

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
