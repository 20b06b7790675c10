package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"time"
)

const (
	// Skew is how far the clocks of two machines may differ: a certificate is
	// valid from this long before it was issued.
	Skew = 5 * time.Minute
	// AuthorityLifetime is how long a new authority is good for.
	AuthorityLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime is that of a certificate for which nobody says otherwise.
	DefaultLifetime = 90 * 24 * time.Hour
)

// Authority issues certificates for the identities of one trust domain.
type Authority struct {
	domain string
	cert   *x509.Certificate
	key    crypto.Signer
}

// Request is what a certificate is asked for.
type Request struct {
	Identity Identity
	DNSNames []string     // beside the identity, for clients that know host names only; Meridian's own never look at them
	IPs      []netip.Addr // likewise
	Lifetime time.Duration
	Now      time.Time // of issue; zero means the clock's
}

// NewAuthority makes an authority for a domain. Its certificate permits it to
// name identities of that domain and no other, wherever it is trusted.
func NewAuthority(domain string) (*Authority, error) {
	if err := CheckDomain(domain); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("writing the authority's public key: %w", err)
	}
	// Authorities of one domain differ in their names, so that old and new are
	// told apart in a bundle and in a listing.
	sum := sha256.Sum256(public)
	now := time.Now()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Meridian"}, CommonName: "Meridian authority " + hex.EncodeToString(sum[:4])},
		URIs:         []*url.URL{{Scheme: "spiffe", Host: domain}},
		NotBefore:    now.Add(-Skew),
		NotAfter:     now.Add(AuthorityLifetime),
		KeyUsage:     x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:         true, MaxPathLenZero: true, BasicConstraintsValid: true,
		PermittedURIDomains: []string{domain}, PermittedDNSDomainsCritical: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the authority's own certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's own certificate: %w", err)
	}
	return &Authority{domain: domain, cert: cert, key: key}, nil
}

// LoadAuthority reads what PEM wrote. The authority is the first certificate; a
// bundle may follow with others that are trusted beside it.
func LoadAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	cert := certs[0]
	block, _ := pem.Decode(keyPEM)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("the authority's key is not a PKCS #8 private key in PEM; give the ca.key of \"meridian certs init\"")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the authority's key does not belong to its certificate; give the ca.crt and ca.key that were made together")
	}
	if !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" || CheckDomain(cert.URIs[0].Host) != nil {
		return nil, errors.New("the certificate is not that of an authority of Meridian; make one with \"meridian certs init\"")
	}
	return &Authority{domain: cert.URIs[0].Host, cert: cert, key: key}, nil
}

// Domain is the trust domain whose identities it names.
func (a *Authority) Domain() string { return a.domain }

// NotAfter is when nothing that it issued is good any longer.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Bundle is the authority's certificate in PEM, for those who are to trust it.
func (a *Authority) Bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Key is the authority's secret in PEM.
func (a *Authority) Key() ([]byte, error) { return keyPEM(a.key) }

// Issue makes a new key and a certificate for it. The bundle of what it returns
// is the authority alone.
func (a *Authority) Issue(r Request) (PEM, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return PEM{}, fmt.Errorf("making a key: %w", err)
	}
	cert, err := a.certify(key.Public(), r)
	if err != nil {
		return PEM{}, err
	}
	secret, err := keyPEM(key)
	if err != nil {
		return PEM{}, err
	}
	return PEM{Certificate: cert, Key: secret, Bundle: a.Bundle()}, nil
}

// Sign makes a certificate for the key of a certificate request (PKCS #10, PEM),
// so that the key need not travel. Nothing else is taken from the request: who
// the certificate is for is what the caller has found out.
func (a *Authority) Sign(csr []byte, r Request) ([]byte, error) {
	if len(csr) > maxFile {
		return nil, fmt.Errorf("the certificate request has %d bytes, and at most %d are read", len(csr), maxFile)
	}
	block, _ := pem.Decode(csr)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("the certificate request is not one in PEM")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate request: %w", err)
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request does not prove that its sender holds the key: %w", err)
	}
	key, ok := parsed.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request is for a key that is not ECDSA P-256; make one with that")
	}
	return a.certify(key, r)
}

func (a *Authority) certify(key crypto.PublicKey, r Request) ([]byte, error) {
	if err := r.Identity.Check(); err != nil {
		return nil, err
	}
	if r.Identity.Domain != a.domain {
		return nil, fmt.Errorf("the authority is of %s and issues nothing for %s", a.domain, r.Identity.Domain)
	}
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	now := r.Now
	if now.IsZero() {
		now = time.Now()
	}
	notAfter := now.Add(r.Lifetime)
	if notAfter.After(a.cert.NotAfter) {
		notAfter = a.cert.NotAfter
	}
	if !notAfter.After(now) {
		return nil, errors.New("the certificate would have expired when it is issued; give it a longer lifetime, or make a new authority if that one has expired")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		URIs:         []*url.URL{r.Identity.url()},
		DNSNames:     r.DNSNames,
		NotBefore:    now.Add(-Skew),
		NotAfter:     notAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},

		BasicConstraintsValid: true,
	}
	for _, ip := range r.IPs {
		template.IPAddresses = append(template.IPAddresses, net.IP(ip.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate for %s: %w", r.Identity, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("writing a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
