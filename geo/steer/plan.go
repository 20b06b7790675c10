// Package steer answers one question: standing here, where should traffic for
// this go, in which order and share, and why?
//
// A gateway asks it, a DNS client asks it, a person asks it; the same pure
// function answers all three. No I/O, no clock, no lock, no chance.
package steer

import (
	"net/netip"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// Plan answers for one Snapshot. It is immutable and safe for use by many goroutines.
type Plan struct {
	*fleet.Snapshot
}

// New makes the plan of a snapshot.
func New(s *fleet.Snapshot) *Plan { return &Plan{Snapshot: s} }

// Asker is who stands there and asks: a gateway, whose Region is set, or a
// client, who has a place at best.
type Asker struct {
	fleet.Vantage
	// Prefix of a client, on which weighted splits are drawn: /24 or shorter
	// for IPv4, /56 or shorter for IPv6. Zero for gateways and for those who
	// do not care which side of a split they are on.
	Prefix netip.Prefix
}

// Client is an asker on the internet.
func Client(loc fleet.Location, prefix netip.Prefix) Asker {
	return Asker{Vantage: fleet.Vantage{Place: loc.Place}, Prefix: prefix}
}

// Decision is where traffic for one service, or one host, goes.
type Decision struct {
	Services []fleet.ServiceName // what was asked for: one service, or all services of a host with the deciding one first
	Strategy fleet.Strategy
	// Panic says that no region was eligible and the order holds those that were
	// refused for their health, readiness or drain only. Residency still holds.
	Panic   bool
	Order   []Candidate   // by priority, then region; empty only when no region may serve at all
	Refused []Candidate   // by region, each with its reasons
	Depends Dependence    // what of the asker the choice depended on
	Prefix  netip.Prefix  // of the asker
	TTL     time.Duration // of a DNS answer made from this; whole seconds
}

// Dependence says which askers get the same choice, for honest ECS scopes.
type Dependence uint8

// The dependences.
const (
	OnNothing Dependence = iota // every client gets this
	OnPlace                     // every client at the same Location
	OnPrefix                    // every client of the same Asker.Prefix
)

// Candidate is one region's part in a decision.
type Candidate struct {
	Region   fleet.Region
	Priority int     // 0 serves first; without gaps
	Share    float64 // of what reaches this priority; 0 to 1, adds up to 1 over the priority
	Cost     Cost
	State    fleet.State // of the region's gateways
	Ready    int         // endpoints that may be given requests
	Total    int         // endpoints
	Direct   bool        // reached without passing its gateways
	Reasons  []Reason    // why it stands where it stands; the decisive one first
}

// Reason is one cause, with a stable code for programs and a sentence for people.
type Reason struct {
	Code ReasonCode
	Text string
}
