// Package role lets one benchmark program be several processes, so that the CPU time and the memory of what is measured are its own.
package role

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// answer is what a child says, one line of JSON for each command.
type answer[R any] struct {
	Error string `json:",omitempty"`
	Reply R
}

// Process is a child that answers commands C with replies R.
type Process[C, R any] struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// Start runs this program again with other arguments and waits until it answers the
// command ready.
func Start[C, R any](ready C, args ...string) (*Process[C, R], error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %v: %w", args, err)
	}
	p := &Process[C, R]{cmd: cmd, in: in, out: json.NewDecoder(out)}
	if _, err := p.Ask(ready); err != nil {
		p.Stop()
		return nil, fmt.Errorf("starting %v: %w", args, err)
	}
	return p, nil
}

// Ask has a command done.
func (p *Process[C, R]) Ask(c C) (R, error) {
	var a answer[R]
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return a.Reply, fmt.Errorf("asking for %+v: %w", c, err)
	}
	if err := p.out.Decode(&a); err != nil {
		return a.Reply, fmt.Errorf("waiting for the answer to %+v: %w", c, err)
	}
	if a.Error != "" {
		return a.Reply, errors.New(a.Error)
	}
	return a.Reply, nil
}

// Stop ends the child: it stops when its input ends.
func (p *Process[C, R]) Stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// Obey answers commands until the input ends.
func Obey[C, R any](in io.Reader, out io.Writer, do func(C) (R, error)) error {
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var c C
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		var a answer[R]
		var err error
		if a.Reply, err = do(c); err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("answering %+v: %w", c, err)
		}
	}
	return lines.Err()
}

// Usage is the CPU time of this process so far, user and system, and the most memory
// that it ever held.
func Usage() (cpu time.Duration, peak int64, err error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, fmt.Errorf("reading the CPU time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), u.Maxrss << 10, nil
}
