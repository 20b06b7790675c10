package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTCPQuery is more than any honest query holds. A longer one is told FORMERR
	// and its connection closed.
	maxTCPQuery = 4096
	// lastWords is how long a client may take the last answer when we stop.
	lastWords = time.Second
)

// serveTCP accepts connections until ctx ends and returns when all are closed.
func (s *Server) serveTCP(ctx context.Context, l *net.TCPListener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.AcceptTCP()
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			if err == nil {
				_ = c.Close()
			}
			return nil
		case err != nil: // such as no file descriptor left: those who are in stay in
			pause(ctx, errorPause)
			continue
		}
		from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !s.gate.enter(from) {
			s.metrics.turnedAway.Inc()
			_ = c.Close()
			continue
		}
		all.Go(func() {
			defer s.gate.leave(from)
			s.metrics.connections.Inc()
			defer s.metrics.connections.Dec()
			s.converse(ctx, c, from)
		})
	}
}

// converse answers the queries of one connection in the order they come. They may
// come before earlier ones are answered (RFC 7766 §6.2.1.1); answers to
// queries that are already here leave together.
func (s *Server) converse(ctx context.Context, c net.Conn, from netip.Addr) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_ = c.SetWriteDeadline(time.Now().Add(lastWords))
	})
	defer stop()
	in, out := bufio.NewReaderSize(c, 2+maxTCPQuery), bufio.NewWriterSize(deadlineWriter{ctx, c, s.cfg.IdleTimeout}, 4096)
	defer func() { _ = out.Flush() }() // the client may have gone
	var buf [maxTCPQuery]byte
	for range s.cfg.MaxQueriesPerConnection {
		// One deadline for the whole query: a sender of single octets gains no
		// time. It is set before ctx is looked at, so that the end of ctx cannot fall between.
		_ = c.SetReadDeadline(time.Now().Add(s.cfg.IdleTimeout))
		if ctx.Err() != nil {
			return
		}
		n, whole, err := readQuery(in, buf[:])
		if err != nil {
			return
		}
		if a := s.handle(buf[:n], from, overTCP); a != nil {
			if err := writeAnswer(out, a); err != nil {
				return
			}
		}
		if !whole {
			return
		}
		if !queryWaits(in) {
			if err := out.Flush(); err != nil {
				return
			}
		}
	}
}

// readQuery reads one query with its length in front (RFC 1035 §4.2.2). Of one
// that is too long only the header is read, and whole is false.
func readQuery(in *bufio.Reader, buf []byte) (n int, whole bool, err error) {
	var prefix [2]byte
	if _, err := io.ReadFull(in, prefix[:]); err != nil {
		return 0, false, err
	}
	n = int(binary.BigEndian.Uint16(prefix[:]))
	if whole = n <= len(buf); !whole {
		n = headerSize
	}
	_, err = io.ReadFull(in, buf[:n])
	return n, whole, err
}

// queryWaits reports whether a whole query is already in the buffer.
func queryWaits(in *bufio.Reader) bool {
	if in.Buffered() < 2 {
		return false
	}
	prefix, err := in.Peek(2)
	return err == nil && in.Buffered() >= 2+int(binary.BigEndian.Uint16(prefix))
}

func writeAnswer(out *bufio.Writer, a []byte) error {
	if _, err := out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(a)))); err != nil {
		return err
	}
	_, err := out.Write(a)
	return err
}

// deadlineWriter gives each write its time; less when ctx has ended.
type deadlineWriter struct {
	ctx  context.Context
	c    net.Conn
	idle time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	_ = w.c.SetWriteDeadline(time.Now().Add(w.idle))
	if w.ctx.Err() != nil {
		_ = w.c.SetWriteDeadline(time.Now().Add(lastWords))
	}
	return w.c.Write(p)
}

// gate counts connections, all and by network, so that one network cannot
// take the places of all others.
type gate struct {
	most, mostOfOne int

	mu   sync.Mutex
	all  int
	from map[netip.Prefix]int
}

func newGate(most, mostOfOne int) *gate {
	return &gate{most: most, mostOfOne: mostOfOne, from: map[netip.Prefix]int{}}
}

// enter reports whether there is room; whoever enters must leave.
func (g *gate) enter(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := unitOf(a)
	if g.all >= g.most || g.from[p] >= g.mostOfOne {
		return false
	}
	g.all++
	g.from[p]++
	return true
}

func (g *gate) leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := unitOf(a)
	g.all--
	if g.from[p]--; g.from[p] == 0 {
		delete(g.from, p)
	}
}
