package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// listBudget is how large the list in an answer may be, in bytes, so that the
// answer stays below the largest message.
const listBudget = maxMessage * 3 / 4

// fit keeps as many entries as an answer can carry and counts the others.
func fit[M proto.Message](all []M) (kept []M, leftOut int32) {
	size := 0
	for i, m := range all {
		if size += proto.Size(m) + 8; size > listBudget {
			return all[:i], int32(len(all) - i)
		}
	}
	return all, 0
}

// ListRegions implements the Admin service.
func (s *Server) ListRegions(context.Context, *adminv1.ListRegionsRequest) (*adminv1.ListRegionsResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	out := &adminv1.ListRegionsResponse{Generation: p.Generation}
	out.Regions, out.LeftOut = fit(s.regions(p))
	return out, nil
}

func (s *Server) regions(p *steer.Plan) []*adminv1.Region {
	to, all := rates(p.Load)
	var list []*adminv1.Region
	for _, e := range p.World.Edges {
		r := &adminv1.Region{
			Name: string(e.Region), Place: placeOut(e.Place), Health: verdictOut(e.Health), Drain: utf8Only(e.Drain),
			Rps: to[e.Region],
		}
		if all > 0 {
			r.Share = to[e.Region] / all
		}
		for _, c := range e.Clusters {
			r.Clusters = append(r.Clusters, c.Name)
		}
		for _, g := range e.Gateways {
			r.Gateways = append(r.Gateways, gatewayOut(g))
		}
		if rtt, ok := p.World.Latency[fleet.PairOfRegions{From: s.c.Region, To: e.Region}]; ok {
			r.Rtt = durationpb.New(rtt.Time)
		}
		list = append(list, r)
	}
	return list
}

// ListClusters implements the Admin service.
func (s *Server) ListClusters(_ context.Context, q *adminv1.ListClustersRequest) (*adminv1.ListClustersResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	var list []*adminv1.Cluster
	for _, e := range p.World.Edges {
		if q.GetRegion() != "" && q.GetRegion() != string(e.Region) {
			continue
		}
		for _, c := range e.Clusters {
			list = append(list, clusterOut(p, e, c))
		}
	}
	out := &adminv1.ListClustersResponse{Generation: p.Generation}
	out.Clusters, out.LeftOut = fit(list)
	return out, nil
}

func clusterOut(p *steer.Plan, e *fleet.Edge, c *fleet.Cluster) *adminv1.Cluster {
	out := &adminv1.Cluster{
		Name: c.Name, Region: string(e.Region), Zone: c.At.Zone, Network: string(c.At.Network), Place: placeOut(c.At.Place),
		Capacity: c.Capacity, Draining: c.Draining, Origin: utf8Only(c.Origin.String()),
	}
	for _, g := range e.Gateways {
		if g.Cluster == c.Name {
			out.Gateways = append(out.Gateways, gatewayOut(g))
		}
	}
	if d, ok := inForce(p, fleet.ScopeCluster, c.Name); ok {
		out.Drain = drainOut(d)
	}
	return out
}

// ListServices implements the Admin service.
func (s *Server) ListServices(_ context.Context, q *adminv1.ListServicesRequest) (*adminv1.ListServicesResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	rps := map[fleet.ServiceName]float64{}
	for _, l := range p.Load {
		rps[l.Service] += l.RPS
	}
	var list []*adminv1.Service
	for _, svc := range p.Services {
		if (q.GetNamespace() == "" || q.GetNamespace() == svc.Name.Namespace) && (q.GetName() == "" || q.GetName() == svc.Name.Name) {
			list = append(list, serviceOut(svc, rps[svc.Name]))
		}
	}
	slices.SortFunc(list, func(a, b *adminv1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out := &adminv1.ListServicesResponse{Generation: p.Generation}
	out.Services, out.LeftOut = fit(list)
	return out, nil
}

func serviceOut(svc *fleet.Service, rps float64) *adminv1.Service {
	out := &adminv1.Service{
		Namespace: svc.Name.Namespace, Name: svc.Name.Name, Strategy: string(svc.Policy.Strategy), Rps: rps,
	}
	if svc.Policy.Origin != (fleet.Origin{}) {
		out.Policy = utf8Only(svc.Policy.Origin.String())
	}
	for _, r := range svc.Policy.Regions {
		out.Regions = append(out.Regions, string(r))
	}
	for _, b := range svc.Backends {
		x := &adminv1.Backend{
			Cluster: b.Cluster, Region: string(b.Region), Ready: int32(b.ReadyCount()), Total: int32(b.Size()),
			Capacity: b.Capacity, Stale: b.Stale,
		}
		for _, port := range b.Ports {
			x.Ports = append(x.Ports, strings.TrimPrefix(fmt.Sprintf("%s:%d", port.Name, port.Number), ":"))
		}
		out.Backends = append(out.Backends, x)
	}
	return out
}

// ListRoutes implements the Admin service.
func (s *Server) ListRoutes(_ context.Context, q *adminv1.ListRoutesRequest) (*adminv1.ListRoutesResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	hosts := p.Routes.Hosts
	if q.GetHost() != "" {
		hosts = nil
		if h, ok := p.Routes.Host(q.GetHost()); ok {
			hosts = []fleet.Host{h}
		}
	}
	var list []*adminv1.Host
	for _, h := range hosts {
		x := &adminv1.Host{Name: h.Name}
		for _, r := range h.Routes {
			x.Routes = append(x.Routes, routeOut(r))
		}
		list = append(list, x)
	}
	out := &adminv1.ListRoutesResponse{Generation: p.Generation}
	out.Hosts, out.LeftOut = fit(list)
	return out, nil
}

// ListProblems implements the Admin service.
func (s *Server) ListProblems(_ context.Context, q *adminv1.ListProblemsRequest) (*adminv1.ListProblemsResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	var list []*adminv1.Problem
	for _, x := range p.Problems {
		if q.GetCluster() == "" || q.GetCluster() == x.About.Cluster {
			list = append(list, problemOut(x))
		}
	}
	out := &adminv1.ListProblemsResponse{Generation: p.Generation}
	out.Problems, out.LeftOut = fit(list)
	return out, nil
}

// ListSources implements the Admin service.
func (s *Server) ListSources(context.Context, *adminv1.ListSourcesRequest) (*adminv1.ListSourcesResponse, error) {
	p, err := s.plan()
	if err != nil {
		return nil, err
	}
	var list []*adminv1.Source
	for _, src := range p.Sources {
		x := &adminv1.Source{Name: src.Name, Facts: int32(src.Facts), Stale: utf8Only(src.Stale)}
		if !src.Heard.IsZero() {
			x.HeardAgo = durationpb.New(max(time.Since(src.Heard), 0))
		}
		list = append(list, x)
	}
	out := &adminv1.ListSourcesResponse{Generation: p.Generation}
	out.Sources, out.LeftOut = fit(list)
	return out, nil
}

// ListGateways implements the Admin service. It needs no plan.
func (s *Server) ListGateways(context.Context, *adminv1.ListGatewaysRequest) (*adminv1.ListGatewaysResponse, error) {
	var list []*adminv1.ConnectedGateway
	for _, g := range s.c.Gateways() {
		x := &adminv1.ConnectedGateway{
			Node: utf8Only(g.Node), Region: utf8Only(string(g.Region)), Zone: utf8Only(g.Zone), View: utf8Only(g.View), Address: g.Address,
			Version: utf8Only(g.Version), Resources: int32(g.Resources), Refused: utf8Only(g.Refused),
		}
		if !g.Since.IsZero() {
			x.Connected = durationpb.New(max(time.Since(g.Since), 0))
		}
		list = append(list, x)
	}
	slices.SortStableFunc(list, func(a, b *adminv1.ConnectedGateway) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Address, b.Address))
	})
	out := &adminv1.ListGatewaysResponse{}
	out.Gateways, out.LeftOut = fit(list)
	return out, nil
}
