// Package admin shows people and their tools what a daemon knows and decides, and takes their orders.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

const (
	maxMessage    = 4 << 20          // bytes, of a request and of an answer
	unaryDeadline = 10 * time.Second // for a caller that names none, or a longer one
	maxStreams    = 128              // open at once on one connection
	stopGrace     = 2 * time.Second  // for calls under way when Run ends
	progressEvery = 5 * time.Second
)

// Names of the standard health service.
const (
	// HealthServing is SERVING once there is a plan to answer from.
	HealthServing = "meridian.admin.v1.Admin"
	// HealthAlive is SERVING as long as Config.Progress reports no fault.
	HealthAlive = "alive"
)

// Config is what a Server needs.
type Config struct {
	Listener net.Listener // closed when Run ends
	// Creds identify callers, see trust.ServerTLSForTokens: an operator may do
	// everything, a viewer or another daemon may look. Nil: plaintext, for a
	// listener that only trusted callers reach.
	Creds credentials.TransportCredentials
	// Tokens and Authenticator let in who bears a token, beside or instead of
	// certificates. Without Creds, tokens and Authenticator, whoever reaches the
	// listener may do everything.
	Tokens        []Token
	Authenticator Authenticator

	Instance string       // name of this daemon
	Region   fleet.Region // where it stands, for round-trip times from here

	// Resolve says what the name server of this daemon answers a resolver that
	// asks for the addresses of a host (lower case, without the last dot) for a
	// client. Nil: there is no name server, and nothing can be explained.
	Resolve func(host string, client netip.Addr) Resolution

	// Order takes an order and returns when it is in force and would survive a crash.
	Order     func(context.Context, fleet.Update) error
	Source    string               // in whose name orders are told: "instance/admin"
	Volatile  string               // why an order does not survive the end of this daemon and its peers; empty: it does
	Gateways  func() []GatewayInfo // the Envoys that are connected; nil: none
	Workloads Workloads            // nil: this daemon watches no host cluster
	Progress  func() error         // says what has stopped making progress; nil: nothing ever does

	Log        *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// GatewayInfo is an Envoy that is connected to this daemon.
type GatewayInfo struct {
	Node      string // its node id
	Region    fleet.Region
	Zone      string
	View      string // which set of resources it is given
	Address   string // where it connects from
	Version   string // of the Envoy
	Since     time.Time
	Resources int    // that it has accepted
	Refused   string // what it last refused, and why; empty: nothing
}

// Server answers from the newest plan.
type Server struct {
	adminv1.UnimplementedAdminServer
	c       Config
	grpc    *grpc.Server
	health  *health.Server
	metrics *metrics

	verdicts *verdicts // nil: only Config.Tokens are taken

	mu     sync.Mutex // for Update
	newest atomic.Pointer[published]

	orders orders
}

// New makes a server without a plan. Nothing is served before Run.
func New(c Config) *Server {
	if c.Gateways == nil {
		c.Gateways = func() []GatewayInfo { return nil }
	}
	if c.Progress == nil {
		c.Progress = func() error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{c: c, metrics: newMetrics(c.Registerer), health: health.NewServer()}
	if c.Authenticator != nil {
		s.verdicts = newVerdicts(c.Authenticator)
	}
	s.newest.Store(&published{next: make(chan struct{})})
	s.orders.given = map[fleet.FactName]fleet.Drain{}
	s.setHealth("", false)
	s.setHealth(HealthServing, false)
	s.setHealth(HealthAlive, true)
	s.grpc = s.newGRPC()
	return s
}

func (s *Server) newGRPC() *grpc.Server {
	creds := s.c.Creds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	g := grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// Counted is what the caller gets, so counting stands outside; a panic in
		// the door would be recovered too.
		grpc.ChainUnaryInterceptor(s.countUnary, s.recoverUnary, s.boundUnary, s.guardUnary),
		grpc.ChainStreamInterceptor(s.countStream, s.recoverStream, s.guardStream),
	)
	adminv1.RegisterAdminServer(g, s)
	healthgrpc.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// Run serves until ctx ends. It waits for
//
//   - the end of ctx: calls under way get two seconds;
//   - the next plan, for orders that were given to others;
//   - the next look at progress, for the health service.
func (s *Server) Run(ctx context.Context) error {
	// Orders outlive the process that took them, so this source never claims to
	// tell everything. It only says that it is there again.
	if err := s.c.Order(ctx, fleet.Update{Source: s.c.Source}); err != nil && ctx.Err() == nil {
		return fmt.Errorf("saying that orders are taken here: %w", err)
	}

	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.c.Listener) }()
	look := time.NewTicker(progressEvery)
	defer look.Stop()
	stuck := false
	for {
		newest := s.newest.Load()
		if newest.plan != nil {
			if err := s.adopt(ctx, newest.plan); err != nil && ctx.Err() == nil {
				s.c.Log.Error("an order that another daemon was given could not be saved; a restart here may forget it", "err", err)
			}
		}
		select {
		case <-newest.next:
		case <-ctx.Done():
			s.stop()
			if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serving the admin API on %s: %w", s.c.Listener.Addr(), err)
			}
			return nil
		case err := <-served:
			return fmt.Errorf("serving the admin API on %s: %w", s.c.Listener.Addr(), err)
		case <-look.C:
			err := s.c.Progress()
			if was := stuck; (err != nil) != was {
				stuck = err != nil
				s.setHealth(HealthAlive, !stuck)
				s.c.Log.Warn("progress of the daemon has changed", "stuck", stuck, "why", err)
			}
		}
	}
}

// stop lets calls under way finish for a moment, but does not wait for watchers,
// who never finish by themselves.
func (s *Server) stop() {
	s.health.Shutdown()
	cut := time.AfterFunc(stopGrace, s.grpc.Stop)
	defer cut.Stop()
	s.stopWatchers()
	s.grpc.GracefulStop()
}

// Ready says why the server cannot answer yet; nil: it can.
func (s *Server) Ready() error {
	if s.newest.Load().plan == nil {
		return errors.New("there is no plan yet")
	}
	return nil
}

// plan is the newest one, or the error for whoever asks before there is any.
func (s *Server) plan() (*steer.Plan, error) {
	if p := s.newest.Load().plan; p != nil {
		return p, nil
	}
	return nil, noPlan()
}

func noPlan() error {
	return status.Error(codes.Unavailable, "this daemon has no plan yet; ask again in a moment")
}

func (s *Server) setHealth(name string, serving bool) {
	state := healthgrpc.HealthCheckResponse_NOT_SERVING
	if serving {
		state = healthgrpc.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(name, state)
}
