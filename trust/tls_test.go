package trust

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// held is a source that can be changed.
type held struct{ atomic.Pointer[Papers] }

func hold(p *Papers) *held            { h := &held{}; h.Store(p); return h }
func (h *held) Current() *Papers      { return h.Load() }
func (h *held) renew(p *Papers)       { h.Store(p) }
func (i Identity) as(r Role) Identity { i.Role = r; return i }

// meet makes a connection between a server and a client and says what each
// thinks of the other.
func meet(t *testing.T, server, client *tls.Config) (serverSees Identity, clientSees Identity, err error) {
	t.Helper()
	a, b := net.Pipe()
	type side struct {
		id  Identity
		err error
	}
	done := make(chan side, 1)
	go func() {
		defer a.Close()
		conn, info, err := Credentials(server, nil).ServerHandshake(a)
		if err != nil {
			done <- side{err: err}
			return
		}
		_, err = conn.Write([]byte("hello"))
		done <- side{info.(AuthInfo).Identity, err}
	}()
	defer b.Close()
	conn, info, cerr := Credentials(client, nil).ClientHandshake(context.Background(), "whatever", b)
	if cerr == nil {
		clientSees = info.(AuthInfo).Identity
		word := make([]byte, 5)
		if _, cerr = io.ReadFull(conn, word); cerr == nil && string(word) != "hello" {
			t.Errorf("heard %q", word)
		}
	}
	b.Close()
	s := <-done
	return s.id, clientSees, errors.Join(s.err, cerr)
}

func TestWhoMeetsWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		home, away := newAuthority(t, "mesh.example"), newAuthority(t, "mesh.example")
		foreign := newAuthority(t, "other.example")
		other := Identity{Domain: "other.example", Role: Gateway, Region: "eu", Name: "x"}
		server := hold(papersOf(t, issue(t, home, anEnvoy.as(Control), 24*time.Hour)))
		gateway := papersOf(t, issue(t, home, anEnvoy, 24*time.Hour))
		brief := papersOf(t, issue(t, home, anEnvoy, time.Minute))
		bundle, err := ParseBundle(home.Bundle())
		if err != nil {
			t.Fatal(err)
		}
		both := issue(t, home, anEnvoy.as(Control), 24*time.Hour)
		both.Bundle = append(both.Bundle, foreign.Bundle()...)
		worldly := hold(papersOf(t, both))
		theirs := issue(t, foreign, other, 24*time.Hour)
		theirs.Bundle = both.Bundle
		time.Sleep(time.Hour) // brief has expired
		for name, c := range map[string]struct {
			server, client *tls.Config
			says           string
		}{
			"in order":                    {ServerTLS(server, Only(Gateway)), ClientTLS(gateway, Only(Control)), ""},
			"no certificate":              {ServerTLS(server, nil), ClientTLS(bundle, nil), "certificate"},
			"expired":                     {ServerTLS(server, nil), ClientTLS(brief, nil), "expired"},
			"another authority's":         {ServerTLS(server, nil), ClientTLS(papersOf(t, withBundle(issue(t, away, anEnvoy, time.Hour), away.Bundle(), home.Bundle())), nil), "unknown authority"},
			"another domain's":            {ServerTLS(worldly, nil), ClientTLS(papersOf(t, theirs), nil), "another trust domain"},
			"another role":                {ServerTLS(server, Only(Control)), ClientTLS(gateway, nil), "no business here"},
			"server of another role":      {ServerTLS(gateway, nil), ClientTLS(gateway, Only(Control)), "no business here"},
			"server of another authority": {ServerTLS(papersOf(t, withBundle(issue(t, away, anEnvoy.as(Control), time.Hour), away.Bundle(), home.Bundle())), nil), ClientTLS(gateway, nil), "unknown authority"},
			"server has expired":          {ServerTLS(brief, nil), ClientTLS(gateway, nil), "expired"},
			"server without certificate":  {ServerTLS(bundle, nil), ClientTLS(gateway, nil), "there is none"},
			"TLS 1.2":                     {ServerTLS(server, nil), old(ClientTLS(gateway, nil)), "version"},
			"a token instead":             {ServerTLSForTokens(server, Only(Operator)), ClientTLS(bundle, Only(Control)), ""},
			"a token and a stranger":      {ServerTLSForTokens(server, Only(Operator)), ClientTLS(gateway, nil), "no business here"},
		} {
			_, _, err := meet(t, c.server, c.client)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", name, err, c.says)
			}
		}
		s, cl, err := meet(t, ServerTLS(server, nil), ClientTLS(gateway, nil))
		if err != nil || s != anEnvoy || cl != anEnvoy.as(Control) {
			t.Errorf("they took each other for %v and %v: %v", s, cl, err)
		}
		if s, _, err := meet(t, ServerTLSForTokens(server, nil), ClientTLS(bundle, nil)); err != nil || s != (Identity{}) {
			t.Errorf("somebody without certificate was taken for %v: %v", s, err)
		}
	})
}

func withBundle(p PEM, bundles ...[]byte) PEM {
	p.Bundle = bytes.Join(bundles, nil)
	return p
}

func old(c *tls.Config) *tls.Config {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	return c
}

// An authority is replaced while both sides go on with the configurations that
// they began with; afterwards nobody believes the old one, by resumption neither.
func TestAnAuthorityIsReplaced(t *testing.T) {
	was, next := newAuthority(t, "mesh.example"), newAuthority(t, "mesh.example")
	envoy, daemon := anEnvoy, anEnvoy.as(Control)
	server, client := hold(papersOf(t, issue(t, was, daemon, time.Hour))), hold(papersOf(t, issue(t, was, envoy, time.Hour)))
	thief := papersOf(t, withBundle(issue(t, was, envoy, time.Hour), was.Bundle(), next.Bundle()))
	st, ct, tt := ServerTLS(server, Only(Gateway)), ClientTLS(client, Only(Control)), ClientTLS(thief, nil)
	tt.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	well := func(step string) {
		t.Helper()
		if _, _, err := meet(t, st, ct); err != nil {
			t.Errorf("%s: %v", step, err)
		}
	}
	well("before")
	if _, _, err := meet(t, st, tt); err != nil {
		t.Fatal(err)
	}
	server.renew(papersOf(t, withBundle(issue(t, was, daemon, time.Hour), was.Bundle(), next.Bundle())))
	well("the server trusts both")
	client.renew(papersOf(t, withBundle(issue(t, was, envoy, time.Hour), was.Bundle(), next.Bundle())))
	well("both trust both")
	server.renew(papersOf(t, withBundle(issue(t, next, daemon, time.Hour), was.Bundle(), next.Bundle())))
	well("the server has a new certificate")
	client.renew(papersOf(t, issue(t, next, envoy, time.Hour)))
	well("the client has a new certificate and trusts the new authority only")
	server.renew(papersOf(t, issue(t, next, daemon, time.Hour)))
	well("nobody trusts the old authority")
	if _, _, err := meet(t, st, tt); err == nil {
		t.Error("who holds a certificate of the old authority still comes in")
	}
}

// A connection ends with the certificate that opened it.
func TestConnectionEndsWithItsCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, "mesh.example")
		server := papersOf(t, issue(t, a, anEnvoy.as(Control), 24*time.Hour))
		client := papersOf(t, issue(t, a, anEnvoy, time.Hour))
		left, right := net.Pipe()
		go func() {
			conn, _, err := Credentials(ClientTLS(client, nil), nil).ClientHandshake(context.Background(), "x", right)
			if err == nil {
				_, _ = io.Copy(io.Discard, conn)
			}
		}()
		conn, _, err := Credentials(ServerTLS(server, nil), nil).ServerHandshake(left)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("somebody spoke")
		}
		if took := time.Since(began).Round(time.Minute); took != time.Hour {
			t.Errorf("the connection lived %v", took)
		}
	})
}

func TestRefusedHandshakesAreTold(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	server := papersOf(t, issue(t, a, anEnvoy.as(Control), time.Hour))
	left, right := net.Pipe()
	go func() { _, _ = right.Write([]byte("GET / HTTP/1.1\r\n\r\n")); _, _ = io.Copy(io.Discard, right) }()
	var told error
	if _, _, err := Credentials(ServerTLS(server, nil), func(err error) { told = err }).ServerHandshake(left); err == nil || told == nil {
		t.Errorf("%v, told %v", err, told)
	}
	right.Close()
}
