package health

import (
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// NextChange is the first moment after now at which a verdict or a latency may
// change although nobody tells anything new: an observation stops being fresh,
// a freeze ends, the weight of an old measurement halves. It reports false when
// none will. Between now and then Judge and Latency say what they say now, so
// one timer replaces polling.
func NextChange(obs []*fleet.Observation, targets []Target, now time.Time, rules Rules) (time.Time, bool) {
	r := rules.filled()
	var next time.Time
	at := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, b := range collect(obs, targets, r) {
		for _, o := range b.votes {
			at(o.At.Add(-b.fresh))
			at(o.At.Add(b.fresh + 1))
			if b.samples(o, now, r) > 0 {
				at(o.At.Add(r.KeepRTT + time.Duration(halvings(now.Sub(o.At), r))*time.Hour))
			}
		}
		if f := b.find(now, r); f.fellLately(now, r) {
			at(f.fell.Add(r.MassWindow))
		}
	}
	return next, !next.IsZero()
}
