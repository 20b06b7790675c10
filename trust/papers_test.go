package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newAuthority(t testing.TB, domain string) *Authority {
	t.Helper()
	a, err := NewAuthority(domain)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t testing.TB, a *Authority, i Identity, lifetime time.Duration) PEM {
	t.Helper()
	p, err := a.Issue(Request{Identity: i, Lifetime: lifetime})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func papersOf(t testing.TB, p PEM) *Papers {
	t.Helper()
	got, err := ParsePapers(p, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAuthoritySurvivesItsFiles(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	key, err := a.Key()
	if err != nil {
		t.Fatal(err)
	}
	// A bundle that goes on with another authority is still the first one's.
	b, err := LoadAuthority(append(a.Bundle(), newAuthority(t, "mesh.example").Bundle()...), key)
	if err != nil || b.Domain() != "mesh.example" || !bytes.Equal(b.Bundle(), a.Bundle()) {
		t.Fatalf("%+v %v", b, err)
	}
	p := issue(t, b, anEnvoy, time.Hour)
	p.Bundle = a.Bundle()
	if got := papersOf(t, p).Identity(); got != anEnvoy {
		t.Errorf("issued to %v", got)
	}
	if _, err := LoadAuthority(newAuthority(t, "mesh.example").Bundle(), key); err == nil {
		t.Error("another authority's key was taken")
	}
	if _, err := LoadAuthority(p.Certificate, p.Key); err == nil {
		t.Error("a gateway passes as an authority")
	}
	if _, err := LoadAuthority(a.Bundle(), []byte("nonsense")); err == nil {
		t.Error("nonsense passes as a key")
	}
}

func TestAuthorityKeepsToItsDomain(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	stranger := anEnvoy
	stranger.Domain = "other.example"
	if _, err := a.Issue(Request{Identity: stranger}); err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("%v", err)
	}
	// Even an authority that was stolen can name nobody of another domain, be it
	// trusted there: its own certificate says so.
	a.domain = "other.example"
	p := issue(t, a, stranger, time.Hour)
	if _, err := ParsePapers(p, time.Now()); err == nil {
		t.Error("an authority of mesh.example named somebody of other.example")
	}
	for _, domain := range []string{"", "Mesh.example", "a b", "a/b", "a..b"} {
		if _, err := NewAuthority(domain); err == nil {
			t.Errorf("an authority of %q", domain)
		}
	}
}

func TestSignTakesTheKeyAndNothingElse(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	boss := Identity{Domain: "mesh.example", Role: Operator, Region: "global", Name: "boss"}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{boss.url()}, DNSNames: []string{"bank.example"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	cert, err := a.Sign(csr, Request{Identity: anEnvoy, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := keyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	got := papersOf(t, PEM{Certificate: cert, Key: secret, Bundle: a.Bundle()})
	if got.Identity() != anEnvoy || len(got.own.Leaf.DNSNames) != 0 {
		t.Errorf("signed for %v %v", got.Identity(), got.own.Leaf.DNSNames)
	}
	der[len(der)-1] ^= 1
	for name, bad := range map[string][]byte{
		"nonsense": []byte("x"), "a certificate": cert, "huge": make([]byte, maxFile+1),
		"a broken signature": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	} {
		if _, err := a.Sign(bad, Request{Identity: anEnvoy}); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestPapersThatDoNotHold(t *testing.T) {
	a, other := newAuthority(t, "mesh.example"), newAuthority(t, "mesh.example")
	good, stranger := issue(t, a, anEnvoy, time.Hour), issue(t, other, anEnvoy, time.Hour)
	for name, c := range map[string]struct {
		p    PEM
		says string
	}{
		"nothing":                  {PEM{}, "ca.crt"},
		"no certificate":           {PEM{Key: good.Key, Bundle: good.Bundle}, "tls.crt"},
		"another key":              {PEM{good.Certificate, stranger.Key, good.Bundle}, "do not belong together"},
		"another authority":        {PEM{good.Certificate, good.Key, stranger.Bundle}, "before its own ca.crt"},
		"a leaf in the bundle":     {PEM{good.Certificate, good.Key, append(bytes.Clone(good.Bundle), good.Certificate...)}, "no authority's"},
		"a key in the bundle":      {PEM{good.Certificate, good.Key, append(bytes.Clone(good.Bundle), good.Key...)}, "PRIVATE KEY"},
		"endless bundle":           {PEM{good.Certificate, good.Key, bytes.Repeat(good.Bundle, maxCerts+1)}, "more than"},
		"an authority as identity": {authorityAsPapers(t, a), "authority"},
	} {
		_, err := ParsePapers(c.p, time.Now())
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.says)
		}
	}
	both := good
	both.Bundle = append(bytes.Clone(stranger.Bundle), good.Bundle...)
	if got := papersOf(t, both); got.Identity() != anEnvoy {
		t.Errorf("%v", got.Identity())
	}
}

func authorityAsPapers(t *testing.T, a *Authority) PEM {
	t.Helper()
	key, err := a.Key()
	if err != nil {
		t.Fatal(err)
	}
	return PEM{Certificate: a.Bundle(), Key: key, Bundle: a.Bundle()}
}

func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, "mesh.example")
		p := issue(t, a, anEnvoy, time.Hour)
		for _, c := range []struct {
			at   time.Duration // from when it was issued
			says string
		}{{-Skew + time.Second, ""}, {0, ""}, {time.Hour - time.Second, ""}, {-Skew - 2*time.Second, "only from"}, {time.Hour + 2*time.Second, "expired"}} {
			_, err := ParsePapers(p, time.Now().Add(c.at))
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("after %v: %v, want %q", c.at, err, c.says)
			}
		}
		// Nothing outlives its authority, and an expired authority issues nothing.
		if long := papersOf(t, issue(t, a, anEnvoy, 20*365*24*time.Hour)); !long.NotAfter().Equal(a.NotAfter()) {
			t.Errorf("good until %v, its authority until %v", long.NotAfter(), a.NotAfter())
		}
		time.Sleep(AuthorityLifetime)
		if _, err := a.Issue(Request{Identity: anEnvoy}); err == nil {
			t.Error("an expired authority issues on")
		}
	})
}

func TestDirectory(t *testing.T) {
	a := newAuthority(t, "mesh.example")
	dir := filepath.Join(t.TempDir(), "identity")
	if _, err := ReadPapers(dir); err == nil {
		t.Error("a directory that is not there is in order")
	}
	for range 3 { // the second and third are renewals
		p := issue(t, a, anEnvoy, time.Hour)
		if err := WritePEM(dir, p); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPapers(dir)
		if err != nil || got.sum != p.sum() {
			t.Fatalf("%v", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 { // three names, the link, and one room
		t.Errorf("%v %v", entries, err)
	}
	info, err := os.Stat(filepath.Join(dir, KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v %v", info.Mode(), err)
	}
	// Plain files, as an operator copies them, are taken over.
	plain := t.TempDir()
	p := issue(t, a, anEnvoy, time.Hour)
	for name, b := range map[string][]byte{CertificateFile: p.Certificate, KeyFile: p.Key, BundleFile: p.Bundle} {
		if err := os.WriteFile(filepath.Join(plain, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadPapers(plain); err != nil {
		t.Error(err)
	}
	if err := WritePEM(plain, issue(t, a, anEnvoy, time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(plain, CertificateFile)); err != nil || bytes.Equal(got, p.Certificate) {
		t.Errorf("the plain file stayed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(plain, dataLink, BundleFile), make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPapers(plain); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("an endless file: %v", err)
	}
}

func FuzzParsePapers(f *testing.F) {
	a := newAuthority(f, "mesh.example")
	p := issue(f, a, anEnvoy, time.Hour)
	f.Add(p.Certificate, p.Key, p.Bundle)
	f.Add([]byte("x"), []byte("-----BEGIN"), p.Bundle)
	f.Fuzz(func(t *testing.T, cert, key, bundle []byte) {
		got, err := ParsePapers(PEM{cert, key, bundle}, time.Now())
		if err == nil && (got.Identity().Check() != nil || got.own == nil || got.NotAfter().IsZero()) {
			t.Errorf("%+v", got)
		}
	})
}
