package fleet

import (
	"cmp"
	"net/netip"
	"time"
)

// Cluster is one member: a Kubernetes cluster, or a plain site described in files.
type Cluster struct {
	Name     string
	At       Vantage   // Region is never empty, Place is always known
	Gateways []Gateway // sorted by address; empty: cannot be entered from outside its network
	Capacity float64   // requests per second; 0 means unlimited
	Draining bool      // its own object says: send nothing new here

	// ClientNetworks are prefixes whose clients stand where this cluster
	// stands (its VPC, an office next to it). They win over every geo database.
	ClientNetworks []netip.Prefix

	// What the cluster may speak for. A member is not trusted with more: what it
	// says beyond is dropped, and is its Problem.
	EndpointNetworks []netip.Prefix // that its endpoints' addresses lie in, sorted; empty: any
	Namespaces       []string       // of the services it may serve, sorted; empty: any

	// What chooses it for workloads, and what keeps them away. Traffic asks neither.
	Labels []Label // of its own object, sorted by key
	Taints []Taint // sorted by key, of one key the harder first

	Origin Origin
}

// Gateway is one front door of a cluster: an Envoy, or a load balancer before several.
type Gateway struct {
	Addr      netip.Addr // what DNS answers with
	Port      uint16     // HTTP front listener
	TLSPort   uint16     // HTTPS front listener; 0: none
	RelayPort uint16     // where other regions' Envoys hand requests over; 0: no relay
}

// Front is the address that clients and probes use.
func (g Gateway) Front() netip.AddrPort { return netip.AddrPortFrom(g.Addr, g.Port) }

// Relay is the address that other regions' Envoys use.
func (g Gateway) Relay() netip.AddrPort { return netip.AddrPortFrom(g.Addr, g.RelayPort) }

// Scope says what an operator's order is about.
type Scope string

// The scopes of a Drain.
const (
	ScopeRegion  Scope = "region"
	ScopeCluster Scope = "cluster"
)

// Drain is an operator's order to send nothing new to a region or cluster, or
// the order that takes this back. Of several orders about the same thing the
// one with the highest Order holds, so it does not matter which replica an
// operator spoke to.
type Drain struct {
	Scope  Scope
	Name   string // of the region or cluster
	On     bool
	Order  uint64 // one more than the highest seen by the replica that took the order
	Reason string // in the operator's words, may be empty
	By     string // who gave it, may be empty
	Since  time.Time
}

// Supersedes reports whether d holds against another order about the same thing:
// the higher one, and of two that were given at the same moment to different
// replicas the same one everywhere, a drain before its opposite.
func (d Drain) Supersedes(e Drain) bool {
	if c := cmp.Compare(d.Order, e.Order); c != 0 {
		return c > 0
	}
	if d.On != e.On {
		return d.On
	}
	return cmp.Or(d.Since.Compare(e.Since), cmp.Compare(d.By, e.By), cmp.Compare(d.Reason, e.Reason)) > 0
}

// Edge is a region as its users meet it: its clusters and their front doors.
type Edge struct {
	Region   Region
	Place    Place         // of its first cluster by name
	Clusters []*Cluster    // sorted by name, never empty
	Gateways []GatewayView // of all its clusters, sorted by address
	Health   Verdict       // of the region: the best of its gateways not in draining clusters; Unknown without any
	Drain    string        // why the whole region is draining, by one order or cluster by cluster; empty: it is not
}

// GatewayView is a gateway with what is known of it.
type GatewayView struct {
	Gateway
	Cluster  string
	Health   Verdict
	Draining bool // its cluster or region is
}
