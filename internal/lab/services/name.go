package services

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

const zone = ".svc.cluster.local."

// answer is the cluster's name server, until ctx ends.
func (s *Services) answer(ctx context.Context) error {
	at := netip.AddrPortFrom(s.cfg.Names, 53).String()
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp", at)
	if err != nil {
		return err
	}
	streams, err := lc.Listen(ctx, "tcp", at)
	if err != nil {
		_ = packets.Close()
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: streams}} {
		server.Handler = dns.HandlerFunc(s.serve)
		group.Go(func() error {
			defer context.AfterFunc(ctx, func() { _ = packets.Close(); _ = streams.Close() })()
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

func (s *Services) serve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) == 1 {
		name := q.Question[0].Name
		addrs, there := s.lookUp(strings.ToLower(name))
		if !there {
			m.Rcode = dns.RcodeNameError
		}
		for _, a := range addrs {
			if a.Is4() && q.Question[0].Qtype == dns.TypeA {
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: a.AsSlice()})
			}
		}
	}
	_ = w.WriteMsg(m) // whoever asked has gone
}

// lookUp finds the addresses of a name: a Service's own, or those of its pods if it has
// none, or that of one pod with a name of its own.
func (s *Services) lookUp(name string) (addrs []netip.Addr, there bool) {
	name, ok := strings.CutSuffix(name, zone)
	if !ok {
		return nil, false
	}
	words := strings.Split(name, ".")
	host := ""
	if len(words) == 3 {
		host, words = words[0], words[1:]
	}
	if len(words) != 2 {
		return nil, false
	}
	svc, err := s.services.Services(words[1]).Get(words[0])
	if err != nil {
		return nil, false
	}
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		addr, err := netip.ParseAddr(svc.Spec.ClusterIP)
		if err != nil || host != "" {
			return nil, false
		}
		return []netip.Addr{addr}, true
	}
	s.each(svc, func(_ *discoveryv1.EndpointSlice, e discoveryv1.Endpoint, addr netip.Addr) {
		if host == "" || e.Hostname != nil && *e.Hostname == host {
			addrs = append(addrs, addr)
		}
	})
	return addrs, host == "" || len(addrs) > 0
}
