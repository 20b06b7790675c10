// Command placement measures what it costs to keep many workloads in many clusters as they are wanted, beside what a bare client's writes cost.
//
// One process plays the API servers of the host and of all members; another one is an
// Applier and nothing else, whose own CPU time and memory are taken. It prints what
// the first full pass costs, what a steady state, one change, a member that is away
// for a while, and a new start. The exit code is 1 only when something is written that
// need not be; times are told as ratios between rows of one run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/meridian-lb/meridian/bench/role"
)

type options struct {
	templates, clusters, rounds, rate int
	while                             time.Duration
	verbose                           bool
	role, dir, profile                string
}

// arguments are those with which a child is of the same mind.
func (o options) arguments(role string) []string {
	return []string{"-role", role, "-dir", o.dir, "-templates", strconv.Itoa(o.templates), "-clusters", strconv.Itoa(o.clusters),
		"-rate", strconv.Itoa(o.rate), "-profile", o.profile, "-verbose=" + strconv.FormatBool(o.verbose)}
}

func main() {
	var o options
	flag.IntVar(&o.templates, "templates", 5000, "FederatedObjects: of five, three Deployments, a ConfigMap and a Service")
	flag.IntVar(&o.clusters, "clusters", 20, "members, each of which gets all of them")
	flag.IntVar(&o.rounds, "rounds", 10, "changes measured per kind")
	flag.IntVar(&o.rate, "rate", 0, "requests a second that may be asked of each API server; 0: any number. meridiand asks 50")
	flag.DurationVar(&o.while, "while", 15*time.Second, "how long the steady state is watched")
	flag.BoolVar(&o.verbose, "verbose", false, "show what the Applier logs")
	flag.StringVar(&o.profile, "profile", "", "a folder for the Applier's CPU and heap profiles")
	flag.StringVar(&o.role, "role", "", "for the processes that this one starts: serve, carry or bare")
	flag.StringVar(&o.dir, "dir", "", "for the processes that this one starts: where the sockets are")
	flag.Parse()
	var err error
	switch o.role {
	case "serve":
		err = serve(o, os.Stdin, os.Stdout)
	case "carry":
		err = carry(o, os.Stdin, os.Stdout)
	case "bare":
		err = bare(o, os.Stdin, os.Stdout)
	default:
		err = run(o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/placement:", err)
		os.Exit(1)
	}
}

// command and reply are what the processes say to each other.
type command struct {
	Do      string
	Name    string `json:",omitempty"`
	Which   int    `json:",omitempty"`
	Variant int    `json:",omitempty"`
}

type reply struct {
	CPU                time.Duration `json:",omitempty"` // of the process so far
	Peak               int64         `json:",omitempty"` // bytes
	Mallocs, Allocated uint64        `json:",omitempty"` // so far
	At                 int64         `json:",omitempty"` // Unix nanoseconds
	N                  int           `json:",omitempty"`
	Foreign            int           `json:",omitempty"` // writes to other workloads than the one that is meant
	Host, Members      tally
}

type process = role.Process[command, reply]

// bench is a run.
type bench struct {
	options
	out     io.Writer
	servers *process
	applier *process
	bare    time.Duration // CPU of one write by a bare client
	variant int           // of the last change
	missed  error
}

func run(o options, out io.Writer) (err error) {
	if err := divisions(out); err != nil {
		return err
	}
	if o.dir, err = os.MkdirTemp("", "meridian-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(o.dir) }()
	b := &bench{options: o, out: out}
	if b.servers, err = role.Start[command, reply](command{Do: "ready"}, o.arguments("serve")...); err != nil {
		return err
	}
	defer b.servers.Stop()
	b.say("\n%d workloads x %d clusters, API servers played by one other process of this machine.", o.templates, o.clusters)
	if err := b.floor(); err != nil {
		return fmt.Errorf("the bare client: %w", err)
	}
	if b.applier, err = role.Start[command, reply](command{Do: "ready"}, o.arguments("carry")...); err != nil {
		return err
	}
	defer func() { b.applier.Stop() }()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"the first full pass", b.first}, {"the steady state", b.steady}, {"what is no news", b.stir}, {"one change", b.changes},
		{"a member's restart", b.restart}, {"a new start", b.again},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.missed
}

func (b *bench) say(format string, args ...any) { _, _ = fmt.Fprintf(b.out, format+"\n", args...) }

// goal prints whether a goal is met; a hard one that is missed makes the exit code 1.
func (b *bench) goal(met, hard bool, format string, args ...any) {
	text, verdict := fmt.Sprintf(format, args...), "met"
	if !met {
		verdict = "MISSED"
		if hard {
			b.missed = errors.Join(b.missed, fmt.Errorf("missed: %s", text))
		}
	}
	b.say("goal: %s: %s", text, verdict)
}
