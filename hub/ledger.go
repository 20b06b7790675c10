package hub

import (
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/health"
)

// Ledger is the hub without its goroutine: facts in, Snapshots out, time given.
// Tests and replays use it as it is; it is not safe for concurrent use.
type Ledger struct {
	book    *book
	builder *builder
	dirt    *dirt
}

// NewLedger makes an empty ledger. The zero rules mean the defaults.
func NewLedger(rules health.Rules) *Ledger {
	l := &Ledger{book: newBook(), builder: newBuilder(rules), dirt: newDirt()}
	l.dirt.all()
	return l
}

// Tell takes an update over.
func (l *Ledger) Tell(u fleet.Update, now time.Time) { l.book.apply(u, now, l.dirt) }

// Snapshot is what is known now: the same one as before when nothing that
// anybody can see has changed.
func (l *Ledger) Snapshot(now time.Time) *fleet.Snapshot {
	l.dirt.world = l.dirt.world || l.due(now)
	if l.dirt.any() {
		l.builder.build(l.book, l.dirt, now)
		l.dirt = newDirt()
	}
	return l.builder.last
}

// NextChange is when time alone may change a verdict; false when it cannot.
func (l *Ledger) NextChange() (time.Time, bool) {
	return l.builder.next, !l.builder.next.IsZero()
}

func (l *Ledger) due(now time.Time) bool {
	next, ok := l.NextChange()
	return ok && !now.Before(next)
}

// Rebuild makes the Snapshot anew from every fact, as a check on the work saved.
func (l *Ledger) Rebuild(now time.Time) *fleet.Snapshot {
	d := newDirt()
	d.all()
	for name := range l.book.of {
		d.services[name] = true
	}
	l.book.contendAll(d)
	return newBuilder(l.builder.rules).build(l.book, d, now)
}

// stale says why a source has lost touch.
func (l *Ledger) stale(source string) string {
	if s := l.book.sources[source]; s != nil {
		return s.stale
	}
	return ""
}
