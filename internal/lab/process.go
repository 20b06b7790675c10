package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	defaultReadyTimeout = 30 * time.Second
	defaultGrace        = 10 * time.Second
	pollEvery           = 20 * time.Millisecond // how often Ready is asked
	tailLines           = 20                    // of a dead process's log in its error
)

// Command says how to run a child process.
type Command struct {
	Name string   // in errors, "envoy eu-west"; empty means the base name of Path
	Path string   // the program; looked up on $PATH if it has no slash
	Args []string // without the program itself
	Env  []string // "KEY=value", added to this process's own environment
	Dir  string   // working directory; empty means this process's own
	Log  string   // a file that gets everything the child prints, truncated first; empty means only the last 64 KiB are kept, in memory

	Ready        func(context.Context) error // asked over and over until it returns nil; nil means ready as soon as it runs
	ReadyTimeout time.Duration               // how long it may take to get ready; 0 means 30 s
	Grace        time.Duration               // from SIGTERM to SIGKILL; 0 means 10 s
}

// Process is a running child. It dies with this process: on Linux the kernel
// sees to that even when this process is killed.
type Process struct {
	name  string
	grace time.Duration
	cmd   *exec.Cmd
	log   *logTail
	done  chan struct{} // closed when the child is gone and err is set

	mu       sync.Mutex
	stopping bool  // we asked for its end, so the end is no surprise
	err      error // why it ended by itself; nil when we ended it
}

// Start runs the command and waits until it is ready. When it does not get
// ready, dies first or ctx ends, Start ends the child again and the error has the
// last lines of its log. A later end of ctx does not touch the child: use Stop, Kill or a Group.
func Start(ctx context.Context, c Command) (*Process, error) {
	p, err := launch(c)
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx, c); err != nil {
		if killErr := p.Kill(); !errors.Is(err, killErr) { // one that died by itself says the same again
			err = errors.Join(err, killErr)
		}
		return nil, err
	}
	return p, nil
}

func launch(c Command) (*Process, error) {
	name := c.Name
	if name == "" {
		name = c.Path[strings.LastIndexByte(c.Path, '/')+1:]
	}
	p := &Process{name: name, grace: c.Grace, log: &logTail{}, done: make(chan struct{})}
	if p.grace == 0 {
		p.grace = defaultGrace
	}
	if c.Log != "" {
		f, err := os.Create(c.Log)
		if err != nil {
			return nil, fmt.Errorf("starting %s: making its log: %w", name, err)
		}
		p.log.file = f
	}
	p.cmd = exec.Command(c.Path, c.Args...) //nolint:noctx // its end is ours to order, in two steps
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = childAttr()
	p.cmd.WaitDelay = 2 * time.Second // for grandchildren that keep the log open

	started := make(chan error)
	go p.live(started)
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), p.log.close())
	}
	return p, nil
}

// live starts the child and waits for its end on one and the same thread: the
// kernel's "die with the parent" means the parent's thread.
func (p *Process) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	err := p.cmd.Wait()
	_ = signalGroup(p.cmd.Process, syscall.SIGKILL) // whoever is left of its family; mostly nobody
	p.mu.Lock()
	if !p.stopping {
		state := "exit status 0"
		if err != nil {
			state = err.Error()
		}
		p.err = fmt.Errorf("%s ended by itself (%s)%s", p.name, state, p.log.quote())
	}
	p.mu.Unlock()
	if err := p.log.close(); err != nil {
		p.mu.Lock()
		p.err = errors.Join(p.err, fmt.Errorf("writing the log of %s: %w", p.name, err))
		p.mu.Unlock()
	}
	close(p.done)
}

func (p *Process) waitReady(ctx context.Context, c Command) error {
	if c.Ready == nil {
		return nil
	}
	patience := c.ReadyTimeout
	if patience == 0 {
		patience = defaultReadyTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %s", patience))
	defer cancel()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		lastErr := c.Ready(ctx)
		if lastErr == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("starting %s: %w (last answer: %w)%s", p.name, context.Cause(ctx), lastErr, p.log.quote())
		case <-poll.C:
		}
	}
}

// Name is the name that errors use.
func (p *Process) Name() string { return p.name }

// PID is the child's process id, which is also that of its process group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says why the child ended by itself, with the last lines of its log. It is
// nil while it runs and after Stop or Kill.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Log returns the last of what the child printed, at most 64 KiB.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal to the child and its children.
func (p *Process) Signal(s syscall.Signal) error {
	return p.tell("sending "+s.String()+" to", func(child *os.Process) error { return signalGroup(child, s) })
}

// Pause makes the child and its children stand still, as on a machine that hangs,
// until Resume. When it returns, the child does nothing any more.
func (p *Process) Pause() error { return p.tell("pausing", pauseGroup) }

// Resume lets a paused child go on.
func (p *Process) Resume() error { return p.tell("resuming", resumeGroup) }

func (p *Process) tell(doing string, what func(*os.Process) error) error {
	err := os.ErrProcessDone
	select {
	case <-p.done:
	default:
		err = what(p.cmd.Process)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, p.name, err)
	}
	return nil
}

// ExitCode is the child's exit status once Done is closed, and -1 before. When a
// signal ended it, it is 128 and the signal's number, as a shell says it.
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
	default:
		return -1
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks the child to end, waits for its grace and then kills it. Stopping a
// child that has ended by itself returns the error that Err returns; otherwise
// it is nil, whatever the exit status.
func (p *Process) Stop() error {
	if !p.expectEnd() {
		return p.Err()
	}
	if err := signalGroup(p.cmd.Process, syscall.SIGTERM); err == nil {
		_ = resumeGroup(p.cmd.Process) // a paused child would not hear it
		patience := time.NewTimer(p.grace)
		defer patience.Stop()
		select {
		case <-p.done:
			return p.Err()
		case <-patience.C:
		}
	}
	return p.kill()
}

// Kill ends the child and its children at once and waits until they are gone.
func (p *Process) Kill() error {
	if !p.expectEnd() {
		return p.Err()
	}
	return p.kill()
}

func (p *Process) kill() error {
	if err := signalGroup(p.cmd.Process, syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.done
	return p.Err()
}

// expectEnd notes that the end is ours, unless it has come already.
func (p *Process) expectEnd() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
	}
	p.stopping = true
	return true
}
