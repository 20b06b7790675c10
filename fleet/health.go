package fleet

import (
	"net/netip"
	"time"
)

// State is what is believed of a gateway or region.
type State uint8

// The states. Unknown stays eligible, behind Healthy.
const (
	Unknown State = iota
	Healthy
	Unhealthy
)

func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "unhealthy"
	}
	return "unknown"
}

// Observation is what one vantage point sees of one gateway. The prober has
// already counted rise and fall and smoothed the RTT; it tells each observation
// again at every probe, so that its age shows whether the prober lives.
type Observation struct {
	From    Vantage
	By      string         // the instance that probes; two instances in a region are two vantage points
	Target  netip.AddrPort // a gateway's front
	OK      bool           // after rise and fall
	Since   time.Time      // when OK last changed, by the prober's clock moved into ours
	RTT     time.Duration  // smoothed, told anew only when it moved noticeably; 0 when never measured
	Samples int            // behind RTT, told in powers of two
	Error   string         // of the last bad probe; empty when OK
	At      time.Time      // of the last probe
}

// Verdict is the judgement of a quorum of vantage points.
type Verdict struct {
	State  State
	Up     int    // fresh vantage points that see it up
	Fresh  int    // fresh vantage points
	Frozen bool   // a mass failure made the sensor suspect; State is what it was before
	Detail string // one sentence: "0 of 3 vantage points see it up: connection refused"
}
