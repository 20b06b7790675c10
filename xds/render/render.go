// Package render turns a plan into the Envoy resources of one view.
//
// It is pure: no I/O, no clock, no chance. What it makes is sorted and encoded
// deterministically, so equal plans give equal bytes in every process.
package render

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds/resource"
)

// Renderer keeps what one view was told and renders again only what depends on
// what changed. It belongs to one goroutine.
type Renderer struct {
	view     View
	segments *Segments

	world    *fleet.World
	routes   *fleet.Routes
	services map[fleet.ServiceName]*rendered
	table    map[fleet.ServiceName]ports // what routes may name
	have     map[resource.Name]resource.Resource

	constant []fleet.Problem // of listeners
	routing  []fleet.Problem // of routes
}

// rendered is what was made of one service.
type rendered struct {
	service  *fleet.Service
	ports    ports
	names    []resource.Name
	problems []fleet.Problem
}

// NewRenderer makes the renderer of a view. Renderers of other views may share
// the segments.
func NewRenderer(v View, shared *Segments) *Renderer {
	return &Renderer{
		view: v, segments: shared,
		services: map[fleet.ServiceName]*rendered{},
		table:    map[fleet.ServiceName]ports{},
		have:     map[resource.Name]resource.Resource{},
	}
}

// All renders a plan from nothing, sorted.
func All(v View, p *steer.Plan) []resource.Resource {
	return NewRenderer(v, NewSegments()).Update(p).Put
}

// View is whom it renders for.
func (r *Renderer) View() View { return r.view }

// Update renders a plan and says what is different now from the plan before.
// Both lists are sorted; what comes out with the same bytes is in neither.
func (r *Renderer) Update(p *steer.Plan) resource.Delta {
	r.segments.turn(p.Snapshot)
	c := &change{r: r, put: map[resource.Name]resource.Resource{}, gone: map[resource.Name]bool{}}
	if r.world == nil {
		r.constant = c.listeners()
	}
	portsChanged := c.remainingServices(p)
	w := world{view: r.view, segments: r.segments, World: p.World}
	asker := w.asker()
	for _, name := range slices.SortedFunc(maps.Keys(p.Services), fleet.ServiceName.Compare) {
		svc := p.Services[name]
		before := r.services[name]
		if before != nil && before.service == svc && r.world == p.World {
			continue
		}
		d, _ := p.ForService(asker, name)
		if c.service(w, svc, d, before) {
			portsChanged = true
		}
	}
	if r.routes != p.Routes || portsChanged {
		r.routing = c.routes(p.Routes)
	}
	r.world, r.routes = p.World, p.Routes
	return c.delta()
}

// Problems are the faults that the last update found, sorted.
func (r *Renderer) Problems() []fleet.Problem {
	list := slices.Concat(r.constant, r.routing)
	for _, s := range r.services {
		list = append(list, s.problems...)
	}
	slices.SortFunc(list, fleet.Problem.Compare)
	return slices.Compact(list)
}

// change is one update on its way.
type change struct {
	r    *Renderer
	put  map[resource.Name]resource.Resource
	gone map[resource.Name]bool
}

// listeners renders what depends on the view alone.
func (c *change) listeners() []fleet.Problem {
	var problems []fleet.Problem
	for _, e := range []error{
		c.add(FrontName, front(c.r.view)),
		c.add(RelayName, relay(c.r.view)),
		c.add(RelayName, relayRoutes()),
		c.identity(),
	} {
		problems = append(problems, notEncoded(fleet.Origin{}, e)...)
	}
	return problems
}

// remainingServices forgets services that are gone and reports whether any was.
func (c *change) remainingServices(p *steer.Plan) bool {
	any := false
	for name, s := range c.r.services {
		if _, ok := p.Services[name]; ok {
			continue
		}
		any = true
		for _, n := range s.names {
			c.gone[n] = true
		}
		delete(c.r.services, name)
		delete(c.r.table, name)
	}
	return any
}

// service renders a service's clusters, when its ports are new, and endpoints. It
// reports whether routes may have to change.
func (c *change) service(w world, svc *fleet.Service, d steer.Decision, before *rendered) (portsChanged bool) {
	now := &rendered{service: svc}
	if !nameable(svc.Name) {
		now.problems = []fleet.Problem{{
			About: svc.Backends[0].Origin, Reason: ReasonName,
			Message: fmt.Sprintf("service %.80q cannot be served: namespace and name must be letters, digits, '-', '_' and '.'", svc.Name.String()),
		}}
		c.r.services[svc.Name] = now
		return false
	}
	now.ports = portsOf(svc)
	now.problems = now.ports.problems(svc)
	origins := originsOf(svc)
	for _, n := range now.ports.numbers {
		front, local := ClusterName(svc.Name, n), LocalClusterName(svc.Name, n)
		now.names = append(now.names,
			resource.Name{TypeURL: resource.ClusterType, Name: front}, resource.Name{TypeURL: resource.EndpointType, Name: front})
		if before == nil || before.service != svc {
			now.problems = append(now.problems, notEncoded(origins[0],
				c.add(front, cluster(w.view, svc.Name, n, now.ports.protocols[n], regionsWith(svc, n), false), origins...))...)
		}
		c.offer(resource.FromBytes(resource.EndpointType, front, assignment(front, w.localities(svc, n, d)), origins...))
		if !hasPortIn(svc, n, w.view.Region) {
			continue
		}
		now.names = append(now.names,
			resource.Name{TypeURL: resource.ClusterType, Name: local}, resource.Name{TypeURL: resource.EndpointType, Name: local})
		if before == nil || before.service != svc {
			now.problems = append(now.problems, notEncoded(origins[0],
				c.add(local, cluster(w.view, svc.Name, n, now.ports.protocols[n], nil, true), origins...))...)
		}
		c.offer(resource.FromBytes(resource.EndpointType, local, assignment(local, w.local(svc, n)), origins...))
	}
	c.r.services[svc.Name] = now
	if before != nil {
		for _, n := range before.names {
			if !slices.Contains(now.names, n) {
				c.gone[n] = true
			}
		}
		if reflect.DeepEqual(before.ports, now.ports) {
			return false
		}
	}
	c.r.table[svc.Name] = now.ports
	return true
}

// hasPortIn reports whether a relay of the region can be asked for the port.
func hasPortIn(svc *fleet.Service, port uint16, r fleet.Region) bool {
	return slices.ContainsFunc(svc.Backends, func(b fleet.BackendView) bool {
		_, ok := b.Port(fleet.PortRef{Number: port})
		return ok && b.Region == r
	})
}

// regionsWith are the regions where a port may be reached by a relay, sorted.
func regionsWith(svc *fleet.Service, port uint16) []fleet.Region {
	var list []fleet.Region
	for _, b := range svc.Backends {
		if _, ok := b.Port(fleet.PortRef{Number: port}); ok {
			list = append(list, b.Region)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (c *change) routes(routes *fleet.Routes) []fleet.Problem {
	m, problems := frontRoutes(routes, c.r.table)
	var origins []fleet.Origin
	seen := map[fleet.Origin]bool{}
	for _, h := range routes.Hosts {
		for _, route := range h.Routes {
			if !seen[route.Origin] {
				seen[route.Origin] = true
				origins = append(origins, route.Origin)
			}
		}
	}
	slices.SortFunc(origins, fleet.Origin.Compare)
	return append(problems, notEncoded(fleet.Origin{}, c.add(FrontName, m, origins...))...)
}

func originsOf(svc *fleet.Service) []fleet.Origin {
	var list []fleet.Origin
	for _, b := range svc.Backends {
		list = append(list, b.Origin)
	}
	return list
}

func (c *change) add(name string, m proto.Message, origins ...fleet.Origin) error {
	res, err := resource.New(name, m, origins...)
	if err != nil {
		return err
	}
	c.offer(res)
	return nil
}

// offer puts a resource unless it is there already with these bytes.
func (c *change) offer(res resource.Resource) {
	if old, ok := c.r.have[res.Key()]; ok && old.Version == res.Version {
		return
	}
	c.put[res.Key()] = res
}

func (c *change) delta() resource.Delta {
	var d resource.Delta
	for _, n := range slices.SortedFunc(maps.Keys(c.put), resource.Name.Compare) {
		c.r.have[n] = c.put[n]
		d.Put = append(d.Put, c.put[n])
	}
	for _, n := range slices.SortedFunc(maps.Keys(c.gone), resource.Name.Compare) {
		if _, there := c.r.have[n]; there {
			delete(c.r.have, n)
			d.Gone = append(d.Gone, n)
		}
	}
	return d
}

func notEncoded(about fleet.Origin, err error) []fleet.Problem {
	if err == nil {
		return nil
	}
	return []fleet.Problem{{About: about, Reason: ReasonEncoding, Message: fmt.Sprintf("what Envoy was last told stays: %v", err)}}
}

// ports are the ports of a service over all clusters.
type ports struct {
	numbers   []uint16          // sorted
	names     map[string]uint16 // the first cluster by name decides
	protocols map[uint16]string // likewise; http2 or ""
}

func portsOf(svc *fleet.Service) ports {
	p := ports{names: map[string]uint16{}, protocols: map[uint16]string{}}
	for _, b := range svc.Backends {
		for _, q := range b.Ports {
			if q.Number == 0 {
				continue
			}
			if _, ok := p.protocols[q.Number]; !ok {
				p.numbers = append(p.numbers, q.Number)
				p.protocols[q.Number], _ = protocolOf(q.AppProtocol)
			}
			if _, ok := p.names[q.Name]; !ok && q.Name != "" {
				p.names[q.Name] = q.Number
			}
		}
	}
	slices.SortFunc(p.numbers, cmp.Compare[uint16])
	return p
}

// find resolves a reference as fleet.Backend.Port does, over all clusters.
func (p ports) find(ref fleet.PortRef) (uint16, bool) {
	switch {
	case ref.Number != 0:
		_, ok := p.protocols[ref.Number]
		return ref.Number, ok
	case ref.Name != "":
		n, ok := p.names[ref.Name]
		return n, ok
	case len(p.numbers) == 1:
		return p.numbers[0], true
	}
	return 0, false
}

// problems are protocols that are not spoken, or not alike in all clusters.
func (p ports) problems(svc *fleet.Service) []fleet.Problem {
	var list []fleet.Problem
	for _, b := range svc.Backends {
		for _, q := range b.Ports {
			protocol, known := protocolOf(q.AppProtocol)
			switch {
			case !known:
				list = append(list, fleet.Problem{About: b.Origin, Reason: ReasonProtocol, Message: fmt.Sprintf(
					"port %d of service %s says appProtocol %.40q, which is not spoken; HTTP/1.1 without TLS is used", q.Number, svc.Name, q.AppProtocol)})
			case q.Number != 0 && protocol != p.protocols[q.Number]:
				list = append(list, fleet.Problem{About: b.Origin, Reason: ReasonProtocol, Message: fmt.Sprintf(
					"port %d of service %s says appProtocol %.40q here and another one in the first cluster that has it, which decides; make them alike", q.Number, svc.Name, q.AppProtocol)})
			}
		}
	}
	return list
}
