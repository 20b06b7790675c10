package hub

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// book is every fact in force, by who told it. It belongs to the hub's goroutine.
type book struct {
	sources map[string]*source
	tellers map[fleet.Kind]map[string]tellers     // by a fact's kind and name
	of      map[fleet.ServiceName]map[string]bool // names of the backend facts of a service
	about   map[string][]string                   // sources by subject, sorted
}

// tellers are the sources that tell a fact.
type tellers map[string]bool

type source struct {
	heard  time.Time
	stale  string // why it has lost touch
	synced bool   // has told everything once
	ended  bool   // and is no more
	facts  map[fleet.FactName]fleet.Value
}

func newBook() *book {
	return &book{
		sources: map[string]*source{},
		tellers: map[fleet.Kind]map[string]tellers{},
		of:      map[fleet.ServiceName]map[string]bool{},
		about:   map[string][]string{},
	}
}

// apply takes an update over and marks what it changed. A fact told again
// unchanged changes nothing but the source's age; an update that says Stale
// takes nothing away.
func (b *book) apply(u fleet.Update, now time.Time, d *dirt) {
	s := b.sources[u.Source]
	if s == nil {
		s = &source{facts: map[fleet.FactName]fleet.Value{}}
		b.sources[u.Source] = s
		b.join(u.Source)
		d.sources = true
	}
	before := s.heard
	if u.Stale == "" || !u.Heard.IsZero() {
		s.heard = cmp.Or(u.Heard, now)
	}
	synced := s.synced || u.Whole && u.Stale == ""
	if s.stale != u.Stale || s.synced != synced || u.Stale != "" && minute(before) != minute(s.heard) {
		s.stale, s.synced = u.Stale, synced
		d.sources = true
		b.markSubject(u.Source, d)
	}
	if s.ended != u.Ended {
		s.ended = u.Ended
		d.sources = true
	}
	told := make(map[fleet.FactName]bool, len(u.Put))
	for _, f := range u.Put {
		n := fleet.FactName{Kind: f.Kind, Name: f.Name}
		told[n] = true
		if old, ok := s.facts[n]; ok && reflect.DeepEqual(old, f.Value) {
			continue
		}
		b.put(u.Source, n, f.Value, d)
	}
	for _, n := range u.Gone {
		if !told[n] {
			b.remove(u.Source, n, d)
		}
	}
	if u.Whole && u.Stale == "" {
		for n := range maps.Clone(s.facts) {
			if !told[n] {
				b.remove(u.Source, n, d)
			}
		}
	}
}

func (b *book) put(src string, n fleet.FactName, v fleet.Value, d *dirt) {
	facts := b.sources[src].facts
	if old, ok := facts[n]; ok {
		d.mark(n, old)
	}
	facts[n] = v
	d.mark(n, v)
	if b.tellers[n.Kind] == nil {
		b.tellers[n.Kind] = map[string]tellers{}
	}
	if b.tellers[n.Kind][n.Name] == nil {
		b.tellers[n.Kind][n.Name] = tellers{}
	}
	b.tellers[n.Kind][n.Name][src] = true
	b.contend(n, d)
	if be, ok := v.(*fleet.Backend); ok {
		if b.of[be.Service] == nil {
			b.of[be.Service] = map[string]bool{}
		}
		b.of[be.Service][n.Name] = true
	}
}

func (b *book) remove(src string, n fleet.FactName, d *dirt) {
	facts := b.sources[src].facts
	v, ok := facts[n]
	if !ok {
		return
	}
	d.mark(n, v)
	b.contend(n, d)
	delete(facts, n)
	delete(b.tellers[n.Kind][n.Name], src)
	if len(b.tellers[n.Kind][n.Name]) > 0 {
		return
	}
	delete(b.tellers[n.Kind], n.Name)
	if be, ok := v.(*fleet.Backend); ok {
		delete(b.of[be.Service], n.Name)
		if len(b.of[be.Service]) == 0 {
			delete(b.of, be.Service)
		}
	}
}

// every lists all versions of all facts of a kind, sorted by name and source.
func (b *book) every(k fleet.Kind) []told {
	var list []told
	for _, n := range b.names(k) {
		for _, src := range slices.Sorted(maps.Keys(b.tellers[k][n.Name])) {
			list = append(list, b.told(src, n))
		}
	}
	return list
}

// ofKind lists the facts of a kind that hold, sorted by name.
func ofKind[V fleet.Value](b *book, k fleet.Kind) []V {
	names := b.names(k)
	list := make([]V, 0, len(names))
	for _, n := range names {
		if t, ok := b.best(n); ok {
			if v, ok := t.value.(V); ok {
				list = append(list, v)
			}
		}
	}
	return list
}

func (b *book) names(k fleet.Kind) []fleet.FactName {
	names := make([]fleet.FactName, 0, len(b.tellers[k]))
	for name := range b.tellers[k] {
		names = append(names, fleet.FactName{Kind: k, Name: name})
	}
	slices.SortFunc(names, func(a, b fleet.FactName) int { return cmp.Compare(a.Name, b.Name) })
	return names
}

// dirt is what has to be built anew.
type dirt struct {
	services map[fleet.ServiceName]bool
	// contended are facts of several tellers, whose versions are compared anew.
	contended map[fleet.FactName]bool

	world    bool // clusters, drains, observations
	clusters bool // clusters: backends are placed anew
	policies bool // every service looks its policy up anew
	routes   bool
	zones    bool
	secrets  bool // certificates
	load     bool
	problems bool
	sources  bool
}

func newDirt() *dirt {
	return &dirt{services: map[fleet.ServiceName]bool{}, contended: map[fleet.FactName]bool{}}
}

// all marks everything, for a full rebuild.
func (d *dirt) all() {
	d.world, d.clusters, d.policies, d.routes, d.secrets = true, true, true, true, true
	d.zones, d.load, d.problems, d.sources = true, true, true, true
}

func (d *dirt) any() bool {
	return len(d.services) > 0 || len(d.contended) > 0 || d.world || d.clusters || d.policies || d.routes ||
		d.secrets || d.zones || d.load || d.problems || d.sources
}

func (d *dirt) mark(n fleet.FactName, v fleet.Value) {
	switch n.Kind {
	case fleet.KindBackend:
		if b, ok := v.(*fleet.Backend); ok {
			d.services[b.Service] = true
		}
	case fleet.KindCluster:
		d.world, d.clusters = true, true
	case fleet.KindObservation, fleet.KindDrain:
		d.world = true
	case fleet.KindPolicy:
		d.world, d.policies = true, true
	case fleet.KindRoutes:
		d.routes = true
	case fleet.KindCertificate:
		d.secrets = true
	case fleet.KindZone:
		d.zones = true
	case fleet.KindLoad:
		d.load = true
	case fleet.KindProblems:
		d.problems = true
	}
}
