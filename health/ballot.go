package health

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// ballot is what everybody says of one target.
type ballot struct {
	addr    netip.AddrPort
	regions []fleet.Region       // that claim the address; one, unless somebody made a mistake
	fresh   time.Duration        // how old a vote may be and still count
	votes   []*fleet.Observation // the newest of each instance, sorted by instance
}

// collect sorts the observations into one ballot per target, sorted by address.
// What was seen of other addresses is left out.
func collect(obs []*fleet.Observation, targets []Target, r Rules) []*ballot {
	byAddr := make(map[netip.AddrPort]*ballot, len(targets))
	ballots := make([]*ballot, 0, len(targets))
	for _, t := range targets {
		b := byAddr[t.Addr]
		if b == nil {
			b = &ballot{addr: t.Addr, fresh: r.Fresh}
			byAddr[t.Addr] = b
			ballots = append(ballots, b)
		}
		if !slices.Contains(b.regions, t.Region) {
			b.regions = append(b.regions, t.Region)
		}
		b.fresh = max(b.fresh, 3*t.Interval)
	}
	for _, o := range obs {
		if b := byAddr[o.Target]; b != nil {
			b.votes = append(b.votes, o)
		}
	}
	for _, b := range ballots {
		slices.SortFunc(b.votes, func(x, y *fleet.Observation) int {
			return cmp.Or(cmp.Compare(x.By, y.By), -compareAge(x, y))
		})
		b.votes = slices.CompactFunc(b.votes, func(x, y *fleet.Observation) bool { return x.By == y.By })
		slices.Sort(b.regions)
	}
	slices.SortFunc(ballots, func(x, y *ballot) int { return x.addr.Compare(y.addr) })
	return ballots
}

// compareAge orders what one instance said of one target at several times. Two
// that are equal by it are equal in everything that a judgement looks at.
func compareAge(x, y *fleet.Observation) int {
	return cmp.Or(x.At.Compare(y.At), x.Since.Compare(y.Since), compareBool(x.OK, y.OK),
		cmp.Compare(x.RTT, y.RTT), cmp.Compare(x.Samples, y.Samples),
		cmp.Compare(x.Error, y.Error), cmp.Compare(x.From.Region, y.From.Region))
}

func compareBool(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// counts reports whether a vote counts at a time.
func (b *ballot) counts(o *fleet.Observation, now time.Time) bool {
	return now.Sub(o.At).Abs() <= b.fresh
}

// finding is what a quorum finds of one target, before the mass-failure rule.
type finding struct {
	*ballot
	state     fleet.State
	up, fresh int
	fell      time.Time   // when the quorum was lost; set when Unhealthy, zero when nobody knows
	before    fleet.State // what it was then
	why       []string    // the errors of those who see it down, in no order
}

func (b *ballot) find(now time.Time, r Rules) finding {
	f := finding{ballot: b}
	fresh := make([]*fleet.Observation, 0, len(b.votes))
	for _, o := range b.votes {
		switch {
		case !b.counts(o, now):
			continue
		case o.OK:
			f.up++
		default:
			f.why = append(f.why, o.Error)
		}
		fresh = append(fresh, o)
	}
	f.fresh = len(fresh)
	f.state = r.quorum(f.up, f.fresh)
	if f.state == fleet.Unhealthy {
		f.fell, f.before = rewind(fresh, f.up, r)
	}
	return f
}

// rewind undoes the last change of each vote, latest first, until the quorum
// stands again: that is when it was lost, and what it was before. This is how a
// judge without a memory knows the past: each prober remembers its own last
// change, in Since.
//
// One who sees the target down saw it up before, if it has ever measured it;
// otherwise it had not looked yet. One who sees it up is not counted in the time
// before.
func rewind(votes []*fleet.Observation, up int, r Rules) (fell time.Time, before fleet.State) {
	since := func(o *fleet.Observation) time.Time {
		if o.Since.After(o.At) { // a clock that is not ours; nothing changes after the last look
			return o.At
		}
		return o.Since
	}
	latest := slices.SortedFunc(slices.Values(votes), func(x, y *fleet.Observation) int {
		return -since(x).Compare(since(y))
	})
	fresh := len(latest)
	for i, o := range latest {
		switch {
		case o.OK:
			up, fresh = up-1, fresh-1
		case measured(o):
			up++
		default:
			fresh--
		}
		if i+1 < len(latest) && since(latest[i+1]).Equal(since(o)) {
			continue
		}
		if s := r.quorum(up, fresh); s != fleet.Unhealthy {
			return since(o), s
		}
	}
	return time.Time{}, fleet.Unknown
}

// measured reports whether a vantage point has ever reached the target.
func measured(o *fleet.Observation) bool { return o.RTT > 0 || o.Samples > 0 }
