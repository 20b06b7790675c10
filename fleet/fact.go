package fleet

import (
	"cmp"
	"context"
	"time"
)

// Kind is the kind of a fact.
type Kind string

// The kinds of facts. Each has one Go type that may be a Fact's Value.
const (
	KindCluster     Kind = "cluster"     // *Cluster, named by Cluster.Name
	KindBackend     Kind = "backend"     // *Backend, named "cluster/namespace/name"
	KindRoutes      Kind = "routes"      // *RouteSet, named by its object
	KindPolicy      Kind = "policy"      // *PolicyRule, named by its object
	KindZone        Kind = "zone"        // *Zone, named by Zone.Name
	KindCertificate Kind = "certificate" // *Certificate, named by Certificate.Name
	KindObservation Kind = "observation" // *Observation, named "instance/target"
	KindLoad        Kind = "load"        // *LoadReport, named "instance/service/region"
	KindDrain       Kind = "drain"       // *Drain, named "scope/name"
	KindProblems    Kind = "problems"    // Problems, named by file or object
)

// Value is a fact's content: one of the types named at the kinds.
type Value interface{ Kind() Kind }

// Problems are all faults of one file or object. An object without faults has
// no such fact.
type Problems []Problem

// Kind says what the value is.
func (*Cluster) Kind() Kind     { return KindCluster }
func (*Backend) Kind() Kind     { return KindBackend }
func (*RouteSet) Kind() Kind    { return KindRoutes }
func (*PolicyRule) Kind() Kind  { return KindPolicy }
func (*Zone) Kind() Kind        { return KindZone }
func (*Observation) Kind() Kind { return KindObservation }
func (*LoadReport) Kind() Kind  { return KindLoad }
func (*Drain) Kind() Kind       { return KindDrain }
func (Problems) Kind() Kind     { return KindProblems }

// OriginOf is the object that a value was made from; the zero Origin for values
// that are made from none.
func OriginOf(v Value) Origin {
	switch v := v.(type) {
	case *Cluster:
		return v.Origin
	case *Backend:
		return v.Origin
	case *RouteSet:
		return v.Origin
	case *PolicyRule:
		return v.Policy.Origin
	case *Zone:
		return v.Origin
	case *Certificate:
		return v.Origin
	}
	return Origin{}
}

// Key names a fact. Source is who told it, unique over all regions:
// "instance/sense[/detail]", for example "eu-1/file/cluster-a".
type Key struct {
	Source string
	Kind   Kind
	Name   string
}

// Compare orders keys by kind, name, source.
func (k Key) Compare(l Key) int {
	return cmp.Or(cmp.Compare(k.Kind, l.Kind), cmp.Compare(k.Name, l.Name), cmp.Compare(k.Source, l.Source))
}

// Fact is something a source says. A later fact under the same key replaces it whole.
type Fact struct {
	Kind  Kind
	Name  string
	Value Value // never changed after it was told
}

// NewFact names a value and gives it its kind.
func NewFact(name string, v Value) Fact { return Fact{Kind: v.Kind(), Name: name, Value: v} }

// Update is what one source tells at once.
type Update struct {
	Source string
	// Whole says that Put is everything the source knows: what it told before
	// and does not repeat is gone. A source begins with a whole update and may
	// send one at any time; a reconnect is simply another whole telling.
	Whole bool
	Put   []Fact
	Gone  []FactName // confirmed to be gone; an error is never a reason to name a fact here
	// Stale says why the source has lost touch; its facts stay in force. The
	// next update without it ends the staleness.
	Stale string
	// Ended says that the source is no more, and with Whole and nothing in Put that
	// all it said is gone. It is remembered as one that knows of nothing, so that no
	// older memory comes back in its place, and no longer shown to people. The next
	// update without it begins the source anew.
	Ended bool
	// Heard is when the source spoke; zero means now. Only what comes from disk
	// or from a peer differs from now.
	Heard time.Time
}

// FactName is a key without its source.
type FactName struct {
	Kind Kind
	Name string
}

// Tell hands an update to whoever keeps the facts. It blocks while the keeper is
// busy and gives up when ctx ends.
type Tell func(ctx context.Context, u Update)
