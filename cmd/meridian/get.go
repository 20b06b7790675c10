package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

func newGet(o *options) *cobra.Command {
	get := &cobra.Command{
		Use:     "get",
		Short:   "List what a meridiand knows",
		GroupID: "look",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	get.AddCommand(
		getRegions(o), getClusters(o), getServices(o), getRoutes(o),
		getProblems(o), getSources(o), getGateways(o), getWorkloads(o))
	return get
}

func noun(name, alias, short string, run func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Aliases: []string{alias}, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return run(c) },
	}
}

func getRegions(o *options) *cobra.Command {
	return noun("regions", "region", "Regions with their health, round trip and load", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListRegionsRequest{}, adminv1.AdminClient.ListRegions)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) { regionTable(t, a.GetRegions()); leftOut(t, a.GetLeftOut()) })
	})
}

func regionTable(t *sheet, regions []*adminv1.Region) {
	t.row("REGION", "HEALTH", "RTT", "SHARE", "REQ/S", "GATEWAYS", "CLUSTERS", "NOTE")
	for _, r := range regions {
		note := ""
		if r.GetDrain() != "" {
			note = "draining " + r.GetDrain()
		} else if r.GetHealth().GetState() != adminv1.Health_HEALTH_HEALTHY {
			note = r.GetHealth().GetDetail()
		}
		t.row(r.GetName(), stateText(r), rttText(r.GetRtt()), fmt.Sprintf("%.0f %%", 100*r.GetShare()),
			fmt.Sprintf("%.1f", r.GetRps()), len(r.GetGateways()), strings.Join(r.GetClusters(), ","), note)
	}
}

func stateText(r *adminv1.Region) string {
	if r.GetDrain() != "" {
		return "draining"
	}
	return healthText(r.GetHealth().GetState())
}

func healthText(h adminv1.Health) string {
	return strings.ToLower(strings.TrimPrefix(h.String(), "HEALTH_"))
}

func rttText(d *durationpb.Duration) string {
	if d == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", float64(d.AsDuration())/float64(time.Millisecond))
}

func leftOut(t *sheet, n int32) {
	if n > 0 {
		t.line("and %d more", n)
	}
}

func getClusters(o *options) *cobra.Command {
	var region string
	cmd := noun("clusters", "cluster", "Member clusters with their gateways", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListClustersRequest{Region: region}, adminv1.AdminClient.ListClusters)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			t.row("CLUSTER", "REGION", "NETWORK", "GATEWAYS", "CAPACITY", "DRAINING")
			for _, cl := range a.GetClusters() {
				var fronts []string
				for _, g := range cl.GetGateways() {
					fronts = append(fronts, g.GetFront()+" "+healthText(g.GetHealth().GetState()))
				}
				t.row(cl.GetName(), cl.GetRegion(), cl.GetNetwork(), strings.Join(fronts, ", "), capacityText(cl.GetCapacity()), yes(cl.GetDraining()))
			}
			leftOut(t, a.GetLeftOut())
		})
	})
	cmd.Flags().StringVar(&region, "region", "", "only clusters of this region")
	return cmd
}

func capacityText(c float64) string {
	if c == 0 {
		return "unlimited"
	}
	return fmt.Sprintf("%.0f req/s", c)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func getServices(o *options) *cobra.Command {
	var namespace string
	cmd := noun("services", "service", "Services with the clusters they run in", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListServicesRequest{Namespace: namespace}, adminv1.AdminClient.ListServices)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			t.row("SERVICE", "STRATEGY", "READY", "WHERE", "REQ/S", "POLICY")
			for _, s := range a.GetServices() {
				var where []string
				var ready, total int32
				for _, b := range s.GetBackends() {
					w := fmt.Sprintf("%s %d/%d", b.GetCluster(), b.GetReady(), b.GetTotal())
					if b.GetStale() {
						w += " (stale)"
					}
					where = append(where, w)
					ready, total = ready+b.GetReady(), total+b.GetTotal()
				}
				t.row(s.GetNamespace()+"/"+s.GetName(), s.GetStrategy(), fmt.Sprintf("%d/%d", ready, total),
					strings.Join(where, ", "), fmt.Sprintf("%.1f", s.GetRps()), s.GetPolicy())
			}
			leftOut(t, a.GetLeftOut())
		})
	})
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only services of this namespace")
	return cmd
}

func getRoutes(o *options) *cobra.Command {
	var host string
	cmd := noun("routes", "route", "Hosts and paths with the services behind them", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListRoutesRequest{Host: host}, adminv1.AdminClient.ListRoutes)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			t.row("HOST", "MATCH", "PATH", "TO", "TLS", "FROM")
			for _, h := range a.GetHosts() {
				for _, r := range h.GetRoutes() {
					name := h.GetName()
					if name == "" {
						name = "*"
					}
					t.row(name, r.GetMatch(), r.GetPath(), targetsText(r.GetTo()), yes(r.GetTls()), r.GetOrigin())
				}
			}
			leftOut(t, a.GetLeftOut())
		})
	})
	cmd.Flags().StringVar(&host, "host", "", "only this host")
	return cmd
}

func targetsText(to []*adminv1.Target) string {
	var list []string
	for _, t := range to {
		s := t.GetService() + ":" + t.GetPort()
		if len(to) > 1 {
			s += fmt.Sprintf(" x%d", t.GetWeight())
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

func getProblems(o *options) *cobra.Command {
	var cluster string
	cmd := noun("problems", "problem", "Faults in objects, each with its remedy", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListProblemsRequest{Cluster: cluster}, adminv1.AdminClient.ListProblems)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			if len(a.GetProblems()) == 0 {
				t.line("No problems.")
				return
			}
			t.row("OBJECT", "REASON", "MESSAGE")
			for _, p := range a.GetProblems() {
				name := p.GetName()
				if p.GetNamespace() != "" {
					name = p.GetNamespace() + "/" + name
				}
				object := strings.TrimSpace(p.GetKind() + " " + name)
				if p.GetFile() != "" {
					object += " (" + p.GetFile() + ")"
				}
				t.row(object, p.GetReason(), p.GetMessage())
			}
			leftOut(t, a.GetLeftOut())
		})
	})
	cmd.Flags().StringVar(&cluster, "cluster", "", "only problems of objects from this cluster")
	return cmd
}

func getSources(o *options) *cobra.Command {
	return noun("sources", "source", "Who tells facts, and who has lost touch", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListSourcesRequest{}, adminv1.AdminClient.ListSources)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			t.row("SOURCE", "FACTS", "STATE", "WHY")
			for _, s := range a.GetSources() {
				state := "fresh"
				if s.GetStale() != "" {
					state = "stale, heard " + ago(s.GetHeardAgo())
				}
				t.row(s.GetName(), s.GetFacts(), state, s.GetStale())
			}
			leftOut(t, a.GetLeftOut())
		})
	})
}

func ago(d *durationpb.Duration) string {
	if d == nil {
		return "never"
	}
	return d.AsDuration().Round(100*time.Millisecond).String() + " ago"
}

func getGateways(o *options) *cobra.Command {
	return noun("gateways", "gateway", "Envoys connected to this meridiand", func(c *cobra.Command) error {
		a, err := ask(c.Context(), o, &adminv1.ListGatewaysRequest{}, adminv1.AdminClient.ListGateways)
		if err != nil {
			return err
		}
		return o.output.print(c.OutOrStdout(), a, func(t *sheet) {
			t.row("NODE", "REGION", "ZONE", "ADDRESS", "VERSION", "CONNECTED", "RESOURCES", "REFUSED")
			for _, g := range a.GetGateways() {
				t.row(g.GetNode(), g.GetRegion(), g.GetZone(), g.GetAddress(), g.GetVersion(),
					g.GetConnected().AsDuration().Round(time.Second), g.GetResources(), g.GetRefused())
			}
			leftOut(t, a.GetLeftOut())
		})
	})
}
