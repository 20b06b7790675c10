package main

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

func newExplain(o *options) *cobra.Command {
	var client string
	cmd := &cobra.Command{
		Use:     "explain HOST[/PATH]",
		Short:   "Say where one client's request goes, by DNS and by HTTP, and why",
		GroupID: "look",
		Example: `  meridian explain shop.example.com --client 193.0.6.139
  meridian explain https://shop.example.com/cart --client 2001:db8::1 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			host, path, err := splitURL(args[0])
			if err != nil {
				return err
			}
			a, err := ask(c.Context(), o, &adminv1.ExplainRequest{Client: client, Host: host, Path: path}, adminv1.AdminClient.Explain)
			if err != nil {
				return err
			}
			return o.output.print(c.OutOrStdout(), a, func(t *sheet) { explanation(t, client, host, path, a) })
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "address of the client, or of the resolver that asks for it (required)")
	_ = cmd.MarkFlagRequired("client")
	return cmd
}

// splitURL takes "host", "host/path" or a URL.
func splitURL(s string) (host, path string, err error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", "", fmt.Errorf("%q names no host: write HOST, HOST/PATH or a URL", s)
	}
	return u.Hostname(), u.EscapedPath(), nil
}

func explanation(t *sheet, client, host, path string, a *adminv1.ExplainResponse) {
	if path == "" {
		path = "/"
	}
	t.line("Client    %s, %s", client, locationText(a.GetLocation()))
	t.line("Request   %s%s   (plan %d)", host, path, a.GetGeneration())
	if ans := a.GetAnswer(); ans.GetRegion() != "" {
		t.line("DNS       %s: %s, TTL %s, ECS scope /%d", ans.GetRegion(), strings.Join(ans.GetAddresses(), " "), ans.GetTtl().AsDuration(), ans.GetEcsScope())
	} else {
		t.line("DNS       no address: no region may serve")
	}
	decisionTable(t, a.GetDns())
	if a.GetRoute() == nil {
		t.line("HTTP      no route takes %s%s; the gateway answers 404", host, path)
		return
	}
	t.line("")
	t.line("HTTP      at the gateway in %s, %s %s from %s", a.GetGateway(), a.GetRoute().GetMatch(), a.GetRoute().GetPath(), a.GetRoute().GetOrigin())
	for _, h := range a.GetHops() {
		t.line("          %s:%s, %.0f %% of the requests", h.GetTarget().GetService(), h.GetTarget().GetPort(), 100*h.GetShare())
		if h.GetDecision() == nil {
			t.line("          nobody has this service; the gateway answers 503")
			continue
		}
		decisionTable(t, h.GetDecision())
	}
	t.line("")
	if a.GetAgree() {
		t.line("DNS and HTTP agree.")
	} else {
		t.line("DNS and HTTP do not agree: %s.", strings.TrimSuffix(a.GetDisagreement(), "."))
	}
}

func locationText(l *adminv1.Location) string {
	where := "place unknown"
	if p := l.GetPlace(); p != nil {
		where = fmt.Sprintf("%.2f, %.2f", p.GetLat(), p.GetLon())
	}
	for _, name := range []string{l.GetCountry(), l.GetCity()} {
		if name != "" {
			where = name + " " + where
		}
	}
	return fmt.Sprintf("%s (by %s, all of %s)", where, l.GetLayer(), l.GetPrefix())
}

func decisionTable(t *sheet, d *adminv1.Decision) {
	if d.GetPanic() {
		t.line("          PANIC: nobody is eligible, so the refused serve")
	}
	t.row(" ", "ORDER", "REGION", "SHARE", "COST", "READY", "HEALTH", "WHY")
	for _, c := range d.GetOrder() {
		t.row(" ", c.GetPriority(), c.GetRegion(), fmt.Sprintf("%.0f %%", 100*c.GetShare()), rttText(c.GetCost()),
			fmt.Sprintf("%d/%d", c.GetReady(), c.GetTotal()), healthText(c.GetState()), reasonsText(c.GetReasons()))
	}
	for _, c := range d.GetRefused() {
		t.row(" ", "refused", c.GetRegion(), "", rttText(c.GetCost()),
			fmt.Sprintf("%d/%d", c.GetReady(), c.GetTotal()), healthText(c.GetState()), reasonsText(c.GetReasons()))
	}
	_ = t.w.Flush()
}

func reasonsText(reasons []*adminv1.Reason) string {
	var list []string
	for _, r := range reasons {
		list = append(list, r.GetText())
	}
	return strings.Join(list, "; ")
}
