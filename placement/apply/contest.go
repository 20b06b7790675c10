package apply

import "time"

// Somebody in a member may change what we write whenever we write it. He is answered
// at once a few times, and then ever more slowly, so that nobody is worn out.
const (
	contestFree   = 5           // writes of one content that are not waited with
	contestWithin = time.Minute // of each other
	contestLast   = time.Minute // the longest pause
)

// contest is how often the same content was written to one object.
type contest struct {
	applied string // digest of the content
	n       int
	at      time.Time // of the last one
}

// next is the contest after one more write.
func (c contest) next(applied string, now time.Time) contest {
	if c.applied != applied || now.Sub(c.at) > contestWithin+c.pause() {
		c = contest{applied: applied}
	}
	c.n++
	c.at = now
	return c
}

// pause is how long to wait after the last write before the same is written again.
func (c contest) pause() time.Duration {
	if c.n < contestFree {
		return 0
	}
	return min(contestLast, time.Second<<min(c.n-contestFree, 10))
}

// wait is how long the content is still to be waited with.
func (c contest) wait(applied string, now time.Time) time.Duration {
	if c.applied != applied {
		return 0
	}
	return max(0, c.pause()-now.Sub(c.at))
}
