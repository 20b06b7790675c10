package dns

import (
	"context"
	"errors"
	"net"
	"runtime"
	"time"

	miekg "github.com/miekg/dns"
)

const (
	// maxUDPQuery bounds what is read of a packet; a longer one is cut and so refused.
	maxUDPQuery = 4096
	// errorPause keeps a broken socket from taking the CPU.
	errorPause = 20 * time.Millisecond
)

// udpReaders is the number of goroutines that share a socket. Each answers what
// it has read before it reads again, so a flood waits in the kernel and is lost
// there, not in our memory.
func udpReaders() int { return min(runtime.GOMAXPROCS(0), 8) }

// serveUDP reads and answers until ctx ends.
func (s *Server) serveUDP(ctx context.Context, c *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, maxUDPQuery)
	for {
		n, session, err := miekg.ReadFromSessionUDP(c, buf)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			pause(ctx, errorPause)
			continue
		}
		from := session.RemoteAddr().(*net.UDPAddr).AddrPort()
		if from.Port() == 0 { // nobody is there; a forged packet
			s.metrics.dropped[overUDP].Inc()
			continue
		}
		out := s.handle(buf[:n], from.Addr(), overUDP)
		if out == nil {
			continue
		}
		if _, err := miekg.WriteToSessionUDP(c, out, session); err != nil {
			s.metrics.sendError.Inc()
		}
	}
}

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
