package hub

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// buildServices federates backends of one name over all clusters. Only what is
// dirty is looked at, and what comes out equal keeps its pointer.
func (b *builder) buildServices(k *book, d *dirt, w *fleet.World) map[fleet.ServiceName]*fleet.Service {
	names := d.services
	if d.clusters || d.policies {
		names = map[fleet.ServiceName]bool{}
		for n := range b.last.Services {
			names[n] = true
		}
		for n := range d.services {
			names[n] = true
		}
		for n := range b.misfits {
			names[n] = true
		}
	}
	clusters := map[string]*fleet.Cluster{}
	for _, e := range w.Edges {
		for _, c := range e.Clusters {
			clusters[c.Name] = c
		}
	}
	next := maps.Clone(b.last.Services)
	for name := range names {
		svc, problems := b.federate(k, name, clusters)
		b.note(name, problems)
		switch {
		case svc == nil:
			delete(next, name)
		case !reflect.DeepEqual(svc, next[name]):
			next[name] = svc
		}
	}
	if maps.Equal(next, b.last.Services) {
		return b.last.Services
	}
	return next
}

// note keeps what is wrong with the backends of a service, so that they are
// looked at again when clusters change.
func (b *builder) note(name fleet.ServiceName, faults []fleet.Problem) {
	if len(faults) == 0 {
		delete(b.misfits, name)
	} else {
		b.misfits[name] = faults
	}
}

// federate makes one service of its backends; nil when no described cluster has it
// or may serve it.
func (b *builder) federate(k *book, name fleet.ServiceName, clusters map[string]*fleet.Cluster) (_ *fleet.Service, problems []fleet.Problem) {
	svc := &fleet.Service{Name: name, Policy: b.policies.of(name)}
	for _, n := range slices.Sorted(maps.Keys(k.of[name])) {
		t, _ := k.best(fleet.FactName{Kind: fleet.KindBackend, Name: n})
		be, ok := t.value.(*fleet.Backend)
		if !ok || be.Service != name {
			continue
		}
		c, ok := clusters[be.Cluster]
		if !ok {
			problems = append(problems, fleet.Problem{
				About: be.Origin, Reason: "ClusterNotDescribed",
				Message: fmt.Sprintf("service %s runs in cluster %q, which no Cluster object describes; add one with its region and place", name, be.Cluster),
			})
			continue
		}
		be, fault := within(be, c)
		if fault != nil {
			problems = append(problems, *fault)
		}
		if be == nil {
			continue
		}
		v := fleet.BackendView{Backend: be, Region: c.At.Region}
		if t.stale != "" {
			v.Stale, v.Seen = true, t.heard
		}
		svc.Backends = append(svc.Backends, v)
	}
	if len(svc.Backends) == 0 {
		return nil, problems
	}
	slices.SortFunc(svc.Backends, func(x, y fleet.BackendView) int { return cmp.Compare(x.Cluster, y.Cluster) })
	return svc, problems
}

// within is what a cluster may say of a service: nil when the service's namespace
// is none of its own, without the endpoints that lie outside its networks else.
func within(be *fleet.Backend, c *fleet.Cluster) (*fleet.Backend, *fleet.Problem) {
	if len(c.Namespaces) > 0 && !slices.Contains(c.Namespaces, be.Service.Namespace) {
		return nil, &fleet.Problem{
			About: be.Origin, Reason: "NamespaceNotAllowed",
			Message: fmt.Sprintf("cluster %q may serve the namespaces %v only, so this service is passed over; add its namespace to spec.namespaces of the Cluster", c.Name, c.Namespaces),
		}
	}
	if len(c.EndpointNetworks) == 0 {
		return be, nil
	}
	foreign := func(e fleet.Endpoint) bool {
		return !slices.ContainsFunc(c.EndpointNetworks, func(p netip.Prefix) bool { return p.Contains(e.Addr.Addr()) })
	}
	kept, dropped, first := *be, 0, netip.AddrPort{}
	kept.Ports = slices.Clone(be.Ports)
	for i := range kept.Ports {
		p := &kept.Ports[i]
		if at := slices.IndexFunc(p.Endpoints, foreign); at >= 0 {
			first = p.Endpoints[at].Addr
			before := len(p.Endpoints)
			p.Endpoints = slices.DeleteFunc(slices.Clone(p.Endpoints), foreign)
			dropped += before - len(p.Endpoints)
		}
	}
	if dropped == 0 {
		return be, nil
	}
	return &kept, &fleet.Problem{
		About: be.Origin, Reason: "AddressNotAllowed",
		Message: fmt.Sprintf("%d endpoints, %s the first of them, lie outside the networks of cluster %q and are dropped; add their network to spec.endpointNetworks of the Cluster if they are its own", dropped, first, c.Name),
	}
}
