package field

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The bounds of a certificate with its key, in bytes of PEM.
const (
	MaxChain = 64 << 10
	MaxKey   = 16 << 10
)

// Leaf is what a chain's first certificate says.
type Leaf struct {
	Hosts    []string // lower case, sorted, "*.example.com" for one label more; never empty
	NotAfter time.Time
}

// KeyPair checks that a chain is a server's and that the key belongs to its first
// certificate. It takes what Envoy takes: RSA from 2048 bits, ECDSA on P-256,
// P-384 or P-521. Whether the certificate has expired is for others to ask.
func KeyPair(chain, key []byte) (Leaf, error) {
	switch {
	case len(chain) > MaxChain:
		return Leaf{}, fmt.Errorf("the chain has %d bytes, at most %d are taken; leave out what no client needs", len(chain), MaxChain)
	case len(key) > MaxKey:
		return Leaf{}, fmt.Errorf("the key has %d bytes, at most %d are taken", len(key), MaxKey)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil { // its words name no secret: they speak of PEM types and of keys that do not match
		return Leaf{}, fmt.Errorf("is no certificate chain with its key in PEM (%s); create the Secret with: kubectl create secret tls", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := servable(pair.Leaf); err != nil {
		return Leaf{}, err
	}
	leaf := Leaf{NotAfter: pair.Leaf.NotAfter.UTC()}
	for _, name := range pair.Leaf.DNSNames {
		if name = strings.ToLower(name); Hostname(name, true) == nil {
			leaf.Hosts = append(leaf.Hosts, name)
		}
	}
	if len(leaf.Hosts) == 0 {
		return Leaf{}, errors.New("the certificate is for no host name, and clients look at those alone; have it issued with subject alternative names of type DNS")
	}
	slices.Sort(leaf.Hosts)
	leaf.Hosts = slices.Compact(leaf.Hosts)
	return leaf, nil
}

func servable(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("its RSA key has %d bits, gateways take none below 2048; have it issued with another key", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return fmt.Errorf("its key is on the curve %s, gateways take P-256, P-384 and P-521; have it issued with another key", k.Curve.Params().Name)
		}
	default:
		return fmt.Errorf("its key is %s, gateways take RSA and ECDSA; have it issued with another key", c.PublicKeyAlgorithm)
	}
	return nil
}
