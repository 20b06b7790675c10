package probe

import (
	"math"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// memory is what is remembered of one target. It is pure: time comes in.
type memory struct {
	known  bool
	ok     bool      // after rise and fall
	since  time.Time // when ok last changed
	at     time.Time // of the last probe
	streak int       // results in a row that contradict ok
	err    string    // of the last bad probe
	rtt    smoother
}

// observe takes in a result and reports whether ok has changed.
//
// The first result decides at once, either way: until then the target is
// unknown, and waiting for more would keep a prober that just started, and with
// it its whole region, from saying what it sees. After that it takes Rise good
// or Fall bad results in a row to change the mind.
func (m *memory) observe(r result, c fleet.Check, at time.Time) (changed bool) {
	good := r.outcome == outcomeOK
	m.at = at
	if good {
		m.rtt.add(r.rtt)
	} else {
		m.err = r.err
	}
	if m.known && good == m.ok {
		m.streak = 0
		return false
	}
	m.streak++
	need := c.Fall
	if good {
		need = c.Rise
	}
	if m.known && m.streak < need {
		return false
	}
	m.known, m.ok, m.since, m.streak = true, good, at, 0
	return true
}

// observation is what is told of the target. It is new at every call.
func (m *memory) observation(by string, from fleet.Vantage, t Target) *fleet.Observation {
	o := &fleet.Observation{
		From: from, By: by, Target: t.Addr,
		OK: m.ok, Since: m.since, At: m.at,
		RTT: m.rtt.told, Samples: m.rtt.toldSamples,
	}
	if !m.ok {
		o.Error = m.err
	}
	return o
}

// How round trips are smoothed. Measured paths vary by 12 % at the median and
// throw spikes of two to five times; a mean of logarithms with clipped spikes
// follows the path and not the noise.
const (
	smoothing  = 0.1              // weight of a new sample
	spike      = 1.5              // a sample counts at most as this many times the smoothed value
	tellBand   = time.Millisecond // within it, or within a tenth, nothing new is told
	maxSamples = 64               // more are told as this many
	maxRTT     = 10 * time.Second // longer ones are no round trips
)

// smoother is a round trip's exponential moving average in logarithms.
type smoother struct {
	n           int     // samples taken in, counted up to maxSamples
	ln          float64 // of the smoothed time in nanoseconds
	told        time.Duration
	toldSamples int // a power of two
}

// add takes in a sample. The first ten weigh alike, so that a bad first one does
// not linger.
func (s *smoother) add(rtt time.Duration) {
	if rtt <= 0 || rtt > maxRTT {
		return
	}
	s.n = min(s.n+1, maxSamples)
	x := math.Log(float64(rtt))
	if s.n == 1 {
		s.ln = x
	} else {
		s.ln += max(smoothing, 1/float64(s.n)) * (min(x, s.ln+math.Log(spike)) - s.ln)
	}
	s.tell()
}

// tell renews what is told if the time left the band around it, or if the number
// of samples doubled. So a steady path is told the same for hours and nobody
// decides anew.
func (s *smoother) tell() {
	now := max(time.Duration(math.Exp(s.ln)).Round(time.Microsecond), time.Microsecond)
	doubled := s.n >= 2*s.toldSamples
	if !doubled && (now-s.told).Abs() <= max(tellBand, s.told/10) {
		return
	}
	s.told = now
	if s.toldSamples == 0 {
		s.toldSamples = 1
	} else if doubled {
		s.toldSamples *= 2
	}
}
