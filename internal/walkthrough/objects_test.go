//go:build e2e

package walkthrough

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// What an operator writes.
const (
	host    = "www.shop.example.com"
	service = `apiVersion: v1
kind: Service
metadata: {name: whereami, labels: {meridian.dev/federate: "true"}}
spec:
  selector: {app: whereami}
  ports: [{name: http, port: 80, targetPort: 8080}]
`
	ingress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  ingressClassName: meridian
  tls: [{hosts: [secure.shop.example.com], secretName: secure}]
  defaultBackend: {service: {name: whereami, port: {number: 80}}}
  rules:
  - host: www.shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
  - host: paths.shop.example.com
    http:
      paths:
      - {path: /exact, pathType: Exact, backend: {service: {name: whereami, port: {name: http}}}}
      - {path: /prefix, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
      - {path: /own, pathType: ImplementationSpecific, backend: {service: {name: whereami, port: {number: 80}}}}
      - {path: /nobody, pathType: Prefix, backend: {service: {name: nobody, port: {number: 80}}}}
  - host: "*.wild.shop.example.com"
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
  - host: secure.shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: whereami, port: {number: 80}}}}
`
	// elder is there before the shop's Ingress, and wants its host later.
	elder = `{apiVersion: v1, kind: Namespace, metadata: {name: elders}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: elder, namespace: elders}
spec:
  ingressClassName: meridian
  rules:
  - host: elder.shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: evil, port: {number: 80}}}}]}
`
	greedy = `[{"op": "add", "path": "/spec/rules/-", "value": {"host": "www.shop.example.com",
"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "evil", "port": {"number": 80}}}}]}}}]`
)

func deployment(replicas int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: whereami}
spec:
  replicas: %d
  selector: {matchLabels: {app: whereami}}
  template:
    metadata: {labels: {app: whereami}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: whereami
        image: whereami
        args: ["--drain=3s"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`, replicas)
}

// tlsSecret is a certificate for a host, signed by an authority that users trust.
func tlsSecret(t *testing.T, name, host string) (yaml string, pool *x509.CertPool) {
	t.Helper()
	newKey := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pool = x509.NewCertPool()
	pool.AddCert(ca)
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n",
		name, encode("CERTIFICATE", der), encode("PRIVATE KEY", private)), pool
}
