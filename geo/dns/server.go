// Package dns is the authoritative GeoDNS server: it tells resolvers, out of the Plan, the addresses of the one region that serves their clients.
//
// It answers for the zones of the Plan and refuses everything else. A name that
// is a host of a route is steered; every other name comes from the zone's fixed
// records. There is one zone content on every server, so there are no
// secondaries, no transfers and no NOTIFY.
//
// The path of a query is respond: parse the packet, find out whose question it
// is, answer (pure), pack. The sockets around it hold no knowledge.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// Config is what a Server needs. The zero value of a field has the meaning named at it.
type Config struct {
	// Listen are "address:port" to serve on, UDP and TCP each. An address is an IP;
	// ":53" means every address of both families. Port 0 takes any that is
	// free for both. Empty: nothing can be served, which New refuses.
	Listen []string
	// Locate tells where a client stands. Every address within the returned
	// Prefix must get the same Location. Nil: nobody's place is known.
	Locate func(netip.Addr) fleet.Location
	NSID   string // who we are, for those who ask (RFC 5001), at most 64 octets; empty: not told

	MaxConnections           int           // TCP connections at a time; 0 means 1024
	MaxConnectionsPerNetwork int           // of one IPv4 /24 or IPv6 /56; 0 means 64
	MaxQueriesPerConnection  int           // before a connection is closed; 0 means 10,000
	IdleTimeout              time.Duration // for a whole query to arrive, or an answer to be taken; 0 means 10 s

	Log        *slog.Logger          // nil: slog.Default()
	Registerer prometheus.Registerer // nil: metrics are kept but shown nowhere
}

// maxNSID keeps the largest answer without records below 512 octets.
const maxNSID = 64

func (c *Config) fill() error {
	if len(c.Listen) == 0 {
		return errors.New("the DNS server has no address to listen on: give at least one, such as \":53\"")
	}
	for _, l := range c.Listen {
		if _, _, err := parseListen(l); err != nil {
			return err
		}
	}
	if len(c.NSID) > maxNSID {
		return fmt.Errorf("the DNS server's NSID has %d octets, but at most %d fit: choose a shorter one", len(c.NSID), maxNSID)
	}
	if c.MaxConnections < 0 || c.MaxConnectionsPerNetwork < 0 || c.MaxQueriesPerConnection < 0 || c.IdleTimeout < 0 {
		return errors.New("a limit of the DNS server is negative: use 0 for its default or a positive number")
	}
	orDefault(&c.MaxConnections, 1024)
	orDefault(&c.MaxConnectionsPerNetwork, 64)
	orDefault(&c.MaxQueriesPerConnection, 10_000)
	orDefault(&c.IdleTimeout, 10*time.Second)
	if c.Locate == nil {
		c.Locate = nowhere
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// nowhere is the Locate of those who know nobody's place: all stand alike.
func nowhere(a netip.Addr) fleet.Location {
	p, _ := a.WithZone("").Prefix(0) // fails for the zero Addr only, whose zero Prefix is right
	return fleet.Location{Prefix: p, Layer: "default"}
}

// Server answers DNS queries out of the last Plan it was given. Make it with New,
// run it once with Run.
type Server struct {
	cfg     Config
	respond responder
	metrics *metrics
	gate    *gate

	live atomic.Pointer[live] // nil before the first Plan

	mu      sync.Mutex // one Update at a time; guards what follows
	builder builder
	voiced  voiced

	ready    chan struct{}
	addrs    []netip.AddrPort // written before ready is closed
	panicked sync.Once
}

// live is what answers are made from and counted in.
type live struct {
	table   *Table
	regions regionCounters
}

// voiced is what the log has already said.
type voiced struct {
	zones    int // -1: nothing yet
	problems map[fleet.Problem]bool
}

// New makes a server. It binds nothing yet.
func New(cfg Config) (*Server, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Server{
		cfg:     cfg,
		respond: responder{locate: cfg.Locate, nsid: nsidHex(cfg.NSID)},
		metrics: newMetrics(cfg.Registerer),
		gate:    newGate(cfg.MaxConnections, cfg.MaxConnectionsPerNetwork),
		voiced:  voiced{zones: -1},
		ready:   make(chan struct{}),
	}, nil
}

// Update makes the plan the one that all further answers come from. Answers
// under way are finished from the plan they were begun with.
func (s *Server) Update(p *steer.Plan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := regionCounters(nil)
	if l := s.live.Load(); l != nil {
		before = l.regions
	}
	names := s.builder.names
	t := s.builder.build(p)
	s.live.Store(&live{table: t, regions: s.metrics.forRegions(p, before)})
	s.metrics.generation.Set(float64(p.Generation))
	s.metrics.updated.SetToCurrentTime()
	s.metrics.zones.Set(float64(len(p.Zones)))
	if t.names != names {
		s.voice(len(p.Zones), s.builder.problems)
	}
}

// Problems are what of the last plan's zones and hosts could not be used, sorted.
func (s *Server) Problems() []fleet.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.builder.problems
}

// voice logs what is new since the last time.
func (s *Server) voice(zones int, problems []fleet.Problem) {
	if zones != s.voiced.zones {
		if zones == 0 {
			s.cfg.Log.Warn("no DNS zone is configured, so every DNS query is refused: create a Zone to be authoritative for one")
		} else {
			s.cfg.Log.Info("DNS zones are served", "zones", zones)
		}
		s.voiced.zones = zones
	}
	now := make(map[fleet.Problem]bool, len(problems))
	for _, p := range problems {
		now[p] = true
		if !s.voiced.problems[p] {
			s.cfg.Log.Warn(p.Message, "about", p.About.String(), "reason", p.Reason)
		}
	}
	s.voiced.problems = now
}

// Ready is closed once every address is bound. It stays open when Run fails to bind.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addrs are the bound addresses in the order of Config.Listen, each for UDP and
// TCP; nil before Ready.
func (s *Server) Addrs() []netip.AddrPort {
	select {
	case <-s.ready:
		return append([]netip.AddrPort(nil), s.addrs...)
	default:
		return nil
	}
}

// Run binds the addresses and serves until ctx ends; then it finishes the queries
// at hand and returns nil. It returns an error when it cannot bind.
func (s *Server) Run(ctx context.Context) error {
	socks, err := bindAll(ctx, s.cfg.Listen)
	if err != nil {
		return err
	}
	defer closeAll(socks)
	for _, b := range socks {
		s.addrs = append(s.addrs, b.addr)
	}
	close(s.ready)
	s.cfg.Log.Info("DNS server listens", "addresses", s.addrs)

	g, ctx := errgroup.WithContext(ctx)
	for _, b := range socks {
		for range udpReaders() {
			g.Go(func() error { return s.serveUDP(ctx, b.udp) })
		}
		g.Go(func() error { return s.serveTCP(ctx, b.tcp) })
	}
	return g.Wait()
}

// handle answers one packet. A fault of ours costs one query, not the process
// that all other voices live in.
func (s *Server) handle(packet []byte, from netip.Addr, over transport) (out []byte) {
	defer func() {
		if fault := recover(); fault != nil {
			s.metrics.panics.Inc()
			s.panicked.Do(func() {
				s.cfg.Log.Error("handling a DNS query failed by a fault of this program, please report it; further ones are counted only",
					"fault", fmt.Sprint(fault), "packet", fmt.Sprintf("%x", packet), "stack", string(debug.Stack()))
			})
			if q, _, ok := parse(packet); ok {
				out = bare(q, miekg.RcodeServerFailure)
			}
		}
	}()
	var table *Table
	var regions regionCounters
	if l := s.live.Load(); l != nil {
		table, regions = l.table, l.regions
	}
	out, o := s.respond.respond(table, packet, from, over)
	if out == nil {
		s.metrics.dropped[over].Inc()
		return nil
	}
	s.metrics.count(over, o, regions)
	return out
}

// parseListen splits "address:port". The network is "" for both families, "4" or "6".
func parseListen(s string) (netip.AddrPort, string, error) {
	bad := func() (netip.AddrPort, string, error) {
		return netip.AddrPort{}, "", fmt.Errorf("%q is not an address to listen on: write an IP and a port, such as \"192.0.2.1:53\", \"[2001:db8::1]:53\" or \":53\"", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return bad()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return bad()
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(n)), "", nil
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return bad()
	case a.Is4():
		return netip.AddrPortFrom(a, uint16(n)), "4", nil
	}
	return netip.AddrPortFrom(a, uint16(n)), "6", nil
}
