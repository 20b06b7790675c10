package admin

import (
	"context"
	"net/netip"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/geo/steer"
)

// request is an ExplainRequest that has been checked.
type request struct {
	client netip.Addr
	host   string
	path   string // as the client sends it, without query
}

func parseRequest(q *adminv1.ExplainRequest) (request, error) {
	addr, err := netip.ParseAddr(q.GetClient())
	if err != nil || addr.Zone() != "" {
		return request{}, status.Errorf(codes.InvalidArgument, "client %.64q is no IP address", q.GetClient())
	}
	host := strings.ToLower(strings.TrimSuffix(q.GetHost(), "."))
	if !hostLike(host) {
		return request{}, status.Errorf(codes.InvalidArgument, "host %.64q is no host name; write it without scheme, port and path", q.GetHost())
	}
	path, _, _ := strings.Cut(q.GetPath(), "?")
	if path == "" {
		path = "/"
	}
	if path[0] != '/' || len(path) > 4096 {
		return request{}, status.Errorf(codes.InvalidArgument, "path %.64q does not begin with a slash, or is longer than 4096 bytes", q.GetPath())
	}
	return request{client: addr.Unmap(), host: host, path: path}, nil
}

// hostLike: labels that a question can be asked for (RFC 1035 §2.3.4), without
// what separates a host from other parts of a URL.
func hostLike(host string) bool {
	if len(host) > 253 || strings.ContainsAny(host, ":/\\ \t\r\n") {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// Explain implements the Admin service. What DNS says comes from the name server
// itself, and all that follows from the plan it answered from, so that it cannot
// tell another story than they do.
func (s *Server) Explain(_ context.Context, q *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
	r, err := parseRequest(q)
	if err != nil {
		return nil, err
	}
	if s.c.Resolve == nil {
		return nil, status.Error(codes.Unimplemented, "this daemon is no name server; ask one that is")
	}
	byDNS := s.c.Resolve(r.host, r.client)
	p := byDNS.Plan
	if p == nil {
		return nil, noPlan()
	}
	if _, routed := p.Routes.Host(r.host); !routed && (byDNS.Code == "NXDOMAIN" || byDNS.Code == "REFUSED") {
		return nil, status.Errorf(codes.NotFound, "no route names the host %q and DNS answers %s (%s); \"meridian get routes\" lists those that exist", r.host, byDNS.Code, byDNS.why())
	}
	out := &adminv1.ExplainResponse{
		Generation: p.Generation,
		Location:   locationOut(byDNS.Location),
		Answer:     byDNS.out(),
		Gateway:    string(byDNS.arrives()),
	}
	if d, ok := p.ForHost(steer.Client(byDNS.Location, byDNS.Prefix), byDNS.Host); ok && byDNS.Host != "" {
		out.Dns = decisionOut(d)
	}
	at := standAt(p.World, byDNS.arrives(), byDNS.Location.Place)
	out.Disagreement = disagreement(byDNS, at.serve(p, r, out))
	out.Agree = out.Disagreement == ""
	return out, nil
}

// disagreement sums up why not DNS and HTTP lead to the same region; empty: they
// do. Trouble is what the gateway has with the request.
func disagreement(byDNS Resolution, trouble string) string {
	if byDNS.arrives() != "" {
		return trouble
	}
	text := byDNS.why()
	if len(byDNS.Addrs) > 0 {
		text += " and no gateway of ours"
	}
	if trouble != "" {
		return text + "; " + trouble
	}
	return text + ", so nobody is sent to the gateways, which would serve the request"
}
