package install

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// The Secrets that identities lie in.
const (
	SecretAuthority = "meridian-ca"               // ca.crt, which everybody trusts, and ca.key, which issues
	SecretControl   = "meridiand-identity"        // of each daemon, by its pod's name
	SecretGateway   = "meridian-gateway-identity" // of the region's gateways
	SecretOperator  = "meridian-operator-identity"
)

const (
	authorityKey = "ca.key"
	// gatewayName is what the certificate of a region's gateways calls them.
	gatewayName = "gateways"
	// people stand in no region.
	people fleet.Region = "global"
)

// identities are the Secrets as they should be, made from those that are there.
type identities struct {
	settings  Settings
	namespace string
	now       time.Time
	found     map[string]*corev1.Secret // by name; those that are not there are missing
	authority *trust.Authority
	bundle    []byte
}

// secrets returns the Secrets of an installation. What is there and in order is
// kept, so that a second run changes nothing; what has expired, or has less than a
// third of its life before it, is issued anew.
func (i *identities) secrets() ([]*unstructured.Unstructured, error) {
	authority, err := i.openAuthority()
	if err != nil {
		return nil, err
	}
	control := map[string][]byte{trust.BundleFile: i.bundle}
	for n := range i.settings.Replicas {
		pod := fmt.Sprintf("meridiand-%d", n)
		who := i.settings.identity(trust.Control, i.settings.Region, i.settings.prefix()+"."+pod)
		old := i.kept(SecretControl, pod+".crt", pod+".key")
		p, err := i.issue(old, who)
		if err != nil {
			return nil, err
		}
		control[pod+".crt"], control[pod+".key"] = p.Certificate, p.Key
	}
	out := []*unstructured.Unstructured{authority, i.secret(SecretControl, corev1.SecretTypeOpaque, control)}
	for name, who := range map[string]trust.Identity{
		SecretGateway:  i.settings.identity(trust.Gateway, i.settings.Region, gatewayName),
		SecretOperator: i.settings.identity(trust.Operator, people, "admin"),
	} {
		p, err := i.issue(i.kept(name, trust.CertificateFile, trust.KeyFile), who)
		if err != nil {
			return nil, err
		}
		out = append(out, i.secret(name, corev1.SecretTypeTLS, map[string][]byte{
			trust.CertificateFile: p.Certificate, trust.KeyFile: p.Key, trust.BundleFile: i.bundle,
		}))
	}
	sortObjects(out)
	return out, nil
}

// openAuthority takes the authority that is there, or the one that the settings
// bring, or makes one. It settles the trust domain.
func (i *identities) openAuthority() (*unstructured.Unstructured, error) {
	data := map[string][]byte{}
	shared := i.settings.Authority
	if s := i.found[SecretAuthority]; s != nil {
		data = s.Data
	}
	if len(shared.Certificate) > 0 {
		if len(data[trust.BundleFile]) > 0 && !overlap(data[trust.BundleFile], shared.Certificate) {
			return nil, fmt.Errorf("the authority in Secret %s/%s is another than the one to share, so what it certified would be a stranger there; leave --share-with out to keep it, or take this installation away with \"meridian uninstall\" and begin anew", i.namespace, SecretAuthority)
		}
		data = map[string][]byte{trust.BundleFile: shared.Certificate, authorityKey: shared.Key}
	}
	var err error
	if len(data[trust.BundleFile]) == 0 {
		for _, n := range []string{SecretControl, SecretGateway} {
			if i.found[n] != nil { // whoever made it
				return nil, fmt.Errorf("the authority in Secret %s/%s is not there, and certificates of an authority are in force; %s", i.namespace, SecretAuthority, lostAuthority)
			}
		}
		i.settings.TrustDomain = cmp.Or(i.settings.TrustDomain, DefaultTrustDomain)
		if i.authority, err = trust.NewAuthority(i.settings.TrustDomain); err != nil {
			return nil, err
		}
		key, err := i.authority.Key()
		if err != nil {
			return nil, err
		}
		data = map[string][]byte{trust.BundleFile: i.authority.Bundle(), authorityKey: key}
	} else if i.authority, err = trust.LoadAuthority(data[trust.BundleFile], data[authorityKey]); err != nil {
		return nil, fmt.Errorf("the authority in Secret %s/%s: %w", i.namespace, SecretAuthority, err)
	}
	i.settings.TrustDomain = cmp.Or(i.settings.TrustDomain, i.authority.Domain())
	if i.authority.Domain() != i.settings.TrustDomain {
		return nil, fmt.Errorf("the authority in Secret %s/%s is of the trust domain %s and cannot certify for %s: every identity would be a stranger to the daemons and gateways that run, and to other regions; leave --trust-domain out, or take the installation away with \"meridian uninstall\" and begin anew",
			i.namespace, SecretAuthority, i.authority.Domain(), i.settings.TrustDomain)
	}
	i.bundle = data[trust.BundleFile]
	return i.secret(SecretAuthority, corev1.SecretTypeOpaque, map[string][]byte{trust.BundleFile: data[trust.BundleFile], authorityKey: data[authorityKey]}), nil
}

// overlap reports whether two bundles have a certificate in common.
func overlap(a, b []byte) bool {
	for block, rest := pem.Decode(a); block != nil; block, rest = pem.Decode(rest) {
		for other, rest := pem.Decode(b); other != nil; other, rest = pem.Decode(rest) {
			if bytes.Equal(block.Bytes, other.Bytes) {
				return true
			}
		}
	}
	return false
}

// kept is an identity that a Secret holds; zero when it does not.
func (i *identities) kept(secret, cert, key string) trust.PEM {
	s := i.found[secret]
	if s == nil {
		return trust.PEM{}
	}
	return trust.PEM{Certificate: s.Data[cert], Key: s.Data[key], Bundle: i.bundle}
}

func (i *identities) issue(old trust.PEM, who trust.Identity) (trust.PEM, error) {
	if len(old.Certificate) > 0 {
		papers, err := trust.ParsePapers(old, i.now)
		if err == nil && papers.Identity() == who && !wantsRenewal(old.Certificate, i.now) {
			return old, nil
		}
	}
	p, err := i.authority.Issue(trust.Request{Identity: who, Lifetime: i.settings.CertificateLifetime, Now: i.now})
	if err != nil {
		return trust.PEM{}, fmt.Errorf("issuing a certificate for %s: %w", who, err)
	}
	return p, nil
}

// wantsRenewal reports whether a certificate has less than a third of its life left.
func wantsRenewal(cert []byte, now time.Time) bool {
	c, err := leaf(cert)
	return err != nil || now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore)/3))
}

// leaf reads the first certificate of PEM.
func leaf(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(bytes.TrimSpace(b))
	if block == nil {
		return nil, errors.New("it holds no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func (i *identities) secret(name string, of corev1.SecretType, data map[string][]byte) *unstructured.Unstructured {
	return identitySecret(i.namespace, name, of, data)
}

// identitySecret is a Secret of this package's making, as its labels say.
func identitySecret(namespace, name string, of corev1.SecretType, data map[string][]byte) *unstructured.Unstructured {
	return object(corev1.SchemeGroupVersion.WithKind("Secret"), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{labelPartOf: manager, labelManagedBy: manager}},
		Type:       of, Data: data,
	})
}

// made reports whether this package made an object, as its labels say.
func made(o metav1.Object) bool {
	l := o.GetLabels()
	return l[labelPartOf] == manager && l[labelManagedBy] == manager
}

// existing reads the Secrets that are there.
func (r *Reach) existing(ctx context.Context, namespace string, names ...string) (map[string]*corev1.Secret, error) {
	found := map[string]*corev1.Secret{}
	for _, n := range names {
		s, err := r.kube.CoreV1().Secrets(namespace).Get(ctx, n, metav1.GetOptions{})
		switch {
		case err == nil:
			found[n] = s
		case !apierrors.IsNotFound(err):
			return nil, r.explain("reading Secret "+namespace+"/"+n, err)
		}
	}
	return found, nil
}

// Authority reads the authority of the installation in a cluster.
func (r *Reach) Authority(ctx context.Context, namespace string) (trust.PEM, error) {
	found, err := r.existing(ctx, namespace, SecretAuthority)
	if err != nil {
		return trust.PEM{}, err
	}
	s := found[SecretAuthority]
	if s == nil {
		return trust.PEM{}, fmt.Errorf("%s has no Secret %s/%s, so it hosts no installation; run \"meridian init --context %s\" first", r.Name, namespace, SecretAuthority, r.Name)
	}
	return trust.PEM{Certificate: s.Data[trust.BundleFile], Key: s.Data[authorityKey]}, nil
}
