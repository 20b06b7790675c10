// Package peer exchanges facts between the daemons of all regions: each tells the others what its own senses know.
//
// Every daemon follows every other one directly (a full mesh) and hands on
// nothing that it learnt from another, so facts cannot go in circles.
package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	// heartbeat is the longest silence on a stream that works.
	heartbeat = 2 * time.Second
	// silence is how long a reader waits before it takes the peer for dead.
	silence = 3 * heartbeat
	// chunk is the size at which a telling is divided into several messages, in bytes.
	chunk = 256 << 10
	// maxMessage is the largest message, in bytes, that is sent or taken: one fact at least must fit.
	maxMessage   = 8 << 20
	maxFollowers = 64
)

// ServerConfig is what a Server needs.
type ServerConfig struct {
	Instance     string                           // name of this daemon, unique over all regions, without slash
	Listener     net.Listener                     // closed when Run ends
	Creds        credentials.TransportCredentials // of package trust; nil: plaintext, for a network that is trusted
	MaxFollowers int                              // 0 means 64
	Log          *slog.Logger                     // nil: silent
	Registerer   prometheus.Registerer            // nil: no metrics
}

// Server tells peers what this daemon's own sources know.
type Server struct {
	factv1.UnimplementedFactsServer
	c       ServerConfig
	ledger  *ledger
	metrics *serverMetrics

	withheld sync.Once // says so
}

// NewServer makes a server that knows nothing yet.
func NewServer(c ServerConfig) *Server {
	if c.MaxFollowers == 0 {
		c.MaxFollowers = maxFollowers
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{c: c, ledger: newLedger(c.Instance), metrics: newServerMetrics(c.Registerer)}
}

// Tell is a tee: what own sources say is kept for the peers, and every update is
// passed on to next. Sources whose name does not begin with "instance/" are not
// our own and are passed on only.
func (s *Server) Tell(next fleet.Tell) fleet.Tell {
	return func(ctx context.Context, u fleet.Update) {
		if s.ledger.owns(u.Source) {
			s.ledger.record(s.tellable(u), time.Now())
		}
		next(ctx, u)
	}
}

// Restore gives the server what was kept on disk, so that after a restart peers
// are told what own sources said before. A source that has spoken meanwhile
// knows better and is left alone, as are the sources of others.
func (s *Server) Restore(kept []fleet.Update) {
	for _, u := range kept {
		if s.ledger.owns(u.Source) {
			s.ledger.restore(s.tellable(u), time.Now())
		}
	}
}

// tellable is what of an update peers may hear: keys travel over mutual TLS only.
func (s *Server) tellable(u fleet.Update) fleet.Update {
	secret := func(f fleet.Fact) bool { return f.Kind == fleet.KindCertificate }
	if s.c.Creds != nil || !slices.ContainsFunc(u.Put, secret) {
		return u
	}
	s.withheld.Do(func() {
		s.c.Log.Warn("certificates are not told to peers, since they are reached in plaintext, so other regions do not serve those hosts over TLS; give every meridiand an --identity")
	})
	u.Put = slices.DeleteFunc(slices.Clone(u.Put), secret)
	return u
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if s.c.Instance == "" {
		return errors.New("serving facts to peers: this daemon has no instance name, give it one that is unique over all regions")
	}
	creds := s.c.Creds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	g := grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(64<<10), // a FollowRequest is small
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(4),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.StreamInterceptor(s.recover),
	)
	factv1.RegisterFactsServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop) // streams never end by themselves, so there is nothing to wait for
	defer stop()
	if err := g.Serve(s.c.Listener); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serving facts to peers on %s: %w", s.c.Listener.Addr(), err)
	}
	return nil
}

// recover keeps a fault in one stream from ending the daemon.
func (s *Server) recover(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			s.c.Log.Error("a stream of facts failed", "fault", fault, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the stream of facts failed; its cause is in the log of "+s.c.Instance)
		}
	}()
	return handle(srv, stream)
}

// Follow implements the Facts service.
func (s *Server) Follow(r *factv1.FollowRequest, stream grpc.ServerStreamingServer[factv1.Update]) error {
	if s.c.Creds != nil {
		if err := follows(stream.Context(), r.GetInstance()); err != nil {
			s.metrics.refused.Inc()
			s.c.Log.Warn("somebody who may not wants to follow our facts", "error", err)
			return err
		}
	}
	if r.GetInstance() == s.c.Instance { // ourselves, most likely; the greeting tells
		return stream.Send(&factv1.Update{Instance: s.c.Instance})
	}
	f, ok := s.ledger.follow(s.c.MaxFollowers)
	if !ok {
		return status.Errorf(codes.ResourceExhausted, "%s has %d followers already, which is as many as it takes", s.c.Instance, s.c.MaxFollowers)
	}
	defer s.ledger.unfollow(f)
	s.metrics.followers.Inc()
	defer s.metrics.followers.Dec()
	from := "unknown"
	if p, ok := peer.FromContext(stream.Context()); ok {
		from = p.Addr.String()
	}
	log := s.c.Log.With("follower", fmt.Sprintf("%.253s", r.GetInstance()), "from", from)
	log.Info("a peer follows our facts")
	err := s.stream(stream, f)
	log.Info("a peer no longer follows our facts", "why", err)
	return err
}

// stream sends to one follower until it goes away. It waits for
//
//   - something pending: sent as it stands then; the first time this is
//     everything, and a heartbeat says that it was;
//   - two seconds without anything: a heartbeat;
//   - the end of the stream.
func (s *Server) stream(stream grpc.ServerStreamingServer[factv1.Update], f *follower) error {
	if err := stream.Send(&factv1.Update{Instance: s.c.Instance}); err != nil {
		return fmt.Errorf("greeting a peer: %w", err)
	}
	idle := time.NewTimer(heartbeat)
	defer idle.Stop()
	for first := true; ; first = false {
		select {
		case <-f.wake:
			for _, t := range s.ledger.take(f) {
				if err := s.send(stream, t); err != nil {
					return fmt.Errorf("telling a peer of %s: %w", t.source, err)
				}
			}
			if !first {
				break
			}
			if err := stream.Send(&factv1.Update{}); err != nil {
				return fmt.Errorf("sending a heartbeat to a peer: %w", err)
			}
		case <-idle.C:
			if err := stream.Send(&factv1.Update{}); err != nil {
				return fmt.Errorf("sending a heartbeat to a peer: %w", err)
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		idle.Reset(heartbeat)
	}
}

// send divides a telling into messages of about one chunk. A fact that fits into
// no message is left out and logged; the telling is then not whole.
func (s *Server) send(stream grpc.ServerStreamingServer[factv1.Update], t telling) error {
	now := time.Now()
	facts := make([]sized, 0, len(t.put))
	for _, f := range t.put {
		x := factv1.FactFromFleet(f, now)
		n := proto.Size(x)
		if n > maxMessage-chunk {
			s.c.Log.Error("a fact is too large for peers and is not sent", "source", t.source, "kind", f.Kind, "name", f.Name, "bytes", n)
			t.whole = false
			continue
		}
		facts = append(facts, sized{x, n})
	}
	head := fleet.Update{Source: t.source, Whole: t.whole, Ended: t.ended, Stale: t.stale, Heard: t.heard}
	gone := factv1.FromFleet(fleet.Update{Gone: t.gone}, now).Gone
	for {
		m, size := factv1.FromFleet(head, now), 0
		for len(facts) > 0 && (size == 0 || size+facts[0].bytes <= chunk) {
			m.Put, size, facts = append(m.Put, facts[0].Fact), size+facts[0].bytes, facts[1:]
		}
		for len(gone) > 0 && size < chunk {
			m.Gone, size, gone = append(m.Gone, gone[0]), size+proto.Size(gone[0]), gone[1:]
		}
		m.More = len(facts)+len(gone) > 0
		if err := stream.Send(m); err != nil {
			return err
		}
		s.metrics.messages.Inc()
		s.metrics.facts.Add(float64(len(m.Put) + len(m.Gone)))
		if !m.More {
			return nil
		}
	}
}

// sized is a fact with the size of its wire form.
type sized struct {
	*factv1.Fact
	bytes int
}
