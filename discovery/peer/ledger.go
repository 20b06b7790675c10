package peer

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// ledger is what this daemon's own sources last said, and for every follower the
// names of what it has not been sent yet. A name that changes twice before the
// follower is ready for it is sent once, as it is then: that is how a slow
// follower skips, and why what is kept for it is bounded by what there is.
type ledger struct {
	own string // prefix of the names of our own sources

	mu        sync.Mutex
	sources   map[string]*source
	followers map[*follower]struct{}
}

// source is one own source as it stands.
type source struct {
	facts map[fleet.FactName]fleet.Fact
	whole bool // it has told everything once
	ended bool
	stale string
	heard time.Time
}

// follower is one who reads along. Its fields belong to the ledger's lock,
// except for wake.
type follower struct {
	wake    chan struct{} // holds one token while something is pending
	pending map[string]*pending
}

type pending struct {
	whole bool // the follower has not been told this source whole
	names map[fleet.FactName]struct{}
}

// telling is what a follower is to be sent of one source.
type telling struct {
	source string
	whole  bool
	put    []fleet.Fact     // sorted by kind, name
	gone   []fleet.FactName // sorted by kind, name
	ended  bool
	stale  string
	heard  time.Time
}

func newLedger(instance string) *ledger {
	return &ledger{own: instance + "/", sources: map[string]*source{}, followers: map[*follower]struct{}{}}
}

func (l *ledger) owns(name string) bool { return strings.HasPrefix(name, l.own) }

// record takes an update of an own source to the ledger.
func (l *ledger) record(u fleet.Update, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[u.Source]
	if s == nil {
		s = &source{facts: map[fleet.FactName]fleet.Fact{}}
		l.sources[u.Source] = s
	}
	l.apply(s, u, now)
}

// restore takes over what was kept on disk of own sources that have not spoken yet.
// It is never told whole: followers may have heard what came after the last save,
// and would lose it.
func (l *ledger) restore(u fleet.Update, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.sources[u.Source]; s != nil {
		return
	}
	s := &source{facts: map[fleet.FactName]fleet.Fact{}}
	l.sources[u.Source] = s
	u.Whole, u.Stale = false, cmp.Or(u.Stale, "not heard from since a restart")
	l.apply(s, u, now)
}

// apply changes a source and notes for every follower what it has to be sent.
func (l *ledger) apply(s *source, u fleet.Update, now time.Time) {
	changed := s.replace(u)
	first := u.Whole && !s.whole
	s.whole = s.whole || u.Whole
	s.stale, s.ended, s.heard = u.Stale, u.Ended, u.Heard
	if s.heard.IsZero() {
		s.heard = now
	}
	for f := range l.followers {
		p := f.pending[u.Source]
		if p == nil {
			p = &pending{names: map[fleet.FactName]struct{}{}}
			f.pending[u.Source] = p
		}
		p.whole = p.whole || first
		for _, n := range changed {
			p.names[n] = struct{}{}
		}
		f.nudge()
	}
}

// replace puts an update's facts in force and returns the names that changed. A
// whole telling that repeats what is known changes nothing.
func (s *source) replace(u fleet.Update) []fleet.FactName {
	var changed []fleet.FactName
	said := make(map[fleet.FactName]struct{}, len(u.Put))
	for _, f := range u.Put {
		n := fleet.FactName{Kind: f.Kind, Name: f.Name}
		said[n] = struct{}{}
		if old, ok := s.facts[n]; !ok || !reflect.DeepEqual(old.Value, f.Value) {
			changed = append(changed, n)
			s.facts[n] = f
		}
	}
	gone := u.Gone
	if u.Whole {
		gone = slices.Concat(gone, slices.Collect(maps.Keys(s.facts)))
	}
	for _, n := range gone {
		if _, again := said[n]; again {
			continue
		}
		if _, had := s.facts[n]; had {
			changed = append(changed, n)
			delete(s.facts, n)
		}
	}
	return changed
}

func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// follow adds a follower that has been sent nothing yet. It reports false when
// there are as many as there may be.
func (l *ledger) follow(most int) (*follower, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.followers) >= most {
		return nil, false
	}
	f := &follower{wake: make(chan struct{}, 1), pending: map[string]*pending{}}
	for name := range l.sources {
		f.pending[name] = &pending{whole: true, names: map[fleet.FactName]struct{}{}}
	}
	l.followers[f] = struct{}{}
	f.nudge()
	return f, true
}

func (l *ledger) unfollow(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers, f)
}

// take empties what is pending for a follower, as everything stands now.
func (l *ledger) take(f *follower) []telling {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]telling, 0, len(f.pending))
	for _, name := range slices.Sorted(maps.Keys(f.pending)) {
		out = append(out, l.sources[name].tell(name, f.pending[name]))
	}
	clear(f.pending)
	return out
}

func (s *source) tell(name string, p *pending) telling {
	// A source that has never told everything (an operator's orders) cannot be
	// told whole: its silence about a fact proves nothing.
	t := telling{source: name, whole: p.whole && s.whole, ended: s.ended, stale: s.stale, heard: s.heard}
	if p.whole {
		t.put = slices.Collect(maps.Values(s.facts))
	} else {
		for n := range p.names {
			if f, ok := s.facts[n]; ok {
				t.put = append(t.put, f)
			} else {
				t.gone = append(t.gone, n)
			}
		}
	}
	slices.SortFunc(t.put, func(a, b fleet.Fact) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(t.gone, func(a, b fleet.FactName) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return t
}
