package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridian-lb/meridian/admin"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/trust"
)

// must runs a command line that has to work.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := meridian(t, args...)
	if err != nil {
		t.Fatalf("meridian %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func TestCerts(t *testing.T) {
	t.Chdir(t.TempDir())
	if out := must(t, "certs", "init", "--domain", "mesh.example", "--out", "ca"); !strings.Contains(out, "mesh.example") {
		t.Error(out)
	}
	if info, err := os.Stat("ca/ca.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the authority's key: %v %v", info, err)
	}
	must(t, "certs", "issue", "gateway", "gateway-0", "--region", "europe-west1", "--ca", "ca", "--out", "gw", "--lifetime", "24h")
	out := must(t, "certs", "show", "gw")
	if !strings.Contains(out, "spiffe://mesh.example/gateway/europe-west1/gateway-0, good until") {
		t.Error(out)
	}
	out = must(t, "certs", "issue", "viewer", "kim", "--ca", "ca", "--out", "kim", "--dns", "kim.example", "--ip", "192.0.2.1", "-o", "json")
	if !strings.Contains(out, `"spiffe://mesh.example/viewer/global/kim"`) {
		t.Error(out)
	}
	// A second authority takes over: who trusts both is believed by both.
	must(t, "certs", "init", "--domain", "mesh.example", "--out", "ca2")
	must(t, "certs", "issue", "gateway", "gateway-0", "--region", "europe-west1", "--ca", "ca2", "--out", "gw", "--trust", "ca/ca.crt")
	bundle, err := os.ReadFile("gw/ca.crt")
	if err != nil || strings.Count(string(bundle), "BEGIN CERTIFICATE") != 2 {
		t.Errorf("%s %v", bundle, err)
	}
	if _, err := trust.ReadPapers("gw"); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"authority is there":  {[]string{"certs", "init", "--domain", "mesh.example", "--out", "ca"}, "another directory"},
		"odd domain":          {[]string{"certs", "init", "--domain", "Mesh", "--out", "x"}, "--domain"},
		"no domain":           {[]string{"certs", "init", "--out", "x"}, "domain"},
		"no such role":        {[]string{"certs", "issue", "boss", "kim", "--ca", "ca", "--out", "x"}, "control, gateway, operator or viewer"},
		"no region":           {[]string{"certs", "issue", "gateway", "g", "--ca", "ca", "--out", "x"}, "--region"},
		"odd name":            {[]string{"certs", "issue", "viewer", "a/b", "--ca", "ca", "--out", "x"}, "name"},
		"odd address":         {[]string{"certs", "issue", "viewer", "kim", "--ca", "ca", "--out", "x", "--ip", "here"}, "--ip"},
		"no lifetime":         {[]string{"certs", "issue", "viewer", "kim", "--ca", "ca", "--out", "x", "--lifetime", "-1h"}, "--lifetime"},
		"no authority":        {[]string{"certs", "issue", "viewer", "kim", "--ca", "gw", "--out", "x"}, "--ca"},
		"trust in nothing":    {[]string{"certs", "issue", "viewer", "kim", "--ca", "ca", "--out", "x", "--trust", "nowhere"}, "--trust"},
		"not an identity":     {[]string{"certs", "show", "ca"}, "tls.crt, tls.key and ca.crt"},
		"trust in a password": {[]string{"certs", "issue", "viewer", "kim", "--ca", "ca", "--out", "x", "--trust", "ca/ca.key"}, "PRIVATE KEY"},
	} {
		_, err := meridian(t, c.args...)
		if err == nil || !strings.Contains(sentence(err), c.want) || strings.Contains(sentence(err), "\n") {
			t.Errorf("%s: %v, want one sentence with %q", name, err, c.want)
		}
	}
	if _, err := os.Stat("x"); err == nil {
		t.Error("a refused command left something behind")
	}
	if out := must(t, "__complete", "certs", "issue", ""); !strings.Contains(out, "operator\twho may give orders") {
		t.Error(out)
	}
}

// aGuardedDaemon serves the admin API with certificates and a token.
func aGuardedDaemon(t *testing.T, identity string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.ReadPapers(identity)
	if err != nil {
		t.Fatal(err)
	}
	server := admin.New(admin.Config{
		Listener: l, Instance: "eu-0", Region: "europe-west1", Source: "eu-0/operator",
		Order:  func(context.Context, fleet.Update) error { return nil },
		Creds:  trust.Credentials(trust.ServerTLSForTokens(p, nil), nil),
		Tokens: []admin.Token{{Name: "robot", Secret: "s3cret"}},
	})
	s := fleet.EmptySnapshot()
	s.World = &fleet.World{Edges: []*fleet.Edge{{Region: "europe-west1", Health: fleet.Verdict{State: fleet.Healthy}}}}
	server.Update(steer.New(s))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestProvingWhoCalls(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, "certs", "init", "--domain", "mesh.example", "--out", in("ca"))
	must(t, "certs", "init", "--domain", "mesh.example", "--out", in("other"))
	must(t, "certs", "issue", "control", "eu-0", "--region", "europe-west1", "--ca", in("ca"), "--out", in("eu-0"))
	must(t, "certs", "issue", "operator", "kim", "--ca", in("ca"), "--out", in("kim"))
	must(t, "certs", "issue", "viewer", "robin", "--ca", in("ca"), "--out", in("robin"))
	must(t, "certs", "issue", "operator", "mallory", "--ca", in("other"), "--out", in("mallory"))
	if err := os.WriteFile(in("token"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guarded, open := aGuardedDaemon(t, in("eu-0")), aDaemon(t)
	list, drain := []string{"get", "regions", "--timeout", "5s"}, []string{"drain", "region", "europe-west1", "--force", "--timeout", "5s"}
	for name, c := range map[string]struct {
		do     []string
		server string
		as     []string
		env    string
		want   string // in what is said; an error unless it begins with "ok"
	}{
		"operator":                {drain, guarded, []string{"--identity", in("kim")}, "", "ok draining"},
		"viewer looks":            {list, guarded, []string{"--identity", in("robin")}, "", "ok europe-west1"},
		"viewer orders":           {drain, guarded, []string{"--identity", in("robin")}, "", "may give no orders"},
		"token looks":             {list, guarded, []string{"--ca", in("ca/ca.crt"), "--token", "s3cret"}, "", "ok europe-west1"},
		"token of a file":         {list, guarded, []string{"--ca", in("ca/ca.crt"), "--token-file", in("token")}, "", "ok europe-west1"},
		"token of environment":    {list, guarded, []string{"--ca", in("ca/ca.crt")}, "s3cret", "ok europe-west1"},
		"token orders":            {drain, guarded, []string{"--ca", in("ca/ca.crt"), "--token", "s3cret"}, "", "may read only"},
		"nobody":                  {list, guarded, []string{"--ca", in("ca/ca.crt")}, "", "neither came"},
		"of another authority":    {list, guarded, []string{"--identity", in("mallory")}, "", "do not trust each other"},
		"plaintext":               {list, guarded, nil, "", "do not trust each other"},
		"TLS to a plaintext port": {list, open, []string{"--identity", in("kim")}, "", "do not trust each other"},
		"token in the clear":      {list, "192.0.2.1:9443", []string{"--token", "s3cret"}, "", "--ca"},
		"token with blanks":       {list, guarded, []string{"--ca", in("ca/ca.crt"), "--token", "a b"}, "", "as it was issued"},
		"no such identity":        {list, guarded, []string{"--identity", in("nobody")}, "", "--identity"},
		"no such authority":       {list, guarded, []string{"--ca", in("nobody")}, "", "--ca"},
		"no such token file":      {list, guarded, []string{"--token-file", in("nobody")}, "", "--token-file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("MERIDIAN_TOKEN", c.env)
			out, err := meridian(t, append(append(append([]string{}, c.do...), "--server", c.server), c.as...)...)
			want, ok := strings.CutPrefix(c.want, "ok ")
			if ok && (err != nil || !strings.Contains(out, want)) {
				t.Errorf("%v, want %q in:\n%s", err, want, out)
			}
			if !ok && (err == nil || !strings.Contains(sentence(err), want) || strings.Contains(sentence(err), "s3cret") || strings.Contains(sentence(err), "\n")) {
				t.Errorf("%v, want one sentence with %q", err, want)
			}
		})
	}
	if out := must(t, "get", "--help"); strings.Contains(out, "s3cret") {
		t.Error("the help shows a token")
	}
}
