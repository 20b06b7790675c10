package k8s

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// CertificateName names the certificate that a Secret holds.
func CertificateName(namespace, secret string) fleet.CertificateName {
	return fleet.CertificateName(namespace + "/" + secret)
}

// Certificate makes a certificate of a Secret of type kubernetes.io/tls. Secrets
// of other types are nobody's fault and nothing to us: nil without a problem.
func Certificate(s *corev1.Secret, origin fleet.Origin) (*fleet.Certificate, []fleet.Problem) {
	if s.Type != corev1.SecretTypeTLS {
		return nil, nil
	}
	f := &field.Faults{About: origin}
	if err := field.Label(s.Namespace); err != nil {
		f.Add("metadata.namespace", "%v", err)
	}
	if err := field.Subdomain(s.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	}
	c := &fleet.Certificate{
		Name:   CertificateName(s.Namespace, s.Name),
		Chain:  s.Data[corev1.TLSCertKey],
		Key:    s.Data[corev1.TLSPrivateKeyKey],
		Origin: origin,
	}
	leaf, err := field.KeyPair(c.Chain, c.Key)
	if err != nil {
		f.AddReason("InvalidCertificate", "data", "%v", err)
	}
	if f.Count() > 0 {
		return nil, f.Problems()
	}
	c.Hosts, c.NotAfter = leaf.Hosts, leaf.NotAfter
	return c, nil
}
