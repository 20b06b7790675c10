package probe

import (
	"hash/fnv"
	"time"
)

// jitter is the part of the interval by which a probe may be late by chance, so
// that probers that fell into step fall out of it.
const jitter = 0.1

// phaseOf is where in its interval a target is probed by an instance, 0 to below
// 1. It depends on their names alone, so probes stay spread over the interval,
// whoever restarts when.
func phaseOf(instance, target string) float64 {
	h := fnv.New64a()
	h.Write([]byte(instance))
	h.Write([]byte{0})
	h.Write([]byte(target))
	x := h.Sum64() // finished as in splitmix64, since similar names share FNV's high bits
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11) / (1 << 53)
}

// firstWait is how long a new target waits for its first probe: a second at most,
// however long its interval.
func firstWait(interval time.Duration, phase float64) time.Duration {
	return time.Duration(phase * float64(min(interval, time.Second)))
}

// nextWait is how long to wait for the target's next slot: more than nothing, at
// most the interval and its jitter. Slots that passed during a long probe are
// left out. Chance is 0 to 1.
func nextWait(now time.Time, interval time.Duration, phase, chance float64) time.Duration {
	late := (now.UnixNano() - int64(phase*float64(interval))) % int64(interval)
	if late < 0 {
		late += int64(interval)
	}
	return interval - time.Duration(late) + time.Duration(chance*jitter*float64(interval))
}
