// Command whereami is a tiny web service that says where it stands, to see with one's own eyes where a request has gone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// version is set by the linker; a plain "go build" leaves it to the build info.
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "whereami:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends and the last request is answered.
func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	cfg, listen, err := parse(args, getenv, out)
	if errors.Is(err, flag.ErrHelp) {
		return nil // the help has been printed
	}
	if err != nil {
		return err
	}
	if listen == "" {
		return nil // asked for the version only
	}
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return s.run(ctx, listener)
}

// parse reads the flags; an empty listen address means that there is nothing to
// serve. Each flag of the identity has a variable, so that a Deployment can fill
// it from the downward API.
func parse(args []string, getenv func(string) string, out io.Writer) (cfg config, listen string, err error) {
	hostname, err := os.Hostname()
	if err != nil {
		return config{}, "", fmt.Errorf("asking for the host's name: %w", err)
	}
	env := func(key, otherwise string) string {
		if v := getenv(key); v != "" {
			return v
		}
		return otherwise
	}
	fs := flag.NewFlagSet("whereami", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&listen, "listen", env("LISTEN", ":8080"), "`address` to serve on ($LISTEN)")
	fs.StringVar(&cfg.Identity.Host, "host", env("NODE_NAME", hostname), "`name` of the machine ($NODE_NAME)")
	fs.StringVar(&cfg.Identity.Pod, "pod", env("POD_NAME", hostname), "`name` of the pod ($POD_NAME)")
	fs.StringVar(&cfg.Identity.Zone, "zone", getenv("ZONE"), "`zone` it stands in ($ZONE)")
	fs.StringVar(&cfg.Identity.Region, "region", getenv("REGION"), "`region` it stands in ($REGION)")
	fs.StringVar(&cfg.Identity.Cluster, "cluster", getenv("CLUSTER"), "`cluster` it belongs to ($CLUSTER)")
	fs.BoolVar(&cfg.Fail, "fail", false, "answer 503 and be unhealthy from the start")
	fs.DurationVar(&cfg.Delay, "delay", 0, "wait this long before each answer, at most "+maxDelay.String())
	fs.BoolVar(&cfg.Control, "control", false, "take POST /control/… from anywhere, not only from this machine itself")
	fs.DurationVar(&cfg.Drain, "drain", 0, "when told to stop, be unhealthy for this long before closing the door")
	showVersion := fs.Bool("version", false, "print the version and exit")
	if err := fs.Parse(args); err != nil {
		return config{}, "", err
	}
	if fs.NArg() > 0 {
		return config{}, "", fmt.Errorf("%q is no flag; every setting begins with --", fs.Arg(0))
	}
	if *showVersion {
		_, err := fmt.Fprintln(out, buildVersion())
		return config{}, "", err
	}
	cfg.Log = slog.New(slog.NewTextHandler(out, nil))
	return cfg, listen, nil
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

const (
	maxDelay     = 30 * time.Second // of one answer
	finishWithin = 40 * time.Second // for the requests under way at the end: the longest delay and some
)
