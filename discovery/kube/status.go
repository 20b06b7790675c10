package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// leaseName is the Lease of which one replica at a time is the holder; it alone writes.
const leaseName = v1alpha1.LeaseName

// scribe writes back what became of the host's objects.
type scribe struct {
	i       *Installation
	plan    atomic.Pointer[steer.Plan]
	wake    chan struct{}
	turns   chan struct{} // full while this replica writes
	written map[types.UID]writing
	events  map[string]time.Time // by name, when they were made
}

// writing is what was last written to an object, and the version it was written
// over: until the watch brings another, the object need not be written again.
type writing struct {
	over   string // resourceVersion
	status string // JSON
}

func newScribe(i *Installation) *scribe {
	return &scribe{i: i, wake: make(chan struct{}, 1), turns: make(chan struct{}, 1), written: map[types.UID]writing{}, events: map[string]time.Time{}}
}

// Update takes the newest plan. It never blocks.
func (i *Installation) Update(p *steer.Plan) {
	i.scribe.plan.Store(p)
	i.scribe.poke()
}

func (s *scribe) poke() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run stands for election until ctx ends, and writes while it is elected.
func (s *scribe) run(ctx context.Context) {
	client, err := kubernetes.NewForConfigAndClient(s.i.server.cfg, s.i.server.client)
	if err != nil {
		s.i.log.Error("no status is written", "err", err)
		return
	}
	quiet := klog.NewContext(ctx, logr.Discard())
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: s.i.cfg.Namespace, Name: leaseName}, Client: client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: s.i.cfg.Instance},
	}
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
			ReleaseOnCancel: true, Name: leaseName,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: s.turn, OnStoppedLeading: func() {}},
		})
		if err != nil {
			s.i.log.Error("no status is written", "err", err)
			return
		}
		e.Run(quiet)
	}
	s.turns <- struct{}{} // when the last one is over
}

// turn leads when the turn before it, whose lease was lost, is over: an elector waits
// for nobody, and what was written belongs to one goroutine.
func (s *scribe) turn(ctx context.Context) {
	select {
	case s.turns <- struct{}{}:
		s.lead(ctx)
		<-s.turns
	case <-ctx.Done():
	}
}

// lead writes whenever something may have changed, but not faster than the pace.
// A minute's tick keeps the time at which clusters were last seen.
func (s *scribe) lead(ctx context.Context) {
	s.i.log.Info("this replica writes status")
	minute := time.NewTicker(seenEvery)
	defer minute.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-minute.C:
		}
		s.write(ctx)
		if !pause(ctx, s.i.cfg.Pace.Status) {
			return
		}
	}
}

// write writes every status that differs. Nothing is written while we may be
// wrong: without touch with the host cluster, or before the plan knows of it.
func (s *scribe) write(ctx context.Context) {
	p := s.plan.Load()
	if p == nil || s.i.server.trouble() != "" || !heardOf(p.Sources, s.i.voice.source) {
		return
	}
	s.writeClaims(ctx)
	r := newReport(p, time.Now(), s.i.cfg.Instance)
	sh := &s.i.shelves
	for _, c := range sh.clusters.all() {
		r.origin(c, "Cluster")
		s.patch(ctx, c, "clusters", c.Status, r.cluster(c, s.i.members.source(c.Name)))
	}
	for _, z := range sh.zones.all() {
		r.origin(z, "Zone")
		s.patch(ctx, z, "zones", z.Status, r.zone(z))
	}
	for _, t := range sh.policies.all() {
		r.origin(t, "TrafficPolicy")
		s.patch(ctx, t, "trafficpolicies", t.Status, r.policy(t))
	}
	s.writeIngresses(ctx, r)
	s.writeGateways(ctx, r)
	s.report(ctx, r)
}

// writeIngresses shows on Ingresses of ours where they are served, and takes that
// back where nothing of them is in force.
func (s *scribe) writeIngresses(ctx context.Context, r *report) {
	ours := s.i.ingressesOfOurs()
	for _, ing := range ours {
		s.patch(ctx, ing, "ingresses", ing.Status, r.ingress(r.origin(ing, "Ingress")))
	}
	s.leaveIngresses(ctx, ours)
}

// heardOf reports whether a source has spoken and is in touch.
func heardOf(list []fleet.SourceState, source string) bool {
	return slices.ContainsFunc(list, func(s fleet.SourceState) bool { return s.Name == source && s.Stale == "" })
}

// object is what a status is written to.
type object interface {
	metav1.Object
	GetObjectKind() schema.ObjectKind
}

// patch writes a status where it differs from what the object has.
func (s *scribe) patch(ctx context.Context, o object, plural string, have, want any) {
	gv, ok := groupOf(plural)
	if !ok || ctx.Err() != nil {
		return
	}
	before, err := json.Marshal(have)
	after, err2 := json.Marshal(want)
	if err != nil || err2 != nil || string(before) == string(after) {
		return
	}
	mark := writing{over: o.GetResourceVersion(), status: string(after)}
	if s.written[o.GetUID()] == mark {
		return // on its way back to us
	}
	body, err := json.Marshal([]map[string]any{
		{"op": "add", "path": "/status", "value": json.RawMessage(after)},
		{"op": "add", "path": "/metadata/resourceVersion", "value": o.GetResourceVersion()}, // a conflict when it is another now
	})
	if err != nil {
		return
	}
	c, err := s.i.server.rest(gv)
	if err != nil {
		s.i.log.Error("a status cannot be written", "kind", plural, "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	err = c.Patch(types.JSONPatchType).Namespace(o.GetNamespace()).Resource(plural).Name(o.GetName()).SubResource("status").Param("fieldManager", fieldManager).Body(body).Do(ctx).Error()
	outcome := "written"
	switch {
	case err == nil:
		s.written[o.GetUID()] = mark
	case apierrors.IsConflict(err), apierrors.IsNotFound(err): // the watch brings what is newer, and we look again
		outcome = "outdated"
	default:
		outcome = "failed"
		if mark.status = "failed: " + err.Error(); s.written[o.GetUID()] != mark { // once for each version
			s.i.log.Warn("a status could not be written", "kind", plural, "namespace", o.GetNamespace(), "name", o.GetName(), "err", oneLine(err.Error()))
			s.written[o.GetUID()] = mark
		}
	}
	s.i.meter.writes.WithLabelValues(plural, outcome).Inc()
}

// problemText joins problems for a condition; the rest is told by the CLI.
func problemText(list []fleet.Problem) string {
	const most = 3
	text := ""
	for n, p := range list {
		if n == most {
			return oneLimit(fmt.Sprintf("%s (and %d more)", text, len(list)-most))
		}
		if n > 0 {
			text += "; "
		}
		text += p.Message
	}
	return oneLimit(text)
}

func oneLimit(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most]
	}
	return s
}
