package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

const (
	believed    = 30 * time.Second // how long an answer about a token holds
	disbelieved = 5 * time.Second  // how long "nobody's" does
	maxVerdicts = 1024             // remembered at once
	maxAsking   = 8                // questions at once
)

// verdicts remembers what an Authenticator said, briefly, so that a caller who
// watches and asks does not burden it. Tokens themselves are not kept.
type verdicts struct {
	from   Authenticator
	asking chan struct{}

	mu   sync.Mutex
	said map[[sha256.Size]byte]verdict
}

type verdict struct {
	who   Caller
	known bool
	until time.Time
}

func newVerdicts(from Authenticator) *verdicts {
	return &verdicts{from: from, asking: make(chan struct{}, maxAsking), said: map[[sha256.Size]byte]verdict{}}
}

func (v *verdicts) ask(ctx context.Context, token string) (Caller, error) {
	key := sha256.Sum256([]byte(token))
	if said, ok := v.remembered(key); ok {
		return said.answer()
	}
	// Whoever invents tokens waits here, and those who bear remembered ones do not.
	select {
	case v.asking <- struct{}{}:
		defer func() { <-v.asking }()
	case <-ctx.Done():
		return Caller{}, ctx.Err()
	}
	if said, ok := v.remembered(key); ok { // somebody has asked meanwhile
		return said.answer()
	}
	who, err := v.from.Authenticate(ctx, token)
	switch {
	case err == nil && who.Name == "":
		return Caller{}, errors.New("the bearer of a token was found to have no name")
	case err == nil:
		v.remember(key, verdict{who: who, known: true, until: time.Now().Add(believed)})
	case errors.Is(err, ErrUnknownToken):
		v.remember(key, verdict{until: time.Now().Add(disbelieved)})
	}
	return who, err
}

func (v *verdicts) remembered(key [sha256.Size]byte) (verdict, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	said, ok := v.said[key]
	return said, ok && !time.Now().After(said.until)
}

func (said verdict) answer() (Caller, error) {
	if !said.known {
		return Caller{}, ErrUnknownToken
	}
	return said.who, nil
}

// remember makes room by forgetting what is over, and if need be whatever ends first.
func (v *verdicts) remember(key [sha256.Size]byte, said verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.said) >= maxVerdicts {
		now := time.Now()
		var first [sha256.Size]byte
		soonest := time.Time{}
		for k, s := range v.said {
			if now.After(s.until) {
				delete(v.said, k)
			} else if soonest.IsZero() || s.until.Before(soonest) {
				first, soonest = k, s.until
			}
		}
		if len(v.said) >= maxVerdicts {
			delete(v.said, first)
		}
	}
	v.said[key] = said
}
