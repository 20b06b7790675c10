// Package health judges gateways by a quorum of the vantage points that see them.
//
// It is pure and has no memory: the same observations at the same moment give
// the same verdicts on every replica.
//
// One vantage point is one instance (Observation.By). Whoever takes observations
// in from others must bind By to the speaker, so that nobody votes twice.
package health

import (
	"net/netip"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// Judge gives every target its verdict. Observations carry times of our own
// clock. Neither their order nor that of the targets matters.
//
// A target is Unhealthy only when the quorum says so (see Rules); without any
// fresh vantage point it is Unknown, never Unhealthy. So of two or more vantage
// points no single one can take a target down, and one that is cut off, and
// sees everything down, is outvoted. A vantage point that stands alone is
// believed.
//
// When a mass of regions goes down at once, the probes are more likely broken
// than the world (one bad check rolled out everywhere, one firewall rule). What
// went down within the last window is then Frozen at the state it had before,
// until its fall is older than the window; what was down before that stays
// down, and news of recovery counts at once. This delays the answer to a true
// mass outage by the window at most; proxies, which see for themselves, do not
// wait for it. A mass is at least two regions: the only region, or one of two, is
// never frozen, and when both of two fall together the freeze sends traffic
// where the rule "all down means all up" would send it anyway.
func Judge(obs []*fleet.Observation, targets []Target, now time.Time, rules Rules) map[netip.AddrPort]fleet.Verdict {
	r := rules.filled()
	ballots := collect(obs, targets, r)
	findings := make([]finding, 0, len(ballots))
	for _, b := range ballots {
		findings = append(findings, b.find(now, r))
	}
	m := massOf(findings, now, r)
	verdicts := make(map[netip.AddrPort]fleet.Verdict, len(findings))
	for _, f := range findings {
		v := fleet.Verdict{State: f.state, Up: f.up, Fresh: f.fresh}
		if m.suspect(r) && f.fellLately(now, r) {
			v.State, v.Frozen = f.before, true
		}
		v.Detail = f.detail(v, m, r)
		verdicts[f.addr] = v
	}
	return verdicts
}

// fellLately reports whether the target went down within the mass window.
func (f finding) fellLately(now time.Time, r Rules) bool {
	return f.state == fleet.Unhealthy && !f.fell.IsZero() && now.Sub(f.fell) < r.MassWindow
}

// mass counts regions over the mass window.
type mass struct {
	fallen int // went from healthy to down within the window
	of     int // regions but those that were down before the window
}

func (m mass) suspect(r Rules) bool {
	return m.fallen >= 2 && float64(m.fallen) > r.MassShare*float64(m.of)
}

// massOf counts. A region is down when all its gateways are, and fell with the
// last of them. Regions that were down before are left out of the count, since
// they can no longer fall; those that were never seen up did not fall.
func massOf(findings []finding, now time.Time, r Rules) mass {
	last := map[fleet.Region]finding{}
	for _, f := range findings {
		for _, region := range f.regions {
			if l, ok := last[region]; !ok || f.outlives(l) {
				last[region] = f
			}
		}
	}
	var m mass
	for _, f := range last {
		switch {
		case f.state != fleet.Unhealthy:
			m.of++
		case f.fellLately(now, r):
			m.of++
			if f.before == fleet.Healthy {
				m.fallen++
			}
		}
	}
	return m
}

// outlives reports whether f stands longer than g, or fell after it.
func (f finding) outlives(g finding) bool {
	if f.state != fleet.Unhealthy || g.state != fleet.Unhealthy {
		return g.state == fleet.Unhealthy
	}
	if !f.fell.Equal(g.fell) {
		return f.fell.After(g.fell)
	}
	return f.before == fleet.Healthy && g.before != fleet.Healthy
}

// RegionVerdict is the verdict of a region: the best of those of its gateways.
// Without a gateway it is Unknown.
func RegionVerdict(gateways []fleet.Verdict) fleet.Verdict {
	if len(gateways) == 0 {
		return fleet.Verdict{Detail: "the region has no gateway to judge it by"}
	}
	best := gateways[0]
	for _, v := range gateways[1:] {
		if compareVerdict(v, best) > 0 {
			best = v
		}
	}
	return best
}
