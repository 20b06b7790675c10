package dns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/meridian-lb/meridian/geo/steer"
)

func framed(q []byte) []byte { return append(u16(uint16(len(q))), q...) }

// talk runs one connection in virtual time and hands the client's end to the test.
func talk(t *testing.T, cfg Config, client func(t *testing.T, c net.Conn, stop context.CancelFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, cfg)
		s.Update(steer.New(testSnapshot()))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ours, theirs := net.Pipe()
		defer theirs.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.converse(ctx, ours, inEurope)
		}()
		client(t, theirs, stop)
		<-done
	})
}

// closedAfter reads until the server closes and says how long that took.
func closedAfter(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	if n, err := io.Copy(io.Discard, c); n != 0 || err != nil {
		t.Errorf("got %d octets more (%v), want the end", n, err)
	}
	return time.Since(began)
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	q := framed(packet{name: "www.example.test.", qtype: 1}.bytes())
	talk(t, Config{IdleTimeout: 7 * time.Second}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		if got := closedAfter(t, c); got != 7*time.Second {
			t.Errorf("a silent connection was closed after %v", got)
		}
	})
	talk(t, Config{}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		for range 3 { // each query buys a new 10 s
			time.Sleep(9 * time.Second)
			if _, err := c.Write(q); err != nil {
				t.Fatal(err)
			}
			readTCP(t, c)
		}
		if got := closedAfter(t, c); got != 10*time.Second {
			t.Errorf("a connection that fell silent was closed after %v", got)
		}
	})
}

func TestSingleOctetsBuyNoTime(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		q := framed(packet{name: "www.example.test.", qtype: 1}.bytes())
		for i := range 4 {
			if _, err := c.Write(q[i : i+1]); err != nil {
				if i < 3 {
					t.Errorf("closed after %d octets", i)
				}
				return
			}
			time.Sleep(4 * time.Second)
		}
		t.Error("four octets held the connection for 16 s")
	})
}

func TestAnswersThatNobodyTakesAreGivenUp(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		if _, err := c.Write(framed(packet{name: "www.example.test.", qtype: 1}.bytes())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second) // a pipe holds nothing, so the server waits for us
		if _, err := c.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection is still open: %v", err)
		}
	})
}

func TestQueriesOfAConnectionAreLimited(t *testing.T) {
	talk(t, Config{MaxQueriesPerConnection: 3}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		for range 3 {
			if _, err := c.Write(framed(packet{name: "www.example.test.", qtype: 1}.bytes())); err != nil {
				t.Fatal(err)
			}
			readTCP(t, c)
		}
		if got := closedAfter(t, c); got != 0 {
			t.Errorf("closed after %v, want at once", got)
		}
	})
}

func TestOverlongQueriesAreTold(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, c net.Conn, _ context.CancelFunc) {
		q := packet{id: 9, name: "www.example.test.", qtype: 1, tail: make([]byte, maxTCPQuery)}.bytes()
		go c.Write(framed(q)) // the server reads its header only
		if m := readTCP(t, c); m.Rcode != miekg.RcodeFormatError || m.Id != 9 {
			t.Errorf("want FORMERR: %s", m)
		}
		if got := closedAfter(t, c); got != 0 {
			t.Errorf("closed after %v, want at once", got)
		}
	})
}

func TestStopEndsConnections(t *testing.T) {
	talk(t, Config{}, func(t *testing.T, c net.Conn, stop context.CancelFunc) {
		if _, err := c.Write(framed(packet{name: "www.example.test.", qtype: 1}.bytes())); err != nil {
			t.Fatal(err)
		}
		stop()
		synctest.Wait()
		if m := readTCP(t, c); m.Rcode != miekg.RcodeSuccess {
			t.Errorf("the query at hand was not finished: %s", m)
		}
		if got := closedAfter(t, c); got != 0 {
			t.Errorf("closed after %v, want at once", got)
		}
	})
}

func TestGate(t *testing.T) {
	g := newGate(3, 2)
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.200")
	for i, step := range []struct {
		from netip.Addr
		want bool
	}{{a, true}, {b, true}, {a, false}, {inEurope, true}, {inStates, false}} {
		if got := g.enter(step.from); got != step.want {
			t.Errorf("step %d, %v: %t", i, step.from, got)
		}
	}
	g.leave(a)
	if !g.enter(inStates) || g.enter(b) {
		t.Error("a place that became free was not given once")
	}
	for _, x := range []netip.Addr{b, inEurope, inStates} {
		g.leave(x)
	}
	if g.all != 0 || len(g.from) != 0 {
		t.Errorf("all have left but %d are counted in %v", g.all, g.from)
	}
}

func TestTooManyConnectionsAreTurnedAway(t *testing.T) {
	s := newServer(t, Config{MaxConnectionsPerNetwork: 1})
	s.Update(steer.New(testSnapshot()))
	addr := start(t, s)[0].String()
	in, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	q := framed(packet{name: "www.example.test.", qtype: 1}.bytes())
	if _, err := in.Write(q); err != nil {
		t.Fatal(err)
	}
	readTCP(t, in)
	out, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_ = out.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := out.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the second connection was not closed: %d, %v", n, err)
	}
	if _, err := in.Write(q); err != nil {
		t.Fatal(err)
	}
	readTCP(t, in) // the first goes on
}
