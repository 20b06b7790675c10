package field

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

var expires = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// issue signs a certificate for the names with its own key.
func issue(t testing.TB, key crypto.Signer, names ...string) (chain, private []byte) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: expires}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})
}

func ec(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyPair(t *testing.T) {
	chain, key := issue(t, ec(t, elliptic.P256()), "Shop.example.com", "*.shop.example.com", "shop.example.com")
	got, err := KeyPair(chain, key)
	if err != nil || !slices.Equal(got.Hosts, []string{"*.shop.example.com", "shop.example.com"}) || !got.NotAfter.Equal(expires) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKeyPairRefuses(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, goodKey := issue(t, ec(t, elliptic.P256()), "a.example")
	_, otherKey := issue(t, ec(t, elliptic.P256()), "a.example")
	type files struct{ chain, key []byte }
	pair := func(key crypto.Signer, names ...string) files { c, k := issue(t, key, names...); return files{c, k} }
	for says, f := range map[string]files{
		"no certificate chain":   {[]byte("rubbish"), goodKey},
		"does not match":         {good, otherKey},
		"the chain has":          {slices.Concat(good, make([]byte, MaxChain)), goodKey},
		"the key has":            {good, slices.Concat(goodKey, make([]byte, MaxKey))},
		"for no host name":       pair(ec(t, elliptic.P256())),
		"has 1024 bits":          pair(small, "a.example"),
		"on the curve P-224":     pair(ec(t, elliptic.P224()), "a.example"),
		"its key is Ed25519":     pair(edwards, "a.example"),
		"kubectl create secret ": {nil, nil},
	} {
		if _, err := KeyPair(f.chain, f.key); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		} else if strings.Contains(err.Error(), string(goodKey)) || strings.ContainsAny(err.Error(), "\n") {
			t.Errorf("%q says too much", err)
		}
	}
}

// Whatever stands in a Secret, it is taken with names that a gateway can be told, or refused.
func FuzzKeyPair(f *testing.F) {
	chain, key := issue(f, ec(f, elliptic.P256()), "a.example", "*.b.example")
	f.Add(chain, key)
	f.Add(key, chain)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----"), key)
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		leaf, err := KeyPair(chain, key)
		if err != nil {
			return
		}
		if len(leaf.Hosts) == 0 || !slices.IsSorted(leaf.Hosts) {
			t.Errorf("names %q", leaf.Hosts)
		}
		for _, h := range leaf.Hosts {
			if Hostname(h, true) != nil {
				t.Errorf("%q is no host", h)
			}
		}
	})
}
