package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Source hands out the papers in force. Every handshake asks anew, so a renewal
// needs no restart.
type Source interface {
	// Current is never nil. It is called from many goroutines.
	Current() *Papers
}

// ServerTLS lets in who shows a certificate of our domain whose identity allow
// has nothing against; nil allows everybody of the domain.
func ServerTLS(s Source, allow func(Identity) error) *tls.Config {
	return server(s, allow, tls.RequireAndVerifyClientCert)
}

// ServerTLSForTokens is ServerTLS that also lets in who shows no certificate. The
// user of the connection has to ask those for another proof.
func ServerTLSForTokens(s Source, allow func(Identity) error) *tls.Config {
	return server(s, allow, tls.VerifyClientCertIfGiven)
}

func server(s Source, allow func(Identity) error, auth tls.ClientAuthType) *tls.Config {
	// A session that is resumed would be judged by the papers of its first
	// handshake, so there are none.
	base := &tls.Config{MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true, NextProtos: []string{"h2"}}
	c := base.Clone()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		p := s.Current()
		if p.own == nil {
			return nil, errors.New("serving needs a certificate, and there is none")
		}
		now := base.Clone()
		now.Certificates = []tls.Certificate{*p.own}
		now.ClientAuth, now.ClientCAs = auth, p.roots
		now.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				if auth == tls.VerifyClientCertIfGiven {
					return nil
				}
				return errors.New("no certificate was shown")
			}
			return p.judge(cs, x509.ExtKeyUsageClientAuth, allow)
		}
		return now, nil
	}
	return c
}

// ClientTLS connects to who shows a certificate of our domain whose identity
// expect has nothing against. Host names are not looked at: an address says where
// somebody is, not who.
func ClientTLS(s Source, expect func(Identity) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if own := s.Current().own; own != nil {
				return own, nil
			}
			return &tls.Certificate{}, nil
		},
		// What is skipped is the check of host names against the machine's own
		// authorities; VerifyConnection takes its place and cannot be skipped.
		InsecureSkipVerify: true, //nolint:gosec // see above
		VerifyConnection: func(cs tls.ConnectionState) error {
			return s.Current().judge(cs, x509.ExtKeyUsageServerAuth, expect)
		},
	}
}

// judge says what is wrong with who is at the other end of a connection.
func (p *Papers) judge(cs tls.ConnectionState, usage x509.ExtKeyUsage, allow func(Identity) error) error {
	i, err := judge(cs.PeerCertificates, p.roots, time.Now(), usage)
	switch {
	case err != nil:
		return err
	case p.own != nil && i.Domain != p.identity.Domain:
		return fmt.Errorf("%s is of another trust domain than %s", i, p.identity)
	case allow != nil:
		return allow(i)
	}
	return nil
}

// Only allows identities of certain roles.
func Only(roles ...Role) func(Identity) error {
	return func(i Identity) error {
		if slices.Contains(roles, i.Role) {
			return nil
		}
		return fmt.Errorf("%s has the role %s, which has no business here", i, i.Role)
	}
}
