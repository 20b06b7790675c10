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
