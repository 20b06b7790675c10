package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/render"
)

// hostCA signs certificates for hosts.
type hostCA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
	next int64
}

func newHostCA(t *testing.T) *hostCA {
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
	a := &hostCA{key: key, pool: x509.NewCertPool(), next: 2}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue makes a certificate for hosts; each has a serial number of its own.
func (a *hostCA) issue(t *testing.T, name fleet.CertificateName, hosts ...string) *fleet.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(a.next), DNSNames: hosts, NotAfter: time.Now().Add(time.Hour)}
	a.next++
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &fleet.Certificate{
		Name: name, Hosts: hosts, NotAfter: template.NotAfter,
		Chain: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// visitor asks an Envoy for hosts over TLS as a browser does: the host's name is
// asked for and must be in the certificate.
type visitor struct {
	to   netip.AddrPort
	pool *x509.CertPool
	http http.RoundTripper
}

func newVisitor(t *testing.T, s *site, a *hostCA, keep bool) *visitor {
	t.Helper()
	v := &visitor{to: netip.AddrPortFrom(s.view.Bind, s.view.HTTPSPort), pool: a.pool}
	tr := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: a.pool},
		ForceAttemptHTTP2: true, DisableKeepAlives: !keep,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", v.to.String())
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	v.http = tr
	return v
}

// visit returns the status, what was said and the serial number of the certificate.
func (v *visitor) visit(ctx context.Context, host string) (status int, proto, body string, serial int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", http.NoBody)
	if err != nil {
		return 0, "", "", 0, err
	}
	resp, err := v.http.RoundTrip(req)
	if err != nil {
		return 0, "", "", 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Proto, string(raw), resp.TLS.PeerCertificates[0].SerialNumber.Int64(), err
}

// Hosts are served over TLS by a real Envoy, each with its certificate, in every
// region; a certificate is replaced under load and nobody notices.
func TestHostsOverTLS(t *testing.T) {
	ca := newHostCA(t)
	http80 := fleet.Port{Name: "http", Number: 80}
	services := []*fleet.Service{
		service("web", http80, []*pod{newPod(t, "web-near-0", nil)}, nil),
		service("rest", http80, []*pod{newPod(t, "rest-near-0", nil)}, nil),
	}
	host := func(name, svc string, c fleet.CertificateName) fleet.Host {
		return fleet.Host{Name: name, Certificate: c, Routes: []fleet.Route{
			{Host: name, Match: fleet.Match{Path: "/"}, To: []fleet.Target{to(svc, 80, 1)}, Certificate: c},
		}}
	}
	routes := &fleet.Routes{Hosts: []fleet.Host{
		host("", "rest", "shop/rest"),
		host("*.wild.example", "web", "shop/wild"),
		host("plain.example", "web", ""),
		host("web.example", "web", "shop/web"),
	}}
	h := newHouse(t, services, routes)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got := strings.TrimSpace(h.near.get(t, "/listeners")); strings.Contains(got, render.SecureName) {
		t.Fatalf("without a certificate there is a listener for TLS: %s", got)
	}
	h.snapshot.Certificates = map[fleet.CertificateName]*fleet.Certificate{
		"shop/web":  ca.issue(t, "shop/web", "web.example"),
		"shop/wild": ca.issue(t, "shop/wild", "*.wild.example"),
		"shop/rest": ca.issue(t, "shop/rest", "else.example"),
	}
	h.publish(t)

	for _, s := range []*site{h.near, h.far} {
		v := newVisitor(t, s, ca, false)
		eventually(t, func() error {
			status, proto, body, _, err := v.visit(ctx, "web.example")
			if err == nil && (status != http.StatusOK || proto != "HTTP/2.0" || !strings.Contains(body, "web-near-0")) {
				err = fmt.Errorf("%s: %d by %s: %s", s.view.Region, status, proto, body)
			}
			return err
		})
		if status, _, body, _, err := v.visit(ctx, "a.wild.example"); err != nil || status != http.StatusOK || !strings.Contains(body, "web-near-0") {
			t.Errorf("%s: wildcard: %d %s %v", s.view.Region, status, body, err)
		}
		if status, _, body, _, err := v.visit(ctx, "else.example"); err != nil || status != http.StatusOK || !strings.Contains(body, "rest-near-0") {
			t.Errorf("%s: every host: %d %s %v", s.view.Region, status, body, err)
		}
		if _, _, _, _, err := v.visit(ctx, "plain.example"); err == nil || !strings.Contains(err.Error(), "certificate is valid for else.example") {
			t.Errorf("%s: a host without a certificate: %v, want that of every host", s.view.Region, err)
		}
	}
	h.replaceUnderLoad(t, ctx, ca)
	h.accepted(t)
}

// replaceUnderLoad gives the host a new certificate while it is visited, by
// connections that are kept and by new ones.
func (h *house) replaceUnderLoad(t *testing.T, ctx context.Context, ca *hostCA) {
	t.Helper()
	var visits, failed atomic.Int64
	var first sync.Once
	var wg sync.WaitGroup
	loaded, stop := context.WithCancel(ctx)
	for i := range 8 {
		v := newVisitor(t, h.near, ca, i%2 == 0)
		wg.Go(func() {
			for loaded.Err() == nil {
				status, _, body, _, err := v.visit(ctx, "web.example")
				visits.Add(1)
				if err != nil || status != http.StatusOK {
					failed.Add(1)
					first.Do(func() { t.Logf("first failure: %d %s %v", status, body, err) })
				}
			}
		})
	}
	replaced := map[fleet.CertificateName]*fleet.Certificate{}
	for n, c := range h.snapshot.Certificates {
		replaced[n] = c
	}
	replaced["shop/web"] = ca.issue(t, "shop/web", "web.example")
	want := ca.next - 1
	h.snapshot.Certificates = replaced
	h.publish(t)
	v := newVisitor(t, h.near, ca, false)
	eventually(t, func() error {
		_, _, _, serial, err := v.visit(ctx, "web.example")
		if err == nil && serial != want {
			err = fmt.Errorf("certificate %d is still served, want %d", serial, want)
		}
		return err
	})
	before := visits.Load()
	eventually(t, func() error {
		if n := visits.Load() - before; n < 200 {
			return fmt.Errorf("%d visits since", n)
		}
		return nil
	})
	stop()
	wg.Wait()
	t.Logf("%d visits while the certificate was replaced, %d failed", visits.Load(), failed.Load())
	if failed.Load() > 0 {
		t.Errorf("%d of %d visits failed", failed.Load(), visits.Load())
	}
}
