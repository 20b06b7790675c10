package main

import (
	"cmp"
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

// splitURL takes "host", "host/path" or a URL. The path stays as it was written:
// how it is encoded is part of the question.
func splitURL(s string) (host, path string, err error) {
	rest := s
	if scheme, after, ok := strings.Cut(s, "://"); ok && scheme != "" {
		rest = after
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	u, err := url.Parse("http://" + rest[:end])
	if err != nil || u.Hostname() == "" || u.Path != "" {
		return "", "", fmt.Errorf("%q names no host: write HOST, HOST/PATH or a URL", s)
	}
	path, _, _ = strings.Cut(rest[end:], "#") // which no client sends
	path, _, _ = strings.Cut(path, "?")
	return u.Hostname(), path, nil
}

func explanation(t *sheet, client, host, path string, a *adminv1.ExplainResponse) {
	path = cmp.Or(path, "/")
	t.line("Client    %s, %s", client, locationText(a.GetLocation()))
	t.line("Request   %s%s   (plan %d)", host, path, a.GetGeneration())
	if p := a.GetPath(); p != "" && p != path {
		t.line("Path      %s", p)
	}
	t.line("DNS       %s", answerText(a.GetAnswer()))
	if a.GetDns() != nil {
		decisionTable(t, a.GetDns())
	}
	t.line("")
	if r := a.GetReply(); r != nil {
		t.line("HTTP      %d: %s", r.GetStatus(), r.GetWhy())
	}
	if r := a.GetRoute(); r != nil {
		where := "at the gateway in " + a.GetGateway()
		if a.GetGateway() == "" {
			where = "at a gateway, if one were asked"
		}
		label := "HTTP  "
		if a.GetReply() != nil {
			label = "      "
		}
		t.line("%s    %s, %s %s from %s", label, where, r.GetMatch(), r.GetPath(), r.GetOrigin())
	}
	for _, h := range a.GetHops() {
		t.line("          %s:%s, %.0f %% of the requests", h.GetTarget().GetService(), h.GetTarget().GetPort(), 100*h.GetShare())
		if h.GetWhy() != "" {
			t.line("          %s", h.GetWhy())
		}
		if h.GetDecision() != nil {
			decisionTable(t, h.GetDecision())
		}
	}
	t.line("")
	if a.GetAgree() {
		t.line("DNS and HTTP agree.")
	} else {
		t.line("DNS and HTTP do not agree: %s.", strings.TrimSuffix(a.GetDisagreement(), "."))
	}
}

// answerText is what a resolver is told, in one line.
func answerText(ans *adminv1.DnsAnswer) string {
	text := strings.Join(ans.GetAddresses(), " ")
	if names := ans.GetAliases(); text != "" && len(names) > 0 {
		text += " by " + strings.Join(names, " and ")
	}
	switch {
	case ans.GetRegion() != "":
		text = ans.GetRegion() + ": " + text
	case text == "":
		text = ans.GetCode() + ": " + ans.GetWhy()
	default:
		text += ": " + ans.GetWhy()
	}
	if ans.GetZone() == "" {
		return text // a refusal is not kept
	}
	return fmt.Sprintf("%s, TTL %s, ECS scope /%d", text, ans.GetTtl().AsDuration(), ans.GetEcsScope())
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
