//go:build unix

package lab

import (
	"errors"
	"os"
	"syscall"
)

// signalGroup sends a signal to the child's whole process group.
func signalGroup(child *os.Process, s syscall.Signal) error {
	err := syscall.Kill(-child.Pid, s)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// pauseGroup returns when the child stands still.
func pauseGroup(child *os.Process) error {
	if err := signalGroup(child, syscall.SIGSTOP); err != nil {
		return err
	}
	return waitStopped(child.Pid)
}

func resumeGroup(child *os.Process) error { return signalGroup(child, syscall.SIGCONT) }
