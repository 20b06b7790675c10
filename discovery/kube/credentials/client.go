package credentials

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
)

// How long a silent server is waited for. A black hole is noticed after idle and
// ping together: every watch on the connection ends then, at once.
const (
	dialWithin      = 3 * time.Second
	handshakeWithin = 4 * time.Second
	pingAfterIdle   = 4 * time.Second
	pingWithin      = 3 * time.Second
)

// The rate of requests to one API server. Watches that last do not count.
const (
	requestsPerSecond = 50
	requestBurst      = 200
)

const userAgent = "meridiand"

func tune(cfg *rest.Config) {
	cfg.QPS, cfg.Burst, cfg.UserAgent = requestsPerSecond, requestBurst, userAgent
}

// Own makes credentials that nobody else wrote (of the pod, of an operator's own
// file) fit to watch with.
func Own(cfg *rest.Config) *rest.Config {
	own := rest.CopyConfig(cfg)
	tune(own)
	return own
}

// dialer looks at each address before it is connected to: what a name leads to
// is not known earlier.
func dialer(o Options) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialWithin, KeepAlive: 15 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if err := reachable(to.Addr(), o); err != nil {
			return fmt.Errorf("the server's name leads to %s: %w", to.Addr(), err)
		}
		return nil
	}}
	return d.DialContext
}

// Client makes an HTTP client for credentials with connections of its own, so
// that they end with it: call CloseIdleConnections when it is no longer needed.
// There is no timeout over all, since watches last.
func Client(cfg *rest.Config) (*http.Client, error) {
	if cfg.ExecProvider != nil || cfg.AuthProvider != nil || cfg.Proxy != nil { // an operator's own file
		return rest.HTTPClientFor(cfg)
	}
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return nil, err
	}
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialWithin, KeepAlive: 15 * time.Second}).DialContext
	}
	t := &http.Transport{
		DialContext: dial, TLSClientConfig: tlsConfig, TLSHandshakeTimeout: handshakeWithin,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfterIdle, PingTimeout: pingWithin},
	}
	rt, err := rest.HTTPWrappersForConfig(cfg, t)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}
