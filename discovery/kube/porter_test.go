package kube

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/discovery/kube/credentials"
)

// porter stands before a real API server and answers some questions otherwise.
type porter struct {
	*httptest.Server

	mu   sync.Mutex
	ails map[string]string // by a part of the URL: "500" or "hangs"
	mend chan struct{}     // closed when that changes
}

// before puts a porter before an API server, whom it asks with the admin's credentials.
func before(t *testing.T, s *site) *porter {
	t.Helper()
	client, err := credentials.Client(s.REST())
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(s.REST().Host)
	if err != nil {
		t.Fatal(err)
	}
	p := &porter{ails: map[string]string{}, mend: make(chan struct{})}
	pass := &httputil.ReverseProxy{FlushInterval: -1, Transport: client.Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Del("Authorization")
	}}
	pass.ErrorLog = log.New(io.Discard, "", 0)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ail, mended := p.ailment(r.URL.String())
		switch ail {
		case "500":
			http.Error(w, "cannot decrypt", http.StatusInternalServerError)
		case "hangs":
			select {
			case <-r.Context().Done():
			case <-mended:
				http.Error(w, "come again", http.StatusServiceUnavailable)
			}
		default:
			pass.ServeHTTP(w, r)
		}
	}))
	p.Config.ErrorLog = pass.ErrorLog
	p.EnableHTTP2 = true
	p.StartTLS()
	t.Cleanup(p.Close)
	t.Cleanup(p.CloseClientConnections) // which come first
	return p
}

func (p *porter) ailment(of string) (string, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for part, ail := range p.ails {
		if strings.Contains(of, part) {
			return ail, p.mend
		}
	}
	return "", p.mend
}

// ail answers every question whose URL has that part so from now on; empty: well.
func (p *porter) ail(part, how string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ails[part] = how
	if how == "" {
		delete(p.ails, part)
	}
	close(p.mend)
	p.mend = make(chan struct{})
	p.CloseClientConnections() // watches that were let pass
}

func (p *porter) authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
}

func (p *porter) rest() *rest.Config {
	return &rest.Config{Host: p.URL, BearerToken: "any", TLSClientConfig: rest.TLSClientConfig{CAData: p.authority()}}
}

// kubeconfig leads to the porter; a lab's credentials allow loopback addresses.
func (p *porter) kubeconfig() []byte {
	return fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
"clusters": [{"name": "x", "cluster": {"server": %q, "certificate-authority-data": "%s"}}], "users": [{"name": "x", "user": {"token": "any"}}]}`, p.URL, base64Of(p.authority()))
}
