package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// command and reply are what the processes say to each other, one line of JSON each.
type command struct {
	Do     string
	Design string `json:",omitempty"`
	Round  int    `json:",omitempty"`
}

type reply struct {
	Error      string        `json:",omitempty"`
	CPU        time.Duration `json:",omitempty"` // of the process so far, user and system
	At         int64         `json:",omitempty"` // Unix nanoseconds
	Bytes      int64         `json:",omitempty"` // of responses
	FirstBytes int64         `json:",omitempty"` // of the first subscriber's sync
	Resources  int64         `json:",omitempty"` // received
}

// process is a child that answers commands.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// start runs this program again in a role and waits until it is ready.
func start(o options, role, design string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.Background(), self, "-role", role, "-design", design, "-dir", o.dir, "-services", fmt.Sprint(o.services),
		"-endpoints", fmt.Sprint(o.endpoints), "-subscribers", fmt.Sprint(o.subscribers), "-profile", o.profile)
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
		return nil, fmt.Errorf("starting %s %s: %w", role, design, err)
	}
	p := &process{cmd: cmd, in: in, out: json.NewDecoder(out)}
	if _, err := p.ask(command{Do: "ready"}); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s %s: %w", role, design, err)
	}
	return p, nil
}

func (p *process) ask(c command) (reply, error) {
	var r reply
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return r, fmt.Errorf("asking to %s: %w", c.Do, err)
	}
	if err := p.out.Decode(&r); err != nil {
		return r, fmt.Errorf("waiting for the answer to %s: %w", c.Do, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// stop ends the child: it stops when its input ends.
func (p *process) stop() {
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// obey answers commands until the input ends.
func obey(in io.Reader, out io.Writer, do func(command) (reply, error)) error {
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return fmt.Errorf("reading a command: %w", err)
		}
		r, err := do(c)
		if err != nil {
			r.Error = err.Error()
		}
		if err := answers.Encode(r); err != nil {
			return fmt.Errorf("answering %s: %w", c.Do, err)
		}
	}
	return lines.Err()
}
