// Package factv1 is the protobuf form of a fleet's facts, in which they travel between regions and lie on disk.
//
// Whatever is read is taken as hostile: bounded, checked, put in the order that
// package fleet promises, or refused with one sentence. What package fleet
// holds always converts, and comes back equal.
package factv1

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meridian-lb/meridian/fleet"
)

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate ../../.. --template ../../../buf.gen.yaml --output ../../.. --path ../../../api/fact

// kinds are those that this release understands.
var kinds = []fleet.Kind{
	fleet.KindCluster, fleet.KindBackend, fleet.KindRoutes, fleet.KindPolicy, fleet.KindZone, fleet.KindCertificate,
	fleet.KindObservation, fleet.KindLoad, fleet.KindDrain, fleet.KindProblems,
}

// FromFleet converts an update. Ages are counted back from now, which is the
// moment of sending.
func FromFleet(u fleet.Update, now time.Time) *Update {
	return &Update{
		Source:   valid(u.Source),
		Whole:    u.Whole,
		Put:      mapped(u.Put, func(f fleet.Fact) *Fact { return FactFromFleet(f, now) }),
		Gone:     mapped(u.Gone, func(n fleet.FactName) *FactName { return &FactName{Kind: string(n.Kind), Name: valid(n.Name)} }),
		Stale:    clean(u.Stale),
		Ended:    u.Ended,
		HeardAgo: agoOut(now, u.Heard),
	}
}

// ToFleet reads an update that came in at now. A fact that is not in order is
// left out and named in refused, and its neighbours are taken; since its
// absence then proves nothing, the update no longer claims to be whole. Facts
// of kinds that this release does not know are passed over. An error means that
// nothing of the update can be used.
func ToFleet(x *Update, now time.Time) (u fleet.Update, refused []error, err error) {
	d := &door{now: now}
	u = fleet.Update{
		Source: d.label("source", x.GetSource()),
		Whole:  x.GetWhole(),
		Ended:  x.GetEnded(),
		Stale:  d.text("stale", x.GetStale()),
		Heard:  d.ago("heard_ago", x.GetHeardAgo()),
	}
	if n := len(x.GetPut()) + len(x.GetGone()); n > MaxFacts {
		d.refuse("it holds %d facts, at most %d are taken at once", n, MaxFacts)
	}
	if d.err != nil {
		return fleet.Update{}, nil, fmt.Errorf("reading an update of source %.100q: %w", x.GetSource(), d.err)
	}
	for _, f := range x.GetPut() {
		if f.GetValue() == nil && len(f.ProtoReflect().GetUnknown()) > 0 {
			continue // of a kind that a newer release added
		}
		fact, err := FactToFleet(f, now)
		if err != nil {
			refused = append(refused, err)
			u.Whole = false
			continue
		}
		u.Put = append(u.Put, fact)
	}
	for _, n := range x.GetGone() {
		if !slices.Contains(kinds, fleet.Kind(n.GetKind())) {
			continue
		}
		d := &door{}
		name := fleet.FactName{Kind: fleet.Kind(n.GetKind()), Name: d.label("name", n.GetName())}
		if d.err != nil {
			refused = append(refused, fmt.Errorf("reading a tombstone: %w", d.err))
			continue
		}
		u.Gone = append(u.Gone, name)
	}
	return u, refused, nil
}

// KindOf says of which kind a fact is: "" when it is of none that this release
// knows. The fields of the oneof are called as the kinds are.
func KindOf(x *Fact) fleet.Kind {
	m := x.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("value")); f != nil {
		return fleet.Kind(f.Name())
	}
	return ""
}

// FactFromFleet converts one fact. A fact without a value of one of fleet's
// kinds comes out without a value and is refused by whoever reads it.
func FactFromFleet(f fleet.Fact, now time.Time) *Fact {
	x := &Fact{Name: valid(f.Name)}
	switch v := f.Value.(type) {
	case *fleet.Cluster:
		x.Value = &Fact_Cluster{clusterOut(v)}
	case *fleet.Backend:
		x.Value = &Fact_Backend{backendOut(v)}
	case *fleet.RouteSet:
		x.Value = &Fact_Routes{routesOut(v)}
	case *fleet.PolicyRule:
		x.Value = &Fact_Policy{policyOut(v)}
	case *fleet.Zone:
		x.Value = &Fact_Zone{zoneOut(v)}
	case *fleet.Certificate:
		x.Value = &Fact_Certificate{certificateOut(v)}
	case *fleet.Observation:
		x.Value = &Fact_Observation{observationOut(v, now)}
	case *fleet.LoadReport:
		x.Value = &Fact_Load{loadOut(v)}
	case *fleet.Drain:
		x.Value = &Fact_Drain{drainOut(v)}
	case fleet.Problems:
		x.Value = &Fact_Problems{&Problems{Problems: mapped(v, problemOut)}}
	}
	return x
}

// FactToFleet reads one fact.
func FactToFleet(x *Fact, now time.Time) (fleet.Fact, error) {
	d := &door{now: now}
	name := d.label("name", x.GetName())
	var value fleet.Value
	switch v := x.GetValue().(type) {
	case *Fact_Cluster:
		value = d.cluster(v.Cluster)
	case *Fact_Backend:
		value = d.backend(v.Backend)
	case *Fact_Routes:
		value = d.routes(v.Routes)
	case *Fact_Policy:
		value = d.policyRule(v.Policy)
	case *Fact_Zone:
		value = d.zone(v.Zone)
	case *Fact_Certificate:
		value = d.certificate(v.Certificate)
	case *Fact_Observation:
		value = d.observation(v.Observation)
	case *Fact_Load:
		value = d.load(v.Load)
	case *Fact_Drain:
		value = d.drain(v.Drain)
	case *Fact_Problems:
		value = fleet.Problems(list(d, "problems", v.Problems.GetProblems(), maxLarge, d.problem))
	default:
		d.refuse("it says nothing of a kind that is known")
	}
	if d.err != nil {
		return fleet.Fact{}, fmt.Errorf("reading the fact %.100q: %w", x.GetName(), d.err)
	}
	return fleet.NewFact(name, value), nil
}

// BookFromFleet converts what each source last said, one update per source. It
// is sorted, so equal facts make an equal book.
func BookFromFleet(sources []fleet.Update, written time.Time) *Book {
	b := &Book{Written: timestamppb.New(written)}
	for _, u := range sources {
		u.Whole, u.Gone = true, nil
		u.Put = slices.SortedFunc(slices.Values(u.Put), func(a, b fleet.Fact) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
		})
		b.Sources = append(b.Sources, FromFleet(u, written))
	}
	slices.SortFunc(b.Sources, func(a, b *Update) int { return cmp.Compare(a.Source, b.Source) })
	return b
}

// BookToFleet reads a book: one whole update per source. Whatever is not in
// order is left out and named in refused; only a book without a date is of no
// use at all.
func BookToFleet(b *Book) (sources []fleet.Update, refused []error, err error) {
	d := &door{}
	written := d.moment("written", b.GetWritten())
	if written.IsZero() {
		d.refuse("it does not say when it was written")
	}
	if d.err != nil {
		return nil, nil, fmt.Errorf("reading a book of facts: %w", d.err)
	}
	for _, x := range b.GetSources() {
		u, bad, err := ToFleet(x, written)
		refused = append(refused, bad...)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		sources = append(sources, u)
	}
	return sources, refused, nil
}
