package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// Config is what a Server needs.
type Config struct {
	Listener net.Listener // closed by Run
	// Creds, of package trust, identify nodes: each has to be a gateway, and to be
	// named and to stand as its certificate says. Nil: plaintext, where a node is
	// whoever it says it is.
	Creds credentials.TransportCredentials

	// ViewOf maps a node to the view that it is sent. It answers an error for
	// a node that it does not know; the node is told, and asks again. It is
	// called from many goroutines.
	ViewOf func(*corev3.Node) (string, error)

	// Wanted is told once of every view that a node asks for. Its streams wait
	// until the view is published for the first time. It must not block. May be nil.
	Wanted func(view string)

	// Problems is told all refusals by Envoys whenever one comes or goes,
	// sorted. It is called from one goroutine. May be nil.
	Problems func([]fleet.Problem)

	// Load is handed load reports. It is called from many goroutines and must
	// not block. Nil: load reports are not asked for.
	Load func(node *corev3.Node, reports []fleet.LoadReport)

	// ServiceOf says which service an Envoy cluster serves. Required with Load.
	ServiceOf func(cluster string) (fleet.ServiceName, bool)

	ReportEvery time.Duration // between two load reports; 0 means 2 s
	MaxStreams  int           // open at once; 0 means 20,000
	MaxNames    int           // of one type that one stream subscribes to; 0 means 100,000
	Registerer  prometheus.Registerer
	Log         *slog.Logger // nil: slog.Default
}

// Server serves views to Envoys.
type Server struct {
	config  Config
	store   *store
	metrics *metrics
	faulty  chan struct{} // holds one token when problems may have changed
	stopped context.Context

	ids     atomic.Int64
	mu      sync.Mutex
	streams map[*stream]struct{}
	loads   int                  // open load report streams
	said    map[string]time.Time // when a refusal was logged last, by reason
}

// New checks the configuration and makes a server. It listens when Run is called.
func New(c Config) (*Server, error) {
	switch {
	case c.Listener == nil:
		return nil, errors.New("the xDS server needs a listener")
	case c.ViewOf == nil:
		return nil, errors.New("the xDS server needs to know which view a node is sent")
	case c.Load != nil && c.ServiceOf == nil:
		return nil, errors.New("load reports need to know which service a cluster serves")
	}
	if c.ReportEvery <= 0 {
		c.ReportEvery = 2 * time.Second
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = 20_000
	}
	if c.MaxNames <= 0 {
		c.MaxNames = 100_000
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Server{config: c, faulty: make(chan struct{}, 1), streams: map[*stream]struct{}{}, said: map[string]time.Time{}, stopped: context.Background()}
	s.store = newStore(func() {
		select {
		case s.faulty <- struct{}{}:
		default: // it will look anyway
		}
	})
	var err error
	if s.metrics, err = newMetrics(c.Registerer, s.store); err != nil {
		return nil, fmt.Errorf("registering the xDS metrics: %w", err)
	}
	return s, nil
}

// Publish changes a view: d.Put is there from now on, d.Gone no longer. The first
// Publish of a view must hold all of it, because streams that come back with
// resources are told of every one that is missing. Bytes that are the same as
// before are no change. It may be called from many goroutines, for one view from
// one at a time.
func (s *Server) Publish(view string, d resource.Delta) error { return s.store.publish(view, d) }

// Views lists the views that were asked for or published, sorted.
func (s *Server) Views() []string { return s.store.names() }

// Problems lists what Envoys refuse at this moment, sorted.
func (s *Server) Problems() []fleet.Problem { return s.store.problems() }

const (
	maxMessage   = 4 << 20         // bytes, of a request
	window       = 256 << 10       // bytes, of requests that were not read yet
	stopPatience = 5 * time.Second // for streams to end by themselves
)

// Run serves until ctx is done, and then lets the streams end.
func (s *Server) Run(ctx context.Context) error {
	s.stopped = ctx
	g := grpc.NewServer(s.options()...)
	s.register(g)
	var running sync.WaitGroup
	running.Go(func() { s.reportProblems(ctx) })
	running.Go(func() {
		<-ctx.Done()
		force := time.AfterFunc(stopPatience, g.Stop)
		defer force.Stop()
		g.GracefulStop()
	})
	if err := g.Serve(s.config.Listener); ctx.Err() == nil {
		return fmt.Errorf("serving xDS on %s: %w", s.config.Listener.Addr(), err)
	}
	running.Wait()
	return nil
}

func (s *Server) options() []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		// A fixed window: gRPC would otherwise send a PING for nearly every ACK
		// to find out how large the window should be.
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window),
		grpc.MaxConcurrentStreams(100),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	if s.config.Creds != nil {
		opts = append(opts, grpc.Creds(s.config.Creds))
	}
	return opts
}

// reportProblems tells Problems until ctx is done.
func (s *Server) reportProblems(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.faulty:
			if s.config.Problems != nil {
				s.config.Problems(s.store.problems())
			}
		}
	}
}

// enter finds the view of a node and has it rendered if nobody asked for it before.
func (s *Server) enter(node *corev3.Node) (*view, error) {
	name, err := s.config.ViewOf(node)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return nil, err
		}
		return nil, s.turnAway(refusedView, codes.NotFound, "node %q is not served here: %v", node.GetId(), err)
	}
	v, born, err := s.store.view(name)
	if err != nil {
		return nil, status.Error(codes.ResourceExhausted, err.Error())
	}
	if born {
		s.config.Log.Info("a node asks for a new view", "view", name, "node", node.GetId())
		if s.config.Wanted != nil {
			s.config.Wanted(name)
		}
	}
	return v, nil
}

// open begins a stream, unless there are too many.
func (s *Server) open(ctx context.Context, protocol string, ads, sotw bool) (*stream, error) {
	who, err := s.bearer(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(); err != nil {
		return nil, err
	}
	st := &stream{id: s.ids.Add(1), ads: ads, sotw: sotw, since: time.Now(), server: s, bearer: who}
	s.streams[st] = struct{}{}
	s.metrics.streams.WithLabelValues(protocol).Inc()
	return st, nil
}

// room reports whether one more stream may be opened. s.mu is held.
func (s *Server) room() error {
	if len(s.streams)+s.loads >= s.config.MaxStreams {
		return status.Errorf(codes.ResourceExhausted, "all %d streams are in use; ask another replica", s.config.MaxStreams)
	}
	return nil
}

func (s *Server) close(st *stream, protocol string) {
	st.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.metrics.streams.WithLabelValues(protocol).Dec()
}

// refused notes a NACK.
func (s *Server) refused(st *stream, w *watch, words string) {
	w.metrics.nacks.Inc()
	s.config.Log.Warn("an Envoy refused resources", "node", st.node.GetId(), "view", st.view.name, "type", shortType(w.typeURL), "error", words)
}
