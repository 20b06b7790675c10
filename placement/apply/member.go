package apply

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/placement"
)

// Member is how a member cluster is reached. Whoever makes one has checked the
// credentials.
type Member struct {
	Config *rest.Config
	Client *http.Client // of Config, with connections of its own; closed when it is no longer needed
	Token  string       // tells one access from another
}

// ref names an object in a member.
type ref struct {
	schema.GroupKind
	types.NamespacedName
}

func refOf(o *unstructured.Unstructured) ref {
	return ref{o.GroupVersionKind().GroupKind(), nameOf(o)}
}

func (r ref) String() string { return fmt.Sprintf("%s %s", r.Kind, r.NamespacedName) }

// member carries out what is planned for one cluster. It has goroutines, a queue and
// connections of its own, so that a dead or slow one delays nobody.
type member struct {
	name     string
	pace     Pace
	log      *slog.Logger
	meter    *metrics
	touch    func(workload types.UID)                                 // hears of workloads about which there is news; must not block
	tells    bool                                                     // somebody wants to know the status of objects
	labels   func(context.Context, string) (map[string]string, error) // of a namespace of the host cluster
	touchAll func()                                                   // hears that the member answers again, or no more; must not block
	term     func() context.Context                                   // of our writing; nil while another replica writes

	pulse  *pulse
	access chan Member
	queue  *queue
	work   sync.WaitGroup // of the connection

	mu       sync.Mutex
	kinds    map[schema.GroupKind]*watched
	follow   context.Context //nolint:containedctx // of the connection, for kinds that are added later; nil: there is none
	around   context.Context //nolint:containedctx // of the connection over which pods and autoscalers are watched
	conn     connection
	plans    map[types.UID]*plan
	wanted   map[ref]map[types.UID]bool // workloads that want an object
	owned    map[types.UID]map[ref]bool // objects that are there for a workload
	bases    map[ref]base
	outcomes map[ref]outcome
	marks    map[ref]marking
	contests map[ref]contest
	fixed    map[ref]fixed
	survey   survey
	pods     *pods
	scalers  *scalers
}

// watched is a kind with its stock.
type watched struct {
	*kind
	stock *stock
	end   context.CancelFunc
}

// plan is what a member is to have of one workload; what it has beyond that goes.
type plan struct {
	parts      []part // what the workload needs, then the workload itself; none: it goes
	orphan     bool   // what goes is left to the cluster, without our marks
	as         account
	held       bool   // its account may not write, as far as anybody knows: what is there stays as it is
	generation int64  // of the FederatedObject
	token      string // tells one plan from another
}

// part is one object of a plan.
type part struct {
	rendered
	adopt bool
	main  bool // the workload itself, not something that it needs
	bound bool // it is not made again when it is gone
	over  bool // it is left as it is
}

// base is what an object was right after we wrote it, or found it right.
type base struct {
	applied string // digest of what was applied
	fields  string // digest of the fields that were ours then
}

func newMember(name string, a *Applier) *member {
	m := &member{
		name: name, pace: a.cfg.Pace, log: a.log.With("cluster", name), meter: a.meter,
		tells: a.cfg.Fares != nil, labels: a.namespaceLabels, touch: a.desk.touch, touchAll: a.desk.touchAll, term: a.term.writing,
		pulse:  &pulse{timeout: a.cfg.Pace.Timeout, since: time.Now(), why: "it has not answered yet"},
		access: make(chan Member, 1), queue: newQueue(),
		kinds: map[schema.GroupKind]*watched{}, plans: map[types.UID]*plan{},
		wanted: map[ref]map[types.UID]bool{}, owned: map[types.UID]map[ref]bool{},
		bases: map[ref]base{}, outcomes: map[ref]outcome{}, marks: map[ref]marking{}, contests: map[ref]contest{}, fixed: map[ref]fixed{},
	}
	m.pods, m.scalers = newPods(m.podsChanged), newScalers(m.scaled)
	return m
}

// use reaches the member that way from now on. It never blocks; the newest wins.
func (m *member) use(a Member) {
	select {
	case <-m.access:
	default:
	}
	m.access <- a
}

// run lives until ctx ends: it connects whenever there is another way to the API
// server. Nothing that is known is forgotten then.
func (m *member) run(ctx context.Context) {
	var given Member
	stop := func() {}
	defer func() { stop(); closeIdle(given.Client); m.queue.end() }()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-m.access:
			if a.Token == given.Token && given.Config != nil {
				continue
			}
			conn, err := connect(a)
			if err != nil {
				m.log.Warn("a member cannot be connected to", "err", err)
				continue // the old way stays open as long as it works
			}
			stop()
			closeIdle(given.Client)
			given = a
			stop = m.begin(ctx, conn)
			m.log.Info("workloads are carried out in a member", "server", a.Config.Host)
		}
	}
}

func connect(a Member) (connection, error) {
	cfg := rest.CopyConfig(a.Config)
	cfg.WarningHandler = rest.NoWarnings{}
	named, err := onBehalf(cfg, a.Client)
	if err != nil {
		return connection{}, fmt.Errorf("preparing connections: %w", err)
	}
	client, err := dynamic.NewForConfigAndClient(cfg, named)
	if err != nil {
		return connection{}, fmt.Errorf("preparing connections: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, a.Client)
	if err != nil {
		return connection{}, fmt.Errorf("preparing connections: %w", err)
	}
	return connection{client: client, discovery: disco}, nil
}

// begin starts everything that a connection needs; stop returns when it has ended.
func (m *member) begin(ctx context.Context, c connection) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	m.pulse.forget()
	m.mu.Lock()
	m.follow, m.conn = ctx, c
	for _, w := range m.kinds {
		m.start(w) //nolint:contextcheck // its own, just kept
	}
	m.startAround() //nolint:contextcheck // its own, just kept
	m.mu.Unlock()
	m.work.Go(func() { m.beats(ctx, c) })
	m.work.Go(func() { m.surveys(ctx, c) })
	for range m.pace.Workers {
		m.work.Go(func() { m.queue.work(ctx, m.attend) })
	}
	return func() {
		m.mu.Lock()
		m.follow = nil
		m.mu.Unlock()
		cancel()
		m.queue.poke()
		m.work.Wait()
	}
}

// start has a kind watched; it is called with mu held.
func (m *member) start(w *watched) {
	if m.follow == nil {
		return
	}
	ctx, cancel := context.WithCancel(m.follow)
	w.end = cancel
	c := m.conn
	m.work.Go(func() { w.kind.follow(ctx, c, m.pace.Audit, func() { m.kindChanged(w) }) })
}

// startAround has watched what happens to workloads, once there are any; it is called
// with mu held.
func (m *member) startAround() {
	if m.follow == nil || len(m.kinds) == 0 || m.around == m.follow {
		return
	}
	m.around = m.follow
	ctx, c := m.follow, m.conn
	for _, k := range []*kind{m.pods.kind, m.scalers.kind} {
		m.work.Go(func() { k.follow(ctx, c, m.pace.Audit, m.touchAll) })
	}
}

// watch watches just these kinds from now on. One of which objects are still here
// stays watched.
func (m *member) watch(kinds map[schema.GroupKind]schema.GroupVersionKind) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for gk, gvk := range kinds {
		if w := m.kinds[gk]; w != nil {
			continue
		}
		s := &stock{packs: true, changed: func(list []change, first bool) { m.changed(gk, list, first) }}
		w := &watched{kind: newKind(gvk, placement.LabelPlaced+"=true", s), stock: s, end: func() {}}
		s.replicas = w.replicasAt
		m.kinds[gk] = w
		m.start(w)
	}
	m.startAround()
	for gk, w := range m.kinds {
		if _, stays := kinds[gk]; !stays && w.stock.empty() {
			w.end()
			delete(m.kinds, gk)
		}
	}
}

// beats feels the pulse until ctx ends.
func (m *member) beats(ctx context.Context, c connection) {
	for ctx.Err() == nil {
		b := m.pulse.feel(ctx, c.client)
		switch {
		case b.back:
			m.log.Info("a member answers")
			m.wakeKinds()
			m.again()
			m.touchAll()
		case b.lost:
			_, why := m.pulse.silence()
			m.log.Warn("a member does not answer, so its workloads stay as they are", "why", why)
			m.touchAll()
		}
		if b.rewound {
			m.relist()
		}
		wait := time.NewTimer(m.pace.Pulse*3/4 + rand.N(m.pace.Pulse/2))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
}

func (m *member) allKinds() []*kind {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []*kind{m.pods.kind, m.scalers.kind}
	for _, w := range m.kinds {
		list = append(list, w.kind)
	}
	return list
}

func (m *member) wakeKinds() {
	for _, k := range m.allKinds() {
		if k.trouble() != nil {
			k.wake()
		}
	}
}

func (m *member) relist() {
	for _, k := range m.allKinds() {
		k.relist()
	}
}

// again has every object looked at.
func (m *member) again() {
	m.mu.Lock()
	list := make([]ref, 0, len(m.wanted))
	for r := range m.wanted {
		list = append(list, r)
	}
	for _, refs := range m.owned {
		for r := range refs {
			list = append(list, r)
		}
	}
	m.mu.Unlock()
	for _, r := range list {
		m.queue.add(r)
	}
}
