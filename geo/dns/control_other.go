//go:build !linux

package dns

import "syscall"

// control has nothing to set where path MTU messages cannot be ignored.
func control(_, _ string, _ syscall.RawConn) error { return nil }
