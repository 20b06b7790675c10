package trust

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Credentials makes gRPC use a configuration of ServerTLS, ServerTLSForTokens or
// ClientTLS. A connection does not outlive the certificate that it was made with:
// who is at the other end has to come again with a new one. refused is told of
// handshakes that failed; it may be nil.
func Credentials(c *tls.Config, refused func(error)) credentials.TransportCredentials {
	if refused == nil {
		refused = func(error) {}
	}
	return &creds{TransportCredentials: credentials.NewTLS(c), refused: refused}
}

// AuthInfo is a connection whose other end was identified.
type AuthInfo struct {
	credentials.TLSInfo
	Identity Identity // zero: no certificate was shown
}

// FromContext says who is at the other end of an RPC's connection. It reports
// false when that is not known, as on a connection without our Credentials.
func FromContext(ctx context.Context) (Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	info, ok := p.AuthInfo.(AuthInfo)
	return info.Identity, ok && info.Identity != Identity{}
}

type creds struct {
	credentials.TransportCredentials
	refused func(error)
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *creds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	return c.introduce(conn, info, err)
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *creds) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	return c.introduce(conn, info, err)
}

// Clone implements credentials.TransportCredentials.
func (c *creds) Clone() credentials.TransportCredentials {
	return &creds{TransportCredentials: c.TransportCredentials.Clone(), refused: c.refused}
}

// introduce adds who is at the other end, and an end when that is over.
func (c *creds) introduce(conn net.Conn, info credentials.AuthInfo, err error) (net.Conn, credentials.AuthInfo, error) {
	if err != nil {
		c.refused(err)
		return nil, nil, err
	}
	known := AuthInfo{TLSInfo: info.(credentials.TLSInfo)} // what NewTLS returns
	certs := known.State.PeerCertificates
	if len(certs) == 0 {
		return conn, known, nil
	}
	// The handshake has verified the chain and read this identity already.
	if known.Identity, err = IdentityOf(certs[0]); err != nil {
		c.refused(err)
		_ = conn.Close()
		return nil, nil, err
	}
	e := &ending{Conn: conn}
	e.end = time.AfterFunc(time.Until(certs[0].NotAfter), func() { _ = conn.Close() })
	return e, known, nil
}

// ending is a connection that is closed when the other end's certificate expires.
type ending struct {
	net.Conn
	end *time.Timer
}

// Close implements net.Conn.
func (e *ending) Close() error {
	e.end.Stop()
	return e.Conn.Close()
}
