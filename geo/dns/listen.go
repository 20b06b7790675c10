package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// receiveBuffer rides out a burst of queries while another program has the CPU.
	receiveBuffer = 1 << 20
	// portTries is how often a port is drawn that must be free for UDP and TCP.
	portTries = 20
)

// socks are the two sockets of one address.
type socks struct {
	addr netip.AddrPort
	udp  *net.UDPConn
	tcp  *net.TCPListener
}

func (s socks) close() {
	_ = s.udp.Close()
	_ = s.tcp.Close()
}

func closeAll(list []socks) {
	for _, s := range list {
		s.close()
	}
}

// bindAll binds every address, or none.
func bindAll(ctx context.Context, listen []string) (list []socks, err error) {
	defer func() {
		if err != nil {
			closeAll(list)
		}
	}()
	for _, l := range listen {
		addr, family, err := parseListen(l)
		if err != nil {
			return list, err
		}
		s, err := bind(ctx, addr, family)
		for try := 1; err != nil && addr.Port() == 0 && errors.Is(err, syscall.EADDRINUSE) && try < portTries; try++ {
			s, err = bind(ctx, addr, family)
		}
		if err != nil {
			return list, fmt.Errorf("DNS cannot listen on %s: %w%s", l, err, remedy(err))
		}
		list = append(list, s)
	}
	return list, nil
}

func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return ": another program has this port (often systemd-resolved or another DNS server); stop it, or listen on one specific address or another port"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return ": ports below 1024 need the capability NET_BIND_SERVICE; grant it, or listen on a higher port and forward to it"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": this machine has no such address; list one that it has, or \":53\" for all"
	}
	return ""
}

// bind opens the sockets of one address. TCP follows UDP's port, so that port 0
// gives the same to both.
func bind(ctx context.Context, addr netip.AddrPort, family string) (socks, error) {
	cfg := net.ListenConfig{Control: control}
	pc, err := cfg.ListenPacket(ctx, "udp"+family, addr.String())
	if err != nil {
		return socks{}, err
	}
	udp := pc.(*net.UDPConn)
	bound := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	l, err := cfg.Listen(ctx, "tcp"+family, netip.AddrPortFrom(addr.Addr(), bound.Port()).String())
	if err != nil {
		_ = udp.Close()
		return socks{}, err
	}
	s := socks{addr: bound, udp: udp, tcp: l.(*net.TCPListener)}
	_ = udp.SetReadBuffer(receiveBuffer) // the kernel may allow less, which only costs bursts
	if addr.Addr().IsUnspecified() {
		if err := learnDestination(udp); err != nil {
			s.close()
			return socks{}, fmt.Errorf("learning which of our addresses a query came to: %w", err)
		}
	}
	return s, nil
}

// learnDestination makes the kernel say to which of our addresses a packet came,
// so that the answer leaves from it (RFC 2181 §4.1). A socket of both families
// may do one of the two only.
func learnDestination(c *net.UDPConn) error {
	err6 := ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	err4 := ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	if err6 != nil && err4 != nil {
		return errors.Join(err6, err4)
	}
	return nil
}
