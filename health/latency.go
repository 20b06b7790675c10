package health

import (
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// Bounds of a believable measurement.
const (
	maxRTT     = 10 * time.Second // longer ones are no round trips
	maxSamples = 64               // more say nothing more, whoever tells them
)

// Latency is the round trip from each region with a vantage point to each
// region with a target: the shortest that a vantage point of the one has measured
// to a gateway of the other, and the samples behind that one.
//
// Fresh observations of targets that are up come first. A pair without any keeps
// the last measurement as long as the caller keeps the observation, at full
// weight for Rules.KeepRTT and gliding out after that, so that the estimate of
// the cost returns to the distance without a cliff. What is not above 0 and at
// most 10 s, or has no sample, is left out.
func Latency(obs []*fleet.Observation, targets []Target, now time.Time, rules Rules) fleet.Latency {
	r := rules.filled()
	fresh, kept := fleet.Latency{}, fleet.Latency{}
	for _, b := range collect(obs, targets, r) {
		for _, o := range b.votes {
			m := fleet.RTT{Time: o.RTT, Samples: b.samples(o, now, r)}
			if m.Samples == 0 || o.From.Region == "" {
				continue
			}
			into := kept
			if o.OK && b.counts(o, now) {
				into = fresh
			}
			for _, region := range b.regions {
				shorten(into, fleet.PairOfRegions{From: o.From.Region, To: region}, m)
			}
		}
	}
	for pair, m := range kept {
		if _, ok := fresh[pair]; !ok {
			fresh[pair] = m
		}
	}
	return fresh
}

// shorten enters a measurement if it is shorter than what is there, or as short
// with more behind it.
func shorten(l fleet.Latency, pair fleet.PairOfRegions, m fleet.RTT) {
	have, ok := l[pair]
	if !ok || m.Time < have.Time || m.Time == have.Time && m.Samples > have.Samples {
		l[pair] = m
	}
}

// samples is the weight of a measurement at a time, 0 when it has none.
func (b *ballot) samples(o *fleet.Observation, now time.Time, r Rules) int {
	if o.RTT <= 0 || o.RTT > maxRTT || o.Samples < 1 || o.At.Sub(now) > b.fresh {
		return 0
	}
	return min(o.Samples, maxSamples) >> halvings(now.Sub(o.At), r)
}

// halvings is how often the weight of a measurement of that age has been halved.
func halvings(age time.Duration, r Rules) int {
	if age < r.KeepRTT {
		return 0
	}
	return 1 + int((age-r.KeepRTT)/time.Hour)
}
