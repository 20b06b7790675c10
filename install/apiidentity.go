package install

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/meridian-lb/meridian/trust"
)

// The Secrets of a dedicated API. Its authority is one of its own: an API server tells
// people apart by common name and organization, of which Meridian's identities have none.
const (
	SecretAPIAuthority = "meridian-api-ca"     // ca.crt and ca.key, which makes anybody its administrator
	SecretAPI          = "meridian-api"        // of the API server itself, and the key of its tokens
	SecretAPIClient    = "meridian-api-client" // of the daemons
	SecretAPIAdmin     = "meridian-api-admin"  // of whoever installs
)

// apiSecretNames are all of them.
func apiSecretNames() []string {
	return []string{SecretAPIAuthority, SecretAPI, SecretAPIClient, SecretAPIAdmin}
}

const tokensKey = "tokens.key"

// How long its certificates are good for. What is copied into kubeconfigs
// is not renewed there, so they last.
const (
	apiAuthorityLife = 10 * 365 * 24 * time.Hour
	apiLife          = 3 * 365 * 24 * time.Hour
)

const apiName = "meridian-api"

// apiServerName is the name by which everybody knows a dedicated API, whatever its
// address.
func apiServerName(namespace string) string { return apiName + "." + namespace + ".svc" }

// apiPort is where it listens, by its Service too.
const apiPort = 6443

// signer is the authority of a dedicated API.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	now  time.Time
}

// apiSecrets are the Secrets of a dedicated API. What is there and in order is kept, so
// that a second run changes nothing; what has less than a third of its life before it is
// issued anew.
func (i *identities) apiSecrets() ([]*unstructured.Unstructured, error) {
	s, authority, err := i.apiAuthority()
	if err != nil {
		return nil, err
	}
	name := apiServerName(i.namespace)
	server, err := i.apiPair(s, SecretAPI, &x509.Certificate{
		Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{apiName, apiName + "." + i.namespace, name, name + ".cluster.local", "localhost", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1).To4()},
	})
	if err != nil {
		return nil, err
	}
	if old := i.found[SecretAPI]; old != nil && len(old.Data[tokensKey]) > 0 {
		server[tokensKey] = old.Data[tokensKey] // tokens of ServiceAccounts stay good
	} else if server[tokensKey], err = newKeyPEM(); err != nil {
		return nil, err
	}
	out := []*unstructured.Unstructured{authority, i.secret(SecretAPI, corev1.SecretTypeOpaque, server)}
	for secret, who := range map[string]struct {
		subject pkix.Name
		server  string
	}{
		SecretAPIClient: {pkix.Name{CommonName: daemonUser(i.namespace), Organization: []string{"system:serviceaccounts", "system:serviceaccounts:" + i.namespace}}, name},
		SecretAPIAdmin:  {pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, "localhost"},
	} {
		data, err := i.apiPair(s, secret, &x509.Certificate{Subject: who.subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return nil, err
		}
		if data[kubeconfigKey], err = apiKubeconfig(fmt.Sprintf("https://%s:%d", who.server, apiPort)); err != nil {
			return nil, err
		}
		out = append(out, i.secret(secret, corev1.SecretTypeOpaque, data))
	}
	sortObjects(out)
	return out, nil
}

// apiAuthority takes the authority that is there, or makes one.
func (i *identities) apiAuthority() (*signer, *unstructured.Unstructured, error) {
	s := &signer{now: i.now}
	var keyPEM []byte
	if old := i.found[SecretAPIAuthority]; old != nil {
		pair, err := parsePair(old.Data[trust.BundleFile], old.Data[authorityKey])
		if err != nil {
			return nil, nil, fmt.Errorf("the authority of the dedicated API in Secret %s/%s: %w; put it back from a backup, or delete it and the Secrets %s, %s and %s, which makes a new one and has everybody fetch new credentials", i.namespace, SecretAPIAuthority, err, SecretAPI, SecretAPIClient, SecretAPIAdmin)
		}
		s.cert, s.key, s.pem, keyPEM = pair.cert, pair.key, old.Data[trust.BundleFile], old.Data[authorityKey]
	} else {
		if i.found[SecretAPI] != nil {
			return nil, nil, fmt.Errorf("the authority of the dedicated API in Secret %s/%s is not there, and certificates of it are in force; put it back from a backup, or delete the Secrets %s, %s and %s too, which makes a new one and has everybody fetch new credentials", i.namespace, SecretAPIAuthority, SecretAPI, SecretAPIClient, SecretAPIAdmin)
		}
		var err error
		if keyPEM, err = newKeyPEM(); err != nil {
			return nil, nil, err
		}
		if s.key, err = parseKey(keyPEM); err != nil {
			return nil, nil, err
		}
		t := &x509.Certificate{Subject: pkix.Name{CommonName: "meridian-api"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, MaxPathLenZero: true}
		if s.cert, s.pem, err = s.sign(t, t, &s.key.PublicKey, apiAuthorityLife); err != nil {
			return nil, nil, err
		}
	}
	return s, i.secret(SecretAPIAuthority, corev1.SecretTypeOpaque, map[string][]byte{trust.BundleFile: s.pem, authorityKey: keyPEM}), nil
}

// apiPair is a certificate with its key and the authority, as a Secret holds them: the
// one that is there, if it says the same, was issued by the authority and lasts.
func (i *identities) apiPair(s *signer, secret string, t *x509.Certificate) (map[string][]byte, error) {
	if old := i.found[secret]; old != nil {
		pair, err := parsePair(old.Data[trust.CertificateFile], old.Data[trust.KeyFile])
		if err == nil && pair.cert.CheckSignatureFrom(s.cert) == nil && pair.cert.Subject.String() == t.Subject.String() &&
			slices.Equal(pair.cert.DNSNames, t.DNSNames) && !wantsRenewal(old.Data[trust.CertificateFile], i.now) {
			return map[string][]byte{trust.CertificateFile: old.Data[trust.CertificateFile], trust.KeyFile: old.Data[trust.KeyFile], trust.BundleFile: s.pem}, nil
		}
	}
	keyPEM, err := newKeyPEM()
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	_, cert, err := s.sign(t, s.cert, &key.PublicKey, apiLife)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{trust.CertificateFile: cert, trust.KeyFile: keyPEM, trust.BundleFile: s.pem}, nil
}

// sign issues a certificate, which does not outlive its issuer.
func (s *signer) sign(t, by *x509.Certificate, key *ecdsa.PublicKey, life time.Duration) (*x509.Certificate, []byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = serial, s.now.Add(-5*time.Minute), s.now.Add(life)
	if by != t && t.NotAfter.After(by.NotAfter) {
		t.NotAfter = by.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by, key, s.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate for %s: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// newKeyPEM makes a key in the one form from which Kubernetes takes the public half too.
func newKeyPEM() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), err
}

func parseKey(b []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("it holds no key in PEM")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

// keyPair is a certificate and the key that belongs to it.
type keyPair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func parsePair(cert, key []byte) (*keyPair, error) {
	c, err := leaf(cert)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	if !k.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("the key does not belong to the certificate")
	}
	return &keyPair{c, k}, nil
}

// apiKubeconfig leads to a dedicated API by certificates that lie beside it.
func apiKubeconfig(server string) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{contextName: {Server: server, CertificateAuthority: trust.BundleFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{contextName: {ClientCertificate: trust.CertificateFile, ClientKey: trust.KeyFile}},
		Contexts:       map[string]*clientcmdapi.Context{contextName: {Cluster: contextName, AuthInfo: contextName}},
		CurrentContext: contextName,
	})
}
