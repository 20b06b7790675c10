package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv tells the process that Enter starts that it is inside.
const insideEnv = "MERIDIAN_NETNS"

// Enter makes this process's program run in a network of its own. Outside, it
// runs the program again inside, waits for its end and returns its exit status;
// the caller exits with it and does nothing else. Inside, it makes the prefixes
// local and returns true.
//
// It needs no root: another user becomes the root of a user namespace of its own.
// The process inside dies with the one outside.
func Enter(local ...netip.Prefix) (code int, inside bool, err error) {
	if os.Getenv(insideEnv) == "" {
		code, err = again()
		return code, false, err
	}
	if err := os.Unsetenv(insideEnv); err != nil { // who is started from here may want a network of its own
		return 0, false, err
	}
	if err := settle(local); err != nil {
		return 0, false, explain(err, readSysctl)
	}
	return 0, true, nil
}

// again runs this program inside.
func again() (code int, err error) {
	// "Die with the parent" means the parent's thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	defer signal.Stop(signals)

	var cmd *exec.Cmd
	for _, attr := range ways(os.Getuid(), os.Getgid()) {
		cmd, err = start(attr)
		if !errors.Is(err, syscall.EPERM) {
			break
		}
	}
	if err != nil {
		return 0, explain(err, readSysctl)
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				_ = cmd.Process.Signal(s) // it may be gone already
			case <-ended:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-passed
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("running in a network of its own: %w", err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil // as a shell says it
	}
	return cmd.ProcessState.ExitCode(), nil
}

func start(attr *syscall.SysProcAttr) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, os.Args[1:]...) //nolint:noctx,gosec // its end is its own matter, and it is told what we were told
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	return cmd, cmd.Start()
}

// ways are the ways in, the one with fewer limits first. Root needs no user
// namespace, unless its capabilities were taken, as in most containers.
func ways(uid, gid int) []*syscall.SysProcAttr {
	const spaces = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	user := &syscall.SysProcAttr{
		Cloneflags:  spaces | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if uid != 0 {
		return []*syscall.SysProcAttr{user}
	}
	return []*syscall.SysProcAttr{{Cloneflags: spaces, Pdeathsig: syscall.SIGKILL}, user}
}

// settle makes the new network usable.
func settle(local []netip.Prefix) error {
	// What is mounted from now on is seen inside only.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("looking for the loopback device: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("switching the loopback device on: %w", err)
	}
	for _, prefix := range local {
		if err := addLocal(lo, prefix); err != nil {
			return fmt.Errorf("making %s local: %w", prefix, err)
		}
	}
	return nil
}

// addLocal is "ip route add local <prefix> dev lo".
func addLocal(lo netlink.Link, prefix netip.Prefix) error {
	prefix = prefix.Masked()
	if !prefix.IsValid() {
		return errors.New("it is no prefix")
	}
	if prefix.Addr().Is6() {
		// A local route is enough to be reached, but not to listen, as it is for IPv4.
		if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
			return err
		}
	}
	return netlink.RouteReplace(&netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	})
}

// remedies are the settings that forbid an ordinary user a network of its own,
// with the value that does so.
var remedies = []struct{ name, forbids, allow string }{
	{"kernel.unprivileged_userns_clone", "0", "1"},
	{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
	{"user.max_user_namespaces", "0", "10000"},
	{"user.max_net_namespaces", "0", "10000"},
}

// explain says what forbids a network of one's own here, and what to do.
func explain(err error, sysctl func(name string) string) error {
	const doing = "making a network of its own for this program"
	refused := []error{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EUSERS, syscall.EINVAL}
	if !slices.ContainsFunc(refused, func(e error) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for _, r := range remedies {
		if sysctl(r.name) == r.forbids {
			return fmt.Errorf("%s: %w: %s is %s here; run \"sudo sysctl -w %s=%s\", or run this as root", doing, err, r.name, r.forbids, r.name, r.allow)
		}
	}
	return fmt.Errorf("%s: %w: namespaces are forbidden here, as in a container; start the container with --privileged "+
		"(or --cap-add=SYS_ADMIN --cap-add=NET_ADMIN --security-opt seccomp=unconfined --security-opt apparmor=unconfined), or run this outside of it", doing, err)
}
