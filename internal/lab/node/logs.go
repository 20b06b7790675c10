package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// logPort is a kubelet's port; of what a kubelet serves there, this node serves logs.
const logPort = 10250

func (n *Node) listen(ctx context.Context) (net.Listener, error) {
	cert, err := selfSigned(n.cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(n.cfg.Addr, logPort).String())
	if err != nil {
		return nil, fmt.Errorf("serving logs: %w", err)
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), nil
}

// selfSigned makes a certificate that nobody vouches for: an API server that was
// not told of a kubelet's authority does not ask.
func selfSigned(addr netip.Addr) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: addr.String()}, IPAddresses: []net.IP{addr.AsSlice()},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (n *Node) serveLogs(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.writeLog)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: nil}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving logs: %w", err)
	}
	return nil
}

// writeLog answers "kubectl logs", as far as the log goes at this moment; it does
// not follow it.
func (n *Node) writeLog(w http.ResponseWriter, r *http.Request) {
	p := n.find(r.PathValue("namespace"), r.PathValue("pod"))
	if p == nil {
		http.Error(w, "no such pod on this node", http.StatusNotFound)
		return
	}
	c := p.container(r.PathValue("container"))
	if c == nil {
		http.Error(w, "the container has not begun", http.StatusNotFound)
		return
	}
	file, older := c.files()
	if r.URL.Query().Get("previous") == "true" {
		file = older
	}
	var log []byte
	if file != "" {
		var err error
		if log, err = os.ReadFile(file); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if v := r.URL.Query().Get("tailLines"); v != "" {
		most, err := strconv.Atoi(v)
		if err != nil || most < 0 {
			http.Error(w, fmt.Sprintf("tailLines=%.20q is no number", v), http.StatusBadRequest)
			return
		}
		lines := strings.SplitAfter(string(log), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		log = []byte(strings.Join(lines[max(0, len(lines)-most):], ""))
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(log) // the reader may have gone
}
