package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
)

// authority signs certificates for one test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) sign(t *testing.T, cert *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert.SerialNumber, cert.NotAfter = big.NewInt(2), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// With mutual TLS the record of an order names whom the certificate names, and
// without a certificate nobody is let in.
func TestMutualTLSNamesTheOperator(t *testing.T) {
	ca := newAuthority(t)
	spiffe, err := url.Parse("spiffe://meridian.example/ops/kim")
	if err != nil {
		t.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	d := open(t, func(c *Config) {
		c.Listener = lis
		c.Creds = credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{ca.sign(t, &x509.Certificate{DNSNames: []string{"admin"}})},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
		})
	})
	d.Update(d.keeper.plan())
	drain := func(region string, certs ...tls.Certificate) (*adminv1.DrainResponse, error) {
		conn, err := grpc.NewClient("passthrough:///admin",
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.pool, ServerName: "admin", Certificates: certs})),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return adminv1.NewAdminClient(conn).Drain(t.Context(), &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: region, By: "somebody else"})
	}
	if got, err := drain("eu", ca.sign(t, &x509.Certificate{URIs: []*url.URL{spiffe}, Subject: pkix.Name{CommonName: "kim"}})); err != nil || got.Drain.By != spiffe.String() {
		t.Errorf("with a URI: %v, %v", got, err)
	}
	if got, err := drain("us", ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "robin"}})); err != nil || got.Drain.By != "robin" {
		t.Errorf("with a common name: %v, %v", got, err)
	}
	_, err = drain("ap")
	wantCode(t, "without a certificate", err, codes.Unavailable)
	_, err = drain("ap", newAuthority(t).sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mallory"}}))
	wantCode(t, "with a stranger's certificate", err, codes.Unavailable)
	if n := len(d.keeper.orders()); n != 2 {
		t.Errorf("%d orders were taken, want 2", n)
	}
}
