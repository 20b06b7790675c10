package health

import (
	"net/netip"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// Rules are the numbers a judgement goes by. A field that is zero or negative
// means its default.
type Rules struct {
	// Fresh is how old an observation may be and still count: 10 s. A target
	// that is probed rarely gets three of its intervals when those are longer.
	// An observation as far ahead of now counts as little as one so far behind.
	Fresh time.Duration
	// DownShare and DownCount make the quorum: a target is down only if at most
	// this share (0.18, as Amazon Route 53 has it) AND fewer than this number (2)
	// of its fresh vantage points see it up.
	DownShare float64
	DownCount int
	// MassShare and MassWindow make the mass failure: if more than this share
	// (0.55) of the regions went down within the window (60 s), the sensor is
	// suspected and what went down within the window is frozen as it was.
	MassShare  float64
	MassWindow time.Duration
	// KeepRTT is how long a measured round trip that is not measured again keeps
	// its full weight (6 h). From then on its samples halve every hour, until
	// none is left and the pair counts as not measured.
	KeepRTT time.Duration
}

// DefaultRules are the rules that every zero field of Rules stands for.
func DefaultRules() Rules {
	return Rules{
		Fresh:      10 * time.Second,
		DownShare:  0.18,
		DownCount:  2,
		MassShare:  0.55,
		MassWindow: time.Minute,
		KeepRTT:    6 * time.Hour,
	}
}

func (r Rules) filled() Rules {
	d := DefaultRules()
	if r.Fresh <= 0 {
		r.Fresh = d.Fresh
	}
	if !(r.DownShare > 0) { // NaN too
		r.DownShare = d.DownShare
	}
	if r.DownCount <= 0 {
		r.DownCount = d.DownCount
	}
	if !(r.MassShare > 0) {
		r.MassShare = d.MassShare
	}
	if r.MassWindow <= 0 {
		r.MassWindow = d.MassWindow
	}
	if r.KeepRTT <= 0 {
		r.KeepRTT = d.KeepRTT
	}
	return r
}

// Target is a gateway to be judged.
type Target struct {
	Addr     netip.AddrPort // its front; observations are matched by it
	Region   fleet.Region
	Interval time.Duration // between two probes; 0 when short or not known
}

// quorum is the state that a count of fresh vantage points makes.
func (r Rules) quorum(up, fresh int) fleet.State {
	switch {
	case fresh == 0:
		return fleet.Unknown
	case up < r.DownCount && float64(up) <= r.DownShare*float64(fresh):
		return fleet.Unhealthy
	}
	return fleet.Healthy
}
