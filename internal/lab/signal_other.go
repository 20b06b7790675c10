//go:build !unix

package lab

import (
	"errors"
	"os"
	"syscall"
)

func childAttr() *syscall.SysProcAttr { return nil }

// signalGroup knows no groups here, and no signal but the one that kills.
func signalGroup(child *os.Process, s syscall.Signal) error {
	if s == syscall.SIGKILL {
		return child.Kill()
	}
	return child.Signal(s)
}

func pauseGroup(*os.Process) error { return errors.ErrUnsupported }

func resumeGroup(*os.Process) error { return errors.ErrUnsupported }
