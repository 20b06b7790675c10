package lab

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const askTimeout = 2 * time.Second // for one try of a readiness question

// HTTPReady asks the URL until it answers 200.
func HTTPReady(url string) func(context.Context) error {
	client := &http.Client{
		Timeout:       askTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			said, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // only to make the error better
			return fmt.Errorf("%s answers %s: %q", url, resp.Status, said)
		}
		return nil
	}
}

// TCPReady asks the address until it accepts a connection.
func TCPReady(addr string) func(context.Context) error {
	dialer := net.Dialer{Timeout: askTimeout}
	return func(ctx context.Context) error {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Loopback returns a loopback address that no other test is likely to use at this
// moment, for servers whose ports are fixed.
func Loopback() netip.Addr {
	return netip.AddrFrom4([4]byte{127, byte(128 + rand.IntN(100)), byte(rand.IntN(256)), byte(1 + rand.IntN(250))})
}

// FreePort returns a TCP and UDP port of the loopback address host ("127.0.0.1")
// that nobody uses at this moment. Somebody may take it before you do: let the
// child choose its own port wherever it can tell it.
func FreePort(host string) (int, error) {
	for range 20 {
		tcp, err := net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // immediate
		if err != nil {
			return 0, fmt.Errorf("looking for a free port on %s: %w", host, err)
		}
		addr := tcp.Addr().String()
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp", addr) //nolint:noctx // immediate
		if err != nil {
			_ = tcp.Close() // taken for UDP: try the next one
			continue
		}
		if err := udp.Close(); err != nil {
			return 0, fmt.Errorf("looking for a free port on %s: %w", host, err)
		}
		return port, tcp.Close()
	}
	return 0, fmt.Errorf("looking for a free port on %s: found none that is free for both TCP and UDP", host)
}
