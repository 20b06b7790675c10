package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// stand is a gateway at which a request is looked at.
type stand struct {
	steer.Asker
	name  string // in sentences
	asked bool   // the request arrives here; otherwise it only might
}

// answers is a reply as a part of a sentence.
func (at stand) answers(status int32) string { return fmt.Sprintf("so %s answers %d", at.name, status) }

// standAt finds the gateway at which a request is looked at: in the region at
// which it arrives or, where it arrives at none, in the one nearest to the client.
func standAt(w *fleet.World, region fleet.Region, client fleet.Place) stand {
	if region != "" {
		return stand{gatewayAsker(w, region), "the gateway in " + string(region), true}
	}
	if len(w.Edges) == 0 {
		return stand{name: "a gateway"}
	}
	nearest := slices.MinFunc(w.Edges, func(a, b *fleet.Edge) int {
		if !client.Known() {
			return cmp.Compare(a.Region, b.Region)
		}
		return cmp.Or(cmp.Compare(client.DistanceKm(a.Place), client.DistanceKm(b.Place)), cmp.Compare(a.Region, b.Region))
	})
	return stand{Asker: gatewayAsker(w, nearest.Region), name: "a gateway that is asked all the same"}
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

// serve fills in what the gateway does with the request, and returns why its
// region does not serve it itself; empty: it does.
func (at stand) serve(p *steer.Plan, r request, out *adminv1.ExplainResponse) string {
	path, ok := at.normalise(r.path, out)
	if !ok {
		return out.Reply.GetWhy()
	}
	host, _ := p.Routes.Host(r.host) // one that nobody has takes no path either
	route, ok := host.Route(path)
	if !ok {
		return at.reply(out, 404, fmt.Sprintf("no route of %s takes %s", r.host, path))
	}
	out.Route = routeOut(route)
	total := uint64(0)
	for _, t := range route.To {
		total += uint64(t.Weight)
	}
	var missing, away []string
	weighted, served := total > 0, false
	for _, t := range route.To {
		hop, elsewhere := at.hop(p, t)
		out.Hops = append(out.Hops, hop)
		switch {
		case t.Weight == 0:
			continue
		case hop.Why != "":
			missing = append(missing, hop.Why)
		default:
			served = true
			if elsewhere != "" {
				away = append(away, elsewhere)
			}
		}
		hop.Share = float64(t.Weight) / float64(total)
	}
	switch {
	case !weighted:
		return at.reply(out, 503, "no target of the route has a weight")
	case !served:
		return at.reply(out, 503, strings.Join(missing, " and "))
	case len(missing) > 0:
		away = append(away, strings.Join(missing, " and ")+", "+at.answers(503)+" to a part of the requests")
	}
	return strings.Join(away, "; ")
}

// reply fills in what the gateway answers itself, and returns the whole sentence.
func (at stand) reply(out *adminv1.ExplainResponse, status int32, why string) string {
	why += ", " + at.answers(status)
	out.Reply = &adminv1.Reply{Status: status, Why: why}
	return why
}

// normalise brings a path into the form that routes are asked for. Where the
// gateway redirects, the client is followed.
func (at stand) normalise(raw string, out *adminv1.ExplainResponse) (path string, ok bool) {
	path, fate := fleet.NormalPath(raw)
	if fate == fleet.PathRedirected {
		out.Reply = &adminv1.Reply{Status: 307, Location: path, Why: fmt.Sprintf("the path has an encoded slash, so %s redirects to %s", at.name, path)}
		path, fate = fleet.NormalPath(path)
	}
	if fate == fleet.PathRefused {
		at.reply(out, 400, fmt.Sprintf("the path %.80q holds what no path may", raw))
		return "", false
	}
	out.Path = path
	return path, true
}

// hop is what becomes of the part of the requests that is a target's. Away is why
// the gateway's region does not serve it; empty: it does.
func (at stand) hop(p *steer.Plan, t fleet.Target) (hop *adminv1.Hop, away string) {
	hop = &adminv1.Hop{Target: targetOut(t)}
	d, known := p.ForService(at.Asker, t.Service)
	if !known {
		hop.Why = fmt.Sprintf("nobody has the service %s", t.Service)
		return hop, ""
	}
	hop.Decision = decisionOut(d)
	switch c, ok := d.Choice(); {
	case !slices.ContainsFunc(p.Services[t.Service].Backends, func(b fleet.BackendView) bool { _, ok := b.Port(t.Port); return ok }):
		hop.Why = fmt.Sprintf("the service %s has no such port", t.Service)
	case !ok:
		hop.Why = fmt.Sprintf("no region may serve %s", t.Service)
	default:
		hop.Region = string(c.Region)
		away = at.awayFrom(t.Service, d)
	}
	return hop, away
}

// awayFrom says why the gateway's region does not serve a service first; empty:
// it does.
func (at stand) awayFrom(svc fleet.ServiceName, d steer.Decision) string {
	first := func(c steer.Candidate) bool { return c.Priority == 0 && c.Region == at.Region && c.Share > 0 }
	if !at.asked || slices.ContainsFunc(d.Order, first) {
		return ""
	}
	text := fmt.Sprintf("DNS names %s, whose gateway hands requests for %s on to %s", at.Region, svc, d.Order[0].Region)
	for _, c := range d.Refused {
		if c.Region == at.Region && len(c.Reasons) > 0 {
			text += " (" + c.Reasons[0].Text + ")"
		}
	}
	return text
}
