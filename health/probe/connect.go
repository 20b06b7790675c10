package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// connect opens a TCP connection and measures it: the time from the first SYN to
// the established connection is one round trip of the network. Nothing that the
// server computes is in it, since its kernel answers; so it is the same measure
// for every kind of check. A load balancer that ends TCP near us would make it
// too short, though; where the gateway itself answers at once, on its own health
// path, the round trip of the question is taken instead (see stopwatch).
func (c *checker) connect(ctx context.Context, target netip.AddrPort) (net.Conn, time.Duration, error) {
	var d net.Dialer
	d.KeepAlive = -1
	if c.sameFamily(target.Addr()) {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.local, 0))
	}
	began := time.Now()
	conn, err := d.DialContext(ctx, "tcp", target.String())
	rtt := time.Since(began)
	if err != nil {
		return nil, 0, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, 0, err
		}
	}
	return conn, rtt, nil
}

// sameFamily reports whether probes of the address leave from the configured
// source address.
func (c *checker) sameFamily(addr netip.Addr) bool {
	return c.local.IsValid() && c.local.Unmap().Is4() == addr.Unmap().Is4()
}

// Errors that speak of this host and not of the target.
var ours = []error{
	syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EPERM, syscall.EACCES,
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
}

// own reports whether connecting failed because of this host: out of files, no
// such source address, no route. A route that the network says is missing is the
// target's trouble; one that is missing right here fails for UDP too, whose
// connect sends no packet.
func (c *checker) own(err error, target netip.AddrPort) bool {
	is := func(e error) bool { return errors.Is(err, e) }
	if slices.ContainsFunc(ours, is) {
		return true
	}
	if !is(syscall.ENETUNREACH) && !is(syscall.EHOSTUNREACH) {
		return false
	}
	var local *net.UDPAddr
	if c.sameFamily(target.Addr()) {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.local, 0))
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(target))
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}

// timedOut reports whether an error is the end of the probe's time.
func timedOut(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &n) && n.Timeout()
}

// plain says an error without addresses, so that equal troubles read equal.
func plain(err error) string {
	var errno syscall.Errno
	var op *net.OpError
	switch {
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}

// stopwatch measures the last round trip on a connection: from what was written
// last to the first byte that came after it. It is for one goroutine.
type stopwatch struct {
	net.Conn
	asked    time.Time
	answered time.Time
}

func (s *stopwatch) Write(b []byte) (int, error) {
	s.asked, s.answered = time.Now(), time.Time{}
	return s.Conn.Write(b)
}

func (s *stopwatch) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 && s.answered.IsZero() {
		s.answered = time.Now()
	}
	return n, err
}

// roundTrip is zero when nothing was asked or answered.
func (s *stopwatch) roundTrip() time.Duration {
	if s.asked.IsZero() || s.answered.IsZero() {
		return 0
	}
	return max(s.answered.Sub(s.asked), time.Microsecond)
}
