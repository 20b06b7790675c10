package kubebin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

// Build writes the one binary to the file.
type Build func(ctx context.Context, file string) error

const binary = "kube" // what the links point at

// install builds and tries the programs in a folder of their own beside the
// target, and renames it into place as the last step: whoever looks sees all of
// them or none.
func (f *Finder) install(ctx context.Context) error {
	work, err := os.MkdirTemp(f.Dir, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // only leaves litter behind in a git-ignored folder
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}

	build := f.Build
	if build == nil {
		build = goBuild
	}
	f.say("building Kubernetes %s into %s (once; 7 minutes on 2 cores when the go command has nothing cached)", Version, f.target())
	stop := toolbox.KeepTelling(func(elapsed time.Duration) { f.say("  … still building after %s", elapsed) })
	err = build(ctx, filepath.Join(work, binary))
	stop()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Symlink(binary, filepath.Join(work, name)); err != nil {
			return err
		}
	}
	if err := try(ctx, filepath.Join(work, "kube-apiserver")); err != nil {
		return err
	}
	// A folder that lacks something has no claim to the place.
	if err := os.RemoveAll(f.target()); err != nil {
		return err
	}
	if err := os.Rename(work, f.target()); err != nil {
		return err
	}
	f.say("built %s", f.target())
	return nil
}

// try makes sure that what was built runs here and is what it should be.
func try(ctx context.Context, apiServer string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, apiServer, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("asking it for its version: %w%s", err, toolbox.Quote(out))
	}
	if got, want := strings.TrimSpace(string(out)), "Kubernetes "+Version; got != want {
		return fmt.Errorf("it says that it is %.100q, not %q", got, want)
	}
	return nil
}

// goBuild builds internal/lab/kube of this checkout. It is a module of its own,
// so the workspace of a user, if there is one, has no say in it.
func goBuild(ctx context.Context, file string) error {
	root, err := toolbox.Checkout()
	if err != nil {
		return fmt.Errorf("%w, and the source is there: go into one, or set $%s to a folder of your own", err, Env)
	}
	major, minor, ok := strings.Cut(strings.TrimPrefix(Version, "v"), ".")
	if !ok {
		return errors.New("the version has no minor part")
	}
	minor, _, _ = strings.Cut(minor, ".")
	const in = "k8s.io/component-base/version."
	stamp := fmt.Sprintf("-s -w -X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s", in, Version, in, major, in, minor)
	return toolbox.Go(ctx, "", nil, "set $"+Env+" to a folder of your own",
		"build", "-C", filepath.Join(root, "internal", "lab", "kube"),
		"-trimpath", "-buildvcs=false", "-ldflags", stamp, "-o", file, ".")
}
