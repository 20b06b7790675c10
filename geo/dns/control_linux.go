package dns

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// control makes UDP sockets ignore path MTU messages, with which a stranger could
// otherwise have our answers cut into fragments and forge one of them
// (IP_PMTUDISC_OMIT). A kernel without it works as before.
func control(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "udp") {
		return nil
	}
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_OMIT)
	})
}
