// Command install makes sure that a real Envoy is here for tests and demos, and prints its path.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/meridian-lb/meridian/internal/lab/envoybin"
)

func main() {
	dir := flag.String("dir", "", "install into this `folder` instead of the checkout's .tools")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := run(ctx, *dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1) //nolint:gocritic // the signal handler needs no goodbye
	}
	fmt.Println(found)
}

func run(ctx context.Context, dir string) (string, error) {
	if dir == "" {
		return envoybin.Ensure(ctx, os.Stderr)
	}
	f := envoybin.Finder{Dir: dir, Progress: os.Stderr}
	return f.Ensure(ctx)
}
