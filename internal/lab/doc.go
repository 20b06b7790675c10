// Package lab runs real processes and imitates real distances, for tests that no fake can stand in for and for the demo.
//
//   - Start and Group run child processes that never outlive this one;
//   - WAN puts the round trip of an ocean before a gateway on loopback;
//   - Envoy and Kube find or install the real Envoy and the real Kubernetes control plane for a test;
//   - Build builds one of our own commands for a test.
//
// Beneath it, package cluster starts such a control plane, package node puts
// nodes with running pods into it, and package netns gives a test a network in
// which pods may have addresses.
package lab

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/internal/lab/envoybin"
	"github.com/meridian-lb/meridian/internal/lab/helmbin"
	"github.com/meridian-lb/meridian/internal/lab/kubebin"
	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

// Envoy returns the path of a real Envoy, installing it when there is none. A
// test that needs it is skipped under -short and fails when none can be had: a
// test that skips by itself is green for the wrong reason.
func Envoy(tb testing.TB) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs a real Envoy; skipped by -short")
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Minute)
	defer cancel()
	found, err := envoybin.Ensure(ctx, os.Stderr)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// Begin makes a group of processes that ends with the test, and before the test's
// directories go: nobody writes into them any more.
func Begin(tb testing.TB) *Group {
	tb.Helper()
	tb.TempDir()                                       // the first call registers the removal of all
	g := NewGroup(context.WithoutCancel(tb.Context())) // tb.Context ends before the clean-up
	tb.Cleanup(func() {
		if err := g.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return g
}

// Kube returns the programs of a real Kubernetes control plane, building them
// when there are none, which takes minutes: run "make kube" before. Like Envoy,
// it skips under -short only.
func Kube(tb testing.TB) kubebin.Programs {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs a real Kubernetes control plane; skipped by -short")
	}
	found, err := kubebin.Ensure(tb.Context(), os.Stderr)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// Helm returns the path of a helm command, building it when there is none: run
// "make helm" before. Like Envoy, it skips under -short only.
func Helm(tb testing.TB) string {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs helm; skipped by -short")
	}
	found, err := helmbin.Ensure(tb.Context(), os.Stderr)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// Build builds a command of this checkout, "whereami", and returns the path of its
// binary, which is gone after the test.
func Build(tb testing.TB, command string) string {
	tb.Helper()
	root, err := toolbox.Checkout()
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), command)
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-C", root, "-o", file, "./"+filepath.Join("cmd", command))
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("building %s: %v%s", command, err, toolbox.Quote(out))
	}
	return file
}
