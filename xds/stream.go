package xds

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridian-lb/meridian/trust"
	"github.com/meridian-lb/meridian/xds/resource"
)

const (
	// maxTypes of one stream. It must stay below the capacity of
	// go-control-plane's response channel (20), so that handing over a response
	// never blocks.
	maxTypes = 12

	// patience is how long one resource waits for another that the client does
	// not fetch, and how long a returning client may take to say all that it has.
	patience = 15 * time.Second
)

// stream is one client. Go-control-plane runs its protocol loop and calls it as
// its cache, so that a response is matched with its stream without a lookup.
type stream struct {
	id     int64
	ads    bool
	sotw   bool
	since  time.Time
	from   string // address of the peer; empty when the transport knows none
	server *Server
	bearer trust.Identity // of the connection

	direct  grpc.ServerStream // of the delta protocol, for sendNow; else nil
	sending sync.Mutex        // one response at a time; locked before mu, or only tried

	mu        sync.Mutex
	view      *view // nil until the first request
	node      *corev3.Node
	watches   []*watch      // in the order in which types are offered
	returning bool          // it came with resources from an earlier stream
	later     []func() bool // changes of the view, for unlock
	again     *time.Timer
	closed    bool
}

var _ cache.ConfigWatcher = (*stream)(nil)

// watch finds a type, or nil.
func (st *stream) watch(typeURL string) *watch {
	for _, w := range st.watches {
		if w.typeURL == typeURL {
			return w
		}
	}
	return nil
}

// push sends what may be sent now.
func (st *stream) push() {
	st.mu.Lock()
	st.step()
	st.unlock()
}

// unlock releases the stream's lock and then changes the view, if the client's
// words ask for that, and pushes to all its streams.
func (st *stream) unlock() {
	later, v := st.later, st.view
	st.later = nil
	st.mu.Unlock()
	woken := false
	for _, change := range later {
		woken = change() || woken
	}
	if woken {
		v.wake()
	}
}

func (st *stream) step() {
	if st.closed || st.view == nil {
		return
	}
	st.view.mu.RLock()
	defer st.view.mu.RUnlock()
	if !st.view.published {
		return
	}
	for _, w := range st.watches {
		w.step(st, st.view)
	}
}

// lookAgain makes sure that what waits is looked at when patience has run out.
func (st *stream) lookAgain() {
	if st.again == nil {
		st.again = time.AfterFunc(patience, func() {
			st.mu.Lock()
			st.again = nil
			st.step()
			if st.waiting() && !st.closed {
				st.lookAgain()
			}
			st.unlock()
		})
	}
}

// waiting reports whether something still waits to be sent.
func (st *stream) waiting() bool {
	for _, w := range st.watches {
		for _, m := range w.dirty {
			if !m.held.IsZero() {
				return true
			}
		}
	}
	return false
}

func (st *stream) ranOut(m mark) bool { return !m.held.IsZero() && time.Since(m.held) >= patience }

// unsure reports whether the client may hold listeners and routes that it has
// not told of yet: it has just come back, and says one type after the other.
func (st *stream) unsure() bool {
	return st.returning && st.ads && time.Since(st.since) < patience &&
		(st.watch(resource.ListenerType) == nil || st.watch(resource.RouteType) == nil)
}

// open finds or makes the watch of a type and takes over the subscription that
// go-control-plane hands in with a request.
func (st *stream) open(typeURL string, sub cache.Subscription) (*watch, error) {
	if n := len(sub.SubscribedResources()); n > st.server.config.MaxNames {
		return nil, status.Errorf(codes.ResourceExhausted, "the stream subscribes to %d names of %s and %d are allowed; subscribe to the wildcard instead",
			n, typeURL, st.server.config.MaxNames)
	}
	w := st.watch(typeURL)
	if w == nil {
		if len(st.watches) >= maxTypes {
			return nil, status.Errorf(codes.ResourceExhausted, "the stream asks for more than %d resource types", maxTypes)
		}
		w = newWatch(typeURL, st.sotw)
		w.metrics = st.server.metrics.of(typeURL)
		st.watches = append(st.watches, w)
		slices.SortStableFunc(st.watches, func(a, b *watch) int { return cmp.Compare(a.rank, b.rank) })
	}
	if w.answer != nil && sub.IsWildcard() && !w.wildcard {
		w.fresh, w.owes = true, !w.sotw || w.full
	}
	w.open, w.sub, w.wildcard = true, sub, sub.IsWildcard()
	return w, nil
}

// admit finds the view of the node that the first request names.
func (st *stream) admit(node *corev3.Node, names int) error {
	if names > st.server.config.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "the request carries %d names and %d are allowed; subscribe to the wildcard instead",
			names, st.server.config.MaxNames)
	}
	if st.node != nil { // only this goroutine writes it
		return nil
	}
	if node.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first request names no node; set node.id in Envoy's bootstrap")
	}
	if err := st.server.vouch(st.bearer, node); err != nil {
		return err
	}
	v, err := st.server.enter(node)
	if err != nil {
		return err
	}
	st.mu.Lock()
	st.view, st.node = v, node
	st.mu.Unlock()
	v.join(st)
	return nil
}

// cancel is what go-control-plane calls before it handles a request, and at the end.
func (st *stream) cancel(w *watch) func() {
	return func() {
		st.mu.Lock()
		defer st.mu.Unlock()
		w.open = false
	}
}

// leave ends the stream.
func (st *stream) leave() {
	st.mu.Lock()
	st.closed = true
	if st.again != nil {
		st.again.Stop()
	}
	for _, w := range st.watches {
		w.open = false
	}
	v := st.view
	st.mu.Unlock()
	if v != nil {
		v.leave(st)
	}
}

// CreateDeltaWatch takes a request of the delta protocol.
func (st *stream) CreateDeltaWatch(req *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (func(), error) {
	st.mu.Lock()
	w, err := st.open(req.GetTypeUrl(), sub)
	if err != nil {
		st.mu.Unlock()
		return nil, err
	}
	if w.answer == nil {
		w.answer = st.deltaAnswer(w, out)
		w.owes = w.wildcard && len(req.GetInitialResourceVersions()) == 0
		st.returning = st.returning || len(req.GetInitialResourceVersions()) > 0
		st.view.hold(w, req.GetInitialResourceVersions())
		for _, name := range req.GetResourceNamesSubscribe() {
			if w.known.get(name) == nil && name != "*" {
				w.mark(name, true)
			}
		}
	} else {
		st.settle(w, req.GetResponseNonce(), req.GetErrorDetail())
		w.resubscribe(req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe())
	}
	st.step()
	st.unlock()
	return st.cancel(w), nil
}

func (st *stream) deltaAnswer(w *watch, out chan cache.DeltaResponse) func(*flight) {
	// The server adds to the map that it is given back; what it holds is kept
	// here in known, so nobody reads that map.
	request, ignored := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: w.typeURL}, map[string]string{}
	return func(f *flight) {
		if st.sendNow(w, f) {
			return
		}
		// A flight that is used again holds these already, and go-control-plane may
		// still read them: an ACK can overtake the end of its own sending.
		if f.delta.DeltaRequest == nil {
			f.delta.DeltaRequest, f.delta.NextVersionMap, f.delta.DeltaDiscoveryResponse = request, ignored, &f.response
		}
		out <- &f.delta
	}
}

// CreateWatch takes a request of the state-of-the-world protocol.
func (st *stream) CreateWatch(req *cache.Request, sub cache.Subscription, out chan cache.Response) (func(), error) {
	st.mu.Lock()
	w, err := st.open(req.GetTypeUrl(), sub)
	if err != nil {
		st.mu.Unlock()
		return nil, err
	}
	if w.answer == nil {
		w.claim = req.GetVersionInfo()
		w.owes = w.full && w.wildcard
		st.returning = st.returning || w.claim != ""
	} else {
		w.dropUnsent()
		st.settle(w, req.GetResponseNonce(), req.GetErrorDetail())
		w.renew()
	}
	w.before = sub.SubscribedResources()
	request := &discoveryv3.DiscoveryRequest{TypeUrl: w.typeURL}
	w.answer = func(f *flight) {
		f.sotw.Request = request
		out <- &f.sotw
	}
	st.step()
	st.unlock()
	return st.cancel(w), nil
}

// OnDeltaStreamOpen is called by go-control-plane when a stream begins.
func (st *stream) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }

// OnDeltaStreamClosed is called when a stream has ended.
func (st *stream) OnDeltaStreamClosed(int64, *corev3.Node) {}

// OnStreamDeltaRequest is called before a request is handled.
func (st *stream) OnStreamDeltaRequest(_ int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	if err := st.admit(req.GetNode(), len(req.GetResourceNamesSubscribe())+len(req.GetInitialResourceVersions())); err != nil {
		return err
	}
	st.view.share(req.GetTypeUrl(), req.GetResourceNamesSubscribe())
	return nil
}

// OnStreamDeltaResponse is called just before a response goes out.
func (st *stream) OnStreamDeltaResponse(int64, *discoveryv3.DeltaDiscoveryRequest, *discoveryv3.DeltaDiscoveryResponse) {
}

// OnStreamOpen is called by go-control-plane when a stream begins.
func (st *stream) OnStreamOpen(context.Context, int64, string) error { return nil }

// OnStreamClosed is called when a stream has ended.
func (st *stream) OnStreamClosed(int64, *corev3.Node) {}

// OnStreamRequest is called before a request is handled.
func (st *stream) OnStreamRequest(_ int64, req *discoveryv3.DiscoveryRequest) error {
	if err := st.admit(req.GetNode(), len(req.GetResourceNames())); err != nil {
		return err
	}
	st.view.share(req.GetTypeUrl(), req.GetResourceNames())
	return nil
}

// OnStreamResponse is called just before a response goes out.
func (st *stream) OnStreamResponse(_ context.Context, _ int64, _ *discoveryv3.DiscoveryRequest, resp *discoveryv3.DiscoveryResponse) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if w := st.watch(resp.GetTypeUrl()); w != nil && w.flight != nil {
		w.sent(resp.GetNonce())
	}
}
