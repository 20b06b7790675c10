package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridian-lb/meridian/fleet"
)

const defaultWindow = 4 << 20 // bytes

// WAN relays TCP connections and lets each byte take as long as the way between
// the client's place and the gateway's would. Clients say where they stand by
// their source address: on loopback anybody may use any of 127.0.0.0/8.
//
// What it imitates and what it cannot:
//
//   - Each direction takes half the round trip, in order, without bounding the
//     rate below Window per half round trip. End of stream and reset travel as
//     long as data does. A gateway that refuses is felt as a reset.
//   - The kernel answers a connect on loopback itself, so connect(2) always
//     returns at once: whoever times the TCP handshake alone measures nothing.
//     The handshake's round trip is charged to the first byte instead: the time
//     from dialling to the first byte of the answer is right (two round trips,
//     with TLS 1.3 three). Who times from "connected" to the first byte of the
//     answer should set FreeConnect, and then sees exactly one round trip.
//   - A refusal is felt as an accepted connection that is reset, not as
//     "connection refused".
//   - Nothing is lost and nothing is reordered: a partition (Cut) holds bytes
//     back, as TCP's retransmissions would, until Restore.
type WAN struct {
	cfg   WANConfig
	log   *slog.Logger
	gates gates
	doors []door
}

// WANConfig says who stands where.
type WANConfig struct {
	Sites    []Site    // where clients stand; a source that is in none has no delay
	Gateways []Gateway // what they reach

	RTT         func(from, to fleet.Place) time.Duration // nil means OceanRTT
	FreeConnect bool                                     // do not charge the TCP handshake to the first byte
	KeepSource  bool                                     // dial the target from the client's own address; needs Linux and loopback
	Window      int                                      // bytes under way, per connection and direction; 0 means 4 MiB
	Log         *slog.Logger                             // nil means silent
}

// Site is a set of source addresses that stand in one place.
type Site struct {
	Name    string         // for Cut and RTT; unique
	Sources []netip.Prefix // the longest matching prefix over all sites wins
	Place   fleet.Place
}

// Gateway is one relayed address.
type Gateway struct {
	Name   string // for Cut, RTT and Addr; unique
	Listen string // host:port; port 0 means any
	Target string // host:port of the real gateway
	Place  fleet.Place
}

// door is a gateway with its listener.
type door struct {
	Gateway
	listener *net.TCPListener
}

// OceanRTT is what a round trip between two places usually takes: twice the time
// that light in fibre needs along the great circle. It is zero when either place
// is unknown.
func OceanRTT(from, to fleet.Place) time.Duration {
	if !from.Known() || !to.Known() {
		return 0
	}
	return 2 * fleet.FibreRTT(from.DistanceKm(to))
}

// NewWAN binds the listening addresses, so that a connect succeeds from now on;
// bytes flow once Run runs.
func NewWAN(cfg WANConfig) (*WAN, error) {
	if cfg.RTT == nil {
		cfg.RTT = OceanRTT
	}
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &WAN{cfg: cfg, log: cfg.Log, gates: gates{cut: map[link]bool{}, changed: make(chan struct{})}}
	if err := w.checkNames(); err != nil {
		return nil, err
	}
	for _, g := range cfg.Gateways {
		listener, err := listen(g.Listen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listening for gateway %s: %w", g.Name, err), w.closeDoors())
		}
		w.doors = append(w.doors, door{g, listener})
	}
	return w, nil
}

func listen(addr string) (*net.TCPListener, error) {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	return net.ListenTCP("tcp", at)
}

func (w *WAN) checkNames() error {
	seen := map[string]bool{}
	for _, s := range w.cfg.Sites {
		if s.Name == "" || seen[s.Name] {
			return fmt.Errorf("site %q: every site needs a name of its own", s.Name)
		}
		seen[s.Name] = true
	}
	clear(seen)
	for _, g := range w.cfg.Gateways {
		if g.Name == "" || seen[g.Name] {
			return fmt.Errorf("gateway %q: every gateway needs a name of its own", g.Name)
		}
		seen[g.Name] = true
	}
	return nil
}

func (w *WAN) closeDoors() error {
	var errs []error
	for _, d := range w.doors {
		if err := d.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Addr is where the gateway of this name listens; zero for a name that is not there.
func (w *WAN) Addr(gateway string) netip.AddrPort {
	for _, d := range w.doors {
		if d.Name == gateway {
			return d.listener.Addr().(*net.TCPAddr).AddrPort()
		}
	}
	return netip.AddrPort{}
}

// RTT is the round trip between a site and a gateway, without what the machine
// itself needs; zero for a name that is not there.
func (w *WAN) RTT(site, gateway string) time.Duration {
	for _, s := range w.cfg.Sites {
		for _, d := range w.doors {
			if s.Name == site && d.Name == gateway {
				return w.cfg.RTT(s.Place, d.Place)
			}
		}
	}
	return 0
}

// Cut stops every byte between a site and a gateway, in both directions, as a
// broken cable does: nobody is told. An empty name means all of them. Connections
// are still accepted, for the kernel does that, but nothing comes through.
func (w *WAN) Cut(site, gateway string) {
	w.gates.set(link{site, gateway}, true)
	w.log.Info("cable cut", "site", site, "gateway", gateway)
}

// Restore undoes the Cut of the same two names; what was held back flows on.
func (w *WAN) Restore(site, gateway string) {
	w.gates.set(link{site, gateway}, false)
	w.log.Info("cable restored", "site", site, "gateway", gateway)
}

// Run relays until ctx ends, then resets what is still open and returns nil. It
// can run once.
func (w *WAN) Run(ctx context.Context) error {
	var connections sync.WaitGroup
	doors, ctx := errgroup.WithContext(ctx)
	for _, d := range w.doors {
		doors.Go(func() error {
			if err := w.serve(ctx, d, &connections); err != nil {
				return fmt.Errorf("relaying to gateway %s: %w", d.Name, err)
			}
			return nil
		})
	}
	doors.Go(func() error {
		<-ctx.Done()
		return w.closeDoors()
	})
	err := doors.Wait()
	connections.Wait()
	return err
}

func (w *WAN) serve(ctx context.Context, d door, connections *sync.WaitGroup) error {
	for {
		client, err := d.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil && temporary(err):
			// Out of file descriptors, most likely: let some be given back.
			w.log.Warn("accepting a connection", "gateway", d.Name, "error", err)
			if !sleep(ctx, 50*time.Millisecond) {
				return nil
			}
		case err != nil:
			return err
		default:
			connections.Go(func() { w.carry(ctx, client, d) })
		}
	}
}

// temporary reports whether accept may succeed later; net has no better word for it.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// sleep waits; false means that ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// site finds where an address stands.
func (w *WAN) site(a netip.Addr) (Site, bool) {
	a = a.Unmap()
	var best Site
	bits := -1
	for _, s := range w.cfg.Sites {
		for _, p := range s.Sources {
			if p.Contains(a) && p.Bits() > bits {
				best, bits = s, p.Bits()
			}
		}
	}
	return best, bits >= 0
}

// carry relays one connection from its first byte to its last.
func (w *WAN) carry(ctx context.Context, client *net.TCPConn, d door) {
	accepted := time.Now()
	defer closeQuietly(client)
	source := client.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
	route := link{gateway: d.Name}
	var oneWay time.Duration
	if s, ok := w.site(source); ok {
		route.site = s.Name
		oneWay = w.cfg.RTT(s.Place, d.Place) / 2
	}
	established := accepted
	if !w.cfg.FreeConnect {
		established = accepted.Add(2 * oneWay)
		if !sleep(ctx, oneWay) { // the SYN is under way
			reset(client)
			return
		}
	}
	if !w.gates.wait(ctx.Done(), route) {
		reset(client)
		return
	}
	target, err := w.dial(ctx, d.Target, source)
	if err != nil {
		sleep(ctx, oneWay) // the refusal is under way
		reset(client)
		return
	}
	defer closeQuietly(target)
	t := newTrip(client, target, w.cfg.Window)
	t.oneWay, t.established = oneWay, established
	t.pass = func(stop <-chan struct{}) bool { return w.gates.wait(stop, route) }
	stop := context.AfterFunc(ctx, t.abort)
	defer stop()
	t.run()
}

func (w *WAN) dial(ctx context.Context, target string, source netip.Addr) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: 30 * time.Second}
	if w.cfg.KeepSource {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := dialer.DialContext(ctx, "tcp", target)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// reset ends the connection so that the other side sees a reset, not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // fails only on a connection that is gone already
	closeQuietly(c)
}

func closeQuietly(c *net.TCPConn) { _ = c.Close() } // closed twice on purpose

// link is one relation that can be cut; an empty name means all of them.
type link struct{ site, gateway string }

// gates knows which links are cut.
type gates struct {
	mu      sync.Mutex
	cut     map[link]bool
	changed chan struct{} // closed and replaced at every change
}

func (g *gates) set(l link, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if cut {
		g.cut[l] = true
	} else {
		delete(g.cut, l)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns true as soon as the link is whole, false when stop is closed first.
func (g *gates) wait(stop <-chan struct{}, l link) bool {
	for {
		g.mu.Lock()
		cut := g.cut[l] || g.cut[link{"", l.gateway}] || g.cut[link{l.site, ""}] || g.cut[link{}]
		changed := g.changed
		g.mu.Unlock()
		if !cut {
			return true
		}
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
}
