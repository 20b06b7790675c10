package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// These tests run on Linux, where every address of 127.0.0.0/8 is ours to use as
// a source. Their clock is real, so they bound times from below, where the relay
// promises something, and loosely from above.

const slack = 2 * time.Second // more than a busy machine adds

var (
	frankfurt = fleet.Place{Lat: 50.11, Lon: 8.68}
	iowa      = fleet.Place{Lat: 41.26, Lon: -95.86}
)

// startWAN relays to target: site "eu" (127.0.7.0/24) is rtt away from gateway
// "gw", everybody else is next to it.
func startWAN(t *testing.T, rtt time.Duration, target string, change func(*WANConfig)) *WAN {
	t.Helper()
	cfg := WANConfig{
		Sites: []Site{
			{Name: "eu", Sources: []netip.Prefix{netip.MustParsePrefix("127.0.7.0/24")}, Place: frankfurt},
			{Name: "us", Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/16")}, Place: iowa},
		},
		Gateways: []Gateway{{Name: "gw", Listen: "127.0.0.1:0", Target: target, Place: iowa}},
		RTT: func(from, to fleet.Place) time.Duration {
			if from == to {
				return 0
			}
			return rtt
		},
	}
	if change != nil {
		change(&cfg)
	}
	w, err := NewWAN(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// startServer serves each connection with handle until the test ends.
func startServer(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

func dialFrom(t *testing.T, source string, w *WAN) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	c, err := d.DialContext(t.Context(), "tcp", w.Addr("gw").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// ping sends one byte and waits for its echo.
func ping(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	writeAll(t, c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

func between(t *testing.T, what string, got, atLeast time.Duration) {
	t.Helper()
	if got < atLeast || got > atLeast+slack {
		t.Errorf("%s took %v, want %v and little more", what, got, atLeast)
	}
}

func TestWANDelays(t *testing.T) {
	const rtt = 60 * time.Millisecond
	target := startServer(t, echo)
	t.Run("connecting and asking", func(t *testing.T) {
		t.Parallel()
		w := startWAN(t, rtt, target, nil)
		dialled := time.Now()
		c := dialFrom(t, "127.0.7.9", w)
		ping(t, c)
		between(t, "from dialling to the first answer", time.Since(dialled), 2*rtt)
		between(t, "the second answer", ping(t, c), rtt)
	})
	t.Run("asking on a connection that costs nothing", func(t *testing.T) {
		t.Parallel()
		w := startWAN(t, rtt, target, func(c *WANConfig) { c.FreeConnect = true })
		c := dialFrom(t, "127.0.7.9", w)
		first := ping(t, c)
		between(t, "the first answer", first, rtt)
		between(t, "the second answer", ping(t, c), rtt)
	})
	t.Run("a client next door", func(t *testing.T) {
		t.Parallel()
		w := startWAN(t, time.Hour, target, nil)
		ping(t, dialFrom(t, "127.0.8.1", w)) // would run into the deadline
	})
	t.Run("a server that speaks first", func(t *testing.T) {
		t.Parallel()
		greeter := startServer(t, func(c net.Conn) { _, _ = io.WriteString(c, "hello") })
		w := startWAN(t, rtt, greeter, nil)
		start := time.Now()
		said, err := io.ReadAll(dialFrom(t, "127.0.7.9", w))
		if err != nil || string(said) != "hello" {
			t.Errorf("heard %q, %v", said, err)
		}
		between(t, "the greeting", time.Since(start), rtt)
	})
}

// TestWANThroughput moves more than a window each way and looks at every byte.
func TestWANThroughput(t *testing.T) {
	w := startWAN(t, 40*time.Millisecond, startServer(t, echo), nil)
	sent := make([]byte, 32<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(sent) // never fails
	c := dialFrom(t, "127.0.7.9", w)
	start := time.Now()
	go func() {
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		if err := c.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, not the %d that were sent", len(got), len(sent))
	}
	// 4 MiB per 20 ms are 200 MiB/s; a relay that waited for each chunk would
	// need 512 × 20 ms, over ten seconds.
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("32 MiB there and back took %v", took)
	}
}

func TestWANRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const rtt = 60 * time.Millisecond
	w := startWAN(t, rtt, nobody, nil)
	start := time.Now()
	c := dialFrom(t, "127.0.7.9", w)
	_, err = c.Read(make([]byte, 1))
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading says %v, want a reset", err)
	}
	between(t, "the refusal", time.Since(start), rtt)
}

func TestWANCarriesResets(t *testing.T) {
	t.Run("from the server", func(t *testing.T) {
		rude := startServer(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.(*net.TCPConn).SetLinger(0)
		})
		c := dialFrom(t, "127.0.7.9", startWAN(t, 20*time.Millisecond, rude, nil))
		writeAll(t, c, "x")
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reading says %v, want a reset", err)
		}
	})
	t.Run("from the client", func(t *testing.T) {
		felt := make(chan error, 1)
		server := startServer(t, func(c net.Conn) {
			_, err := io.Copy(io.Discard, c)
			felt <- err
		})
		c := dialFrom(t, "127.0.7.9", startWAN(t, 20*time.Millisecond, server, nil))
		writeAll(t, c, "x")
		reset(c)
		select {
		case err := <-felt:
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the server felt %v, want a reset", err)
			}
		case <-time.After(slack + 5*time.Second):
			t.Error("the server felt nothing")
		}
	})
}

func TestWANCut(t *testing.T) {
	w := startWAN(t, 0, startServer(t, echo), nil)
	old := dialFrom(t, "127.0.7.9", w)
	ping(t, old)
	w.Cut("eu", "gw")
	fresh := dialFrom(t, "127.0.7.9", w) // the kernel still accepts
	for name, c := range map[string]net.Conn{"old": old, "fresh": fresh} {
		writeAll(t, c, "x")
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("the cable is cut, but the %s connection delivers", name)
		}
	}
	ping(t, dialFrom(t, "127.0.8.1", w)) // others go on
	w.Restore("eu", "gw")
	for name, c := range map[string]net.Conn{"old": old, "fresh": fresh} {
		if err := c.SetReadDeadline(time.Now().Add(slack)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("the cable is whole again, but the %s connection says %v", name, err)
		}
	}
}

func TestWANKeepsSource(t *testing.T) {
	server := startServer(t, func(c net.Conn) { _, _ = io.WriteString(c, c.RemoteAddr().String()) })
	for keep, want := range map[bool]string{true: "127.0.7.9:", false: "127.0.0.1:"} {
		w := startWAN(t, 0, server, func(c *WANConfig) { c.KeepSource = keep })
		seen, err := io.ReadAll(dialFrom(t, "127.0.7.9", w))
		if err != nil || !strings.HasPrefix(string(seen), want) {
			t.Errorf("KeepSource %v: the gateway saw %q, %v; want %s…", keep, seen, err, want)
		}
	}
}

func TestWANEndsAtOnce(t *testing.T) {
	w, err := NewWAN(WANConfig{
		Gateways: []Gateway{{Name: "gw", Listen: "127.0.0.1:0", Target: startServer(t, echo)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	c := dialFrom(t, "127.0.0.1", w)
	ping(t, c)
	cancel(errors.New("enough"))
	if err := <-done; err != nil {
		t.Errorf("Run says %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reading says %v, want a reset", err)
	}
}

func TestNewWANRefuses(t *testing.T) {
	tests := map[string]WANConfig{
		`site "": every site needs a name`:        {Sites: []Site{{}}},
		`site "a": every site needs a name`:       {Sites: []Site{{Name: "a"}, {Name: "a"}}},
		`gateway "": every gateway needs a name`:  {Gateways: []Gateway{{Listen: "127.0.0.1:0"}}},
		`gateway "a": every gateway needs a name`: {Gateways: []Gateway{{Name: "a"}, {Name: "a"}}},
		`listening for gateway b:`: {Gateways: []Gateway{
			{Name: "a", Listen: "127.0.0.1:0"}, {Name: "b", Listen: "127.0.0.1:99999"},
		}},
	}
	for want, cfg := range tests {
		if _, err := NewWAN(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one that says %q", err, want)
		}
	}
}

func TestOceanRTT(t *testing.T) {
	if got := OceanRTT(frankfurt, iowa); got < 140*time.Millisecond || got > 160*time.Millisecond {
		t.Errorf("Frankfurt to Iowa takes %v, want about 150 ms (7,500 km at 200 km a millisecond, twice)", got)
	}
	if got := OceanRTT(frankfurt, fleet.Place{}); got != 0 {
		t.Errorf("to nowhere it takes %v, want nothing", got)
	}
	w := startWAN(t, time.Second, "127.0.0.1:1", nil)
	if far, near, none := w.RTT("eu", "gw"), w.RTT("us", "gw"), w.RTT("mars", "gw"); far != time.Second || near != 0 || none != 0 {
		t.Errorf("RTT says %v, %v, %v; want 1s, 0, 0", far, near, none)
	}
	if w.Addr("mars").IsValid() {
		t.Error("an address for a gateway that is not there")
	}
}
