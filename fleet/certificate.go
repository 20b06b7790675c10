package fleet

import "time"

// CertificateName names a certificate by the Secret that holds it: "namespace/name".
type CertificateName string

// Certificate is what hosts are served with over TLS: a chain and its key, as a
// Secret of type kubernetes.io/tls holds them. The key belongs to the chain's
// first certificate. It is a secret: it is never shown, logged or explained.
type Certificate struct {
	Name     CertificateName
	Chain    []byte    // PEM, the host's own certificate first
	Key      []byte    // PEM
	Hosts    []string  // names that the host's own certificate is for; lower case, sorted, "*.example.com" for one label more
	NotAfter time.Time // of the host's own certificate
	Origin   Origin
}

// Kind says what the value is.
func (*Certificate) Kind() Kind { return KindCertificate }

// String says which certificate it is and nothing of what it holds.
func (c *Certificate) String() string { return "certificate " + string(c.Name) }

// GoString keeps the key out of what is printed for debugging.
func (c *Certificate) GoString() string { return c.String() }

// Covers reports whether the certificate is for a host of routes: by that very
// name, or by a wildcard of one label (RFC 6125 §6.4.3). It is for "", every
// host, since whoever names none has to be given something.
func (c *Certificate) Covers(host string) bool {
	for _, name := range c.Hosts {
		if host == "" || name == host || wildcardOf(host) == name {
			return true
		}
	}
	return false
}
