package factv1

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meridian-lb/meridian/fleet"
)

func routesOut(r *fleet.RouteSet) *RouteSet {
	x := &RouteSet{Routes: mapped(r.Routes, routeOut), Origin: originOut(r.Origin)}
	if len(r.Claimed) > 0 {
		x.Claimed = make(map[string]*timestamppb.Timestamp, len(r.Claimed))
		for host, since := range r.Claimed {
			x.Claimed[valid(host)] = timestamppb.New(since)
		}
	}
	return x
}

func routeOut(r fleet.Route) *Route {
	return &Route{
		Host: valid(r.Host), Exact: r.Match.Type == fleet.PathExact, Path: valid(r.Match.Path),
		To: mapped(r.To, func(t fleet.Target) *Target {
			return &Target{Service: serviceOut(t.Service), PortName: valid(t.Port.Name), Port: uint32(t.Port.Number), Weight: t.Weight}
		}),
		Certificate: valid(string(r.Certificate)), Origin: originOut(r.Origin),
	}
}

func (d *door) routes(x *RouteSet) *fleet.RouteSet {
	return &fleet.RouteSet{
		Routes: list(d, "routes", x.GetRoutes(), maxLarge, d.route), Origin: d.origin(x.GetOrigin()),
		Claimed: d.claimed(x.GetClaimed()),
	}
}

func (d *door) claimed(x map[string]*timestamppb.Timestamp) map[string]time.Time {
	if len(x) > maxLarge {
		d.refuse("claimed holds %d entries, at most %d are taken", len(x), maxLarge)
	}
	if len(x) == 0 || d.err != nil {
		return nil
	}
	out := make(map[string]time.Time, len(x))
	for host, since := range x {
		if host != "" {
			host = d.dnsName("claimed host", host, false)
		}
		out[host] = d.moment("claimed", since)
	}
	return out
}

func (d *door) route(x *Route) fleet.Route {
	r := fleet.Route{
		Match: d.match(x),
		To: list(d, "targets", x.GetTo(), maxSmall, func(t *Target) fleet.Target {
			return fleet.Target{
				Service: d.service(t.GetService()),
				Port: fleet.PortRef{
					Name:   d.maybeWord("target's port", t.GetPortName()),
					Number: d.maybePort("target's port", t.GetPort()),
				},
				Weight: t.GetWeight(),
			}
		}),
		Certificate: fleet.CertificateName(d.sentence("certificate", x.GetCertificate(), MaxName)),
		Origin:      d.origin(x.GetOrigin()),
	}
	if x.GetHost() != "" {
		r.Host = d.dnsName("host", x.GetHost(), false)
	}
	if len(r.To) == 0 {
		d.refuse("the route for %.100q has no target", x.GetHost()+x.GetPath())
	}
	return r
}

func (d *door) match(x *Route) fleet.Match {
	m := fleet.Match{Path: d.sentence("path", x.GetPath(), maxPath)}
	if x.GetExact() {
		m.Type = fleet.PathExact
	}
	if !strings.HasPrefix(m.Path, "/") {
		d.refuse("path %.40q does not begin with a slash", m.Path)
	}
	if m.Type == fleet.PathPrefix && len(m.Path) > 1 && strings.HasSuffix(m.Path, "/") {
		d.refuse("prefix %.40q ends with a slash", m.Path)
	}
	return m
}
