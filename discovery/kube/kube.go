// Package kube reads facts from Kubernetes API servers: the installation's own from its host cluster, services and endpoints from every member.
//
// An API server that is silent, refuses, or has become another one takes nothing
// away: what it said stays in force, and is stale. No cluster waits for another.
package kube

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/fleet"
)

// Config is what an Installation needs.
type Config struct {
	Instance  string // facts come from the sources Instance+"/kube/"+cluster
	Host      *rest.Config
	Namespace string // of the installation: credentials lie there; empty means meridian-system
	// Member is the name under which the host cluster is a member itself, watched
	// with our own credentials; empty: it is none.
	Member string
	// Loopback allows members' API servers on this machine, for labs.
	Loopback bool
	// Dir is where it is kept over restarts how members are reached, so that they
	// are watched while the host cluster is dead; empty: nowhere. It is there already.
	Dir string
	// Known is what was told before a restart. Members that have left since are
	// told as gone; of the others, what cannot be read now stays.
	Known []fleet.Update
	Tell  fleet.Tell
	// Reach hears how members are reached, by the names of their clusters, whenever
	// that changes; it must not block. nil: nobody asks.
	Reach func(map[string]Reach)
	Pace  Pace

	Log        *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}
