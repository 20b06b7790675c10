// Command install makes sure that the programs of a real Kubernetes control plane are here for tests and demos, and prints their folder.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/meridian-lb/meridian/internal/lab/kubebin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := kubebin.Ensure(ctx, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "install:", err)
		os.Exit(1) //nolint:gocritic // the signal handler needs no goodbye
	}
	fmt.Println(filepath.Dir(found.APIServer))
}
