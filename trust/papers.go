package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The names of the files in an identity's directory, which are those of a
// kubernetes.io/tls Secret.
const (
	CertificateFile = "tls.crt"
	KeyFile         = "tls.key"
	BundleFile      = "ca.crt"
)

const (
	maxFile  = 1 << 20 // bytes
	maxCerts = 64      // in one file
)

// PEM is an identity's three files.
type PEM struct {
	Certificate []byte // the leaf first, then what leads to the authority
	Key         []byte
	Bundle      []byte // every authority that is trusted: while one is replaced, old and new
}

// Papers are what somebody proves an identity with, and by which it judges those
// of others. They are immutable and in order: the key belongs to the
// certificate, which is valid, says one identity and leads to the bundle.
type Papers struct {
	identity Identity
	own      *tls.Certificate // nil: of one who only judges others
	roots    *x509.CertPool
	notAfter time.Time
	sum      [sha256.Size]byte // of the files
}

// ParsePapers checks what files say, as of now.
func ParsePapers(p PEM, now time.Time) (*Papers, error) {
	roots, err := parseBundle(p.Bundle)
	if err != nil {
		return nil, err
	}
	chain, err := parseCertificates(p.Certificate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", CertificateFile, err)
	}
	leaf := chain[0]
	own, err := tls.X509KeyPair(p.Certificate, p.Key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s do not belong together: %w", CertificateFile, KeyFile, err)
	}
	own.Leaf = leaf
	switch {
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("%s expired %s; issue a new one", CertificateFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("%s is valid only from %s; set this machine's clock", CertificateFile, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	identity, err := judge(chain, roots, now, x509.ExtKeyUsageClientAuth)
	if err == nil {
		_, err = judge(chain, roots, now, x509.ExtKeyUsageServerAuth)
	}
	if err != nil {
		return nil, fmt.Errorf("%s does not stand before its own %s: %w", CertificateFile, BundleFile, err)
	}
	return &Papers{identity: identity, own: &own, roots: roots, notAfter: leaf.NotAfter, sum: p.sum()}, nil
}

// ParseBundle makes papers that prove nothing: they only judge those of others.
func ParseBundle(bundle []byte) (*Papers, error) {
	roots, err := parseBundle(bundle)
	if err != nil {
		return nil, err
	}
	return &Papers{roots: roots}, nil
}

// ReadPapers reads and checks a directory.
func ReadPapers(dir string) (*Papers, error) {
	p, err := ReadPEM(dir)
	if err != nil {
		return nil, err
	}
	papers, err := ParsePapers(p, time.Now())
	if err != nil {
		return nil, fmt.Errorf("the identity in %s is not in order: %w", dir, err)
	}
	return papers, nil
}

// ReadPEM reads the files of a directory without checking them. Where the
// directory is swapped by a link, as a Secret's mount is, all come from one side.
func ReadPEM(dir string) (PEM, error) {
	from := dir
	if target, err := filepath.EvalSymlinks(filepath.Join(dir, dataLink)); err == nil {
		from = target
	}
	var p PEM
	for _, f := range []struct {
		name string
		into *[]byte
	}{{CertificateFile, &p.Certificate}, {KeyFile, &p.Key}, {BundleFile, &p.Bundle}} {
		b, err := readFile(filepath.Join(from, f.name))
		if err != nil {
			return PEM{}, fmt.Errorf("an identity's directory holds %s, %s and %s: %w", CertificateFile, KeyFile, BundleFile, err)
		}
		*f.into = b
	}
	return p, nil
}

// Identity is who the papers are of; zero for those that only judge.
func (p *Papers) Identity() Identity { return p.identity }

// NotAfter is when they expire; zero for those that only judge.
func (p *Papers) NotAfter() time.Time { return p.notAfter }

// Current makes papers a Source that never changes.
func (p *Papers) Current() *Papers { return p }

func (p PEM) sum() [sha256.Size]byte {
	return sha256.Sum256(bytes.Join([][]byte{p.Certificate, p.Key, p.Bundle}, []byte{0}))
}

// judge verifies a chain, its leaf first, and says who it is about.
func judge(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, usage x509.ExtKeyUsage) (Identity, error) {
	if len(chain) == 0 {
		return Identity{}, errors.New("no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return Identity{}, err
	}
	return IdentityOf(chain[0])
}

func parseBundle(b []byte) (*x509.CertPool, error) {
	list, err := parseCertificates(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", BundleFile, err)
	}
	pool := x509.NewCertPool()
	for _, c := range list {
		if !c.IsCA {
			return nil, fmt.Errorf("%s holds a certificate of %q that is no authority's; leave it out", BundleFile, c.Subject)
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// parseCertificates reads PEM certificates; at least one.
func parseCertificates(b []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %.40q among certificates; leave it out", block.Type)
		}
		if len(list) == maxCerts {
			return nil, fmt.Errorf("it holds more than %d certificates", maxCerts)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("its certificate %d cannot be read: %w", len(list)+1, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return list, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, nil
}
