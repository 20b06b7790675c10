package fleet

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is everything that is known at one moment, agreed upon and sorted.
// It is immutable. Parts that did not change between two Snapshots keep their
// pointer: World, Routes and each Service can be compared by pointer.
type Snapshot struct {
	Generation uint64 // grows by one with every Snapshot of this process
	World      *World
	Services   map[ServiceName]*Service
	Routes     *Routes
	Zones      []Zone // sorted by name
	// Certificates by name. One whose pointer has not changed between two
	// Snapshots has not changed.
	Certificates map[CertificateName]*Certificate
	Load         []LoadReport
	Problems     []Problem
	Sources      []SourceState // sorted by name
}

// World is what steers every service alike.
type World struct {
	Edges   []*Edge // sorted by region
	Latency Latency
	Check   Check   // how gateways are probed
	Drains  []Drain // that are in force, sorted by scope and name
	Lifted  []Drain // the orders that took drains back, sorted likewise; they count against older ones that somebody tells late
	// DrainOrder is the highest Order of any drain heard of, of those taken back
	// too: who gives a new order goes one above it. 0 when none was ever heard.
	DrainOrder uint64
}

// Edge finds a region.
func (w *World) Edge(r Region) (*Edge, bool) {
	i, ok := slices.BinarySearchFunc(w.Edges, r, func(e *Edge, r Region) int { return cmp.Compare(e.Region, r) })
	if !ok {
		return nil, false
	}
	return w.Edges[i], true
}

// Cluster finds a cluster by name.
func (w *World) Cluster(name string) (*Cluster, bool) {
	for _, e := range w.Edges {
		for _, c := range e.Clusters {
			if c.Name == name {
				return c, true
			}
		}
	}
	return nil, false
}

// SourceState is how a source is doing.
type SourceState struct {
	Name  string
	Facts int
	Heard time.Time // when it last spoke; set only when Stale, so that a fresh one does not change with time
	Stale string    // why it has lost touch; empty: it has not
}

// EmptySnapshot is what is known before anything was told.
func EmptySnapshot() *Snapshot {
	return &Snapshot{World: &World{Latency: Latency{}}, Services: map[ServiceName]*Service{}, Routes: &Routes{}, Certificates: map[CertificateName]*Certificate{}}
}
