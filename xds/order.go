package xds

import "github.com/meridian-lb/meridian/xds/resource"

// gate decides what of a stream has to wait for other types of the same stream:
// a change is first added everywhere, then used, and only then is taken away what
// nobody uses any more, each step after the ACK of the one before. It looks at
// real references, so an unrelated change, a type that the client does not
// subscribe to or a client that asks for everything by name waits for nothing.
//
// What a client asks for is never held back: it would stand still without it.
type gate struct {
	stream *stream
	view   *view
}

// mayPut reports whether everything is in place that next refers to and the
// client's own bytes (nil: it has none) do not.
func (g *gate) mayPut(w *watch, m mark, have, next *revision) bool {
	clusters := g.stream.watch(resource.ClusterType)
	if clusters == nil || !clusters.wildcard || g.stream.ranOut(m) {
		return true
	}
	if w.typeURL == resource.EndpointType {
		return have != nil || !clusters.adding(g.view)
	}
	if !refersToOthers(w.typeURL) || next.refs == nil {
		return true
	}
	var had *references
	if have != nil {
		had = have.refs
	}
	if !g.allReady(clusters, had, next.refs) {
		return false
	}
	if w.typeURL == resource.ListenerType { // its routes will be asked for at once
		for name := range next.refs.names {
			if had.to(name) {
				continue
			}
			if routes := g.view.current(resource.RouteType, name); routes != nil && routes.refs != nil && !g.allReady(clusters, nil, routes.refs) {
				return false
			}
		}
	}
	return true
}

// adding reports whether clusters are on their way to the client.
func (w *watch) adding(v *view) bool {
	t := v.table(w.typeURL)
	if w.behindLog(t) || w.flight != nil && len(w.flight.put) > 0 {
		return true
	}
	for name := range w.dirty {
		if t.current(name) != nil {
			return true
		}
	}
	return false
}

// behindLog reports whether changes were not looked at yet.
func (w *watch) behindLog(t *table) bool { return w.fresh || w.seen < t.log.last }

// allReady reports whether all clusters are ready that next refers to and had does not.
func (g *gate) allReady(clusters *watch, had, next *references) bool {
	for _, name := range next.clusters {
		if !had.to(name) && !g.ready(clusters, name) {
			return false
		}
	}
	return true
}

// ready reports whether the client can send requests to a cluster: it has
// acknowledged it and its endpoints. A cluster that does not exist or that the
// client refused is not waited for.
func (g *gate) ready(clusters *watch, name string) bool {
	cluster := g.view.current(resource.ClusterType, name)
	if cluster == nil || clusters.refused[name] == cluster.Version {
		return true
	}
	if have := clusters.known.get(name); have == nil || have.opaque {
		return false
	}
	endpoints := g.stream.watch(resource.EndpointType)
	if endpoints == nil || cluster.refs == nil || cluster.refs.endpoint == "" {
		return true
	}
	if g.view.current(resource.EndpointType, cluster.refs.endpoint) == nil {
		return true
	}
	have := endpoints.known.get(cluster.refs.endpoint)
	return have != nil && !have.opaque
}

// mayGo reports whether a name that is to be removed is no longer in use: nothing
// that the client holds or is being sent refers to it, but for what refers to it
// in its newest form too, since then there is nothing to wait for.
func (g *gate) mayGo(w *watch, name string) bool {
	if referredTo(w.typeURL) && g.stream.unsure() {
		g.stream.lookAgain()
		return false
	}
	for _, other := range g.stream.watches {
		if uses(other.rank, w.rank) && other.refersTo(name, g.view.table(other.typeURL)) {
			return false
		}
	}
	return true
}

// uses reports whether resources of type a can refer to resources of type b.
func uses(a, b int) bool {
	switch b {
	case rankCluster:
		return a == rankListener || a == rankRoute
	case rankEndpoint:
		return a == rankCluster
	case rankSecret:
		return a == rankCluster || a == rankListener
	case rankRoute:
		return a == rankListener
	}
	return false
}

// refersTo reports whether something of this type that is to be replaced refers
// to a name. Bytes that are not known here may refer to anything.
func (w *watch) refersTo(name string, t *table) bool {
	for rev := range w.known.all() {
		if rev.opaque || rev.refs.to(name) && t.replaces(rev) {
			return true
		}
	}
	if w.flight == nil {
		return false
	}
	for _, rev := range w.flight.put {
		if rev.refs.to(name) && t.replaces(rev) {
			return true
		}
	}
	return false
}

// replaces reports whether a client that holds rev is to hold something else.
func (t *table) replaces(rev *revision) bool {
	cur := t.current(rev.Name)
	return cur == nil || cur.Version != rev.Version
}
