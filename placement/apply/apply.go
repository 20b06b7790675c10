// Package apply carries out what placement decides: it writes workloads into member clusters and tells how they fare.
//
// What is read is never changed, and a failure to read is never a deletion: a
// cluster that is silent, refuses, or has become another one keeps what it has.
// Everything is worked out anew from the host's object and what the members show, so
// that a replica that takes over in the middle goes on where the other one stopped.
package apply

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/geo/steer"
)

// Config is what an Applier needs.
type Config struct {
	Instance  string       // unique over all replicas
	Host      *rest.Config // where FederatedObjects lie
	Namespace string       // of the installation: the lease lies there; empty means meridian-system
	Pace      Pace
	Fares     Fares // nil: nobody wants to know

	// Account is the ServiceAccount of its namespace on behalf of which a workload is
	// carried out that names none; empty: by the rights that members gave us.
	Account string
	// Resources of kinds that are not Kubernetes' own, where the host does not serve them.
	Resources map[schema.GroupKind]string

	Log        *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Pace is how often things are done. The zero Pace means the defaults.
type Pace struct {
	Pulse   time.Duration // between two questions whether a member lives; 0 means 3 s
	Timeout time.Duration // of one; 0 means 3 s
	Audit   time.Duration // after which a watch is made anew with a whole list, more or less; 0 means 10 min
	Status  time.Duration // between two writings of one object's status; 0 means 1 s
	Survey  time.Duration // between two counts of what nodes have and pods take, for workloads that are divided by room; 0 means 1 min
	Rights  time.Duration // between two questions whether an account may write a kind; 0 means 30 s
	Lease   time.Duration // after which another replica may write in place of a silent one; 0 means 15 s
	Workers int           // that write to one member at a time; 0 means 4
}

func (p Pace) filled() Pace {
	for field, def := range map[*time.Duration]time.Duration{
		&p.Pulse: 3 * time.Second, &p.Timeout: 3 * time.Second, &p.Audit: 10 * time.Minute,
		&p.Status: time.Second, &p.Survey: time.Minute, &p.Rights: 30 * time.Second, &p.Lease: 15 * time.Second,
	} {
		if *field <= 0 {
			*field = def
		}
	}
	if p.Workers <= 0 {
		p.Workers = 4
	}
	return p
}

// Applier carries out what is decided.
type Applier struct {
	cfg      Config
	log      *slog.Logger
	meter    *metrics
	conn     connection // to the host cluster
	desk     *desk
	term     *term
	scribe   *scribe
	rights   *rights
	thoughts thoughts
	plan     atomic.Pointer[steer.Plan]
	members  atomic.Pointer[map[string]Member]
}

// New prepares to work. It asks nobody yet, so a dead API server is no error.
func New(cfg Config) (*Applier, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = v1alpha1.HostNamespace
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	cfg.Pace = cfg.Pace.filled()
	client, err := rest.HTTPClientFor(cfg.Host)
	if err != nil {
		return nil, err
	}
	conn, err := connect(Member{Config: cfg.Host, Client: client})
	if err != nil {
		return nil, err
	}
	leases, err := kubernetes.NewForConfigAndClient(cfg.Host, client)
	if err != nil {
		return nil, err
	}
	a := &Applier{cfg: cfg, log: cfg.Log, meter: newMetrics(cfg.Registerer), conn: conn}
	a.term = newTerm(leases, cfg, a.log)
	a.scribe = newScribe(a)
	a.desk = newDesk(a)
	many := rest.CopyConfig(cfg.Host)
	many.QPS = -1 // rights are asked for one after the other, and leases wait for nobody
	reviews, err := kubernetes.NewForConfigAndClient(many, client)
	if err != nil {
		return nil, err
	}
	a.rights = newRights(a, reviews)
	return a, nil
}

// Update takes the newest plan, whose clusters these are. It never blocks.
func (a *Applier) Update(p *steer.Plan) {
	before := a.plan.Swap(p)
	if before == nil || before.World != p.World {
		a.desk.touchAll()
	}
}

// Members takes how the members are reached, by the names of their clusters. One
// whose credentials cannot be read is among them without Config: it is silent, and
// not gone. It never blocks.
func (a *Applier) Members(members map[string]Member) {
	members = maps.Clone(members)
	a.members.Store(&members)
	a.desk.touchAll()
}

// Writing is the context of the term in which this replica writes; nil while another
// one does.
func (a *Applier) Writing() context.Context { return a.term.writing() }

// Run works until ctx ends.
func (a *Applier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.desk.run(ctx) })
	g.Go(func() error { return a.scribe.run(ctx) })
	g.Go(func() error { return a.rights.run(ctx) })
	g.Go(func() error { return a.term.run(ctx, a.desk.termChanged) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
