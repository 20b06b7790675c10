package kube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/fleet"
)

// member watches one cluster for its federated services and their endpoints, and
// for nothing else: a member may not speak of routes, policies or places.
type member struct {
	name  string
	pace  Pace
	log   *slog.Logger
	meter *metrics

	services   *shelf[*corev1.Service]
	slices     *shelf[*discoveryv1.EndpointSlice]
	exports    *shelf[*mcsv1alpha1.ServiceExport]
	nodes      *shelf[*metav1.PartialObjectMetadata]
	kinds      []*kind
	identity   *identity
	access     chan access
	wake       chan struct{}
	remembered bool        // something was told before a restart
	told       atomic.Bool // everything, once
	known      func()      // hears when everything was told

	mu   sync.Mutex
	dirt dirt

	// Of Run's goroutine.
	voice    *voice
	server   *server
	stop     func() // ends the server; nil without one
	given    access
	anew     bool // it has been silent, so everything is to be told again
	guard    guard
	zoneless map[fleet.ServiceName]bool // with endpoints whose zones only their nodes know
	unsure   map[fleet.ServiceName]bool // in force, and only an export that is not seen may say why
}

// access is how a member is reached, and what is wrong with that. About is who is
// told of faults: its Cluster object.
type access struct {
	config *rest.Config // nil: nobody knows how
	fault  string
	reason string // of fault, one CamelCase word
	unread bool   // the fault is that credentials cannot be read, so it says nothing of them
	about  fleet.Origin
	token  string // tells one access from another
	// What config was made of; nil: not of a Secret.
	kubeconfig []byte
	elder      string // the member that speaks for the same cluster; empty: this one does
}

// dirt is what watches have changed since the last look.
type dirt struct {
	services map[fleet.ServiceName]bool
	nodes    bool
	relisted bool
}

func newMember(name, source string, cfg Config, meter *metrics) *member {
	m := &member{name: name, pace: cfg.Pace, log: cfg.Log.With("cluster", name), meter: meter,
		identity: &identity{}, access: make(chan access, 1), wake: make(chan struct{}, 1), known: func() {},
		voice: newVoice(source, cfg.Tell, cfg.Known), zoneless: map[fleet.ServiceName]bool{}, unsure: map[fleet.ServiceName]bool{}}
	m.remembered = len(m.voice.facts) > 0
	m.dirt.services = map[fleet.ServiceName]bool{}
	m.services = &shelf[*corev1.Service]{strip: stripService, changed: marking(m, func(s *corev1.Service) (fleet.ServiceName, bool) {
		return fleet.ServiceName{Namespace: s.Namespace, Name: s.Name}, true
	})}
	m.slices = &shelf[*discoveryv1.EndpointSlice]{strip: stripSlice, group: k8s.ServiceOf, changed: marking(m, k8s.ServiceOf)}
	m.exports = &shelf[*mcsv1alpha1.ServiceExport]{strip: stripExport, changed: marking(m, func(e *mcsv1alpha1.ServiceExport) (fleet.ServiceName, bool) {
		return fleet.ServiceName{Namespace: e.Namespace, Name: e.Name}, true
	})}
	m.nodes = &shelf[*metav1.PartialObjectMetadata]{strip: stripNode, changed: m.nodesChanged}
	m.kinds = []*kind{
		{resource: corev1.SchemeGroupVersion.WithResource("services"), object: &corev1.Service{}, shelf: m.services},
		{resource: discoveryv1.SchemeGroupVersion.WithResource("endpointslices"), object: &discoveryv1.EndpointSlice{}, shelf: m.slices},
		{resource: mcs.WithResource("serviceexports"), object: &mcsv1alpha1.ServiceExport{}, shelf: m.exports, optional: true},
		{resource: corev1.SchemeGroupVersion.WithResource("nodes"), object: &metav1.PartialObjectMetadata{}, shelf: m.nodes, optional: true, metadata: true},
	}
	return m
}

// marking makes the services dirty that changed objects belong to.
func marking[T metav1.Object](m *member, of func(T) (fleet.ServiceName, bool)) func([]change[T], bool) {
	return func(list []change[T], whole bool) {
		m.mu.Lock()
		for _, c := range list {
			if !c.came {
				if name, ok := of(c.before); ok {
					m.dirt.services[name] = true
				}
			}
			if !c.went {
				if name, ok := of(c.after); ok {
					m.dirt.services[name] = true
				}
			}
		}
		m.dirt.relisted = m.dirt.relisted || whole
		m.mu.Unlock()
		if whole {
			m.meter.lists.WithLabelValues(m.name).Inc()
		}
		m.poke()
	}
}

// nodesChanged takes notice of nodes whose zone came or went; the rest of what
// happens to nodes is nothing to us.
func (m *member) nodesChanged(list []change[*metav1.PartialObjectMetadata], whole bool) {
	moved := slices.ContainsFunc(list, func(c change[*metav1.PartialObjectMetadata]) bool {
		return c.came || c.went || c.before.Labels[corev1.LabelTopologyZone] != c.after.Labels[corev1.LabelTopologyZone]
	})
	if moved || whole {
		m.mu.Lock()
		m.dirt.nodes = true
		m.mu.Unlock()
		m.poke()
	}
}

func (m *member) poke() {
	select {
	case m.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// use reaches the member that way from now on. It never blocks; the newest wins.
func (m *member) use(a access) {
	select {
	case <-m.access:
	default:
	}
	m.access <- a
}

// run watches until ctx ends. Its select waits for:
//   - another way to the API server: connections are made anew, nothing is forgotten;
//   - something dirty, or trouble that came or went;
//   - the time when a miss becomes trouble, or a held list is confirmed.
//
// It runs in one goroutine of members.
func (m *member) run(ctx context.Context) {
	defer m.disconnect()
	tick := time.NewTicker(m.pace.Pulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-m.access:
			m.connect(ctx, a)
		case <-m.wake:
		case <-tick.C:
		}
		m.look(ctx)
	}
}

func (m *member) connect(ctx context.Context, a access) {
	before := m.given
	m.given = a
	if before.elder != "" && a.elder == "" {
		m.anew = true
	}
	if a.config == nil || a.token == before.token {
		return // a fault leaves the old way open as long as it works
	}
	s, err := newServer(m.name, a.config, m.identity, m.pace, m.poke)
	if err != nil {
		m.given.fault, m.given.reason = oneLine(err.Error()), "InvalidCredentials"
		m.given.token = before.token
		return
	}
	m.disconnect()
	s.log = m.log
	s.audited = func(k *kind, n int) {
		m.meter.audits.WithLabelValues(m.name, k.name()).Inc()
		m.meter.differences.WithLabelValues(m.name, k.name()).Add(float64(n))
	}
	for _, k := range m.kinds {
		k.note(nil)
		s.add(k) //nolint:contextcheck // it begins when Run does
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	m.server = s
	m.stop = func() { cancel(); <-done }
	m.log.Info("an API server is watched", "server", a.config.Host)
}

func (m *member) disconnect() {
	if m.stop != nil {
		m.stop()
		m.stop, m.server = nil, nil
	}
}

// trouble says why what is known may be old; empty: it is not.
func (m *member) trouble() string {
	switch {
	case m.server != nil:
		return m.server.trouble()
	case m.given.fault != "":
		return m.given.fault
	}
	return "its API server is not watched yet"
}

// waited reports whether everything that can be told is here. Services and their
// endpoints make no sense without each other; the rest is not waited for for ever,
// and what it would say stays as it is.
func (m *member) waited() bool {
	return !slices.ContainsFunc(m.kinds, func(k *kind) bool {
		return !k.settled() && !(k.optional && m.server != nil && m.server.overdue(k))
	})
}

// look tells what changed since the last look.
func (m *member) look(ctx context.Context) {
	stale, missing := m.trouble(), unlisted(m.name, m.kinds)
	n := news{}
	whole := false
	switch {
	case m.given.elder != "":
		whole = !m.voice.whole
		m.hush(n)
	case m.waited():
		if !m.voice.whole {
			stale = cmp.Or(stale, missing)
			whole = stale == ""
		}
		m.facts(n)
	}
	n.problems("watch", m.problems())
	var heard time.Time
	if m.server != nil {
		heard = m.server.pulse.heard()
	}
	if m.voice.say(ctx, n, whole, stale, heard) {
		m.meter.told.WithLabelValues(m.name).Inc()
		m.measure(stale)
	}
	if m.voice.whole && m.given.elder == "" && m.told.CompareAndSwap(false, true) {
		m.known()
	}
}

// facts adds the facts of everything dirty.
func (m *member) facts(n news) {
	m.mu.Lock()
	d := m.dirt
	m.dirt = dirt{services: map[fleet.ServiceName]bool{}}
	m.mu.Unlock()
	if !m.voice.whole || m.anew {
		m.everything(d.services)
		m.anew = false
	}
	if d.nodes {
		maps.Copy(d.services, m.zoneless)
	}
	if !m.exportsUnseen() {
		maps.Copy(d.services, m.unsure)
	}
	maps.Copy(d.services, m.guard.aside)
	for name := range d.services {
		b, problems, keep := m.backend(name)
		n.problems("service/"+name.String(), problems)
		switch fact := m.fact(name); {
		case b != nil:
			n.put(fact, b)
		case !keep:
			n.gone(fleet.KindBackend, fact)
		}
	}
	m.hold(n, d.relisted)
}

// everything adds all services that are there or were remembered.
func (m *member) everything(names map[fleet.ServiceName]bool) {
	for _, s := range m.services.all() {
		names[fleet.ServiceName{Namespace: s.Namespace, Name: s.Name}] = true
	}
	for _, e := range m.exports.all() {
		names[fleet.ServiceName{Namespace: e.Namespace, Name: e.Name}] = true
	}
	for _, fact := range m.voice.names(fleet.KindBackend) {
		if name, ok := m.service(fact); ok {
			names[name] = true
		}
	}
}

func (m *member) fact(name fleet.ServiceName) string { return m.name + "/" + name.String() }

// service is the inverse of fact.
func (m *member) service(fact string) (fleet.ServiceName, bool) {
	rest, ok := strings.CutPrefix(fact, m.name+"/")
	namespace, name, ok2 := strings.Cut(rest, "/")
	return fleet.ServiceName{Namespace: namespace, Name: name}, ok && ok2
}

// backend makes the fact of a service; nil: there is none, or, with keep, none
// that is better than what was told before.
func (m *member) backend(name fleet.ServiceName) (b *fleet.Backend, problems []fleet.Problem, keep bool) {
	delete(m.zoneless, name)
	delete(m.unsure, name)
	svc, there := m.services.get(name.Namespace, name.Name)
	export, exported := m.exports.get(name.Namespace, name.Name)
	if !there {
		if exported {
			problems = []fleet.Problem{{About: m.origin("ServiceExport", export), Reason: "NoService",
				Message: fmt.Sprintf("cluster %s has no Service %s, so there is nothing to export; create it or delete the ServiceExport", m.name, name)}}
		}
		return nil, problems, false
	}
	switch {
	case k8s.Withheld(svc):
		return nil, nil, false
	case !exported && !k8s.Federated(svc):
		keep = m.exportsUnseen() // who does not see exports cannot say that there is none
		if keep && m.voice.facts[fleet.FactName{Kind: fleet.KindBackend, Name: m.fact(name)}] != nil {
			m.unsure[name] = true
		}
		return nil, nil, keep
	}
	parts, zoneless := m.zoned(m.slices.of(name))
	if zoneless {
		m.zoneless[name] = true
	}
	b, problems = k8s.Backend(m.name, svc, parts, m.origin("Service", svc))
	if zoneless && b != nil && !m.nodes.ready() {
		m.rezone(b)
	}
	return b, problems, b == nil && !k8s.Outside(svc)
}

// exportsUnseen reports whether exports have never been seen though there may be
// some: the API server does not say that it knows no such kind.
func (m *member) exportsUnseen() bool {
	return !m.exports.ready() && slices.ContainsFunc(m.kinds, func(k *kind) bool {
		return k.shelf == filler(m.exports) && !apierrors.IsNotFound(k.trouble())
	})
}

// rezone gives endpoints without a zone the one that was told of them before, while
// no nodes are to be had that would know better.
func (m *member) rezone(b *fleet.Backend) {
	before, ok := m.voice.facts[fleet.FactName{Kind: fleet.KindBackend, Name: m.fact(b.Service)}].(*fleet.Backend)
	if !ok {
		return
	}
	zones := map[netip.AddrPort]string{}
	for _, p := range before.Ports {
		for _, e := range p.Endpoints {
			zones[e.Addr] = e.Zone
		}
	}
	for _, p := range b.Ports {
		for n := range p.Endpoints { // of a value that was just made
			p.Endpoints[n].Zone = cmp.Or(p.Endpoints[n].Zone, zones[p.Endpoints[n].Addr])
		}
	}
}

// zoned gives endpoints that know their node only the zone of the node. It also
// says whether there are such endpoints.
func (m *member) zoned(list []*discoveryv1.EndpointSlice) ([]*discoveryv1.EndpointSlice, bool) {
	zoneless := false
	for i, s := range list {
		own := s
		for j, e := range s.Endpoints {
			if e.Zone != nil || e.NodeName == nil {
				continue
			}
			zoneless = true
			node, ok := m.nodes.get("", *e.NodeName)
			if !ok || node.Labels[corev1.LabelTopologyZone] == "" {
				continue
			}
			if own == s {
				own = s.DeepCopy()
			}
			zone := node.Labels[corev1.LabelTopologyZone]
			own.Endpoints[j].Zone = &zone
		}
		list[i] = own
	}
	return list, zoneless
}

func (m *member) origin(kind string, o metav1.Object) fleet.Origin { return originOf(m.name, kind, o) }

func originOf(cluster, kind string, o metav1.Object) fleet.Origin {
	return fleet.Origin{Cluster: cluster, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		Generation: o.GetGeneration(), Created: o.GetCreationTimestamp().UTC()}
}

// problems are those of the member as a whole. Its Cluster object hears of them.
func (m *member) problems() []fleet.Problem {
	var list []fleet.Problem
	add := func(reason, format string, args ...any) {
		list = append(list, fleet.Problem{About: m.given.about, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	if m.given.fault != "" {
		add(m.given.reason, "%s", m.given.fault)
	}
	if m.guard.holds() {
		add("MassDrop", "a list of cluster %s would take away %d of its %d ready endpoints at once, so it is looked at again before that is believed; if it is meant, wait %s",
			m.name, m.guard.lost, m.guard.before, m.pace.Confirm)
	}
	if m.server == nil {
		return list
	}
	if _, err := m.server.pulse.trouble(); isStranger(err) {
		add("AnotherCluster", "%s", err)
	}
	if m.given.elder != "" {
		add("SameCluster", "clusters %s and %s are the same one (their kube-system has the UID %s), and the elder Cluster speaks for it, so that endpoints do not count twice; delete one of the two, or mend the credentials of the one that should lead elsewhere",
			m.given.elder, m.name, m.identity.uidOf())
	}
	for _, k := range m.kinds {
		if err := k.trouble(); apierrors.IsForbidden(err) {
			add("Forbidden", "cluster %s does not let us list and watch %s; grant its ServiceAccount get, list and watch on it, as \"meridian join\" does", m.name, k.name())
		}
	}
	if m.server.pulse.refusal() != nil {
		add("Forbidden", "cluster %s does not let us list namespaces named kube-system, by which it is told from other clusters; grant its ServiceAccount that, as \"meridian join\" does", m.name)
	}
	return list
}

func (m *member) measure(stale string) {
	services, ready := 0, 0
	for _, v := range m.voice.facts {
		if b, ok := v.(*fleet.Backend); ok {
			services++
			ready += b.ReadyCount()
		}
	}
	m.meter.services.WithLabelValues(m.name).Set(float64(services))
	m.meter.ready.WithLabelValues(m.name).Set(float64(ready))
	out := 0.0
	if stale != "" {
		out = 1
	}
	m.meter.stale.WithLabelValues(m.name).Set(out)
}
