package toolbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Go runs the go command in a directory, "" being the current one, with more
// environment than ours. No workspace of the user has a say in it. instead is the
// remedy for a machine on which it cannot work.
func Go(ctx context.Context, dir string, env []string, instead string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off"), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets it end its compilers
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: put the go command on $PATH, or %s", err, instead)
	case err != nil:
		return fmt.Errorf("go %s (%w)%s; reach a module proxy (go env -w GOPROXY=…), or %s", args[0], err, Quote(out), instead)
	}
	return nil
}
