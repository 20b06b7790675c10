package hub

import (
	"cmp"
	"fmt"
	"maps"
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
		for n := range b.orphans {
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
		svc, orphans := b.federate(k, name, clusters)
		b.note(name, orphans)
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

// note keeps the backends whose cluster nobody has described, so that they are
// looked at again when clusters change.
func (b *builder) note(name fleet.ServiceName, orphans []fleet.Problem) {
	if len(orphans) == 0 {
		delete(b.orphans, name)
	} else {
		b.orphans[name] = orphans
	}
}

// federate makes one service of its backends; nil when no described cluster has it.
func (b *builder) federate(k *book, name fleet.ServiceName, clusters map[string]*fleet.Cluster) (*fleet.Service, []fleet.Problem) {
	svc := &fleet.Service{Name: name, Policy: b.policies.of(name)}
	var orphans []fleet.Problem
	for _, n := range slices.Sorted(maps.Keys(k.of[name])) {
		t, _ := k.best(fleet.FactName{Kind: fleet.KindBackend, Name: n})
		be, ok := t.value.(*fleet.Backend)
		if !ok || be.Service != name {
			continue
		}
		c, ok := clusters[be.Cluster]
		if !ok {
			orphans = append(orphans, fleet.Problem{
				About: be.Origin, Reason: "ClusterNotDescribed",
				Message: fmt.Sprintf("service %s runs in cluster %q, which no Cluster object describes; add one with its region and place", name, be.Cluster),
			})
			continue
		}
		v := fleet.BackendView{Backend: be, Region: c.At.Region}
		if t.stale != "" {
			v.Stale, v.Seen = true, t.heard
		}
		svc.Backends = append(svc.Backends, v)
	}
	if len(svc.Backends) == 0 {
		return nil, orphans
	}
	slices.SortFunc(svc.Backends, func(x, y fleet.BackendView) int { return cmp.Compare(x.Cluster, y.Cluster) })
	return svc, orphans
}
