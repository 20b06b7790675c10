//go:build e2e

package walkthrough

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// heard is what whereami says of itself.
type heard struct {
	Region  string `json:"region"`
	Zone    string `json:"zone"`
	Pod     string `json:"pod"`
	Cluster string `json:"cluster"`
}

// user is somebody in a region: they ask the name servers of the zone, from their
// own address, as a resolver does, and go where they are sent.
type user struct {
	*site
	client *http.Client
	pool   *x509.CertPool // nil: plain HTTP
}

func (s *site) newUser(pool *x509.CertPool) *user {
	u := &user{site: s, pool: pool}
	dialer := &net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: s.user.AsSlice()}}
	u.client = &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 16, IdleConnTimeout: 5 * time.Second, TLSClientConfig: &tls.Config{RootCAs: pool},
			// The address is in the context: it was looked up before.
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", ctx.Value(addressKey{}).(netip.AddrPort).String())
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return u
}

type addressKey struct{}

// dig asks the nearest name server, and the next one if it does not answer.
func (u *user) dig(ctx context.Context, host string) (netip.Addr, error) {
	c := &dns.Client{Net: "udp", Timeout: 500 * time.Millisecond, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: u.user.AsSlice()}}}
	servers := []*site{u.site}
	for _, s := range u.world.sites {
		if s != u.site {
			servers = append(servers, s)
		}
	}
	var errs []error
	for _, s := range servers {
		m := new(dns.Msg)
		m.SetQuestion(dns.Fqdn(host), dns.TypeA)
		in, _, err := c.ExchangeContext(ctx, m, netip.AddrPortFrom(s.daemon(), 53).String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, rr := range in.Answer {
			if a, ok := rr.(*dns.A); ok {
				addr, _ := netip.AddrFromSlice(a.A.To4())
				return addr, nil
			}
		}
		errs = append(errs, fmt.Errorf("%s: no address for %s (%s)", s.cluster, host, dns.RcodeToString[in.Rcode]))
	}
	return netip.Addr{}, errors.Join(errs...)
}

// get asks a front door for a host and path.
func (u *user) get(ctx context.Context, to netip.Addr, host, path string) (int, heard, error) {
	scheme, port := "http", uint16(frontPort)
	if u.pool != nil {
		scheme, port = "https", securePort
	}
	ctx = context.WithValue(ctx, addressKey{}, netip.AddrPortFrom(to, port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+path, http.NoBody)
	if err != nil {
		return 0, heard{}, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := u.client.Do(req)
	if err != nil {
		return 0, heard{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, heard{}, err
	}
	var h heard
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, &h); err != nil {
			return resp.StatusCode, h, fmt.Errorf("%s%s was not answered by whereami: %.200q", host, path, raw)
		}
		return resp.StatusCode, h, nil
	}
	return resp.StatusCode, h, fmt.Errorf("%s%s: %s: %.200q", host, path, resp.Status, raw)
}

// visit looks the host up and goes there.
func (u *user) visit(ctx context.Context, host, path string) (netip.Addr, heard, error) {
	addr, err := u.dig(ctx, host)
	if err != nil {
		return addr, heard{}, err
	}
	_, h, err := u.get(ctx, addr, host, path)
	return addr, h, err
}

// crowd is steady traffic from all continents. Half of the users ask DNS each
// time; the others remember where they were sent first, as resolvers do.
type crowd struct {
	t    *testing.T
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	sent   int
	failed []string
	served map[string]map[string]int // who by whom
}

const every = 50 * time.Millisecond // between two requests of one user

// crowd starts users everywhere; remember says that some keep the address they were given first.
func (w *world) crowd(host string, remember bool) *crowd {
	ctx, stop := context.WithCancel(w.Ctx)
	c := &crowd{t: w.T(), stop: stop, served: map[string]map[string]int{}}
	for _, s := range w.sites {
		c.all.Go(func() { c.walk(ctx, s.newUser(nil), host, false) })
		if remember {
			c.all.Go(func() { c.walk(ctx, s.newUser(nil), host, true) })
		}
	}
	return c
}

func (c *crowd) walk(ctx context.Context, u *user, host string, remembers bool) {
	defer u.client.CloseIdleConnections()
	var known netip.Addr
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		to, err := known, error(nil)
		if !to.IsValid() {
			to, err = u.dig(ctx, host)
		}
		var h heard
		if err == nil {
			_, h, err = u.get(ctx, to, host, "/")
		}
		if ctx.Err() != nil {
			return
		}
		if remembers && err == nil {
			known = to
		}
		c.note(u, h, err)
	}
}

func (c *crowd) note(u *user, h heard, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	if err != nil {
		c.failed = append(c.failed, fmt.Sprintf("%s at %s: %v", u.people, time.Now().Format("15:04:05.000"), err))
		return
	}
	if c.served[u.cluster] == nil {
		c.served[u.cluster] = map[string]int{}
	}
	c.served[u.cluster][h.Region]++
}

func (c *crowd) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

// home sends the crowd home. No request may have failed.
func (c *crowd) home(what string) {
	c.t.Helper()
	c.stop()
	c.all.Wait()
	c.t.Logf("%s: %d requests, %d failed, served: %v", what, c.sent, len(c.failed), c.served)
	for i, f := range c.failed {
		if i == 5 {
			break
		}
		c.t.Log(f)
	}
	if len(c.failed) > 0 {
		c.t.Errorf("%s: %d of %d requests failed", what, len(c.failed), c.sent)
	}
}
