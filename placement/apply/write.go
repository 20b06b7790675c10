package apply

import (
	"context"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// attend brings one object in line with what is wanted. In a steady state it only
// looks at what the watch brought.
func (m *member) attend(ctx context.Context, r ref) {
	term := m.term()
	if _, silent := m.pulse.silence(); term == nil || silent != "" {
		return // looked at again when that changes
	}
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	defer context.AfterFunc(term, cancel)() //nolint:contextcheck // it ends with both
	m.mu.Lock()
	w, client := m.kinds[r.GroupKind], m.conn.client
	m.mu.Unlock()
	if w == nil {
		return
	}
	resource, namespaced, known := w.where()
	err := w.trouble()
	switch {
	case !known || !w.stock.ready():
		if err != nil {
			m.note(r, unwatched(r, err))
		} else {
			m.note(r, waiting(reasonUnlisted, "the cluster has not shown yet which %s it has", r.Kind))
		}
		return // the kind's first list has it looked at again
	case !namespaced && r.Namespace != "":
		m.note(r, refused("ClusterScoped", "%s lies in no namespace in the cluster, so it cannot be placed by an object in one", r.Kind))
		return
	}
	l := w.stock.get(r.NamespacedName)
	wanted, decided := m.wish(r, l)
	on := client.Resource(resource).Namespace(r.Namespace)
	if wanted.object != nil {
		resource.Version = wanted.object.GroupVersionKind().Version
		on = client.Resource(resource).Namespace(r.Namespace)
	}
	var out outcome
	switch {
	case wanted.held:
		m.queue.well(r)
		return // as it is, until its account may write
	case wanted.object == nil && (l == nil || !decided):
		m.mu.Lock()
		before := m.outcomes[r]
		delete(m.outcomes, r)
		delete(m.contests, r)
		m.mu.Unlock()
		m.meter.outcome(m.name, before, outcome{})
		m.queue.well(r)
		return
	case wanted.object == nil && wanted.orphan:
		out, err = m.orphan(ctx, r, wanted.as, on)
	case wanted.object == nil:
		out, err = m.remove(ctx, r, l, wanted.as, on)
	default:
		out, err = m.bring(ctx, r, w.stock, l, wanted, on)
	}
	if ctx.Err() != nil && term.Err() != nil {
		return // another replica writes now
	}
	m.note(r, out)
	if err != nil {
		m.queue.later(r)
	} else {
		m.queue.well(r)
	}
}

// unwatched says why a kind's objects cannot be seen in a member.
func unwatched(r ref, err error) outcome {
	if apierrors.IsForbidden(err) {
		return refused(reasonForbidden, "the cluster does not let us list and watch %s; name it in \"meridian join --workloads\": %s", r.Kind, reason(err))
	}
	return failed(r, "watch", account{}, err)
}

// note keeps what became of an object, and tells whoever needs it if that is news.
func (m *member) note(r ref, out outcome) {
	m.mu.Lock()
	before := m.outcomes[r]
	if out.generation == 0 {
		out.generation = before.generation
	}
	m.outcomes[r] = out
	needing := slices.Collect(maps.Keys(m.wanted[r]))
	m.mu.Unlock()
	if before == out {
		return
	}
	m.meter.outcome(m.name, before, out)
	for _, uid := range needing {
		m.touch(uid)
	}
}

// bring makes an object what is wanted: nothing where it is that, else one apply.
func (m *member) bring(ctx context.Context, r ref, s *stock, l *live, w wish, on dynamic.ResourceInterface) (outcome, error) {
	good := outcome{state: applied, reason: "Applied", generation: w.generation}
	force := false
	if l == nil {
		found, err := on.Get(ctx, r.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && !noSuchResource(err) && w.bound:
			return waiting(reasonGone, "the cluster's %s is gone; what it had done is counted, and the rest is given anew", r.Kind), nil
		case apierrors.IsNotFound(err) && !noSuchResource(err):
		case err != nil:
			return failed(r, "get", account{}, err), err
		default:
			if l = s.live(found); len(neededBy(l.object)) == 0 { // not placed
				if !w.adopt {
					return notOurs(r, l), nil
				}
				force = true
			}
		}
	}
	if l != nil && !force {
		if out, clash := m.clashes(r, l, w); clash {
			return out, nil
		}
		if w.over {
			return good, nil
		}
		if l.object.GetDeletionTimestamp() != nil {
			return waiting(reasonTerminating, "the cluster's object is being deleted; it is created again when it is gone"), nil
		}
		if m.right(r, l, w) {
			return good, nil
		}
		m.meter.drift(m.name, l, w, m.base(r))
		force = true // it is ours
	}
	content := w.object.GetAnnotations()[appliedAnnotation]
	m.mu.Lock()
	c := m.contests[r]
	m.mu.Unlock()
	if wait := c.wait(content, time.Now()); wait > 0 {
		m.queue.after(r, wait)
		return waiting(reasonContested, "somebody in the cluster changes or deletes it whenever it is written, so it is written ever more slowly; find out who, by its managed fields, and let only one of you say so"), nil
	}
	m.mu.Lock()
	f := m.fixed[r]
	m.mu.Unlock()
	if now := time.Now(); f.refuses(content, l, now) {
		m.queue.after(r, f.until.Sub(now))
		return f.out, nil
	}
	object := w.object
	as := w.as.in(ctx) // written in its name, and read in ours
	if l != nil {
		object = placement.Retain(object, l.object)
		if err := m.handOver(as, on, object, l, s.at()); err != nil {
			return failed(r, "hand over replicas of", w.as, err), err
		}
	}
	after, err := on.Apply(as, r.Name, object, metav1.ApplyOptions{FieldManager: placement.Manager, Force: force})
	if noNamespace(err, r.Namespace) {
		if err = m.makeNamespace(ctx, r.Namespace, w.object); apierrors.IsForbidden(err) {
			return refused(reasonForbidden, "the cluster has no namespace %s, and lets us make none; create it there: kubectl create namespace %s", r.Namespace, r.Namespace), err
		} else if err == nil {
			after, err = on.Apply(as, r.Name, object, metav1.ApplyOptions{FieldManager: placement.Manager, Force: force})
		}
	}
	m.meter.write(m.name, "apply", err)
	switch {
	case apierrors.IsConflict(err) && !force:
		return conflict(reasonExists, "an object of this name came just before ours: %s", reason(err)), err
	case err != nil && l != nil && fixedFields(err, object, l.whole()) != nil:
		out := unchangeable(r, fixedFields(err, object, l.whole()))
		m.mu.Lock()
		m.fixed[r] = fixed{content: content, uid: l.object.GetUID(), until: time.Now().Add(fixedAgain), out: out}
		m.mu.Unlock()
		m.queue.after(r, fixedAgain)
		return out, nil
	case err != nil:
		return failed(r, "apply", w.as, err), err
	}
	fresh := s.live(after)
	m.mu.Lock()
	m.bases[r] = base{applied: content, fields: fresh.fields}
	m.contests[r] = m.contests[r].next(content, time.Now())
	m.mu.Unlock()
	s.put(fresh)
	return good, nil
}

func (m *member) base(r ref) base {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bases[r]
}

// right reports whether an object of ours is as it is wanted. Whoever changes or
// removes a field of ours takes it from our fields, so these need not be compared one
// by one; but for the first time after a restart.
func (m *member) right(r ref, l *live, w wish) bool {
	want := w.object.GetAnnotations()[appliedAnnotation]
	if l.object.GetAnnotations()[appliedAnnotation] != want {
		return false
	}
	if b := m.base(r); b.applied == want {
		return b.fields == l.fields
	}
	if l.fields == "" || len(placement.Differs(placement.Retain(w.object, l.object), l.whole())) > 0 {
		return false
	}
	m.mu.Lock()
	m.bases[r] = base{applied: want, fields: l.fields}
	m.mu.Unlock()
	return true
}

// handOver gives the replicas to whoever scales the object in the member, before an
// apply without them would take them away.
func (m *member) handOver(ctx context.Context, on dynamic.ResourceInterface, object *unstructured.Unstructured, l *live, replicas []string) error {
	if !handsOver(object, l, replicas) {
		return nil
	}
	h, ok := handover(l, replicas)
	if !ok {
		return nil
	}
	_, err := on.Apply(ctx, h.GetName(), h, metav1.ApplyOptions{FieldManager: successor, Force: true})
	m.meter.write(m.name, "handover", err)
	return err
}

// remove deletes just the object that was seen, and leaves one of its name that came
// since. What an account has placed and may not take away any more, we take away if we
// may: a right that is withdrawn must not keep anything for ever.
func (m *member) remove(ctx context.Context, r ref, l *live, as account, on dynamic.ResourceInterface) (outcome, error) {
	leaving := outcome{state: v1alpha1.WorkloadLeaving, reason: reasonTerminating, message: "the cluster deletes it"}
	if l.object.GetDeletionTimestamp() != nil {
		return leaving, nil
	}
	uid, background := l.object.GetUID(), metav1.DeletePropagationBackground
	o := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background}
	err := on.Delete(as.in(ctx), r.Name, o)
	if apierrors.IsForbidden(err) && !as.nobody() && on.Delete(ctx, r.Name, o) == nil {
		err = nil
	}
	m.meter.write(m.name, "delete", err)
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // the watch brings what is
		return leaving, nil
	}
	return failed(r, "delete", as, err), err
}
