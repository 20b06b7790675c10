package admin

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// request is an ExplainRequest that has been checked.
type request struct {
	client netip.Addr
	host   string
	path   string
}

func parseRequest(q *adminv1.ExplainRequest) (request, error) {
	addr, err := netip.ParseAddr(q.GetClient())
	if err != nil || addr.Zone() != "" {
		return request{}, status.Errorf(codes.InvalidArgument, "client %.64q is no IP address", q.GetClient())
	}
	host := strings.ToLower(strings.TrimSuffix(q.GetHost(), "."))
	if host == "" || len(host) > 253 || strings.ContainsAny(host, ":/ \t\r\n") {
		return request{}, status.Errorf(codes.InvalidArgument, "host %.64q is no host name; write it without scheme, port and path", q.GetHost())
	}
	path, _, _ := strings.Cut(q.GetPath(), "?")
	if path == "" {
		path = "/"
	}
	if path[0] != '/' || len(path) > 4096 {
		return request{}, status.Errorf(codes.InvalidArgument, "path %.64q does not begin with a slash, or is longer than 4096 bytes", q.GetPath())
	}
	return request{client: addr.Unmap(), host: host, path: normal(path)}, nil
}

// normal is a path as gateways see it before they route: dot segments are removed
// (RFC 3986 section 5.2.4), then slashes in a row are one.
func normal(path string) string {
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == ".." && len(kept) > 0:
			kept = kept[:len(kept)-1]
		case s != "." && s != "..":
			kept = append(kept, s)
		}
		if last && (s == "." || s == "..") {
			kept = append(kept, "")
		}
	}
	out := "/" + strings.Join(kept, "/")
	for strings.Contains(out, "//") {
		out = strings.ReplaceAll(out, "//", "/")
	}
	return out
}

// Explain implements the Admin service. It asks the same functions as the DNS
// server and the gateways do, so it cannot tell another story than theirs.
func (s *Server) Explain(_ context.Context, q *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
	r, err := parseRequest(q)
	if err != nil {
		return nil, err
	}
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	prefix := s.unit(r.client)
	// A resolver that says which subnet asks is answered for the whole unit.
	loc := s.c.Locate(prefix.Addr())
	byDNS, ok := p.ForHost(steer.Client(loc, prefix), r.host)
	if !ok {
		return nil, status.Errorf(codes.NotFound, "no route names the host %q; \"meridian get routes\" lists those that exist", r.host)
	}
	out := &adminv1.ExplainResponse{
		Generation: p.Generation,
		Location:   locationOut(loc),
		Dns:        decisionOut(byDNS),
		Answer:     answerOut(p, byDNS, loc, prefix),
	}
	at, ok := byDNS.Choice()
	if !ok {
		out.Disagreement = "no region may serve the host, so DNS gives no address and no gateway is reached"
		return out, nil
	}
	out.Gateway = string(at.Region)
	out.Disagreement = atGateway(p, r, at.Region, out)
	out.Agree = out.Disagreement == ""
	return out, nil
}

// unit is the prefix within which DNS does not tell clients apart.
func (s *Server) unit(a netip.Addr) netip.Prefix {
	bits := s.c.TruncateV6
	if a.Is4() {
		bits = s.c.TruncateV4
	}
	p, err := a.Prefix(min(bits, a.BitLen()))
	if err != nil {
		return netip.PrefixFrom(a, a.BitLen()) // a negative length was configured
	}
	return p
}

func answerOut(p *steer.Plan, d steer.Decision, loc fleet.Location, prefix netip.Prefix) *adminv1.DnsAnswer {
	out := &adminv1.DnsAnswer{Ttl: durationpb.New(d.TTL), Prefix: prefix.String(), EcsScope: scope(d.Depends, loc, prefix)}
	if c, ok := d.Choice(); ok {
		out.Region = string(c.Region)
		for _, a := range p.Addresses(c.Region) {
			out.Addresses = append(out.Addresses, a.String())
		}
	}
	return out
}

// scope is the prefix length around the client in which everybody gets the same
// choice (RFC 7871 §7.1.2): never longer than the unit, which is all that is
// told apart.
func scope(d steer.Dependence, loc fleet.Location, unit netip.Prefix) uint32 {
	switch {
	case d == steer.OnNothing:
		return 0
	case d == steer.OnPlace && loc.Prefix.IsValid() && loc.Prefix.Contains(unit.Addr()):
		return uint32(min(loc.Prefix.Bits(), unit.Bits()))
	}
	return uint32(unit.Bits())
}

// atGateway follows the request to the gateway of the region that DNS named and
// asks what that does with it. It returns why the region does not serve the
// request itself; empty: it does.
func atGateway(p *steer.Plan, r request, region fleet.Region, out *adminv1.ExplainResponse) (disagreement string) {
	host, ok := p.Routes.Host(r.host)
	if !ok {
		return "no route names the host" // not so: ForHost found one
	}
	route, ok := host.Route(r.path)
	if !ok {
		return fmt.Sprintf("no route of %s takes %s, so the gateway in %s answers 404", r.host, r.path, region)
	}
	out.Route = routeOut(route)
	asker := gatewayAsker(p.World, region)
	total := uint64(0)
	for _, t := range route.To {
		total += uint64(t.Weight)
	}
	var why []string
	for _, t := range route.To {
		hop := &adminv1.Hop{Target: targetOut(t)}
		if total > 0 {
			hop.Share = float64(t.Weight) / float64(total)
		}
		out.Hops = append(out.Hops, hop)
		d, known := p.ForService(asker, t.Service)
		if known {
			hop.Decision = decisionOut(d)
			if c, ok := d.Choice(); ok {
				hop.Region = string(c.Region)
			}
		}
		if t.Weight > 0 {
			if w := awayFrom(region, t.Service, d, known); w != "" {
				why = append(why, w)
			}
		}
	}
	if total == 0 {
		why = append(why, fmt.Sprintf("no target of the route has a weight, so the gateway in %s answers 503", region))
	}
	return strings.Join(why, "; ")
}

// gatewayAsker stands where the region's gateways stand: in the network of the
// first cluster that has a gateway.
func gatewayAsker(w *fleet.World, region fleet.Region) steer.Asker {
	e, ok := w.Edge(region)
	if !ok {
		return steer.Asker{Vantage: fleet.Vantage{Region: region}}
	}
	v := fleet.Vantage{Region: region, Place: e.Place, Network: e.Clusters[0].At.Network}
	for _, c := range e.Clusters {
		if len(c.Gateways) > 0 && !c.Draining {
			v.Network = c.At.Network
			break
		}
	}
	return steer.Asker{Vantage: v}
}

// awayFrom says why a region does not serve a service first when its own gateway
// decides; empty: it does.
func awayFrom(region fleet.Region, svc fleet.ServiceName, d steer.Decision, known bool) string {
	if !known {
		return fmt.Sprintf("nobody has the service %s, so the gateway in %s answers 503", svc, region)
	}
	if len(d.Order) == 0 {
		return fmt.Sprintf("no region may serve %s, so the gateway in %s answers 503", svc, region)
	}
	for _, c := range d.Order {
		if c.Priority == 0 && c.Region == region && c.Share > 0 {
			return ""
		}
	}
	text := fmt.Sprintf("DNS names %s, whose gateway hands requests for %s on to %s", region, svc, d.Order[0].Region)
	for _, c := range d.Refused {
		if c.Region == region && len(c.Reasons) > 0 {
			text += " (" + c.Reasons[0].Text + ")"
		}
	}
	return text
}
