package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// dig asks a region's name server for the host's address on behalf of a client
// subnet (ECS). It is what "dig +subnet" does.
func dig(ctx context.Context, r region, subnet netip.Prefix) (netip.Addr, error) {
	m := new(dns.Msg)
	m.SetQuestion(Host+".", dns.TypeA)
	m.SetEdns0(1232, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
		Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: uint8(subnet.Bits()), Address: subnet.Addr().AsSlice(),
	})
	c := &dns.Client{Timeout: 2 * time.Second}
	in, _, err := c.ExchangeContext(ctx, m, r.dnsAddr())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("asking the name server in %s: %w", r.name, err)
	}
	for _, rr := range in.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the name server in %s gave no address for %s (%s)", r.name, Host, dns.RcodeToString[in.Rcode])
}

// answer is what whereami says of itself.
type answer struct {
	Region string `json:"region"`
	Zone   string `json:"zone"`
	Pod    string `json:"pod"`
}

// caller makes requests from a region's users. It is what "curl --interface" does.
type caller struct{ client *http.Client }

func newCaller(from region) caller {
	d := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: from.user().AsSlice()}}
	return caller{&http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second},
	}}
}

// curl asks the gateway at addr for the host and returns who answered.
func (c caller) curl(ctx context.Context, addr netip.Addr) (answer, error) {
	url := fmt.Sprintf("http://%s/", netip.AddrPortFrom(addr, frontPort))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = Host
	req.Header.Set("Accept", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %.100s", resp.Status, body)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return answer{}, fmt.Errorf("the answer is not whereami's: %w", err)
	}
	return a, nil
}
