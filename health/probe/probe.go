// Package probe looks at gateways through their front doors and tells what it sees as observations.
//
// One measurement serves twice: whether a probe is good is health, and how long
// its round trip took is the latency map.
package probe

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
)

// Bounds of what is probed and how.
const (
	maxTargets  = 4096
	inFlight    = 256 // probes at once; each has a goroutine and a socket
	minInterval = 100 * time.Millisecond
	maxInterval = time.Hour
	minTimeout  = time.Millisecond
	maxTimeout  = 5 * time.Second
	maxInARow   = 100 // of Rise and Fall
)

// Config is what a Prober needs.
type Config struct {
	Instance string        // who probes; one instance is one vantage point
	Source   string        // of the facts, see fleet.Key
	At       fleet.Vantage // where it stands
	// LocalAddr is the source address of probes to addresses of its family.
	// The zero Addr leaves it to the routing table.
	LocalAddr netip.Addr
	// Roots verify the certificates of HTTPS targets; nil: the system's. There is
	// no way to skip verification: an expired certificate is an outage.
	Roots *x509.CertPool
	Tell  fleet.Tell
	Log   *slog.Logger // nil: silent
	// Registerer takes the metrics; nil: none.
	Registerer prometheus.Registerer
	// AllowLoopback lets targets be on this host, for demos and tests.
	AllowLoopback bool
}

// Target is a gateway to be probed.
type Target struct {
	Addr    netip.AddrPort // its front; what a target is known by
	Region  fleet.Region
	Cluster string
	// Check says how. Fields that are zero get the value of fleet.DefaultCheck,
	// except that a gRPC check without a path asks for the server as a whole.
	// Intervals are held between 100 ms and 1 h, timeouts to 5 s at most.
	Check fleet.Check
}

// Prober probes a set of targets. Its methods may be called from any goroutine.
type Prober struct {
	cfg     Config
	log     *slog.Logger
	check   func(context.Context, Target) result
	metrics *metrics
	slots   chan struct{} // one for each probe in flight
	wake    chan struct{} // there are targets to be taken over

	mu      sync.Mutex
	targets []Target // not yet taken over by Run
}

// New makes a prober without targets. It panics if the Registerer has one already.
func New(cfg Config) *Prober {
	p := &Prober{
		cfg:   cfg,
		log:   cfg.Log,
		check: (&checker{local: cfg.LocalAddr, roots: cfg.Roots, allowLoopback: cfg.AllowLoopback}).check,
		slots: make(chan struct{}, inFlight),
		wake:  make(chan struct{}, 1),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.metrics = newMetrics(cfg.Registerer)
	return p
}

// Update replaces the set of targets; it never blocks. Until it is called for
// the first time the prober says nothing, since it knows nothing. Of several
// targets with one address the first is probed. A target whose check changes keeps its
// state: the new check has to fail Fall times before it takes a gateway down.
func (p *Prober) Update(targets []Target) {
	p.mu.Lock()
	p.targets = slices.Clone(targets)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default: // Run has not seen the last one yet, and will find the newest
	}
}

// taken is the newest set of targets, made sane: sorted, each address once.
func (p *Prober) taken() []Target {
	p.mu.Lock()
	targets := p.targets
	p.mu.Unlock()
	sane := make([]Target, 0, len(targets))
	for _, t := range targets {
		t.Check = saneCheck(t.Check)
		sane = append(sane, t)
	}
	slices.SortStableFunc(sane, func(a, b Target) int { return a.Addr.Compare(b.Addr) })
	sane = slices.CompactFunc(sane, func(a, b Target) bool { return a.Addr == b.Addr })
	if len(sane) > maxTargets {
		p.log.Error("more gateways than one prober looks at; the rest stays unprobed and its health unknown",
			"gateways", len(sane), "limit", maxTargets)
		sane = sane[:maxTargets]
	}
	return sane
}

func saneCheck(c fleet.Check) fleet.Check {
	d := fleet.DefaultCheck()
	c.Kind = cmp.Or(c.Kind, d.Kind)
	if c.Kind != fleet.CheckGRPC {
		c.Path = cmp.Or(c.Path, d.Path)
	}
	if c.Interval <= 0 {
		c.Interval = d.Interval
	}
	if c.Timeout <= 0 {
		c.Timeout = d.Timeout
	}
	if c.Rise <= 0 {
		c.Rise = d.Rise
	}
	if c.Fall <= 0 {
		c.Fall = d.Fall
	}
	c.Interval = min(max(c.Interval, minInterval), maxInterval)
	c.Timeout = min(max(c.Timeout, minTimeout), maxTimeout)
	c.Rise, c.Fall = min(c.Rise, maxInARow), min(c.Fall, maxInARow)
	return c
}
