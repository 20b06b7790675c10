package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Group is a set of processes that end together, the last started first.
//
// Defer its Stop right after NewGroup: it then runs on a panic too. When the
// context that it was made with ends, it stops by itself.
type Group struct {
	ctx    context.Context // the group's life is this context's
	cancel context.CancelCauseFunc

	mu        sync.Mutex
	unhook    func() bool // forgets to stop when ctx ends
	processes []*Process  // in order of start
	stopped   chan struct{}
	stopErr   error // valid once stopped is closed
	closing   bool
}

var errGroupStopped = errors.New("the group has been stopped")

// NewGroup makes an empty group that lives until Stop or the end of ctx.
func NewGroup(ctx context.Context) *Group {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &Group{ctx: ctx, cancel: cancel, stopped: make(chan struct{})}
	g.mu.Lock() // an ended ctx calls Stop right away
	defer g.mu.Unlock()
	g.unhook = context.AfterFunc(ctx, func() { _ = g.Stop() }) // Stop keeps its error for the caller's own Stop
	return g
}

// Start starts a process, waits until it is ready and adds it to the group.
func (g *Group) Start(c Command) (*Process, error) {
	p, err := Start(g.ctx, c)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	if !g.closing {
		g.processes = append(g.processes, p)
		g.mu.Unlock()
		return p, nil
	}
	g.mu.Unlock()
	return nil, errors.Join(fmt.Errorf("starting %s: %w", p.Name(), errGroupStopped), p.Kill())
}

// Wait returns when ctx ends, with nil, or when a process of the group ends by
// itself, with what Err of that process says. It sees the processes that were
// in the group when it was called, and not the end of one that was stopped.
func (g *Group) Wait(ctx context.Context) error {
	g.mu.Lock()
	processes := slices.Clone(g.processes)
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	died := make(chan error)
	for _, p := range processes {
		go func() {
			select {
			case <-ctx.Done():
				return
			case <-p.Done():
			}
			if err := p.Err(); err != nil {
				select {
				case died <- err:
				case <-ctx.Done():
				}
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-g.stopped:
		return nil
	case err := <-died:
		return err
	}
}

// Stop stops all processes, the last started first, each with its own grace, and
// returns what the ones that ended by themselves had to say. It may be called
// more than once and from several goroutines; all wait for the same end.
func (g *Group) Stop() error {
	g.mu.Lock()
	first := !g.closing
	g.closing = true
	processes := g.processes
	g.mu.Unlock()
	if !first {
		<-g.stopped
		return g.stopErr
	}
	g.unhook()
	g.cancel(errGroupStopped) // whoever is still getting ready
	var errs []error
	for _, p := range slices.Backward(processes) {
		if err := p.Stop(); err != nil {
			errs = append(errs, err)
		}
	}
	g.stopErr = errors.Join(errs...)
	close(g.stopped)
	return g.stopErr
}
