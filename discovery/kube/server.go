package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/discovery/kube/credentials"
)

// Pace is how often things are done. The zero Pace means the defaults.
type Pace struct {
	Pulse   time.Duration // between two questions whether an API server lives; 0 means 2 s
	Timeout time.Duration // of one; 0 means 3 s
	Audit   time.Duration // between two comparisons of all objects with a fresh list; 0 means 5 min
	Settle  time.Duration // after which a difference counts: watches may be that late; 0 means 3 s
	Confirm time.Duration // until a mass drop is looked at again; 0 means 30 s
	Status  time.Duration // between two writings of status; 0 means 1 s
}

func (p Pace) filled() Pace {
	for field, def := range map[*time.Duration]time.Duration{
		&p.Pulse: 2 * time.Second, &p.Timeout: 3 * time.Second, &p.Audit: 5 * time.Minute,
		&p.Settle: 3 * time.Second, &p.Confirm: 30 * time.Second, &p.Status: time.Second,
	} {
		if *field <= 0 {
			*field = def
		}
	}
	return p
}

// server is one way to one API server: connections, a pulse, and the kinds that
// are watched through them.
type server struct {
	name    string // of the cluster
	cfg     *rest.Config
	client  *http.Client
	scheme  *runtime.Scheme
	meta    metadata.Interface
	pace    Pace
	pulse   *pulse
	changed func() // hears of trouble that comes or goes
	audited func(k *kind, differences int)
	log     *slog.Logger

	mu      sync.Mutex
	rests   map[schema.GroupVersion]rest.Interface
	kinds   map[*kind]context.CancelFunc
	answers int             // to the pulse
	ctx     context.Context //nolint:containedctx // of Run, for kinds that are added later
	work    sync.WaitGroup
}

func newServer(name string, cfg *rest.Config, id *identity, pace Pace, changed func()) (*server, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	client, err := credentials.Client(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing connections to %s: %w", name, err)
	}
	meta, err := metadata.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("preparing connections to %s: %w", name, err)
	}
	s := &server{name: name, cfg: cfg, client: client, scheme: scheme, meta: meta, pace: pace, changed: changed,
		audited: func(*kind, int) {}, log: slog.New(slog.DiscardHandler),
		rests: map[schema.GroupVersion]rest.Interface{}, kinds: map[*kind]context.CancelFunc{}}
	s.pulse = &pulse{namespaces: meta.Resource(namespaces), identity: id, timeout: pace.Timeout, changed: changed}
	return s, nil
}

// rest is the client of one group and version.
func (s *server) rest(gv schema.GroupVersion) (rest.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.rests[gv]; c != nil {
		return c, nil
	}
	c, err := rest.RESTClientForConfigAndClient(restConfig(s.cfg, s.scheme, gv), s.client)
	if err != nil {
		return nil, err
	}
	s.rests[gv] = c
	return c, nil
}

// listWithin bounds one list, or one page of it.
const listWithin = 30 * time.Second

func (s *server) list(ctx context.Context, k *kind, o metav1.ListOptions) (runtime.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	if k.metadata {
		return s.meta.Resource(k.resource).Namespace(k.namespace).List(ctx, o)
	}
	c, err := s.rest(k.resource.GroupVersion())
	if err != nil {
		return nil, err
	}
	return c.Get().Namespace(k.namespace).Resource(k.resource.Resource).VersionedParams(&o, metav1.ParameterCodec).Do(ctx).Get()
}

// watch begins a watch. That it lasts is what it is for, but not until it begins.
func (s *server) watch(ctx context.Context, k *kind, o metav1.ListOptions) (watch.Interface, error) {
	ctx, cut := context.WithCancelCause(ctx)
	slow := time.AfterFunc(listWithin, func() { cut(context.DeadlineExceeded) })
	defer slow.Stop()
	w, err := s.open(ctx, k, o)
	if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = context.DeadlineExceeded
	}
	return w, err
}

func (s *server) open(ctx context.Context, k *kind, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	if k.metadata {
		return s.meta.Resource(k.resource).Namespace(k.namespace).Watch(ctx, o)
	}
	c, err := s.rest(k.resource.GroupVersion())
	if err != nil {
		return nil, err
	}
	return c.Get().Namespace(k.namespace).Resource(k.resource.Resource).VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
}

// add watches a kind too, from now on or from when Run begins.
func (s *server) add(k *kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.again == nil {
		k.again = make(chan struct{}, 1)
	}
	s.kinds[k] = func() {}
	k.due = s.answers + pulses
	if s.ctx != nil {
		s.begin(k)
	}
}

// pulses is how many of them an API server may answer while a kind does not come,
// before nobody waits for that kind any more. Those that it does not answer count
// for nothing: then everybody waits for the API server.
const pulses = 5

func (s *server) overdue(k *kind) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers >= k.due
}

// answered counts an answer to the pulse. When it is the first one after a silence,
// Secrets get their time again.
func (s *server) answered(first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers++
	if !first {
		return
	}
	for k := range s.kinds {
		if k.single {
			k.due = s.answers + pulses
		}
	}
}

// begin is called with mu held.
func (s *server) begin(k *kind) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.kinds[k] = cancel
	s.work.Go(func() { s.follow(ctx, k) })
}

// drop stops watching a kind; its shelf stays as it is.
func (s *server) drop(k *kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[k]()
	delete(s.kinds, k)
}

func (s *server) all() []*kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*kind, 0, len(s.kinds))
	for k := range s.kinds {
		list = append(list, k)
	}
	return list
}

// Run feels the pulse, watches and audits until ctx ends, and closes its connections.
func (s *server) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	for k := range s.kinds {
		s.begin(k) //nolint:contextcheck // Run's, just kept
	}
	s.mu.Unlock()
	s.work.Go(func() { s.audit(ctx) })
	s.beats(ctx)
	s.work.Wait()
	utilnet.CloseIdleConnectionsFor(s.client.Transport)
}

// beats feels the pulse, and has everybody begin anew when the API server is
// back or its history is another one.
func (s *server) beats(ctx context.Context) {
	var before beat
	answered := false
	for ctx.Err() == nil {
		b, err := s.pulse.feel(ctx, true)
		rewound := err == nil && answered && b.losses != before.losses && b.revision < before.revision
		for _, k := range s.all() {
			switch {
			case rewound:
				k.relist()
			case err == nil && !answered && k.trouble() != nil:
				k.wake()
			}
		}
		if err == nil {
			s.answered(!answered)
		}
		answered = err == nil
		before = b
		wait := time.NewTimer(s.pace.Pulse*3/4 + rand.N(s.pace.Pulse/2))
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
		wait.Stop()
	}
}

// trouble says why what is known may be old; empty: it is as the API server has
// it. A single miss is not yet trouble.
func (s *server) trouble() string {
	if since, err := s.pulse.trouble(); err != nil {
		var other *strangerError
		switch {
		case errors.As(err, &other):
			return other.Error()
		case time.Since(since) >= s.pace.Timeout || !temporary(err):
			return fmt.Sprintf("the API server of %s does not answer since %s: %s", s.name, since.UTC().Format(time.TimeOnly)+" UTC", reason(err))
		}
	}
	for _, k := range s.all() {
		if err := k.trouble(); err != nil && !k.single && !(k.optional && k.missing()) && !isStranger(err) && (!temporary(err) || k.lasting(2*s.pace.Timeout)) {
			return fmt.Sprintf("the API server of %s does not let us watch %s: %s", s.name, k.name(), reason(err))
		}
	}
	return ""
}

// unlisted says which of a cluster's kinds has not come; empty: none.
func unlisted(cluster string, kinds []*kind) string {
	for _, k := range kinds {
		if !k.settled() {
			return fmt.Sprintf("the API server of %s has not listed %s yet", cluster, k.name())
		}
	}
	return ""
}
