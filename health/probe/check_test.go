package probe

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meridian-lb/meridian/fleet"
)

const (
	soon  = 200 * time.Millisecond // timeout of probes that are going to need it
	ample = 5 * time.Second        // of those that are not
)

func target(addr net.Addr, kind fleet.CheckKind, timeout time.Duration) Target {
	return Target{Addr: addr.(*net.TCPAddr).AddrPort(), Check: saneCheck(fleet.Check{Kind: kind, Timeout: timeout})}
}

func probeOnce(t *testing.T, target Target) result {
	t.Helper()
	began := time.Now()
	r := (&checker{allowLoopback: true}).check(t.Context(), target)
	if took := time.Since(began); took > target.Check.Timeout+2*time.Second {
		t.Errorf("the probe took %v at a timeout of %v", took, target.Check.Timeout)
	}
	if (r.outcome == outcomeOK) != (r.rtt > 0) || (r.outcome == outcomeOK) != (r.err == "") {
		t.Errorf("contradicts itself: %+v", r)
	}
	return r
}

// wants compares an outcome and the beginning of its error.
func wants(t *testing.T, got result, o outcome, err string) {
	t.Helper()
	if got.outcome != o || !strings.HasPrefix(got.err, err) {
		t.Errorf("got %s %q, want %s %q", got.outcome, got.err, o, err)
	}
}

// listen serves each connection on loopback with a handler that has its own goroutine.
func listen(t *testing.T, handle func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr()
}

func TestHTTP(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var asked atomic.Pointer[http.Request]
	mux := http.NewServeMux()
	mux.HandleFunc(fleet.GatewayHealthPath, func(w http.ResponseWriter, r *http.Request) { asked.Store(r.Clone(context.Background())) })
	mux.HandleFunc("/204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/404", http.NotFound)
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) })
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(200) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("not all"))
	})
	s := httptest.NewServer(mux)
	defer s.Close()

	for _, tc := range []struct {
		path    string
		outcome outcome
		err     string
	}{
		{"", outcomeOK, ""},
		{"/204", outcomeOK, ""},
		{"/hints", outcomeOK, ""},
		{"/503", outcomeAnswer, "HTTP status 503"},
		{"/404", outcomeAnswer, "HTTP status 404"},
		{"/redirect", outcomeAnswer, "HTTP status 302, redirects are not followed"},
		{"/cut", outcomeAnswer, "HTTP answer cut short: connection closed"},
		{"no-slash", outcomeAnswer, `the check's path "no-slash" is not a path`},
		{"/a\r\nX: y", outcomeAnswer, "the check's path"},
		{"http://169.254.169.254/", outcomeAnswer, "the check's path"},
		{"//169.254.169.254/503", outcomeAnswer, "HTTP status 307"}, // a path of this server, which would clean it
	} {
		t.Run(tc.path, func(t *testing.T) {
			target := target(s.Listener.Addr(), fleet.CheckHTTP, ample)
			if tc.path != "" {
				target.Check.Path = tc.path
			}
			wants(t, probeOnce(t, target), tc.outcome, tc.err)
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}

	withHost := target(s.Listener.Addr(), fleet.CheckHTTP, ample)
	withHost.Check.Host = "shop.example"
	wants(t, probeOnce(t, withHost), outcomeOK, "")
	if r := asked.Load(); r.Host != "shop.example" || r.Method != "GET" || r.UserAgent() != "meridian-probe" {
		t.Errorf("asked %s %s as %q", r.Method, r.Host, r.UserAgent())
	}
}

func TestHTTPRawAnswers(t *testing.T) {
	answer := func(s string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, s)
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c)
		}
	}
	endless := func(head, more string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, head)
			for err := error(nil); err == nil; {
				_, err = io.WriteString(c, more)
			}
		}
	}
	drip := func(head string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, head)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for err := error(nil); err == nil; <-tick.C {
				_, err = io.WriteString(c, "x")
			}
		}
	}
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	block := strings.Repeat("x", 1<<16)
	for _, tc := range []struct {
		name    string
		serve   func(net.Conn)
		timeout time.Duration
		outcome outcome
		err     string
	}{
		{"until the connection closes", answer("HTTP/1.0 200 OK\r\n\r\nfine"), ample, outcomeOK, ""},
		{"half open: SYN answered, then nothing", silent, soon, outcomeTimeout, "no complete answer within 200ms"},
		{"a body of any size", endless("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n", block), ample, outcomeOK, ""},
		{"a chunked body without end", endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "10000\r\n"+block+"\r\n"), ample, outcomeOK, ""},
		{"a body that drips", drip("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), soon, outcomeTimeout, "no complete answer within 200ms"},
		{"a header that drips", drip("HTTP/1.1 200 OK\r\nX: "), soon, outcomeTimeout, "no complete answer within 200ms"},
		{"a header without end", endless("HTTP/1.1 200 OK\r\n", "X: "+strings.Repeat("x", 1000)+"\r\n"), ample, outcomeAnswer, "no HTTP answer"},
		{"hints without end", endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"), ample, outcomeAnswer, "HTTP status 103"},
		{"another protocol", answer("SSH-2.0-OpenSSH_9.6\r\n"), ample, outcomeAnswer, "no HTTP answer"},
		{"upgraded unasked", answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), ample, outcomeAnswer, "HTTP status 101"},
		{"closed at once", answer(""), ample, outcomeAnswer, "no HTTP answer: connection closed"},
		{"an error with a page of noise", answer("HTTP/1.1 200\x00\x1b[31m" + block), ample, outcomeAnswer, "no HTTP answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := probeOnce(t, target(listen(t, tc.serve), fleet.CheckHTTP, tc.timeout))
			wants(t, r, tc.outcome, tc.err)
			if len(r.err) > maxError || strings.ContainsAny(r.err, "\x00\x1b\r\n") {
				t.Errorf("error not fit to be told: %q", r.err)
			}
		})
	}
}

// Where nobody listens there is a refusal, and the RTT is of connecting alone.
func TestTCP(t *testing.T) {
	up := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	wants(t, probeOnce(t, target(up, fleet.CheckTCP, ample)), outcomeOK, "")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	wants(t, probeOnce(t, target(l.Addr(), fleet.CheckTCP, ample)), outcomeConnect, "connection refused")
	wants(t, probeOnce(t, target(l.Addr(), fleet.CheckGRPC, ample)), outcomeConnect, "connection refused")
	wants(t, probeOnce(t, target(up, "smoke", ample)), outcomeAnswer, `unknown kind of check "smoke"`)
}

func TestRTTIsOfTheNetworkAlone(t *testing.T) {
	const thinking = 300 * time.Millisecond
	slow := listen(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		<-time.After(thinking)
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
	})
	app := target(slow, fleet.CheckHTTP, ample)
	app.Check.Path = "/app"
	if r := probeOnce(t, app); r.outcome != outcomeOK || r.rtt >= thinking {
		t.Errorf("%+v: a server that thinks for %v is not that far away", r, thinking)
	}
	gateway := target(slow, fleet.CheckHTTP, ample)
	gateway.Check.Path = fleet.GatewayHealthPath
	if r := probeOnce(t, gateway); r.outcome != outcomeOK || r.rtt < thinking {
		t.Errorf("%+v: a gateway answers for itself at once, so %v is the way to it, behind whatever took the connection", r, thinking)
	}
}

func TestRefusedBeforeConnecting(t *testing.T) {
	var visits atomic.Int32
	addr := listen(t, func(net.Conn) { visits.Add(1) })
	strict := &checker{}
	wants(t, strict.check(t.Context(), target(addr, fleet.CheckTCP, ample)), outcomeRefused, "target refused: 127.0.0.1 is a loopback address")
	// The next connection is served after any that came before it.
	wants(t, probeOnce(t, target(addr, fleet.CheckHTTP, ample)), outcomeAnswer, "no HTTP answer")
	if n := visits.Load(); n != 1 {
		t.Errorf("%d connections, want only the allowed one", n)
	}
	meta := Target{Addr: netip.MustParseAddrPort("169.254.169.254:80"), Check: fleet.DefaultCheck()}
	wants(t, probeOnce(t, meta), outcomeRefused, "target refused: 169.254.169.254 is a link-local address")
}

func TestLocalAddr(t *testing.T) {
	from := make(chan string, 1)
	addr := listen(t, func(c net.Conn) { from <- c.RemoteAddr().(*net.TCPAddr).IP.String() })
	c := &checker{allowLoopback: true, local: netip.MustParseAddr("127.0.0.77")}
	wants(t, c.check(t.Context(), target(addr, fleet.CheckTCP, ample)), outcomeOK, "")
	if got := <-from; got != "127.0.0.77" {
		t.Errorf("came from %s", got)
	}
	c.local = netip.MustParseAddr("2001:db8::1") // of another family: not used
	wants(t, c.check(t.Context(), target(addr, fleet.CheckTCP, ample)), outcomeOK, "")
	c.local = netip.MustParseAddr("192.0.2.1") // not ours, which is not the target's fault
	wants(t, c.check(t.Context(), target(addr, fleet.CheckTCP, ample)), outcomeOwn, "this host cannot probe: ")
}

func TestOwnTrouble(t *testing.T) {
	loopback := netip.MustParseAddrPort("127.0.0.1:80")
	dial := func(e error) error { return fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: e}) }
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{syscall.EMFILE, true},
		{syscall.EADDRNOTAVAIL, true},
		{syscall.ECONNREFUSED, false},
		{syscall.ENETUNREACH, false}, // there is a route from here, so the network said so
		{syscall.EHOSTUNREACH, false},
		{errors.New("else"), false},
	} {
		if got := (&checker{}).own(dial(tc.err), loopback); got != tc.want {
			t.Errorf("%v: own trouble is %v, want %v", tc.err, got, tc.want)
		}
	}
	noRoute := &checker{local: netip.MustParseAddr("192.0.2.1")} // no such source here
	if !noRoute.own(dial(syscall.ENETUNREACH), loopback) {
		t.Error("without a way out the missing route is our own trouble")
	}
}

// certificate makes a self-signed one and the roots that trust it.
func certificate(t *testing.T, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

func TestHTTPS(t *testing.T) {
	fresh, roots := certificate(t, "shop.example", time.Now().Add(time.Hour))
	expired, oldRoots := certificate(t, "shop.example", time.Now().Add(-time.Hour))
	var sni atomic.Pointer[string]
	serve := func(cert tls.Certificate) net.Addr {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			sni.Store(&h.ServerName)
			return &cert, nil
		}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.Listener.Addr()
	}
	up, old := serve(fresh), serve(expired)
	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, tc := range []struct {
		name    string
		addr    net.Addr
		host    string
		roots   *x509.CertPool
		timeout time.Duration
		sni     string
		outcome outcome
		err     string
	}{
		{"by name", up, "shop.example", roots, ample, "shop.example", outcomeOK, ""},
		{"a port is no part of the name", up, "shop.example:8443", roots, ample, "shop.example", outcomeOK, ""},
		{"by address", up, "", roots, ample, "", outcomeOK, ""},
		{"another name", up, "bank.example", roots, ample, "bank.example", outcomeTLS, `TLS certificate is not for "bank.example"`},
		{"other roots", up, "shop.example", oldRoots, ample, "shop.example", outcomeTLS, "TLS certificate is signed by an unknown authority"},
		{"the system's roots", up, "shop.example", nil, ample, "shop.example", outcomeTLS, "TLS certificate is signed by an unknown authority"},
		{"expired", old, "shop.example", oldRoots, ample, "shop.example", outcomeTLS, "TLS certificate has expired"},
		{"half open", silent, "shop.example", roots, soon, "", outcomeTimeout, "no TLS handshake within 200ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			empty := ""
			sni.Store(&empty)
			target := target(tc.addr, fleet.CheckHTTPS, tc.timeout)
			target.Check.Host = tc.host
			r := (&checker{allowLoopback: true, roots: tc.roots}).check(t.Context(), target)
			wants(t, r, tc.outcome, tc.err)
			if got := *sni.Load(); got != tc.sni {
				t.Errorf("SNI %q, want %q", got, tc.sni)
			}
		})
	}
	plain := listen(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n") })
	wants(t, probeOnce(t, target(plain, fleet.CheckHTTPS, ample)), outcomeTLS, "TLS handshake failed: ")
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, h := grpc.NewServer(), health.NewServer()
	healthv1.RegisterHealthServer(s, h)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	h.SetServingStatus("shop", healthv1.HealthCheckResponse_SERVING)
	h.SetServingStatus("bank", healthv1.HealthCheckResponse_NOT_SERVING)

	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	without := grpc.NewServer()
	go without.Serve(bare)
	t.Cleanup(without.Stop)

	silent := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	for _, tc := range []struct {
		name, service string
		addr          net.Addr
		timeout       time.Duration
		outcome       outcome
		err           string
	}{
		{"the server as a whole", "", l.Addr(), ample, outcomeOK, ""},
		{"a service that serves", "shop", l.Addr(), ample, outcomeOK, ""},
		{"a service that does not", "bank", l.Addr(), ample, outcomeAnswer, "gRPC health is NOT_SERVING"},
		{"a service nobody knows", "zoo", l.Addr(), ample, outcomeAnswer, "gRPC status NotFound"},
		{"a server without the health service", "", bare.Addr(), ample, outcomeAnswer, "gRPC status Unimplemented"},
		{"half open", "", silent, soon, outcomeTimeout, "no complete answer within 200ms"},
		{"no gRPC at all", "", web.Listener.Addr(), ample, outcomeAnswer, "gRPC status Unavailable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := target(tc.addr, fleet.CheckGRPC, tc.timeout)
			target.Check.Path = tc.service
			wants(t, probeOnce(t, target), tc.outcome, tc.err)
		})
	}
}

// A probe ends when its process does, however long its timeout.
func TestProbeEndsWithItsContext(t *testing.T) {
	for _, kind := range []fleet.CheckKind{fleet.CheckHTTP, fleet.CheckHTTPS, fleet.CheckGRPC} {
		ctx, cancel := context.WithCancel(t.Context())
		addr := listen(t, func(c net.Conn) {
			c.Read(make([]byte, 1))
			cancel() // the probe is on its way
			io.Copy(io.Discard, c)
		})
		long := target(addr, kind, ample)
		long.Check.Timeout = time.Hour
		if r := (&checker{allowLoopback: true}).check(ctx, long); r.outcome == outcomeOK {
			t.Errorf("%s: a cancelled probe is good", kind)
		}
	}
}
