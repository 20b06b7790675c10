package node

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/internal/lab"
)

const (
	firstWait = 100 * time.Millisecond // before a container that died starts again
	longWait  = 10 * time.Second
	steady    = 10 * time.Second // who ran this long begins again with firstWait
)

// container runs one container of a pod; its state is read by the pod.
type container struct {
	spec    corev1.Container
	policy  corev1.RestartPolicy
	command func() (lab.Command, error) // asked anew at each start; without a Path there is no process
	ready   func(ctx context.Context, tell func(bool))
	changed func()             // is called after each change of state; does not block
	ending  chan time.Duration // told once: end, within this time

	mu      sync.Mutex
	state   state
	process *lab.Process // that runs or ran last
	log     string       // its file
	older   string       // and that of the one before
}

// state is what a pod's status says of a container. The zero state is "not
// started yet".
type state struct {
	running  bool
	ready    bool
	over     bool // it does not start again
	restarts int32
	started  time.Time
	exit     *exit // of the last process that ended
	trouble  string
}

type exit struct {
	code           int
	started, ended time.Time
	said           string // its last line
}

func (c *container) read() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *container) set(change func(*state)) {
	c.mu.Lock()
	change(&c.state)
	c.mu.Unlock()
	c.changed()
}

// run starts the container again and again, as the policy says, until it is told
// to end or ctx ends, which kills it.
func (c *container) run(ctx context.Context) {
	defer c.set(func(s *state) { s.running, s.ready, s.over = false, false, true })
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		began := time.Now()
		if !c.once(ctx) {
			return
		}
		if time.Since(began) > steady {
			wait = firstWait
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-c.ending:
			timer.Stop()
			return
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		c.set(func(s *state) { s.restarts++ })
	}
}

// once runs one process to its end and reports whether there should be another.
func (c *container) once(ctx context.Context) (again bool) {
	command, err := c.command()
	if err != nil {
		c.set(func(s *state) { s.trouble = err.Error() })
		return true
	}
	began := time.Now()
	if command.Path == "" {
		c.set(func(s *state) { s.running, s.ready, s.started, s.trouble = true, true, began, "" })
		select {
		case <-ctx.Done():
		case <-c.ending:
		}
		return false
	}
	c.mu.Lock()
	c.older, c.log = c.log, command.Log
	c.mu.Unlock()
	process, err := lab.Start(ctx, command)
	if err != nil {
		c.set(func(s *state) { s.trouble = err.Error() })
		return true
	}
	c.mu.Lock()
	c.process = process
	c.mu.Unlock()
	c.set(func(s *state) { s.running, s.started, s.trouble = true, began, "" })
	told := c.accompany(ctx, process)
	code := process.ExitCode()
	c.set(func(s *state) {
		s.running, s.ready = false, false
		s.exit = &exit{code: code, started: began, ended: time.Now(), said: lastLine(process.Log())}
	})
	return !told && (c.policy == corev1.RestartPolicyAlways || c.policy == corev1.RestartPolicyOnFailure && code != 0)
}

// accompany watches over a process until it is gone and reports whether we ended it.
func (c *container) accompany(ctx context.Context, process *lab.Process) (told bool) {
	probes, stop := context.WithCancel(ctx)
	var probing sync.WaitGroup
	probing.Go(func() { c.ready(probes, func(ready bool) { c.set(func(s *state) { s.ready = ready }) }) })
	defer probing.Wait()
	defer stop()

	var term, kill <-chan time.Time
	for {
		select {
		case <-process.Done():
			return told
		case <-ctx.Done():
			_ = process.Kill() // fails only for one that is gone
			<-process.Done()
			return true
		case within := <-c.ending:
			told = true
			term, kill = time.After(c.linger(within)), time.After(within)
		case <-term:
			_ = process.Signal(syscall.SIGTERM) // it may be gone already
		case <-kill:
			_ = process.Kill()
		}
	}
}

// linger is how long a container that must go still works as before.
func (c *container) linger(within time.Duration) time.Duration {
	if l := c.spec.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep != nil {
		return min(within, time.Duration(l.PreStop.Sleep.Seconds)*time.Second)
	}
	return 0
}

// end tells the container to end; it may be called once.
func (c *container) end(within time.Duration) { c.ending <- within }

// kill ends the process that runs, and reports whether there was one. The container
// starts again, as its policy says.
func (c *container) kill() bool {
	c.mu.Lock()
	process := c.process
	c.mu.Unlock()
	return process != nil && process.Signal(syscall.SIGKILL) == nil
}

// files are where the container's last two processes have printed to.
func (c *container) files() (log, older string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log, c.older
}

func lastLine(printed string) string {
	printed = strings.TrimSpace(printed)
	return printed[strings.LastIndexByte(printed, '\n')+1:]
}
