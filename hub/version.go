package hub

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

// told is a fact with its source.
type told struct {
	source string
	heard  time.Time
	stale  string
	value  fleet.Value
}

func (b *book) told(source string, n fleet.FactName) told {
	s := b.sources[source]
	return told{source: source, heard: s.heard, stale: s.stale, value: s.facts[n]}
}

// best is the version of a fact that holds when several sources tell it.
func (b *book) best(n fleet.FactName) (told, bool) {
	list := b.versions(n)
	if len(list) == 0 {
		return told{}, false
	}
	return list[0], true
}

// versions are what is told of a fact, once for each subject, the one that holds
// first. Sources of one subject are instances that look at the same objects, so
// what they tell is one thing seen twice, by one perhaps a moment earlier: a fresh
// one is believed before a stale one, of stale ones the one that was heard last,
// then the lowest source name. Different
// subjects tell different objects of one name: those of a fresh source before those of a
// stale one, then the elder. Thus all replicas choose alike.
//
// A stale source is not asked at all where a fresh one speaks of the same subject:
// what that one does not list is really gone.
func (b *book) versions(n fleet.FactName) []told {
	tellers := b.tellers[n.Kind][n.Name]
	list := make([]told, 0, len(tellers))
	for name := range tellers {
		if b.superseded(name) {
			continue
		}
		t := b.told(name, n)
		i := slices.IndexFunc(list, func(o told) bool { return subject(o.source) == subject(name) })
		switch {
		case i < 0:
			list = append(list, t)
		case cmp.Or(byFreshness(t, list[i]), byHearing(t, list[i]), cmp.Compare(t.source, list[i].source)) < 0:
			list[i] = t
		}
	}
	slices.SortFunc(list, func(x, y told) int {
		return cmp.Or(byFreshness(x, y), fleet.OriginOf(x.value).Compare(fleet.OriginOf(y.value)), cmp.Compare(x.source, y.source))
	})
	return list
}

// byFreshness orders what is told by a fresh source before what is told by a stale one.
func byFreshness(x, y told) int { return boolCompare(x.stale != "", y.stale != "") }

// byHearing orders stale versions of one subject, the last heard first: an old memory
// that comes back must not stand before a younger one. It counts whole minutes, since
// replicas know the moment only as an age that has travelled.
func byHearing(x, y told) int {
	if x.stale == "" || y.stale == "" {
		return 0
	}
	return minute(y.heard).Compare(minute(x.heard))
}

func minute(t time.Time) time.Time { return t.Truncate(time.Minute) }

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// contend marks a fact that more than one source tells, so that its versions are
// compared again.
func (b *book) contend(n fleet.FactName, d *dirt) {
	if len(b.tellers[n.Kind][n.Name]) < 2 {
		return
	}
	switch n.Kind {
	case fleet.KindCluster, fleet.KindBackend, fleet.KindRoutes, fleet.KindPolicy, fleet.KindZone, fleet.KindCertificate:
		d.contended[n] = true
	}
}

// contendAll marks every fact that more than one source tells.
func (b *book) contendAll(d *dirt) {
	for kind, names := range b.tellers {
		for name := range names {
			b.contend(fleet.FactName{Kind: kind, Name: name}, d)
		}
	}
}

// compare notes which versions of a fact are dropped although they say something
// else than the one that holds. Equal ones are one object applied in several places.
func (b *builder) compare(k *book, n fleet.FactName) {
	delete(b.dropped, n)
	list := k.versions(n)
	for i, t := range list {
		// Endpoints move all the time: those of a lost source are not compared.
		if i == 0 || n.Kind == fleet.KindBackend && t.stale != "" || sameBesideOrigin(list[0].value, t.value) {
			continue
		}
		b.dropped[n] = append(b.dropped[n], fleet.Problem{
			About: fleet.OriginOf(t.value), Reason: "DuplicateName",
			Message: fmt.Sprintf("%s already holds %s and says otherwise, so this one is passed over; make both say the same, or rename or delete one of them",
				fleet.OriginOf(list[0].value), claimed(t.value)),
		})
	}
}

// claimed is what two objects cannot both have.
func claimed(v fleet.Value) string {
	if z, ok := v.(*fleet.Zone); ok {
		return "the domain " + z.Name
	}
	return "this name"
}

// sameBesideOrigin reports whether two values say the same, whatever objects they
// were made from. The outside form decides, in which nothing and an empty list are
// one: a value may have come from disk or from a peer.
func sameBesideOrigin(x, y fleet.Value) bool {
	x, y = withoutOrigin(x), withoutOrigin(y)
	if reflect.DeepEqual(x, y) {
		return true
	}
	form := func(v fleet.Value) *factv1.Fact { return factv1.FactFromFleet(fleet.Fact{Value: v}, time.Time{}) }
	return proto.Equal(form(x), form(y))
}

func withoutOrigin(v fleet.Value) fleet.Value {
	switch v := v.(type) {
	case *fleet.Cluster:
		c := *v
		c.Origin = fleet.Origin{}
		return &c
	case *fleet.Backend:
		c := *v
		c.Origin = fleet.Origin{}
		return &c
	case *fleet.RouteSet:
		c := fleet.RouteSet{Routes: slices.Clone(v.Routes)}
		for i := range c.Routes {
			c.Routes[i].Origin = fleet.Origin{}
		}
		return &c
	case *fleet.PolicyRule:
		c := *v
		c.Policy.Origin = fleet.Origin{}
		return &c
	case *fleet.Zone:
		c := *v
		c.Origin = fleet.Origin{}
		return &c
	case *fleet.Certificate:
		c := *v
		c.Origin = fleet.Origin{}
		return &c
	}
	return v
}
