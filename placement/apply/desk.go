package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/placement"
)

// desk thinks about one workload after the other: what its members are to have, and
// what its author is told. One goroutine owns everything below dirty.
type desk struct {
	a       *Applier
	objects *kind // FederatedObjects of the host
	stock   *stock

	mu    sync.Mutex
	dirty map[types.UID]bool
	news  map[types.UID]*live // of the host's objects; nil: it is no more
	all   bool                // everything is dirty
	turn  bool                // a term has begun or ended
	wake  chan struct{}

	// Of run's goroutine.
	workloads map[types.UID]*workload
	backlog   backlog
	members   map[string]*running
	staffed   *map[string]Member           // that members were made of
	known     map[string]placement.Cluster // members of which it is known where they stand, as of this look
	followed  *followed
	work      sync.WaitGroup
	leads     bool
}

// workload is a FederatedObject and what is thought of it.
type workload struct {
	object     *v1alpha1.FederatedObject
	template   *placement.Template  // the last good one; nil: there was none
	generation int64                // of the object that the template was read of
	problems   []fleet.Problem      // of the object as it is now
	bad        bool                 // it cannot be used as it is now
	along      []string             // kinds of what went along and may be in members still, though the template names none
	scale      placement.Scale      // of a kind that others defined, as clusters say
	strange    []fleet.Problem      // names in it that no cluster has
	due        time.Time            // it is thought about again then; zero: only when something changes
	faults     map[string]string    // by cluster: why it could not be rendered there
	missing    string               // why nothing of it can be ordered; empty: it can
	forbids    string               // that in one word, if it is about rights
	unlisted   map[string]time.Time // by cluster: since when it answers and does not show what it has
}

// running is a member with its end.
type running struct {
	*member
	stop func() // returns when it has ended
}

func newDesk(a *Applier) *desk {
	d := &desk{a: a, dirty: map[types.UID]bool{}, news: map[types.UID]*live{}, wake: make(chan struct{}, 1), workloads: map[types.UID]*workload{}, members: map[string]*running{}}
	d.stock = &stock{changed: d.hear}
	d.followed = newFollowed(a.conn, a.cfg, d.touchAll)
	d.objects = newKind(v1alpha1.SchemeGroupVersion.WithKind(v1alpha1.KindFederatedObject), "", d.stock)
	return d
}

// hear takes notice of the host's objects.
func (d *desk) hear(list []change, first bool) {
	d.mu.Lock()
	for _, c := range list {
		if c.before != nil {
			d.news[c.before.object.GetUID()], d.dirty[c.before.object.GetUID()] = nil, true
		}
		if c.after != nil {
			d.news[c.after.object.GetUID()], d.dirty[c.after.object.GetUID()] = c.after, true
		}
	}
	d.all = d.all || first
	d.mu.Unlock()
	d.poke()
}

// touch has a workload thought about. It never blocks.
func (d *desk) touch(uid types.UID) {
	d.mu.Lock()
	d.dirty[uid] = true
	d.mu.Unlock()
	d.poke()
}

// touchAll has every workload thought about. It never blocks.
func (d *desk) touchAll() {
	d.mu.Lock()
	d.all = true
	d.mu.Unlock()
	d.poke()
}

// termChanged hears that this replica writes now, or no more.
func (d *desk) termChanged() {
	d.mu.Lock()
	d.all, d.turn = true, true
	d.mu.Unlock()
	d.poke()
}

func (d *desk) poke() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// tickEvery is how late a moment that somebody waits for may be noticed.
const tickEvery = time.Second

// run thinks until ctx ends. Its select waits for:
//   - news of workloads, members, clusters or the term;
//   - the time when a workload is due.
func (d *desk) run(ctx context.Context) error {
	defer d.work.Wait()
	defer d.followed.work.Wait()
	d.work.Go(func() { d.objects.follow(ctx, d.a.conn, d.a.cfg.Pace.Audit, d.touchAll) })
	tick := time.NewTicker(min(tickEvery, d.a.cfg.Pace.Pulse))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
			d.look(ctx, time.Now(), false)
		case <-tick.C:
			d.look(ctx, time.Now(), true)
		}
	}
}

// lookAtMost is how many workloads are thought about before there is another look at
// what is new, so that somebody's change does not wait for thousands of others. One
// takes about a millisecond.
const lookAtMost = 32

// look takes notice of what is new, and thinks about some of what is dirty or due. When
// more is left it has itself called again.
func (d *desk) look(ctx context.Context, now time.Time, ticked bool) {
	d.mu.Lock()
	dirty, news, all, turn := d.dirty, d.news, d.all, d.turn
	d.dirty, d.news, d.all, d.turn = map[types.UID]bool{}, map[types.UID]*live{}, false, false
	d.mu.Unlock()
	if turn {
		d.begin()
	}
	if all {
		d.staff(ctx)
	}
	if fresh := d.read(news); all || fresh {
		d.watch(ctx)
	}
	if ticked {
		d.measure(now)
	}
	if !d.leads || !d.stock.ready() {
		d.backlog.clear()
		return // what is dirty is thought about when a term begins, or the first list comes
	}
	if all {
		for uid := range d.workloads {
			dirty[uid] = true
		}
	} else if ticked {
		for uid, w := range d.workloads {
			if !w.due.IsZero() && !now.Before(w.due) {
				dirty[uid] = true
			}
		}
	}
	d.backlog.add(true, slices.Collect(maps.Keys(news)))
	d.backlog.add(false, slices.Collect(maps.Keys(dirty)))
	d.known = d.clusters()
	for range lookAtMost {
		uid, ok := d.backlog.next()
		if w := d.workloads[uid]; ok && w != nil {
			w.due = time.Time{}
			d.think(w, now)
		}
	}
	if !d.backlog.empty() {
		d.poke()
	}
}

// begin takes notice of a term that began or ended: members forget what another
// replica decides now.
func (d *desk) begin() {
	d.leads = d.a.term.writing() != nil
	leads := 0.0
	if d.leads {
		leads = 1
	} else {
		d.a.scribe.resign()
		d.a.thoughts.resign()
		d.a.rights.resign()
	}
	d.a.meter.leads.Set(leads)
	for _, m := range d.members {
		m.resign()
	}
}

// staff has just the members worked for that there are now.
func (d *desk) staff(ctx context.Context) {
	want := d.a.members.Load()
	if want == nil {
		return
	}
	d.staffed = want
	for _, name := range slices.Sorted(maps.Keys(d.members)) {
		if _, stays := (*want)[name]; !stays {
			d.members[name].stop()
			delete(d.members, name)
			d.a.meter.forget(name)
			d.a.log.Info("a member has left, and keeps the workloads that it has", "cluster", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(*want)) {
		if d.members[name] == nil {
			m := newMember(name, d.a)
			ctx, cancel := context.WithCancel(ctx)
			done := make(chan struct{})
			d.work.Go(func() {
				defer close(done)
				m.run(ctx)
			})
			d.members[name] = &running{member: m, stop: func() { cancel(); <-done }}
		}
		if a := (*want)[name]; a.Config != nil {
			d.members[name].use(a)
		}
	}
}

// read reads the host's objects that are new or changed, and forgets those that are
// no more. Fresh is false when only what is not in templates changed, as it does
// whenever a status is written.
func (d *desk) read(news map[types.UID]*live) (fresh bool) {
	for uid, l := range news {
		w := d.workloads[uid]
		switch {
		case l != nil:
			if w == nil {
				w = &workload{faults: map[string]string{}, unlisted: map[string]time.Time{}}
				d.workloads[uid] = w
			}
			before, along := w.template, w.along
			w.read(l.object)
			fresh = fresh || w.template != before || !slices.Equal(w.along, along)
		case w != nil:
			fresh = true
			delete(d.workloads, uid)
			d.a.scribe.forget(uid)
			d.a.thoughts.forget(uid)
			d.a.rights.forget(uid)
			for _, m := range d.members {
				m.drop(uid)
			}
		}
	}
	d.a.meter.workloads.Set(float64(len(d.workloads)))
	return fresh
}

// read reads a FederatedObject. One that cannot be used leaves the last good template
// in force.
func (w *workload) read(o *unstructured.Unstructured) {
	fresh := &v1alpha1.FederatedObject{}
	data, err := json.Marshal(o.Object)
	if err == nil {
		err = json.Unmarshal(data, fresh)
	}
	if err != nil {
		if w.object == nil {
			w.object = &v1alpha1.FederatedObject{}
		}
		w.object = w.object.DeepCopy()
		w.object.Name, w.object.Namespace, w.object.UID = o.GetName(), o.GetNamespace(), o.GetUID()
		w.object.ResourceVersion, w.object.Generation = o.GetResourceVersion(), o.GetGeneration()
		w.object.Finalizers, w.object.DeletionTimestamp = o.GetFinalizers(), o.GetDeletionTimestamp()
		w.bad, w.problems = true, []fleet.Problem{{Reason: placement.ReasonInvalid, Message: "it cannot be read: " + oneLine(err.Error())}}
		return
	}
	var remembered memory
	if fresh.Status.Recall(&remembered) == nil {
		w.along = remembered.Along
	}
	same := w.object != nil && w.object.Generation == fresh.Generation && w.template != nil && !w.bad
	w.object = fresh
	if same {
		return // only its status or metadata changed
	}
	origin := fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: v1alpha1.KindFederatedObject, Namespace: fresh.Namespace, Name: fresh.Name,
		Generation: fresh.Generation, Created: fresh.CreationTimestamp.UTC()}
	t, problems := fresh.Parse(origin)
	w.problems, w.bad = problems, t == nil
	if t == nil {
		w.standIn()
		return
	}
	if found := placement.Check(t.Object, placement.Rules{Home: v1alpha1.HostNamespace}, origin); len(found) > 0 {
		w.problems, w.bad = slices.Concat(problems, found), true
		w.standIn()
		return
	}
	w.template, w.generation = t, fresh.Generation
}

// standIn makes enough of a workload that is being deleted to find what is there for
// it, though its object is not understood. Nothing is ever placed by that.
func (w *workload) standIn() {
	if w.template != nil || w.object.DeletionTimestamp == nil {
		return
	}
	var head unstructured.Unstructured
	if json.Unmarshal(w.object.Spec.Template.Raw, &head.Object) != nil || head.GetKind() == "" || head.GetName() == "" {
		return
	}
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(head.GetAPIVersion())
	o.SetKind(head.GetKind())
	o.SetName(head.GetName())
	o.SetNamespace(w.object.Namespace)
	w.template = &placement.Template{Object: o, Where: placement.Where{Clusters: []string{""}}, Orphan: w.object.Spec.Deletion == v1alpha1.DeletionOrphan}
}

// main is the object that the workload is in a member.
func (w *workload) main() ref { return refOf(w.template.Object) }

// kinds are those of all objects that members may have for a workload.
func (w *workload) kinds() []schema.GroupKind {
	kinds := map[schema.GroupKind]bool{w.main().GroupKind: true}
	if w.template.Follow {
		for r := range refsOf(w.template.Object) {
			kinds[r.GroupKind] = true
		}
	}
	return slices.Collect(maps.Keys(kinds))
}

// watch has every member watched for the kinds that there are now, and the host for
// what goes along.
func (d *desk) watch(ctx context.Context) {
	kinds := map[schema.GroupKind]schema.GroupVersionKind{}
	follow := map[ref]bool{}
	free := false
	for _, w := range d.workloads {
		if w.template == nil {
			continue
		}
		free = free || w.template.Spread.Mode == placement.ModeFree
		gvk := w.template.Object.GroupVersionKind()
		if before, there := kinds[gvk.GroupKind()]; !there || gvk.Version > before.Version {
			kinds[gvk.GroupKind()] = gvk
		}
		for _, kind := range w.along {
			if slices.Contains(followable, kind) {
				kinds[schema.GroupKind{Kind: kind}] = corev1.SchemeGroupVersion.WithKind(kind)
			}
		}
		if w.template.Follow {
			for r := range refsOf(w.template.Object) {
				follow[r] = true
				kinds[r.GroupKind] = corev1.SchemeGroupVersion.WithKind(r.Kind)
			}
		}
	}
	d.followed.want(ctx, follow)
	for _, m := range d.members {
		m.watch(kinds) //nolint:contextcheck // what is watched ends with the connection, not with this look
		m.survey.want(free)
	}
}

func (d *desk) measure(now time.Time) {
	for name, m := range d.members {
		n, oldest := m.queue.length(now)
		since, _ := m.pulse.silence()
		d.a.meter.member(name, n, oldest, !since.IsZero())
	}
}

func (w *workload) owner() placement.Owner {
	return placement.Owner{UID: w.object.UID, Kind: v1alpha1.KindFederatedObject, Namespace: w.object.Namespace, Name: w.object.Name}
}

func (w *workload) String() string { return fmt.Sprintf("%s/%s", w.object.Namespace, w.object.Name) }
