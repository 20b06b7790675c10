package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// What is read of an answer at most, in bytes.
const (
	maxBody   = 64 << 10
	maxHeader = 64 << 10
	maxError  = 120
)

// outcome is how a probe ended, in the words of the metrics.
type outcome string

const (
	outcomeOK      outcome = "ok"
	outcomeRefused outcome = "refused" // an address that must not be probed
	outcomeOwn     outcome = "own"     // trouble of this host, which says nothing of the target
	outcomeConnect outcome = "connect" // no TCP connection
	outcomeTimeout outcome = "timeout" // of the connection or of the answer
	outcomeTLS     outcome = "tls"
	outcomeAnswer  outcome = "answer" // not the one that was wanted
)

// result is what one probe found.
type result struct {
	outcome outcome
	rtt     time.Duration // of the connection, when OK
	err     string        // short, printable, without ports; empty when OK
}

// checker does the probes.
type checker struct {
	local         netip.Addr
	roots         *x509.CertPool // nil: the system's
	allowLoopback bool
}

// failure is why an answer was not good.
type failure struct {
	outcome outcome
	text    string
}

func fail(o outcome, format string, args ...any) *failure {
	return &failure{o, fmt.Sprintf(format, args...)}
}

// check probes a target once, in its check's timeout, on a connection of its own.
func (c *checker) check(ctx context.Context, t Target) result {
	if why := refusal(t.Addr, c.allowLoopback); why != "" {
		return result{outcome: outcomeRefused, err: why}
	}
	ctx, cancel := context.WithTimeout(ctx, t.Check.Timeout)
	defer cancel()
	conn, rtt, err := c.connect(ctx, t.Addr)
	if err != nil {
		switch {
		case timedOut(err):
			return bad(fail(outcomeTimeout, "no connection within %v", t.Check.Timeout))
		case c.own(err, t.Addr):
			return bad(fail(outcomeOwn, "this host cannot probe: %s", plain(err)))
		}
		return bad(fail(outcomeConnect, "%s", plain(err)))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // a probe ends with its process
	var timed *stopwatch
	asked := conn
	if answersItself(t.Check) {
		timed = &stopwatch{Conn: conn}
		asked = timed
	}
	if f := c.ask(ctx, asked, t); f != nil {
		return bad(f)
	}
	if timed != nil && timed.roundTrip() > 0 {
		rtt = timed.roundTrip()
	}
	return result{outcome: outcomeOK, rtt: rtt}
}

// answersItself reports whether the gateway answers a check without asking
// anybody, so that the answer takes one round trip.
func answersItself(c fleet.Check) bool {
	return (c.Kind == fleet.CheckHTTP || c.Kind == fleet.CheckHTTPS) && c.Path == fleet.GatewayHealthPath
}

func bad(f *failure) result {
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, f.text)
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "")
	}
	return result{outcome: f.outcome, err: text}
}

// ask speaks the check's protocol on an open connection.
func (c *checker) ask(ctx context.Context, conn net.Conn, t Target) *failure {
	switch t.Check.Kind {
	case fleet.CheckTCP:
		return nil
	case fleet.CheckHTTP:
		return askHTTP(conn, t)
	case fleet.CheckHTTPS:
		secure, f := c.handshake(ctx, conn, t)
		if f != nil {
			return f
		}
		return askHTTP(secure, t)
	case fleet.CheckGRPC:
		return askGRPC(ctx, conn, t)
	}
	return fail(outcomeAnswer, "unknown kind of check %q", t.Check.Kind)
}

// handshake verifies the certificate as a client would: for the check's host,
// or the target's address when it has none, against the configured roots.
func (c *checker) handshake(ctx context.Context, conn net.Conn, t Target) (net.Conn, *failure) {
	name := cmp.Or(t.Check.Host, t.Addr.Addr().String())
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	secure := tls.Client(conn, &tls.Config{
		ServerName: name, RootCAs: c.roots, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
	})
	err := secure.HandshakeContext(ctx)
	var invalid x509.CertificateInvalidError
	var wrongName x509.HostnameError
	switch {
	case err == nil:
		return secure, nil
	case timedOut(err):
		return nil, fail(outcomeTimeout, "no TLS handshake within %v", t.Check.Timeout)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return nil, fail(outcomeTLS, "TLS certificate has expired or is not yet valid")
	case errors.As(err, &wrongName):
		return nil, fail(outcomeTLS, "TLS certificate is not for %q", name)
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return nil, fail(outcomeTLS, "TLS certificate is signed by an unknown authority")
	}
	return nil, fail(outcomeTLS, "TLS handshake failed: %s", plain(err))
}

// askHTTP wants a status of 200 to 299 and then the whole body, or its first
// 64 KiB. A redirect is an answer like any other and never followed.
func askHTTP(conn net.Conn, t Target) *failure {
	u, err := url.ParseRequestURI(t.Check.Path)
	if err != nil || !strings.HasPrefix(t.Check.Path, "/") {
		return fail(outcomeAnswer, "the check's path %q is not a path", t.Check.Path)
	}
	req := &http.Request{
		Method: http.MethodGet, URL: u, Host: host(t), Close: true,
		Header: http.Header{"User-Agent": {"meridian-probe"}},
	}
	if err := req.Write(conn); err != nil {
		return unfinished(err, t, "request not taken")
	}
	r := bufio.NewReader(io.LimitReader(conn, maxHeader+maxBody))
	resp, err := http.ReadResponse(r, req)
	for n := 0; err == nil && interim(resp.StatusCode) && n < 5; n++ {
		resp, err = http.ReadResponse(r, req)
	}
	if err != nil {
		return unfinished(err, t, "no HTTP answer")
	}
	switch code := resp.StatusCode; {
	case code >= 300 && code < 400:
		return fail(outcomeAnswer, "HTTP status %d, redirects are not followed", code)
	case code < 200 || code >= 400:
		return fail(outcomeAnswer, "HTTP status %d", code)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return unfinished(err, t, "HTTP answer cut short")
	}
	return nil
}

// interim reports whether another answer follows ("103 Early Hints").
func interim(code int) bool { return code < 200 && code != http.StatusSwitchingProtocols }

func unfinished(err error, t Target, what string) *failure {
	switch {
	case timedOut(err):
		return fail(outcomeTimeout, "no complete answer within %v", t.Check.Timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fail(outcomeAnswer, "%s: connection closed", what)
	}
	return fail(outcomeAnswer, "%s: %s", what, plain(err))
}

// host is the name under which the target is asked.
func host(t Target) string {
	return cmp.Or(t.Check.Host, t.Addr.String())
}
