package main

import (
	"context"
	"sync/atomic"

	"github.com/meridian-lb/meridian/geo/steer"
)

// follower brings plans to work that takes time. The newest wins: while one
// is worked on, those that come meanwhile are skipped but for the last.
type follower struct {
	plan atomic.Pointer[steer.Plan]
	wake chan struct{}
	work func(context.Context, *steer.Plan) error
}

func follow(work func(context.Context, *steer.Plan) error) *follower {
	return &follower{wake: make(chan struct{}, 1), work: work}
}

// Update never blocks.
func (f *follower) Update(p *steer.Plan) {
	f.plan.Store(p)
	f.again()
}

// again has the newest plan worked on once more, when something else changed.
func (f *follower) again() {
	select {
	case f.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run works until ctx ends or work fails.
func (f *follower) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wake:
			if p := f.plan.Load(); p != nil {
				if err := f.work(ctx, p); err != nil {
					return err
				}
			}
		}
	}
}
