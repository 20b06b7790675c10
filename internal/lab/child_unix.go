//go:build unix && !linux

package lab

import "syscall"

// childAttr gives the child a process group of its own. Only Linux can also tie
// the child's life to ours: elsewhere a killed parent leaves its children behind.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
