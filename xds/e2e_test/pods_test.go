//go:build linux

package e2e_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// pod is a real HTTP server on loopback that says what it was asked.
type pod struct {
	name     string
	addr     netip.AddrPort
	server   *http.Server
	requests atomic.Int64
	closed   sync.Once
}

// heard is what a pod was asked.
type heard struct {
	Pod    string
	Method string
	Host   string
	Path   string // as it came, with its query
	Proto  string
	Header http.Header
	Body   string
}

// newPod starts a pod. behave may answer instead of it.
func newPod(t *testing.T, name string, behave http.HandlerFunc) *pod {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pod{name: name, addr: l.Addr().(*net.TCPAddr).AddrPort()}
	if behave == nil {
		behave = p.echo
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	p.server = &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests.Add(1)
		behave(w, r)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.server.Serve(l) // ends with the pod
	}()
	t.Cleanup(func() { p.die(); <-served })
	return p
}

// die closes everything at once: new connections are refused.
func (p *pod) die() { p.closed.Do(func() { _ = p.server.Close() }) }

func (p *pod) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(heard{
		Pod: p.name, Method: r.Method, Host: r.Host, Path: r.RequestURI, Proto: r.Proto, Header: r.Header, Body: string(body),
	})
}

// endpoint is the pod as a source tells it.
func (p *pod) endpoint() fleet.Endpoint { return fleet.Endpoint{Addr: p.addr, Ready: true} }

// newDeafPod listens but never takes a connection: its queue is full, so new ones
// are neither accepted nor refused, as when a machine has lost its power.
func newDeafPod(t *testing.T) *pod {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
	for {
		conn, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return &pod{name: "deaf", addr: addr}
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}
