// Command xds measures what one changed endpoint costs a control plane with many Envoys, beside go-control-plane's caches.
//
// Three servers hold the same endpoints and serve the same number of subscribers
// over unix sockets, each in its own process; the subscribers are one process more.
// One endpoint is changed at a time, in rotation over the servers, and the server
// process's own CPU time, the time until the last subscriber has the change, and
// the bytes are taken. The exit code is 1 when a goal is missed; goals are ratios
// between rows of one run, never absolute times.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"
)

// The designs under test.
const (
	meridian = "meridian"
	linear   = "LinearCache"
	snapshot = "SnapshotCache"
)

var designs = []string{meridian, linear, snapshot}

type options struct {
	services, endpoints, subscribers, rounds int
	role, design, dir, profile               string
}

func main() {
	var o options
	flag.IntVar(&o.services, "services", 200, "services, each one ClusterLoadAssignment")
	flag.IntVar(&o.endpoints, "endpoints", 500, "endpoints of a service, over 10 localities in 5 regions")
	flag.IntVar(&o.subscribers, "subscribers", 1000, "delta ADS streams, one connection each")
	flag.IntVar(&o.rounds, "rounds", 7, "changes measured per design")
	flag.StringVar(&o.profile, "profile", "", "a folder for the servers' CPU profiles")
	flag.StringVar(&o.role, "role", "", "for the processes that this one starts: serve or subscribe")
	flag.StringVar(&o.design, "design", "", "for the role serve")
	flag.StringVar(&o.dir, "dir", "", "for the processes that this one starts: where the sockets are")
	flag.Parse()
	var err error
	switch o.role {
	case "serve":
		err = serve(o, os.Stdin, os.Stdout)
	case "subscribe":
		err = subscribe(o, os.Stdin, os.Stdout)
	default:
		err = run(o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/xds:", err)
		os.Exit(1)
	}
}

// sample is one change at one server.
type sample struct {
	cpu, last time.Duration
	bytes     int64
}

func run(o options, out io.Writer) (err error) {
	if o.dir, err = os.MkdirTemp("", "meridian-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(o.dir) }()
	servers := map[string]*process{}
	for _, d := range designs {
		p, err := start(o, "serve", d)
		if err != nil {
			return err
		}
		defer p.Stop()
		servers[d] = p
	}
	clients, err := start(o, "subscribe", "")
	if err != nil {
		return err
	}
	defer clients.Stop()

	fmt.Fprintf(out, "%d services x %d endpoints, %d subscribers per server (delta ADS, named EDS), %d rounds in rotation.\n",
		o.services, o.endpoints, o.subscribers, o.rounds)
	fmt.Fprintln(out, "First sync is not measured: one subscriber fetches everything, the others come with its versions,")
	fmt.Fprintln(out, "because SnapshotCache alone would need more than a minute of CPU for it.")
	for _, d := range designs {
		if err := connect(clients, d, out); err != nil {
			return err
		}
	}
	samples := map[string][]sample{}
	for round := range o.rounds + 1 { // the first warms up
		for _, d := range designs {
			s, err := change(servers[d], clients, d, round)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", d, round, err)
			}
			if round > 0 {
				samples[d] = append(samples[d], s)
			}
		}
	}
	resent, err := connectAgain(clients, out)
	if err != nil {
		return err
	}
	return report(samples, resent, out)
}

func connect(clients *process, design string, out io.Writer) error {
	r, err := clients.Ask(command{Do: "connect", Design: design})
	if err != nil {
		return fmt.Errorf("connecting the subscribers of %s: %w", design, err)
	}
	fmt.Fprintf(out, "%-14s connected: %d B for the first, %d resources for all others\n", design, r.FirstBytes, r.Resources)
	return nil
}

// connectAgain breaks and renews all streams to meridian; nothing has changed.
func connectAgain(clients *process, out io.Writer) (resources int64, err error) {
	r, err := clients.Ask(command{Do: "reconnect", Design: meridian})
	if err != nil {
		return 0, fmt.Errorf("reconnecting: %w", err)
	}
	fmt.Fprintf(out, "\nReconnect of all subscribers to meridian, nothing changed: %d resources, %d B of responses\n", r.Resources, r.Bytes)
	return r.Resources, nil
}

// rest waits until a server has nothing left to do, the last ACKs included, and says
// how much CPU time it has used. It has rested when it used less than a hundredth of
// a CPU for a while: to be asked costs a little.
func rest(server *process) (time.Duration, error) {
	const while = 100 * time.Millisecond
	last := time.Duration(-1)
	for {
		r, err := server.Ask(command{Do: "cpu"})
		if err != nil {
			return 0, err
		}
		if last >= 0 && r.CPU-last < while/100 {
			return r.CPU, nil
		}
		last = r.CPU
		time.Sleep(while)
	}
}

func change(server, clients *process, design string, round int) (sample, error) {
	if _, err := clients.Ask(command{Do: "arm", Design: design}); err != nil {
		return sample{}, err
	}
	if _, err := server.Ask(command{Do: "prepare", Round: round}); err != nil {
		return sample{}, err
	}
	before, err := rest(server)
	if err != nil {
		return sample{}, err
	}
	began, err := server.Ask(command{Do: "change", Round: round})
	if err != nil {
		return sample{}, err
	}
	got, err := clients.Ask(command{Do: "wait", Design: design})
	if err != nil {
		return sample{}, err
	}
	after, err := rest(server)
	if err != nil {
		return sample{}, err
	}
	return sample{cpu: after - before, last: time.Unix(0, got.At).Sub(time.Unix(0, began.At)), bytes: got.Bytes}, nil
}

// The goals: meridian's CPU per change as a share of the others'.
var goals = map[string]float64{linear: 1.0 / 3, snapshot: 1.0 / 12}

func report(samples map[string][]sample, resent int64, out io.Writer) error {
	cpu := map[string]time.Duration{}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\none endpoint changes\tserver CPU\t(best)\tlast subscriber\tbytes\tCPU / meridian\t")
	for _, d := range designs {
		cpu[d] = median(samples[d], func(s sample) time.Duration { return s.cpu })
		best := slices.MinFunc(samples[d], func(a, b sample) int { return cmp.Compare(a.cpu, b.cpu) })
		last := median(samples[d], func(s sample) time.Duration { return s.last })
		bytes := median(samples[d], func(s sample) int64 { return s.bytes })
		fmt.Fprintf(w, "%s\t%.1f ms\t%.1f ms\t%.1f ms\t%.2f MB\t%.1f\t\n", d, ms(cpu[d]), ms(best.cpu), ms(last), float64(bytes)/1e6, float64(cpu[d])/float64(cpu[meridian]))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var missed error
	for _, d := range designs[1:] {
		share := float64(cpu[meridian]) / float64(cpu[d])
		verdict := "met"
		if share > goals[d] {
			verdict = "MISSED"
			missed = errors.Join(missed, fmt.Errorf("the CPU goal against %s is missed: %.3f instead of at most %.3f", d, share, goals[d]))
		}
		fmt.Fprintf(out, "goal: at most 1/%.0f of %s's CPU: %s (1/%.1f)\n", 1/goals[d], d, verdict, 1/share)
	}
	if resent != 0 {
		missed = errors.Join(missed, fmt.Errorf("a reconnect with nothing changed sent %d resources instead of none", resent))
	}
	return missed
}

func median[T cmp.Ordered](samples []sample, of func(sample) T) T {
	values := make([]T, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func socket(o options, design string) string { return filepath.Join(o.dir, design+".sock") }
