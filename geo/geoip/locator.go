// Package geoip finds the place of an address.
//
// It asks in layers: the operator's own networks, a City database, a Country
// database, and a country table inside the program. The first that knows wins.
//
// Each layer is flattened, when it is loaded, into an immutable table of ranges
// of the grain in which clients are told apart. A lookup reads one atomic
// pointer and searches at most four such tables; it allocates nothing, takes no
// lock and runs no code of a database library.
package geoip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
)

// Config is where a Locator gets its data. The zero Config is useful: it knows
// countries.
type Config struct {
	City    string // path of a City or Enterprise database in MaxMind format; empty: none
	Country string // path of a Country database in MaxMind format; empty: none

	MaxSize int64         // of a file, in bytes; 0 means 1 GiB
	Quiet   time.Duration // a file must not change for so long before it is loaded; 0 means 2 s
	Recheck time.Duration // how often files are looked at without being told of a change; 0 means 1 min

	Log     *slog.Logger          // nil discards
	Metrics prometheus.Registerer // nil registers nothing
}

// Locator finds the place of an address. All methods are safe for concurrent use.
type Locator struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	lookups tally
	ready   chan struct{}

	table atomic.Pointer[table]

	files []*file // by precedence; the slice never changes

	mu       sync.Mutex // orders those who change the table; guards networks and what files say
	networks []Network  // as given last
}

// New makes a Locator that knows nothing yet but the networks it will be given;
// Run fills it. It fails only when a metric cannot be registered.
func New(cfg Config) (*Locator, error) {
	if cfg.MaxSize <= 0 {
		cfg.MaxSize = 1 << 30
	}
	if cfg.Quiet <= 0 {
		cfg.Quiet = 2 * time.Second
	}
	if cfg.Recheck <= 0 {
		cfg.Recheck = time.Minute
	}
	cfg.Recheck = max(cfg.Recheck, 2*cfg.Quiet) // a recheck begins a quiet time, which must come to its end
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Locator{cfg: cfg, log: cfg.Log, ready: make(chan struct{})}
	l.table.Store(&table{})
	if cfg.City != "" {
		l.files = append(l.files, &file{in: inCity, path: cfg.City})
	}
	if cfg.Country != "" {
		l.files = append(l.files, &file{in: inCountry, path: cfg.Country})
	}
	var err error
	if l.metrics, err = newMetrics(cfg.Metrics, &l.lookups); err != nil {
		return nil, fmt.Errorf("registering metrics of geo databases: %w", err)
	}
	return l, nil
}

// Locate finds where an address is. Of what is asked:
//
//   - The first layer that knows a place wins; when none does the Place is zero
//     and the Layer "default". So it is for addresses that are nobody's on the
//     internet (private, multicast, reserved), unless an operator's network
//     covers them.
//   - Only the Truncate of the address counts. An IPv6 address that carries an
//     IPv4 address (mapped, NAT64, 6to4, Teredo) is at the place of that.
//   - Prefix contains the address (as IPv4 when it is mapped), is at most as long
//     as its Truncate, and every address in it has the same Location until the
//     data changes. It is zero only for the zero Addr.
func (l *Locator) Locate(addr netip.Addr) fleet.Location {
	v, ok := see(addr)
	if !ok {
		l.lookups.count(0, inNone)
		return fleet.Location{Layer: LayerDefault}
	}
	loc, in := l.table.Load().locate(v)
	l.lookups.count(v.key, in)
	return loc
}

// Ready is closed when Run has loaded what there was to load at the start. Until
// then Locate may say less than it will.
func (l *Locator) Ready() <-chan struct{} { return l.ready }

// SetNetworks replaces the operator's networks. The most specific one wins; one
// that is longer than a Truncate stands for the whole of that. A network that
// cannot hold is left out and told in the error, in sorted lines of one sentence
// each; the others hold all the same. The same networks again are no news and
// give nil.
func (l *Locator) SetNetworks(networks []Network) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if networks = slices.Clone(networks); slices.Equal(networks, l.networks) {
		return nil
	}
	y, err := networksLayer(networks)
	l.networks = networks
	l.set(inNetworks, y)
	return err
}

// set puts a layer in force; nil takes it away. The caller holds mu.
func (l *Locator) set(in int, y *layer) {
	t := *l.table.Load()
	t[in] = y
	l.table.Store(&t)
}

// Source is one layer's data, for people who ask what answers are made from.
type Source struct {
	Layer    string
	Path     string    // of the file; empty for the embedded data and networks
	Version  string    // the database's type, or the embedded data's version; empty while nothing was loaded
	Built    time.Time // by its maker; zero when unknown
	Networks int       // runs of addresses with one location
	Fault    string    // why the file could not be loaded last time; empty: it could
}

// Sources says what is in use, in order of precedence.
func (l *Locator) Sources() []Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.table.Load()
	var out []Source
	if y := t[inNetworks]; y != nil {
		out = append(out, Source{Layer: LayerNetwork, Networks: y.runs()})
	}
	for _, f := range l.files {
		s := Source{Layer: layerNames()[f.in], Path: f.path, Fault: f.fault}
		if f.db != nil {
			s.Version, s.Built, s.Networks = f.db.kind, f.db.built, f.db.networks
		}
		out = append(out, s)
	}
	if y := t[inEmbedded]; y != nil {
		out = append(out, Source{Layer: LayerEmbedded, Version: EmbeddedVersion, Networks: y.runs()})
	}
	return out
}
