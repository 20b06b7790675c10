package lab

import "syscall"

// childAttr gives the child a process group of its own and lets the kernel kill
// it when the thread that started it is gone.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
