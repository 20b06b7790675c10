package lab

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// waitStopped returns when the child stands still or is gone.
func waitStopped(pid int) error {
	for {
		// WNOWAIT leaves the news in place: a second Pause of the same child sees it too.
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD):
			return nil
		default:
			return err
		}
	}
}
