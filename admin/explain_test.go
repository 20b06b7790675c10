package admin

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// What a gateway does with a path, and with a route that leads nowhere. "hops"
// are the regions that serve; "-" is one that nobody serves.
func TestExplainAsksTheGateway(t *testing.T) {
	for _, c := range []struct {
		name         string
		change       func(*fleet.Snapshot)
		host, path   string
		route        string // path of the one that takes it; empty: none
		seen         string // path that routes are asked for
		reply        int32
		location     string
		hops         []string
		agree        bool
		disagreement string
	}{
		{name: "an encoded letter", path: "/%62asket", route: "/basket", seen: "/basket", hops: []string{"eu", "eu"}, agree: true},
		{name: "encoded dots", path: "/a/%2e%2e/basket", route: "/basket", seen: "/basket", hops: []string{"eu", "eu"}, agree: true},
		{name: "a backslash", path: `/a\..\basket`, route: "/basket", seen: "/basket", hops: []string{"eu", "eu"}, agree: true},
		{name: "an encoded slash is redirected, and the client followed", path: "/a/..%2fbasket", route: "/basket", seen: "/basket", reply: 307, location: "/basket", hops: []string{"eu", "eu"}, agree: true},
		{name: "an encoded NUL", path: "/a%00", reply: 400, disagreement: "the gateway in eu answers 400"},
		{name: "a redirect to what is refused", path: "/a%2f%", reply: 400, disagreement: "answers 400"},
		{name: "no such path", host: "static.example", path: "/css", seen: "/css", reply: 404, disagreement: "no route of static.example takes /css, so the gateway in eu answers 404"},
		{name: "a service that nobody has", host: "old.example", route: "/", seen: "/", reply: 503, hops: []string{"-"},
			disagreement: "no region may serve the host; nobody has the service shop/ghost, so a gateway that is asked all the same answers 503"},
		{name: "residency in no region", route: "/", seen: "/", reply: 503, hops: []string{"-"}, disagreement: "no region may serve shop/web, so a gateway that is asked all the same answers 503",
			change: func(s *fleet.Snapshot) {
				delete(s.Services, basket)
				s.Services[shop].Policy = &fleet.Policy{Strategy: fleet.StrategyLatency, Regions: []fleet.Region{"mars"}, TTL: time.Second}
			}},
		{name: "no cluster at all", route: "/", seen: "/", reply: 503, hops: []string{"-"}, disagreement: "no region may serve the host; nobody has the service shop/web, so a gateway answers 503",
			change: func(s *fleet.Snapshot) { s.World, s.Services = &fleet.World{}, nil }},
		{name: "a port that the service has not", route: "/", seen: "/", reply: 503, hops: []string{"-"}, disagreement: "the service shop/web has no such port, so the gateway in eu answers 503",
			change: func(s *fleet.Snapshot) { s.Routes.Hosts[1].Routes[1].To[0].Port = fleet.PortRef{Number: 81} }},
		{name: "a part of the requests", path: "/basket", route: "/basket", seen: "/basket", hops: []string{"-", "eu"}, disagreement: "nobody has the service shop/basket, so the gateway in eu answers 503 to a part of the requests",
			change: func(s *fleet.Snapshot) { delete(s.Services, basket) }},
		{name: "no weight", route: "/", seen: "/", reply: 503, hops: []string{"eu"}, disagreement: "no target of the route has a weight, so the gateway in eu answers 503",
			change: func(s *fleet.Snapshot) { s.Routes.Hosts[1].Routes[1].To[0].Weight = 0 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, nil)
			s := world()
			if c.change != nil {
				c.change(s)
			}
			d.Update(steer.New(s))
			host := c.host
			if host == "" {
				host = "shop.example"
			}
			got, err := d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "198.51.100.9", Host: host, Path: c.path})
			if err != nil {
				t.Fatal(err)
			}
			var hops []string
			for _, h := range got.Hops {
				if (h.Region == "") != (h.Why != "") {
					t.Errorf("hop %v names neither a region nor a reason, or both", h)
				}
				hops = append(hops, map[bool]string{true: "-", false: h.Region}[h.Region == ""])
			}
			if got.GetRoute().GetPath() != c.route || got.Path != c.seen || !slices.Equal(hops, c.hops) {
				t.Errorf("route %v, path %q, hops %v; want %q, %q, %v", got.Route, got.Path, hops, c.route, c.seen, c.hops)
			}
			if got.GetReply().GetStatus() != c.reply || got.GetReply().GetLocation() != c.location || (c.reply != 0) != (got.GetReply().GetWhy() != "") {
				t.Errorf("reply %v, want %d %s", got.Reply, c.reply, c.location)
			}
			if got.Agree != c.agree || got.Agree != (got.Disagreement == "") || !strings.Contains(got.Disagreement, c.disagreement) {
				t.Errorf("agree %v, %q; want %v, %q", got.Agree, got.Disagreement, c.agree, c.disagreement)
			}
		})
	}
}

// What the name server says is passed on whole, and judged by where it leads.
func TestExplainFollowsTheNameServer(t *testing.T) {
	for name, c := range map[string]struct {
		said         Resolution
		gateway      string
		agree        bool
		why          string
		disagreement string
	}{
		"refused":             {Resolution{Code: "REFUSED"}, "", false, "the name lies in no Zone of ours", "which would serve the request"},
		"no such name":        {Resolution{Code: "NXDOMAIN", Zone: "example."}, "", false, "zone example. has no such name", "which would serve"},
		"failed":              {Resolution{Code: "SERVFAIL", Zone: "example."}, "", false, "the answer is SERVFAIL", "which would serve"},
		"no data":             {Resolution{Code: "NOERROR", Zone: "example."}, "", false, "has the name, but no address for it", "which would serve"},
		"referral":            {Resolution{Code: "NOERROR", Zone: "example.", Servers: []string{"a.test.", "b.test."}}, "", false, "delegates the name to a.test. and b.test.", "which would serve"},
		"alias elsewhere":     {Resolution{Code: "NOERROR", Zone: "example.", Aliases: []string{"a.test."}}, "", false, "an alias of a.test.", "which would serve"},
		"fixed elsewhere":     {Resolution{Code: "NOERROR", Zone: "example.", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}, "", false, "fixed records of zone example.", "no gateway of ours"},
		"fixed, at a gateway": {Resolution{Code: "NOERROR", Zone: "example.", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.3")}}, "us", true, "fixed records of zone example.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, nil)
			c.said.Prefix, c.said.TTL, c.said.Scope = netip.MustParsePrefix("198.51.100.0/24"), time.Minute, 24
			d.said = map[string]Resolution{"shop.example": c.said}
			d.Update(steer.New(world()))
			got, err := d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "198.51.100.9", Host: "shop.example"})
			if err != nil {
				t.Fatal(err)
			}
			a := got.Answer
			if got.Gateway != c.gateway || got.Agree != c.agree || !strings.Contains(a.Why, c.why) || !strings.Contains(got.Disagreement, c.disagreement) || got.Agree != (got.Disagreement == "") {
				t.Errorf("gateway %q, agree %v, why %q, %q; want %+v", got.Gateway, got.Agree, a.Why, got.Disagreement, c)
			}
			if a.Code != c.said.Code || a.Zone != c.said.Zone || !slices.Equal(a.Servers, c.said.Servers) || !slices.Equal(a.Aliases, c.said.Aliases) ||
				a.Ttl.AsDuration() != time.Minute || a.EcsScope != 24 || a.Prefix != "198.51.100.0/24" || got.Dns != nil {
				t.Errorf("passed on as %v with decision %v", a, got.Dns)
			}
		})
	}
}
