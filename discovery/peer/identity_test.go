package peer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// mesh issues certificates for daemons and others.
type mesh struct{ *trust.Authority }

func newMesh(t *testing.T) mesh {
	t.Helper()
	a, err := trust.NewAuthority("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	return mesh{a}
}

func (m mesh) papers(t *testing.T, r trust.Role, name string, trusts mesh) *trust.Papers {
	t.Helper()
	p, err := m.Issue(trust.Request{Identity: trust.Identity{Domain: m.Domain(), Role: r, Region: "eu", Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	p.Bundle = append(p.Bundle, trusts.Bundle()...)
	got, err := trust.ParsePapers(p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func serves(p *trust.Papers) credentials.TransportCredentials {
	return trust.Credentials(trust.ServerTLS(p, nil), nil)
}

func calls(p *trust.Papers) credentials.TransportCredentials {
	return trust.Credentials(trust.ClientTLS(p, nil), nil)
}

// Who may follow, who may be followed, and in whose name.
func TestIdentities(t *testing.T) {
	m, other := newMesh(t), newMesh(t)
	for name, c := range map[string]struct {
		server   credentials.TransportCredentials
		client   credentials.TransportCredentials
		instance string // that the server gives itself
		says     string // why the client follows nothing; empty: it follows
	}{
		"in order":                    {serves(m.papers(t, trust.Control, "eu-1", m)), calls(m.papers(t, trust.Control, "us-1", m)), "eu-1", ""},
		"server is somebody else":     {serves(m.papers(t, trust.Control, "ap-1", m)), calls(m.papers(t, trust.Control, "us-1", m)), "eu-1", "its certificate says spiffe://mesh.example/control/eu/ap-1"},
		"server takes our name":       {serves(m.papers(t, trust.Control, "ap-1", m)), calls(m.papers(t, trust.Control, "us-1", m)), "us-1", "its certificate says spiffe://mesh.example/control/eu/ap-1"},
		"server is a gateway":         {serves(m.papers(t, trust.Gateway, "eu-1", m)), calls(m.papers(t, trust.Control, "us-1", m)), "eu-1", "from the role control only"},
		"server is of another":        {serves(other.papers(t, trust.Control, "eu-1", m)), calls(m.papers(t, trust.Control, "us-1", m)), "eu-1", "unknown authority"},
		"server speaks plaintext":     {nil, calls(m.papers(t, trust.Control, "us-1", m)), "eu-1", "tls: first record"},
		"follower is somebody else":   {serves(m.papers(t, trust.Control, "eu-1", m)), calls(m.papers(t, trust.Control, "us-2", m)), "eu-1", "its certificate says spiffe://mesh.example/control/eu/us-2"},
		"follower is a gateway":       {serves(m.papers(t, trust.Control, "eu-1", m)), calls(m.papers(t, trust.Gateway, "us-1", m)), "eu-1", "to the role control only"},
		"follower is an operator":     {serves(m.papers(t, trust.Control, "eu-1", m)), calls(m.papers(t, trust.Operator, "us-1", m)), "eu-1", "to the role control only"},
		"follower is of another":      {serves(m.papers(t, trust.Control, "eu-1", m)), calls(other.papers(t, trust.Control, "us-1", m)), "eu-1", "EOF|tls|reset|closed|preface|pipe"},
		"follower speaks plaintext":   {serves(m.papers(t, trust.Control, "eu-1", m)), nil, "eu-1", "EOF|reset|closed|preface|pipe"},
		"no certificate is asked for": {trust.Credentials(trust.ServerTLSForTokens(m.papers(t, trust.Control, "eu-1", m), nil), nil), calls(bundleOf(t, m)), "eu-1", "no certificate says who this is"},
	} {
		t.Run(name, func(t *testing.T) {
			lis := bufconn.Listen(1 << 20)
			server := NewServer(ServerConfig{Instance: c.instance, Listener: lis, Creds: c.server})
			server.Tell(nowhere)(t.Context(), fleet.Update{Source: c.instance + "/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1.")}})
			run(t, server.Run)
			e := newEars()
			said := &spoken{lines: make(chan string, 1000)}
			client := NewClient(ClientConfig{
				Instance: "us-1", Peers: []Peer{{Address: "passthrough:///eu"}}, Tell: e.Tell, Creds: c.client, Log: said.logger(),
				Dial: func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) },
			})
			run(t, client.Run)
			limit := time.After(10 * time.Second)
			for {
				select {
				case line := <-said.lines:
					switch {
					case c.says == "" && strings.Contains(line, "following a peer"):
						return
					case c.says != "" && strings.Contains(line, "following a peer"):
						t.Fatal("it follows")
					case c.says != "" && anyOf(line, c.says):
						if got := e.sources(); len(got) != 0 {
							t.Errorf("it took facts of %v", got)
						}
						return
					}
				case <-limit:
					t.Fatalf("nothing was said about %q", c.says)
				}
			}
		})
	}
}

func bundleOf(t *testing.T, m mesh) *trust.Papers {
	t.Helper()
	p, err := trust.ParseBundle(m.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func anyOf(line, words string) bool {
	for w := range strings.SplitSeq(words, "|") {
		if strings.Contains(line, w) {
			return true
		}
	}
	return false
}

// A daemon with a good certificate still speaks for its own sources only.
func TestAGoodCertificateIsNoLicence(t *testing.T) {
	m := newMesh(t)
	lis := bufconn.Listen(1 << 20)
	server := NewServer(ServerConfig{Instance: "eu-1", Listener: lis, Creds: serves(m.papers(t, trust.Control, "eu-1", m))})
	// Its ledger is made to hold what is not its own, as a changed program's would.
	server.ledger.own = ""
	server.Tell(nowhere)(t.Context(), fleet.Update{Source: "ap-1/file", Whole: true, Put: []fleet.Fact{zoneFact("stolen.", "1.")}})
	server.Tell(nowhere)(t.Context(), fleet.Update{Source: "eu-1/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1.")}})
	run(t, server.Run)
	e := newEars()
	run(t, NewClient(ClientConfig{
		Instance: "us-1", Peers: []Peer{{Address: "passthrough:///eu"}}, Tell: e.Tell, Creds: calls(m.papers(t, trust.Control, "us-1", m)),
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) },
	}).Run)
	// Sources are told sorted, so "ap-1/file" came before.
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if got := fmt.Sprint(e.sources()); got == "[eu-1/file]" {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("facts of %s were taken", got)
		}
	}
}

// spoken is a log of which a test reads the lines.
type spoken struct{ lines chan string }

func (l *spoken) Write(b []byte) (int, error) {
	select {
	case l.lines <- string(b):
	default:
	}
	return len(b), nil
}

func (l *spoken) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
