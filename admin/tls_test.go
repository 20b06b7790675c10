package admin

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/trust"
)

func newAuthority(t *testing.T) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority("mesh.example")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// papers of a bearer who trusts an authority that need not be his own.
func papers(t *testing.T, a, trusts *trust.Authority, r trust.Role, name string) *trust.Papers {
	t.Helper()
	p, err := a.Issue(trust.Request{Identity: trust.Identity{Domain: "mesh.example", Role: r, Region: "global", Name: name}})
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

// registry knows some tokens, and can be out of order.
type registry struct {
	asked  atomic.Int64
	broken atomic.Bool
}

func (r *registry) Authenticate(_ context.Context, token string) (Caller, error) {
	r.asked.Add(1)
	name, known := strings.CutPrefix(token, "k8s-")
	switch {
	case r.broken.Load():
		return Caller{}, errors.New("connection refused at 10.0.0.1")
	case !known:
		return Caller{}, ErrUnknownToken
	}
	c := Caller{Name: name, Write: name == "admin"}
	if name == "passerby" {
		c.Barred = "nobody has bound it to a role"
	}
	return c, nil
}

// Who may do what by certificate, by token, and by both.
func TestRoles(t *testing.T) {
	ca := newAuthority(t)
	lis := bufconn.Listen(1 << 20)
	reg := &registry{}
	d := open(t, func(c *Config) {
		c.Listener = lis
		c.Creds = trust.Credentials(trust.ServerTLSForTokens(papers(t, ca, ca, trust.Control, "eu-1"), nil), nil)
		c.Tokens = []Token{{Name: "reader", Secret: "r3ad"}, {Name: "writer", Secret: "wr1te", Write: true}}
		c.Authenticator = reg
	})
	d.Update(d.keeper.plan())
	bundle, err := trust.ParseBundle(ca.Bundle())
	if err != nil {
		t.Fatal(err)
	}
	mine := func(r trust.Role) *trust.Papers { return papers(t, ca, ca, r, "kim") }
	stranger := papers(t, newAuthority(t), ca, trust.Operator, "mallory")
	const ok = codes.OK
	for name, c := range map[string]struct {
		as          *trust.Papers
		token       string
		read, write codes.Code
		by          string // in whose name the order is given
	}{
		"operator":                   {mine(trust.Operator), "", ok, ok, "spiffe://mesh.example/operator/global/kim"},
		"viewer":                     {mine(trust.Viewer), "", ok, codes.PermissionDenied, ""},
		"another daemon":             {mine(trust.Control), "", ok, codes.PermissionDenied, ""},
		"gateway":                    {mine(trust.Gateway), "", codes.PermissionDenied, codes.PermissionDenied, ""},
		"nobody":                     {bundle, "", codes.Unauthenticated, codes.Unauthenticated, ""},
		"of another authority":       {stranger, "", codes.Unavailable, codes.Unavailable, ""},
		"of another with token":      {stranger, "wr1te", codes.Unavailable, codes.Unavailable, ""},
		"token to write":             {bundle, "wr1te", ok, ok, "writer"},
		"token to read":              {bundle, "r3ad", ok, codes.PermissionDenied, ""},
		"wrong token":                {bundle, "guess", codes.Unauthenticated, codes.Unauthenticated, ""},
		"viewer with token to write": {mine(trust.Viewer), "wr1te", ok, ok, "writer"},
		"viewer with wrong token":    {mine(trust.Viewer), "guess", ok, codes.Unauthenticated, ""},
		"gateway with token":         {mine(trust.Gateway), "r3ad", ok, codes.PermissionDenied, ""},
		"operator with any token":    {mine(trust.Operator), "guess", ok, ok, "spiffe://mesh.example/operator/global/kim"},
		"authenticated writer":       {bundle, "k8s-admin", ok, ok, "admin"},
		"authenticated reader":       {bundle, "k8s-kim", ok, codes.PermissionDenied, ""},
		"authenticated passer-by":    {bundle, "k8s-passerby", codes.PermissionDenied, codes.PermissionDenied, ""},
		"endless token":              {bundle, "k8s-" + strings.Repeat("x", 5000), ok, codes.PermissionDenied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(d.keeper.orders())
			conn, err := grpc.NewClient("passthrough:///admin",
				grpc.WithTransportCredentials(trust.Credentials(trust.ClientTLS(c.as, trust.Only(trust.Control)), nil)),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx := t.Context()
			if c.token != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
			}
			client := adminv1.NewAdminClient(conn)
			_, err = client.ListRegions(ctx, &adminv1.ListRegionsRequest{})
			wantCode(t, "list", err, c.read)
			got, err := client.Drain(ctx, &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu", By: "somebody else"})
			wantCode(t, "drain", err, c.write)
			if n := len(d.keeper.orders()) - before; (n == 1) != (c.write == ok) {
				t.Errorf("%d orders were taken", n)
			}
			if c.write != ok {
				return
			}
			if got.GetDrain().GetBy() != c.by {
				t.Errorf("given by %q, want %q", got.GetDrain().GetBy(), c.by)
			}
			if _, err := client.Undrain(ctx, &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu"}); err != nil {
				t.Error(err)
			}
			d.Update(d.keeper.plan())
		})
	}
	if log := d.log.String(); strings.Contains(log, "wr1te") || strings.Contains(log, "k8s-") {
		t.Error("a secret is in the log")
	}
}

func TestVerdictsAreRememberedBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := &registry{}
		v := newVerdicts(reg)
		ask := func(token string, asks int64, want error) {
			t.Helper()
			before := reg.asked.Load()
			_, err := v.ask(t.Context(), token)
			if n := reg.asked.Load() - before; n != asks || !errors.Is(err, want) {
				t.Errorf("%s: %d questions, %v; want %d and %v", token, n, err, asks, want)
			}
		}
		ask("k8s-kim", 1, nil)
		ask("k8s-kim", 0, nil)
		ask("guess", 1, ErrUnknownToken)
		ask("guess", 0, ErrUnknownToken)
		if _, err := v.ask(t.Context(), "k8s-"); err == nil {
			t.Error("a bearer without name is let in")
		}
		time.Sleep(disbelieved + time.Second)
		ask("guess", 1, ErrUnknownToken)
		ask("k8s-kim", 0, nil)
		// What is remembered holds while the registry is out of order, and no longer.
		reg.broken.Store(true)
		ask("k8s-kim", 0, nil)
		time.Sleep(believed)
		if _, err := v.ask(t.Context(), "k8s-kim"); err == nil || errors.Is(err, ErrUnknownToken) {
			t.Errorf("nobody knows, but the answer is %v", err)
		}
		reg.broken.Store(false)
		ask("k8s-kim", 1, nil) // a failure is not remembered
		for i := range 3 * maxVerdicts {
			_, _ = v.ask(t.Context(), strings.Repeat("x", i))
		}
		if len(v.said) > maxVerdicts {
			t.Errorf("%d verdicts are kept", len(v.said))
		}
		ask("k8s-kim", 0, nil) // it ends later than guesses, so they made room
	})
}

// slow answers when it is allowed to.
type slow struct {
	now, most atomic.Int64
	release   chan struct{}
}

func (s *slow) Authenticate(ctx context.Context, _ string) (Caller, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	select {
	case <-s.release:
		return Caller{}, ErrUnknownToken
	case <-ctx.Done():
		return Caller{}, ctx.Err()
	}
}

func TestGuessersCannotFloodTheAuthenticator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{release: make(chan struct{})}
		v := newVerdicts(s)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		for i := range 100 {
			go func() { _, _ = v.ask(ctx, strings.Repeat("x", i)) }()
		}
		synctest.Wait()
		if s.most.Load() != maxAsking {
			t.Errorf("%d questions at once", s.most.Load())
		}
		close(s.release)
		synctest.Wait()
	})
}
