package apply

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

var federatedObjects = v1alpha1.SchemeGroupVersion.WithResource("federatedobjects")

// scribe writes to the host's FederatedObjects: their status, where it differs, and
// the finalizer. The newest wins; each object is written to once in a while.
type scribe struct {
	client   dynamic.Interface
	term     *term
	pace     Pace
	instance string
	log      *slog.Logger

	mu      sync.Mutex
	pending map[types.UID]*letter
	backlog backlog // of pending
	wake    chan struct{}

	// Of run's goroutine.
	sent    map[types.UID]sending
	budgets budgets
}

// letter is what is to be written to an object.
type letter struct {
	object     *v1alpha1.FederatedObject // as it was read
	status     *v1alpha1.WorkloadStatus  // nil: as it is
	finalizers []string                  // with settle
	settle     bool                      // finalizers are to be just these
	urgent     bool
}

// sending is what was last written to an object.
type sending struct {
	over   string // resourceVersion that it was written over
	status string // JSON
	at     time.Time
}

func newScribe(a *Applier) *scribe {
	return &scribe{client: a.conn.client, term: a.term, pace: a.cfg.Pace, instance: a.cfg.Instance, log: a.log,
		pending: map[types.UID]*letter{}, wake: make(chan struct{}, 1), sent: map[types.UID]sending{}, budgets: newBudgets()}
}

// write has a status written, if it differs; what is urgent does not wait for its
// turn. It never blocks.
func (s *scribe) write(o *v1alpha1.FederatedObject, status *v1alpha1.WorkloadStatus, urgent bool) {
	s.put(&letter{object: o, status: status, urgent: urgent})
}

// settle has the finalizers written. It never blocks.
func (s *scribe) settle(o *v1alpha1.FederatedObject, finalizers []string) {
	s.put(&letter{object: o, finalizers: finalizers, settle: true})
}

func (s *scribe) put(l *letter) {
	s.mu.Lock()
	before := s.pending[l.object.UID]
	l.urgent = l.urgent || before != nil && before.urgent
	if before != nil && !l.settle && before.settle {
		l.finalizers, l.settle = before.finalizers, true
	} else if before != nil && l.settle && l.status == nil {
		l.status = before.status
	}
	s.pending[l.object.UID] = l
	s.backlog.add(l.urgent || l.settle, []types.UID{l.object.UID})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// forget drops what is to be written to an object that is no more.
func (s *scribe) forget(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, uid)
}

// resign drops everything: another replica writes now.
func (s *scribe) resign() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = map[types.UID]*letter{}
	s.backlog.clear()
}

// run writes until ctx ends.
func (s *scribe) run(ctx context.Context) error {
	for {
		wait := time.NewTimer(s.writeDue(ctx))
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-s.wake:
		case <-wait.C:
		}
		wait.Stop()
	}
}

// writeDue writes what is due, what is urgent before all else, and says when the next
// is.
func (s *scribe) writeDue(ctx context.Context) time.Duration {
	next := time.Minute
	s.mu.Lock()
	s.backlog.add(false, slices.Collect(maps.Keys(s.pending)))
	s.mu.Unlock()
	for ctx.Err() == nil {
		term, now := s.term.writing(), time.Now()
		if term == nil {
			break
		}
		l, wait, more := s.take(now)
		switch {
		case !more:
			s.clean(now)
			return next
		case l != nil:
			s.send(ctx, term, l, now)
		case wait > 0:
			next = min(next, wait)
		}
	}
	return next
}

// take takes the next letter; nil: that one is no more, or has to wait.
func (s *scribe) take(now time.Time) (l *letter, wait time.Duration, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	uid, ok := s.backlog.next()
	if l = s.pending[uid]; l == nil {
		return nil, 0, ok
	}
	if wait = s.sent[uid].at.Add(s.pace.Status).Sub(now); wait > 0 && !l.settle && !l.urgent {
		return nil, wait, true
	}
	delete(s.pending, uid)
	return l, 0, true
}

// clean forgets what was sent long ago.
func (s *scribe) clean(now time.Time) {
	maps.DeleteFunc(s.sent, func(_ types.UID, w sending) bool { return now.Sub(w.at) > time.Hour })
}

func (s *scribe) send(ctx, term context.Context, l *letter, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	o := l.object
	on := s.client.Resource(federatedObjects).Namespace(o.Namespace)
	if l.settle && !slices.Equal(o.Finalizers, l.finalizers) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": l.finalizers, "uid": o.UID, "resourceVersion": o.ResourceVersion}})
		if err == nil {
			_, err = on.Patch(ctx, o.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "meridiand"})
		}
		s.complain(o, "finalizers", err)
		return // whatever came of it, the watch brings what is, and we look again
	}
	if l.status == nil {
		return
	}
	before, err := json.Marshal(o.Status)
	after, err2 := json.Marshal(l.status)
	mark := sending{over: o.ResourceVersion, status: string(after), at: now}
	if was := s.sent[o.UID]; err != nil || err2 != nil || string(before) == string(after) || was.over == mark.over && was.status == mark.status {
		return
	}
	s.sent[o.UID] = mark
	patch, err := json.Marshal([]map[string]any{
		{"op": "test", "path": "/metadata/uid", "value": o.UID},
		{"op": "add", "path": "/status", "value": json.RawMessage(after)},
		{"op": "add", "path": "/metadata/resourceVersion", "value": o.ResourceVersion}, // a conflict when it is another now
	})
	if err == nil {
		_, err = on.Patch(ctx, o.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: "meridiand"}, "status")
	}
	s.complain(o, "status", err)
	if err == nil {
		s.report(ctx, o, l.status, now)
	}
}

// complain logs what went wrong and is not mended by looking again.
func (s *scribe) complain(o *v1alpha1.FederatedObject, what string, err error) {
	if err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return
	}
	s.log.Warn("a FederatedObject could not be written to", "namespace", o.Namespace, "name", o.Name, "what", what, "err", reason(err))
	delete(s.sent, o.UID) // so that it is tried again
}
