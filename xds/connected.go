package xds

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Node is a connected Envoy.
type Node struct {
	ID       string
	Zone     string // that it says it stands in; empty when it says none
	Address  string // where it connects from; empty when unknown
	Version  string // of the Envoy, "1.39.2"; empty when it does not say
	View     string
	Protocol string // "delta" or "sotw"
	Since    time.Time
	Types    []Subscription // in the order of Envoy's protocol: clusters, endpoints, secrets, listeners, routes
}

// Subscription is how far a node is with one type.
type Subscription struct {
	TypeURL   string
	Version   string // of all that it has acknowledged; equal for equal content on every replica
	Resources int    // that it has acknowledged
	Synced    bool   // it has acknowledged everything that it should have
	ACKs      uint64
	NACKs     uint64
	Refusal   string // Envoy's words, when its last answer was a NACK
}

// Connected lists the nodes with an open stream, sorted by id. A node that uses a
// stream per type appears once per stream.
func (s *Server) Connected() []Node {
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	s.mu.Unlock()
	nodes := make([]Node, 0, len(streams))
	for _, st := range streams {
		if n, ok := st.describe(); ok {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Since.Compare(b.Since))
	})
	return nodes
}

// describe is false before the first request.
func (st *stream) describe() (Node, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.view == nil {
		return Node{}, false
	}
	st.view.mu.RLock()
	defer st.view.mu.RUnlock()
	n := Node{
		ID: st.node.GetId(), Zone: st.node.GetLocality().GetZone(), Address: st.from, Version: release(st.node),
		View: st.view.name, Protocol: st.protocol(), Since: st.since,
	}
	for _, w := range st.watches {
		n.Types = append(n.Types, Subscription{
			TypeURL:   w.typeURL,
			Version:   hexSum(w.sum),
			Resources: w.known.n,
			Synced:    st.view.published && w.flight == nil && len(w.dirty) == 0 && !w.behindLog(st.view.table(w.typeURL)),
			ACKs:      w.acked,
			NACKs:     w.nacked,
			Refusal:   w.words,
		})
	}
	return n, true
}

// release is the version that a node says it is.
func release(n *corev3.Node) string {
	if v := n.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	return n.GetUserAgentVersion()
}

func (st *stream) protocol() string {
	if st.sotw {
		return "sotw"
	}
	return "delta"
}
