package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func (s *Stage) kubeconfig() string { return filepath.Join(s.Dir, "kubeconfig") }

// patience is how long one command may take.
const patience = 3 * time.Minute

// Run runs a command as an operator does and returns what it printed.
func (s *Stage) Run(stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig(), "HOME="+s.Dir)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

// Meridian runs the command line and logs it.
func (s *Stage) Meridian(stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.Run(stdin, filepath.Join(s.Bin, "meridian"), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("$ meridian %s\n%s", strings.Join(args, " "), out)
	return out
}

// Kubectl runs the real one with a context.
func (s *Stage) Kubectl(kubeContext, stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.Run(stdin, s.Programs.Kubectl, append([]string{"--context", kubeContext}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}
