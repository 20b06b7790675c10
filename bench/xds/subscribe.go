package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	"github.com/meridian-lb/meridian/bench/role"
	"github.com/meridian-lb/meridian/xds/resource"
)

// crowd is all subscribers of one server.
type crowd struct {
	o       options
	design  string
	members []*member

	versions  map[string]string // that the first was sent
	bytes     atomic.Int64      // of responses since arm
	resources atomic.Int64      // since arm
	left      atomic.Int64      // subscribers that lack the change
	last      atomic.Int64      // when the newest of them got it, Unix nanoseconds
	done      chan struct{}     // closed when none is left
	failed    chan error
}

// member is one subscriber.
type member struct {
	conn     *grpc.ClientConn
	stop     context.CancelFunc
	versions map[string]string
	ended    chan struct{}
}

// subscribe is the role of the subscribers.
func subscribe(o options, in io.Reader, out io.Writer) error {
	crowds := map[string]*crowd{}
	return role.Obey(in, out, func(c command) (reply, error) {
		if c.Do == "connect" {
			crowds[c.Design] = &crowd{o: o, design: c.Design, failed: make(chan error, o.subscribers)}
		}
		if crowd, ok := crowds[c.Design]; ok {
			return crowd.obey(c.Do)
		}
		return reply{}, nil
	})
}

func (c *crowd) obey(do string) (reply, error) {
	switch do {
	case "connect":
		return c.connect()
	case "reconnect":
		return c.reconnect()
	case "arm":
		c.arm()
	case "wait":
		if err := c.wait(time.Minute); err != nil {
			return reply{}, fmt.Errorf("%d subscribers still lack the change: %w", c.left.Load(), err)
		}
		return reply{At: c.last.Load(), Bytes: c.bytes.Load(), Resources: c.resources.Load()}, nil
	}
	return reply{}, nil
}

func (c *crowd) arm() {
	c.bytes.Store(0)
	c.resources.Store(0)
	c.left.Store(int64(len(c.members)))
	c.done = make(chan struct{})
}

func (c *crowd) wait(limit time.Duration) error {
	select {
	case <-c.done:
		return nil
	case err := <-c.failed:
		return err
	case <-time.After(limit):
		return errors.New("it took too long")
	}
}

// connect lets one subscriber fetch everything and then opens all others with
// what it got.
func (c *crowd) connect() (reply, error) {
	first, err := c.dial()
	if err != nil {
		return reply{}, err
	}
	c.members = []*member{first}
	c.arm()
	c.left.Store(int64(c.o.services))
	c.run(first, nil)
	if err := c.wait(time.Minute); err != nil {
		return reply{}, fmt.Errorf("the first sync: %w", err)
	}
	r := reply{FirstBytes: c.bytes.Load()}
	c.versions = maps.Clone(first.versions)
	c.resources.Store(0)
	for range c.o.subscribers - 1 {
		m, err := c.dial()
		if err != nil {
			return reply{}, err
		}
		c.members = append(c.members, m)
		c.run(m, c.versions)
	}
	c.quiet()
	r.Resources = c.resources.Load()
	return r, nil
}

// reconnect ends all streams and opens them again with what each has.
func (c *crowd) reconnect() (reply, error) {
	for _, m := range c.members {
		m.stop()
		<-m.ended
	}
	c.arm()
	for _, m := range c.members {
		c.run(m, m.versions)
	}
	c.quiet()
	return reply{Resources: c.resources.Load(), Bytes: c.bytes.Load()}, nil
}

// quiet waits until a while has passed without a byte: that nothing comes cannot
// be waited for in any other way.
func (c *crowd) quiet() {
	for last := int64(-1); last != c.bytes.Load(); time.Sleep(2 * time.Second) {
		last = c.bytes.Load()
	}
}

// window is the flow control window, in bytes: like Envoy's, it is much larger than
// a response, so that a response is not paid for by window updates.
const window = 16 << 20

func (c *crowd) dial() (*member, error) {
	conn, err := grpc.NewClient("unix:"+socket(c.o, c.design), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window), grpc.WithReadBufferSize(16<<10), grpc.WithWriteBufferSize(4<<10), grpc.WithStatsHandler(counter{c}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return nil, fmt.Errorf("dialling %s: %w", c.design, err)
	}
	return &member{conn: conn}, nil
}

// run opens the stream of a member, with the versions that it has, and receives
// until it is stopped. It returns when the subscription was sent.
func (c *crowd) run(m *member, versions map[string]string) {
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.ended, m.versions = stop, make(chan struct{}), maps.Clone(versions)
	if m.versions == nil {
		m.versions = map[string]string{}
	}
	var subscribed sync.WaitGroup
	subscribed.Add(1)
	go func() {
		defer close(m.ended)
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(m.conn).DeltaAggregatedResources(ctx)
		if err == nil {
			err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
				Node:                    &corev3.Node{Id: "bench"},
				TypeUrl:                 resource.EndpointType,
				ResourceNamesSubscribe:  c.names(),
				InitialResourceVersions: versions,
			})
		}
		subscribed.Done()
		for err == nil {
			err = c.receive(stream, m)
		}
		if ctx.Err() == nil {
			c.failed <- err
		}
	}()
	subscribed.Wait()
}

func (c *crowd) names() []string {
	names := make([]string, c.o.services)
	for i := range names {
		names[i] = serviceName(i)
	}
	return names
}

// receive takes one response and acknowledges it.
func (c *crowd) receive(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, m *member) error {
	resp, err := stream.Recv()
	if err != nil {
		return err
	}
	for _, r := range resp.GetResources() {
		m.versions[r.GetName()] = r.GetVersion()
		c.resources.Add(1)
		c.last.Store(time.Now().UnixNano())
		if c.left.Add(-1) == 0 {
			close(c.done)
		}
	}
	return stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.EndpointType, ResponseNonce: resp.GetNonce()})
}

// counter counts the bytes of messages.
type counter struct{ *crowd }

func (counter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (counter) HandleConn(context.Context, stats.ConnStats)                       {}
func (c counter) HandleRPC(_ context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		c.bytes.Add(int64(in.Length))
	}
}
