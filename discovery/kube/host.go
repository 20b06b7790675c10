package kube

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/fleet"
)

// Installation watches the host cluster for what the installation consists of,
// and every member that it names.
type Installation struct {
	cfg     Config
	log     *slog.Logger
	meter   *metrics
	members *members
	memory  *memory
	secrets *secrets
	ledger  *ledger
	server  *server
	wake    chan struct{}
	dirty   atomic.Bool // something changed since the last look
	shelves shelves
	kinds   []*kind

	scribe *scribe

	// Of Run's goroutine.
	voice     *voice
	began     time.Time
	remembers bool             // something was told before a restart
	recalled  bool             // the members are watched that were before it
	late      int              // Secrets that cannot be read
	reached   map[string]Reach // as it was told
}

// shelves hold the host's objects.
type shelves struct {
	clusters       shelf[*v1alpha1.Cluster]
	policies       shelf[*v1alpha1.TrafficPolicy]
	zones          shelf[*v1alpha1.Zone]
	ingresses      shelf[*networkingv1.Ingress]
	ingressClasses shelf[*networkingv1.IngressClass]
	gatewayClasses shelf[*gatewayv1.GatewayClass]
	gateways       shelf[*gatewayv1.Gateway]
	httpRoutes     shelf[*gatewayv1.HTTPRoute]
	grants         shelf[*gatewayv1.ReferenceGrant]
	namespaces     shelf[*metav1.PartialObjectMetadata]
	imports        shelf[*metav1.PartialObjectMetadata] // ServiceImports
}

// New prepares to watch. It asks nobody yet, so a dead API server is no error.
func New(cfg Config) (*Installation, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = v1alpha1.HostNamespace
	}
	cfg.Pace = cfg.Pace.filled()
	meter := newMetrics(cfg.Registerer)
	i := &Installation{cfg: cfg, log: cfg.Log, meter: meter, members: newMembers(cfg, meter), wake: make(chan struct{}, 1),
		voice: newVoice(cfg.Instance+"/kube/"+v1alpha1.HostCluster, cfg.Tell, cfg.Known)}
	i.remembers = len(i.voice.facts) > 0
	i.members.poke = i.poke
	i.secrets = newSecrets(i.poke)
	i.memory = newMemory(cfg.Dir, cfg.Member, credentials.Options{Loopback: cfg.Loopback}, cfg.Log)
	i.scribe = newScribe(i)
	var err error
	if i.server, err = newServer(v1alpha1.HostCluster, credentials.Own(cfg.Host), &identity{}, cfg.Pace, i.poke); err != nil {
		return nil, err
	}
	i.server.log = cfg.Log.With("cluster", v1alpha1.HostCluster)
	i.server.audited = func(k *kind, n int) {
		meter.audits.WithLabelValues(v1alpha1.HostCluster, k.name()).Inc()
		meter.differences.WithLabelValues(v1alpha1.HostCluster, k.name()).Add(float64(n))
	}
	i.ledger = newLedger(i)
	s := &i.shelves
	ours, net, gw := v1alpha1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, gatewayGroup
	watching(i, ours, "clusters", &v1alpha1.Cluster{}, &s.clusters)
	watching(i, ours, "trafficpolicies", &v1alpha1.TrafficPolicy{}, &s.policies)
	watching(i, ours, "zones", &v1alpha1.Zone{}, &s.zones)
	watching(i, net, "ingresses", &networkingv1.Ingress{}, &s.ingresses)
	watching(i, net, "ingressclasses", &networkingv1.IngressClass{}, &s.ingressClasses)
	watching(i, gw, "gatewayclasses", &gatewayv1.GatewayClass{}, &s.gatewayClasses)
	watching(i, gw, "gateways", &gatewayv1.Gateway{}, &s.gateways)
	watching(i, gw, "httproutes", &gatewayv1.HTTPRoute{}, &s.httpRoutes)
	watching(i, gw, "referencegrants", &gatewayv1.ReferenceGrant{}, &s.grants)
	watching(i, corev1.SchemeGroupVersion, "namespaces", &metav1.PartialObjectMetadata{}, &s.namespaces)
	s.ingresses.writers, s.gateways.writers = true, true
	watching(i, mcs, "serviceimports", &metav1.PartialObjectMetadata{}, &s.imports)
	s.imports.strip = func(o *metav1.PartialObjectMetadata) { stripMeta(o) }
	s.namespaces.strip, s.namespaces.changed = stripNamespace, i.namespacesChanged
	return i, nil
}

// watching adds a kind. All are optional: one that we may not read is a problem
// of the installation, and no reason to keep the others waiting.
func watching[T interface {
	metav1.Object
	runtime.Object
}](i *Installation, gv schema.GroupVersion, plural string, object T, s *shelf[T]) {
	s.changed = func(_ []change[T], whole bool) {
		if whole {
			i.meter.lists.WithLabelValues(v1alpha1.HostCluster).Inc()
		}
		i.poke()
	}
	_, metadata := any(object).(*metav1.PartialObjectMetadata)
	k := &kind{resource: gv.WithResource(plural), object: object, shelf: s, optional: true, metadata: metadata}
	i.kinds = append(i.kinds, k)
	i.server.add(k)
}

func (i *Installation) poke() {
	i.dirty.Store(true)
	select {
	case i.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// Run watches until ctx ends. Its select waits for:
//   - objects that changed, or trouble that came or went;
//   - the time when a miss becomes trouble.
func (i *Installation) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.server.Run(ctx)
	}()
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		i.scribe.run(ctx)
	}()
	remembering := make(chan struct{})
	go func() {
		defer close(remembering)
		i.memory.run()
	}()
	tick := time.NewTicker(i.cfg.Pace.Pulse)
	defer tick.Stop()
	i.began = time.Now()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-i.wake:
			i.look(ctx)
			i.scribe.poke()
		case <-tick.C:
			i.look(ctx)
		}
	}
	close(i.memory.pages)
	<-done
	<-writing
	<-remembering
	i.members.work.Wait()
	return nil
}

// look tells what changed and has the members watched that are named now.
func (i *Installation) look(ctx context.Context) {
	stale, missing, waited := i.server.trouble(), unlisted(v1alpha1.HostCluster, i.kinds), i.waited()
	if waited && !i.voice.whole {
		stale = cmp.Or(stale, missing)
	}
	i.recall(ctx)
	if late := i.secrets.late(i.server); late != i.late {
		i.late = late
		i.dirty.Store(true)
	}
	n := news{}
	whole := false
	if waited && (!i.voice.whole || i.dirty.Swap(false)) {
		f := i.facts()
		for _, name := range i.secrets.want(i.server, f.secrets) { //nolint:contextcheck // what is watched ends with Run, not with this look
			f.fault(fleet.Problem{About: i.about(), Reason: "TooMany", Message: fmt.Sprintf(
				"Secret %s is beyond the %d that are watched, so it is not used; name fewer Secrets", name, maxSecrets)})
		}
		if i.shelves.clusters.ready() {
			i.members.set(ctx, f.members)
			i.memory.learn(f.members)
			i.reach(f.members)
		}
		if i.voice.whole || i.secrets.waited(i.server) {
			whole = !i.voice.whole && stale == "" && missing == ""
			i.ledger.date(f, i.voice.facts)
			f.into(n, i.voice.facts)
		}
	}
	n.problems("watch", i.problems())
	if i.voice.say(ctx, n, whole, stale, i.server.pulse.heard()) {
		i.meter.told.WithLabelValues(v1alpha1.HostCluster).Inc()
		out := 0.0
		if stale != "" {
			out = 1
		}
		i.meter.stale.WithLabelValues(v1alpha1.HostCluster).Set(out)
	}
}

// recall has the members watched as before a restart, once, when the host does not
// say in time which there are. Its word replaces that when it comes.
func (i *Installation) recall(ctx context.Context) {
	if _, err := i.server.pulse.trouble(); i.recalled || i.shelves.clusters.ready() || err == nil && time.Since(i.began) < i.cfg.Pace.Timeout {
		return
	}
	i.recalled = true
	i.members.recall(ctx, i.memory.members)
}

// waited reports whether everything that can be told is here: each kind has come, or
// there is none to be had, or it has had time enough. What one of those would say
// stays as it is. Policies are waited for by who remembers nothing: they may
// forbid what the others would have done.
func (i *Installation) waited() bool {
	return !slices.ContainsFunc(append(slices.Clone(i.kinds), i.ledger.kind), func(k *kind) bool {
		needed := k.shelf == filler(&i.shelves.policies) && !i.voice.whole && !i.remembers
		return !k.settled() && (needed || !i.server.overdue(k))
	})
}

// about is who is named where no object is at fault.
func (i *Installation) about() fleet.Origin {
	return fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: "Namespace", Name: i.cfg.Namespace}
}

// problems are those of the host cluster as a whole.
func (i *Installation) problems() []fleet.Problem {
	list := i.ledger.problems()
	for _, k := range i.kinds {
		err := k.trouble()
		switch {
		case apierrors.IsForbidden(err):
			list = append(list, fleet.Problem{About: i.about(), Reason: "Forbidden", Message: fmt.Sprintf(
				"the host cluster does not let us list and watch %s; grant meridiand's ServiceAccount get, list and watch on it, as \"meridian init\" does", k.name())})
		case apierrors.IsNotFound(err) && k.resource.Group == v1alpha1.Group:
			list = append(list, fleet.Problem{About: i.about(), Reason: "NoSuchKind", Message: fmt.Sprintf(
				"the host cluster has no kind %s; apply Meridian's CRDs, as \"meridian init\" does", k.name())})
		}
	}
	if _, err := i.server.pulse.trouble(); isStranger(err) {
		list = append(list, fleet.Problem{About: i.about(), Reason: "AnotherCluster", Message: err.Error()})
	}
	if i.server.pulse.refusal() != nil {
		list = append(list, fleet.Problem{About: i.about(), Reason: "Forbidden", Message: "the host cluster does not let us list namespaces named kube-system, by which it is told from other clusters; grant meridiand's ServiceAccount that"})
	}
	return list
}

// kindOf is the part of a fact's name before the first slash: what objects of
// several kinds share a kind of facts by.
func kindOf(name string) string {
	before, _, _ := strings.Cut(name, "/")
	return before
}
