// Package helmbin finds the helm command for tests of the chart, and builds it where there is none.
//
// It looks, in this order, at the file that $MERIDIAN_HELM names and at the one it
// built before (.tools/helm-<version> in a checkout, else in the user's cache
// folder). Where neither suits, Go builds it from its module, in some minutes.
package helmbin

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

const (
	// Version is the helm that Ensure builds; go.mod pins the same for rendering.
	Version = "v4.3.1"
	// Env names the variable that points at a helm of the user's own choice.
	Env = "MERIDIAN_HELM"

	module = "helm.sh/helm/v4/cmd/helm"
)

// Ensure returns the path of a helm that is here, or builds it. How long that takes
// is told to progress, line by line. Several processes may call it at once.
func Ensure(ctx context.Context, progress io.Writer) (string, error) {
	if own := os.Getenv(Env); own != "" {
		if _, err := os.Stat(own); err != nil { //nolint:gosec // the user's own word, as a flag would be
			return "", fmt.Errorf("using the helm that $%s names: %w; choose another one or unset it", Env, err)
		}
		return own, nil
	}
	dir, err := toolbox.Dir()
	if err != nil {
		return "", fmt.Errorf("%w; set $%s to a helm of your own", err, Env)
	}
	target := filepath.Join(dir, "helm-"+Version)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making a place for helm: %w", err)
	}
	unlock, err := toolbox.Lock(ctx, filepath.Join(dir, ".helm-lock"), func() { fmt.Fprintln(progress, "waiting for another build of helm") })
	if err != nil {
		return "", fmt.Errorf("waiting for another build of helm: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(target); err == nil {
		return target, nil // somebody else has built it meanwhile
	}
	if err := build(ctx, dir, target, progress); err != nil {
		return "", fmt.Errorf("building helm %s: %w", Version, err)
	}
	return target, nil
}

func build(ctx context.Context, dir, target string, progress io.Writer) error {
	work, err := os.MkdirTemp(dir, ".helm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // only leaves litter behind in a git-ignored folder
	fmt.Fprintf(progress, "building helm %s into %s (once; some minutes)\n", Version, target)
	stop := toolbox.KeepTelling(func(elapsed time.Duration) { fmt.Fprintf(progress, "  … still building after %s\n", elapsed) })
	defer stop()
	// Outside of any module, so that no go.mod has a say in it.
	err = toolbox.Go(ctx, work, []string{"GOBIN=" + work, "GOFLAGS="}, "set $"+Env+" to a helm of your own",
		"install", "-trimpath", "-ldflags", "-s -w", module+"@"+Version)
	if err != nil {
		return err
	}
	return os.Rename(filepath.Join(work, "helm"), target)
}
