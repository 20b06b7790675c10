package apply

import (
	"errors"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// put has the member carry a plan out from now on.
func (m *member) put(uid types.UID, p *plan) {
	m.mu.Lock()
	look := map[ref]bool{}
	var order []ref // what others need comes first
	before := m.plans[uid]
	if before != nil {
		for _, part := range before.parts {
			r := refOf(part.object)
			delete(m.wanted[r], uid)
			if len(m.wanted[r]) == 0 {
				delete(m.wanted, r)
			}
			look[r] = true
		}
	}
	m.plans[uid] = p
	for _, part := range p.parts {
		r := refOf(part.object)
		if m.wanted[r] == nil {
			m.wanted[r] = map[types.UID]bool{}
		}
		m.wanted[r][uid] = true
		order = append(order, r)
		delete(look, r)
	}
	if before == nil || len(before.parts) > 0 && len(p.parts) == 0 || before.orphan != p.orphan {
		for r := range m.owned[uid] {
			look[r] = true
		}
	}
	m.mu.Unlock()
	for r := range look {
		order = append(order, r)
	}
	for _, r := range order {
		m.queue.add(r)
	}
}

// hold has the member leave what it was given of a workload as it is, until it is given
// another plan. What was to go goes.
func (m *member) hold(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.plans[uid]; p != nil && len(p.parts) > 0 && !p.held {
		held := *p
		held.held, held.token = true, ""
		m.plans[uid] = &held
	}
}

// drop forgets a workload, which is over.
func (m *member) drop(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.plans[uid]; p != nil {
		for _, part := range p.parts {
			r := refOf(part.object)
			delete(m.wanted[r], uid)
			if len(m.wanted[r]) == 0 {
				delete(m.wanted, r)
			}
		}
	}
	delete(m.plans, uid)
}

// resign forgets all plans: another replica makes them now.
func (m *member) resign() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plans, m.wanted = map[types.UID]*plan{}, map[ref]map[types.UID]bool{}
	m.outcomes, m.marks, m.contests = map[ref]outcome{}, map[ref]marking{}, map[ref]contest{}
	m.fixed = map[ref]fixed{}
	m.meter.resign(m.name)
}

// wish is what is wanted of one object.
type wish struct {
	object     *unstructured.Unstructured // marked; nil: it is to go
	needing    []types.UID                // sorted, the one whose workload it is first
	adopt      bool
	orphan     bool
	held       bool // nothing of it may be written now, nor taken away
	as         account
	bound      bool // it is not made again when it is gone: whoever plans has to count first what it did
	over       bool // it has ended and is left as it is
	generation int64
}

// marking is an object that several need, as it was marked last, so that it is not
// marked again whenever somebody looks.
type marking struct {
	object  *unstructured.Unstructured
	needing []types.UID
	marked  *unstructured.Unstructured
}

// marked is mark, with a memory; it is called with mu held.
func (m *member) marked(r ref, from rendered, needing []types.UID) *unstructured.Unstructured {
	if len(needing) == 1 {
		delete(m.marks, r)
		return from.marked
	}
	o := from.object
	if last := m.marks[r]; last.object == o && slices.Equal(last.needing, needing) {
		return last.marked
	}
	out := mark(o, needing)
	m.marks[r] = marking{o, needing, out}
	return out
}

// planned is the token of the plan that the member has for a workload; empty: none.
func (m *member) planned(uid types.UID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.plans[uid]; p != nil {
		return p.token
	}
	return ""
}

// part finds the part of a plan that is this object.
func (p *plan) part(r ref) part {
	return p.parts[slices.IndexFunc(p.parts, func(part part) bool { return refOf(part.object) == r })]
}

// winner is the one workload that an object may be, of several that are the same
// object: the one that has it, else the first by UID. Empty: none is it. It is called
// with mu held.
func (m *member) winner(r ref, l *live) types.UID {
	var has, first types.UID
	if l != nil {
		has, _, _ = placement.OwnerOf(l.object)
	}
	for uid := range m.wanted[r] {
		if m.plans[uid].part(r).main && (first == "" || uid == has || first != has && uid < first) {
			first = uid
		}
	}
	return first
}

// wish puts together what all workloads want of an object. Decided is false while
// somebody that it is there for has not been thought about, so that nothing may be
// taken away.
func (m *member) wish(r ref, l *live) (w wish, decided bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	decided = true
	if l != nil {
		for _, uid := range neededBy(l.object) {
			p := m.plans[uid]
			decided = decided && p != nil
			w.orphan = w.orphan || p != nil && p.orphan
			if p != nil && w.as.nobody() {
				w.as = p.as
			}
		}
	}
	winner := m.winner(r, l)
	var from rendered
	held, mainHeld := false, false
	for _, uid := range slices.Sorted(maps.Keys(m.wanted[r])) {
		p := m.plans[uid]
		part := p.part(r)
		if part.main && uid != winner {
			continue // report tells it
		}
		if p.held {
			held, mainHeld = true, mainHeld || part.main
			w.needing = append(w.needing, uid)
			continue // whoever needs it too may write it
		}
		w.adopt = w.adopt || part.adopt
		if from.object == nil || part.main {
			from, w.generation, w.as = part.rendered, p.generation, p.as
			w.bound, w.over = part.bound, part.over
			w.needing = slices.Insert(w.needing, 0, uid)
		} else {
			w.needing = append(w.needing, uid)
		}
	}
	w.held = mainHeld || held && from.object == nil
	if from.object != nil {
		w.object = m.marked(r, from, w.needing)
	} else {
		delete(m.marks, r)
	}
	return w, decided
}

// changed hears of what a watch or a write brought.
func (m *member) changed(gk schema.GroupKind, list []change, first bool) {
	touched := map[types.UID]bool{}
	var refs []ref
	m.mu.Lock()
	var scale placement.Scale
	if w := m.kinds[gk]; w != nil {
		scale, _ = w.scaling()
	}
	for _, c := range list {
		if c.before != nil && c.after != nil && alike(c.before, c.after, scale) && (!m.tells || tellAlike(gk, c.before, c.after)) {
			continue
		}
		r := ref{gk, c.name}
		if c.before != nil {
			for _, uid := range neededBy(c.before.object) {
				delete(m.owned[uid], r)
				if len(m.owned[uid]) == 0 {
					delete(m.owned, uid)
				}
				touched[uid] = true
			}
		}
		if c.after != nil {
			for _, uid := range neededBy(c.after.object) {
				if m.owned[uid] == nil {
					m.owned[uid] = map[ref]bool{}
				}
				m.owned[uid][r] = true
				touched[uid] = true
			}
		} else {
			delete(m.bases, r)
			delete(m.fixed, r)
		}
		refs = append(refs, r)
	}
	if first { // what is not there can now be known not to be there
		for r := range m.wanted {
			if r.GroupKind == gk {
				refs = append(refs, r)
			}
		}
	}
	m.mu.Unlock()
	if first {
		m.touchAll() // those too of which it has nothing yet, since nobody could say
	}
	for _, r := range refs {
		m.queue.add(r)
	}
	for uid := range touched {
		m.touch(uid)
	}
}

// kindChanged hears that a kind can be watched now, or no more, or that its replicas are
// elsewhere.
func (m *member) kindChanged(w *watched) {
	defer m.touchAll()
	m.mu.Lock()
	var refs []ref
	for r := range m.wanted {
		if r.GroupKind == w.gvk.GroupKind() {
			refs = append(refs, r)
		}
	}
	m.mu.Unlock()
	for _, r := range refs {
		m.queue.add(r)
	}
}

// report is how it stands with one workload in one member.
type report struct {
	live     *unstructured.Unstructured // the workload itself, as the member has it; nil: it has none of ours
	outcome  outcome                    // of the workload, or of the first thing that it needs and that went wrong
	kinds    map[string]int             // of them, those that go along, by kind
	left     int                        // objects that are there for it
	listed   bool                       // the member has shown what it has
	unread   string                     // why it has not; empty: it has, or nobody knows yet
	pods     []placement.Pod            // that no node takes
	stuck    string                     // why the cluster refuses to let something of it go; empty: it does not
	served   bool                       // the member has the kind
	scale    placement.Scale            // where it keeps the kind's replicas
	unscaled error                      // why that is not known
	scaled   bool                       // an autoscaler of the member says how many replicas it has
}

// watchError is why a kind that may be there is not shown; nil: it is, or nobody has
// tried yet.
func (w *watched) watchError() error {
	if w == nil {
		return nil
	}
	return w.trouble()
}

// shows reports whether it is known which objects of a kind are there for workloads, or
// there cannot be any, because the member does not have the kind or lets nobody see it.
func (m *member) shows(gk schema.GroupKind) bool {
	m.mu.Lock()
	w := m.kinds[gk]
	m.mu.Unlock()
	if w == nil {
		return false
	}
	err := w.trouble()
	return w.stock.ready() || errors.Is(err, errMissing) || apierrors.IsForbidden(err)
}

// showsAll is shows of some kinds that go along.
func (m *member) showsAll(kinds []string) bool {
	return !slices.ContainsFunc(kinds, func(kind string) bool { return !m.shows(schema.GroupKind{Kind: kind}) })
}

// report looks at a workload. Kinds are those that its objects are of.
func (m *member) report(uid types.UID, main ref, kinds []schema.GroupKind) report {
	m.mu.Lock()
	out := report{left: len(m.owned[uid]), listed: true}
	for r := range m.owned[uid] {
		if r != main && r.Group == "" {
			if out.kinds == nil {
				out.kinds = map[string]int{}
			}
			out.kinds[r.Kind]++
		}
	}
	var s *stock
	for _, gk := range kinds {
		w := m.kinds[gk]
		if w == nil || !w.stock.ready() && w.trouble() != errMissing { //nolint:errorlint // never wrapped
			out.listed = false
			if err := w.watchError(); err != nil {
				out.unread = unwatched(ref{GroupKind: gk}, err).message
			}
		}
	}
	if w := m.kinds[main.GroupKind]; w != nil {
		s = w.stock
		_, _, out.served = w.where()
		out.scale, out.unscaled = w.scaling()
	}
	for r := range m.owned[uid] {
		if o := m.outcomes[r]; o.state == v1alpha1.WorkloadRefused && m.wanted[r] == nil {
			out.stuck = o.about(r).message
		}
	}
	out.outcome = m.outcomes[main]
	if s != nil && m.wanted[main][uid] {
		if l := s.get(main.NamespacedName); m.winner(main, l) != uid {
			out.outcome = conflict(reasonAnother, "another FederatedObject of this installation places the same %s; delete one of them, or give its template another name", main.Kind)
			if l != nil {
				out.outcome, _ = m.clashes(main, l, wish{needing: []types.UID{uid}})
			}
		}
	}
	if p := m.plans[uid]; p != nil && out.outcome.state == applied {
		for _, part := range p.parts {
			r := refOf(part.object)
			if o := m.outcomes[r]; o.state != applied {
				out.outcome = o.about(r)
				break
			}
		}
	}
	m.mu.Unlock()
	if s != nil {
		if l := s.get(main.NamespacedName); l != nil && slices.Contains(neededBy(l.object), uid) {
			out.live = l.object
		}
	}
	if out.live != nil {
		out.pods = m.pods.of(out.live, out.scale)
		out.scaled = m.scalers.scales(main)
	}
	return out
}

// podsChanged hears that no node takes some pods, or that one does.
func (m *member) podsChanged(namespace string) {
	m.mu.Lock()
	var uids []types.UID
	for uid, p := range m.plans {
		if len(p.parts) > 0 && (namespace == "" || p.parts[0].object.GetNamespace() == namespace) {
			uids = append(uids, uid)
		}
	}
	m.mu.Unlock()
	for _, uid := range uids {
		m.touch(uid)
	}
}

// scaled hears that an object is scaled by the member itself now, or no more.
func (m *member) scaled(target ref) {
	m.mu.Lock()
	uids := slices.Collect(maps.Keys(m.wanted[target]))
	m.mu.Unlock()
	for _, uid := range uids {
		m.touch(uid)
	}
}
