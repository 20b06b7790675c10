package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	firstWait = 100 * time.Millisecond // after the first loss, before jitter
	longWait  = 5 * time.Second        // after many
	// settled is how long a stream must have lived for the next wait to be short again.
	settled = 10 * time.Second
	// ownWait is between two looks at an address that has led to ourselves. It may
	// lead to another daemon some day: pods take over each other's addresses.
	ownWait = time.Minute
)

// Peer is one daemon to follow.
type Peer struct {
	Address string // host:port; names are looked up anew at every attempt
	// Instance is the name that the daemon there must give itself. Empty takes
	// any name but our own; with Creds, any that its certificate says.
	Instance string
}

// ClientConfig is what a Client needs.
type ClientConfig struct {
	Instance   string // name of this daemon
	Peers      []Peer
	Creds      credentials.TransportCredentials                         // of package trust; nil: plaintext
	Tell       fleet.Tell                                               // who keeps the facts
	Dial       func(ctx context.Context, addr string) (net.Conn, error) // nil: TCP
	Log        *slog.Logger                                             // nil: silent
	Registerer prometheus.Registerer                                    // nil: no metrics
}

// Client follows peers and hands on what they tell, under the names of the
// sources where they come from.
type Client struct {
	c       ClientConfig
	metrics *clientMetrics

	mu       sync.Mutex
	speakers map[string]string // instance name → address that holds it while it is connected
}

// NewClient makes a client that has not heard of anybody yet.
func NewClient(c ClientConfig) *Client {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Client{c: c, metrics: newClientMetrics(c.Registerer), speakers: map[string]string{}}
}

// Run follows all peers until ctx ends. A peer that cannot be reached is tried
// again and again; its facts stay in force, marked stale.
func (c *Client) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, p := range c.c.Peers {
		all.Go(func() { c.keepFollowing(ctx, p) })
	}
	all.Wait()
	return nil
}

// keepFollowing follows one peer, reconnecting with growing, jittered waits.
func (c *Client) keepFollowing(ctx context.Context, p Peer) {
	l := &listener{
		peer: p, tell: c.c.Tell, sources: map[string]*told{},
		refused: c.metrics.refused.WithLabelValues(p.Address),
		facts:   c.metrics.facts.WithLabelValues(p.Address),
		log:     c.c.Log.With("peer", p.Address),
	}
	c.metrics.connected.WithLabelValues(p.Address).Set(0)
	said := "" // the last failure that was logged
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		began, greeted := time.Now(), false
		err := c.follow(ctx, l, func() {
			greeted = true
			c.metrics.connected.WithLabelValues(p.Address).Set(1)
			l.log.Info("following a peer", "instance", l.instance)
		})
		if ctx.Err() != nil {
			return
		}
		if greeted {
			c.metrics.losses.WithLabelValues(p.Address).Inc()
		}
		var own *ownNameError
		ours := errors.As(err, &own)
		c.metrics.standing(p.Address, ours)
		if greeted || err.Error() != said {
			said = err.Error()
			if ours {
				l.log.Info("a peer is not followed", "why", said)
			} else {
				l.log.Warn("cannot follow a peer; what it told stays in force", "error", err)
			}
		}
		l.lost(ctx, err)
		if greeted && time.Since(began) >= settled {
			wait = firstWait
		}
		pause := wait/2 + rand.N(wait/2+1) // so that many do not come back at once
		if ours && own.proved {
			pause = ownWait
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// errSilent is the cause of giving up on a stream that says nothing.
var errSilent = fmt.Errorf("nothing came for %v, though a sign of life is due every %v", silence, heartbeat)

// follow opens one stream and listens to it until it fails. Each attempt is a
// connection of its own, so no state of a half-dead one survives.
func (c *Client) follow(ctx context.Context, l *listener, greeted func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := c.connect(l.peer.Address)
	if err != nil {
		return fmt.Errorf("connecting to it: %w", err)
	}
	defer conn.Close()
	// The watchdog runs only while we wait for the peer, not while our own
	// keeper of facts is busy.
	watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	stream, err := factv1.NewFactsClient(conn).Follow(ctx, &factv1.FollowRequest{Instance: c.c.Instance})
	if err != nil {
		return whyEnded(ctx, err)
	}
	heard := c.metrics.heard.WithLabelValues(l.peer.Address)
	next := func() (*factv1.Update, error) {
		watchdog.Reset(silence)
		m, err := stream.Recv()
		watchdog.Stop()
		if err != nil {
			return nil, whyEnded(ctx, err)
		}
		heard.Set(float64(time.Now().UnixMilli()) / 1000)
		return m, nil
	}
	hello, err := next()
	if err != nil {
		return err
	}
	if err := l.greet(hello); err != nil {
		return err
	}
	if c.c.Creds != nil {
		if err := speaks(stream.Context(), l.instance); err != nil { //nolint:contextcheck // the stream knows who is at its other end, ctx does not
			return err
		}
	}
	if l.instance == c.c.Instance {
		return &ownNameError{name: l.instance, proved: c.c.Creds != nil}
	}
	if err := c.claim(l.instance, l.peer.Address); err != nil {
		return err
	}
	defer c.release(l.instance)
	greeted()
	for {
		m, err := next()
		if err != nil {
			return err
		}
		if err := l.hear(ctx, m, time.Now()); err != nil {
			return err
		}
	}
}

func (c *Client) connect(address string) (*grpc.ClientConn, error) {
	creds := c.c.Creds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}
	if c.c.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(c.c.Dial))
	}
	return grpc.NewClient(address, opts...)
}

// whyEnded prefers our own reason for giving up to "context canceled".
func whyEnded(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// claim lets one connection at a time speak in the name of an instance.
func (c *Client) claim(instance, address string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by, taken := c.speakers[instance]; taken {
		return fmt.Errorf("it calls itself %q as does the peer at %s, which was first; give every daemon its own instance name", instance, by)
	}
	c.speakers[instance] = address
	return nil
}

func (c *Client) release(instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.speakers, instance)
}
