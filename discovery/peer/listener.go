package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

// What one peer may make us keep at most.
const (
	maxSources = 4096
	maxFacts   = 1_000_000
	maxBytes   = 1 << 30 // of facts in their wire form
)

// listener understands what one peer says. It remembers over reconnects which
// sources the peer has told of, so that a loss can be reported for each.
type listener struct {
	peer    Peer
	tell    fleet.Tell
	refused prometheus.Counter
	facts   prometheus.Counter
	log     *slog.Logger

	instance   string // of the peer, as it greeted
	sources    map[string]*told
	count      int  // facts over all sources
	bytes      int  // and their size
	complained bool // on this connection, about facts that are not in order
	caughtUp   bool // on this connection: the first telling is over
	last       time.Time
	part       *part // the telling that goes on in the next message
}

// told is what is remembered of a source.
type told struct {
	sizes map[fleet.FactName]int // size of each fact in force, in bytes
	stale string                 // as the peer said last
	ended bool                   // likewise
	heard time.Time              // when the peer last heard it, by our clock
	fresh bool                   // told on this connection
	lost  bool                   // we told our keeper that we lost touch
}

// part collects the messages of one telling.
type part struct {
	u     fleet.Update
	sizes map[fleet.FactName]int
}

// greet reads the first message of a stream. That the name is not our own is for
// the caller to see, who knows whether a certificate proves it.
func (l *listener) greet(m *factv1.Update) error {
	name := m.GetInstance()
	switch {
	case name == "" || len(name) > 253 || strings.ContainsFunc(name, func(r rune) bool { return r == '/' || unicode.IsSpace(r) || unicode.IsControl(r) }):
		return fmt.Errorf("it greets with the name %.40q, which is no instance name", name)
	case l.peer.Instance != "" && name != l.peer.Instance:
		return fmt.Errorf("it calls itself %q, but %q is expected there", name, l.peer.Instance)
	}
	l.instance, l.part, l.complained, l.caughtUp = name, nil, false, false
	for _, s := range l.sources {
		s.fresh = false
	}
	return nil
}

// hear takes one message. An error means that the peer does not keep to the
// protocol or its bounds and the stream must end.
func (l *listener) hear(ctx context.Context, m *factv1.Update, now time.Time) error {
	l.last = now
	if m.GetSource() == "" {
		if l.part != nil {
			return errors.New("it broke off a telling in the middle")
		}
		l.missing(ctx)
		return nil
	}
	if l.part != nil && l.part.u.Source != m.GetSource() {
		return errors.New("it began to tell of another source in the middle of a telling")
	}
	if !strings.HasPrefix(m.GetSource(), l.instance+"/") {
		l.complain(fmt.Errorf("%s speaks for the source %.100q, which is not its own", l.instance, m.GetSource()))
		return nil
	}
	u, bad, err := factv1.ToFleet(m, now)
	if err != nil {
		return err // the envelope itself: there is no telling what it was about
	}
	u, more := l.ownObservations(u)
	for _, err := range append(bad, more...) {
		l.complain(err)
	}
	return l.collect(ctx, u, m)
}

// ownObservations leaves out what other instances are said to have seen: a peer
// is one vantage point and must not make up a quorum.
func (l *listener) ownObservations(u fleet.Update) (fleet.Update, []error) {
	var refused []error
	u.Put = slices.DeleteFunc(u.Put, func(f fleet.Fact) bool {
		o, ok := f.Value.(*fleet.Observation)
		if !ok || o.By == l.instance {
			return false
		}
		refused = append(refused, fmt.Errorf("%s tells what %.40q is said to have observed", l.instance, o.By))
		return true
	})
	if len(refused) > 0 {
		u.Whole = false
	}
	return u, refused
}

// complain counts what is not in order and logs the first of each connection.
func (l *listener) complain(err error) {
	l.refused.Inc()
	if !l.complained {
		l.complained = true
		l.log.Warn("a peer says something that is not in order, which is left out; more of this is only counted", "error", err)
	}
}

// collect joins the messages of a telling and hands it on when it is complete.
func (l *listener) collect(ctx context.Context, u fleet.Update, m *factv1.Update) error {
	if l.part == nil {
		l.part = &part{u: fleet.Update{Source: u.Source, Whole: u.Whole}, sizes: map[fleet.FactName]int{}}
	}
	p := l.part
	sizes := map[fleet.FactName]int{}
	for _, f := range m.GetPut() {
		sizes[fleet.FactName{Kind: factv1.KindOf(f), Name: f.GetName()}] = proto.Size(f)
	}
	for _, f := range u.Put {
		n := fleet.FactName{Kind: f.Kind, Name: f.Name}
		p.sizes[n] = sizes[n]
	}
	p.u.Put = append(p.u.Put, u.Put...)
	p.u.Gone = append(p.u.Gone, u.Gone...)
	p.u.Whole = p.u.Whole && u.Whole
	p.u.Stale, p.u.Ended, p.u.Heard = u.Stale, u.Ended, u.Heard
	if m.GetMore() {
		if len(p.u.Put)+len(p.u.Gone) > maxFacts {
			return fmt.Errorf("it tells more than %d facts of %s", maxFacts, u.Source)
		}
		return nil
	}
	l.part = nil
	return l.handOn(ctx, p)
}

// handOn gives a complete telling to the keeper of facts.
func (l *listener) handOn(ctx context.Context, p *part) error {
	s := l.sources[p.u.Source]
	if s == nil {
		if len(l.sources) >= maxSources {
			return fmt.Errorf("it tells of more than %d sources", maxSources)
		}
		s = &told{sizes: map[fleet.FactName]int{}}
		l.sources[p.u.Source] = s
	}
	if p.u.Whole {
		for n := range s.sizes {
			l.forget(s, n)
		}
	}
	for _, n := range p.u.Gone {
		l.forget(s, n)
	}
	for n, size := range p.sizes {
		l.forget(s, n)
		s.sizes[n] = size
		l.count, l.bytes = l.count+1, l.bytes+size
	}
	if l.count > maxFacts || l.bytes > maxBytes {
		return fmt.Errorf("it tells more than %d facts or %d MiB", maxFacts, maxBytes>>20)
	}
	s.stale, s.ended, s.heard, s.fresh, s.lost = p.u.Stale, p.u.Ended, p.u.Heard, true, false
	l.facts.Add(float64(len(p.u.Put) + len(p.u.Gone)))
	l.tell(ctx, p.u)
	return nil
}

func (l *listener) forget(s *told, n fleet.FactName) {
	if size, ok := s.sizes[n]; ok {
		delete(s.sizes, n)
		l.count, l.bytes = l.count-1, l.bytes-size
	}
}

// missing runs at the first heartbeat of a connection, by which the peer has told
// all it knows: sources that it told of before and not again stay stale, for a
// reason of their own. Nothing is removed; the peer may just have begun.
func (l *listener) missing(ctx context.Context) {
	if l.caughtUp {
		return
	}
	l.caughtUp = true
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		if s := l.sources[name]; !s.fresh {
			l.tell(ctx, fleet.Update{Source: name, Ended: s.ended, Heard: s.heard,
				Stale: fmt.Sprintf("peer %s is in touch again but has not told of this source since", l.peer.Address)})
		}
	}
}

// lost marks every source of the peer as stale. A source that the peer itself
// had lost was heard when the peer last heard it; the others were as good as
// heard with the peer's last sign of life.
func (l *listener) lost(ctx context.Context, why error) {
	for _, name := range slices.Sorted(maps.Keys(l.sources)) {
		s := l.sources[name]
		if s.lost {
			continue
		}
		s.lost = true
		if s.stale == "" && s.fresh {
			s.heard = l.last
		}
		l.tell(ctx, fleet.Update{Source: name, Ended: s.ended, Heard: s.heard,
			Stale: fmt.Sprintf("lost touch with peer %s: %s", l.peer.Address, sentence(why))})
	}
}

// sentence bounds an error that may hold what the peer said.
func sentence(err error) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, err.Error())
	return strings.ToValidUTF8(s[:min(len(s), 400)], "")
}
