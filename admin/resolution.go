package admin

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// Resolution is what the name server tells a resolver that asks for the addresses
// of a host.
type Resolution struct {
	Plan     *steer.Plan    // that the answer was made from; nil: there is none yet
	Location fleet.Location // for whom it was made
	Prefix   netip.Prefix

	Code    string        // "NOERROR", "NXDOMAIN", "REFUSED"
	Zone    string        // that answers; empty: none of ours
	Host    string        // of the routes, whose decision the addresses follow; empty: none does
	Region  fleet.Region  // whose addresses they are; empty: they are fixed, or there are none
	Addrs   []netip.Addr  // IPv4, then IPv6
	Aliases []string      // that lead from the host to what was answered
	Servers []string      // name servers that the resolver is referred to
	TTL     time.Duration // how long the answer, or the "no", is kept
	Scope   int           // ECS scope prefix length
}

func (r Resolution) out() *adminv1.DnsAnswer {
	out := &adminv1.DnsAnswer{
		Region: string(r.Region), Ttl: durationpb.New(r.TTL), Prefix: r.Prefix.String(), EcsScope: uint32(max(r.Scope, 0)),
		Code: r.Code, Zone: r.Zone, Host: r.Host, Aliases: r.Aliases, Servers: r.Servers, Why: r.why(),
	}
	for _, a := range r.Addrs {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// why no region is named; empty: one is.
func (r Resolution) why() string {
	switch {
	case r.Region != "":
		return ""
	case r.Zone == "":
		return "the name lies in no Zone of ours"
	case r.Code == "NXDOMAIN":
		return fmt.Sprintf("zone %s has no such name", r.Zone)
	case r.Code != "NOERROR":
		return fmt.Sprintf("the answer is %s", r.Code)
	case len(r.Servers) > 0:
		return fmt.Sprintf("zone %s delegates the name to %s", r.Zone, strings.Join(r.Servers, " and "))
	case r.Host != "":
		return "no region may serve the host"
	case len(r.Addrs) > 0:
		return fmt.Sprintf("the addresses are fixed records of zone %s", r.Zone)
	case len(r.Aliases) > 0:
		return fmt.Sprintf("the name is an alias of %s, for which another answer has to be asked", r.Aliases[len(r.Aliases)-1])
	}
	return fmt.Sprintf("zone %s has the name, but no address for it", r.Zone)
}

// arrives is the region of the gateway at which whoever follows the answer
// arrives; empty: at none of ours. Fixed records may name a gateway too.
func (r Resolution) arrives() fleet.Region {
	if r.Region != "" || r.Plan == nil {
		return r.Region
	}
	for _, e := range r.Plan.World.Edges {
		if slices.ContainsFunc(e.Gateways, func(g fleet.GatewayView) bool { return slices.Contains(r.Addrs, g.Addr) }) {
			return e.Region
		}
	}
	return ""
}
