package xds

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/meridian-lb/meridian/xds/resource"
)

// view is one set of resources with the streams that are sent it.
//
// Locks: a stream's lock may be held when the view's is taken, never the other
// way round. What changes a view therefore only says so, and wake is called
// when no lock is held.
type view struct {
	name   string
	faulty func() // see store.faulty

	mu        sync.RWMutex
	published bool   // false: nothing is known yet, which is not the same as "there is nothing"
	seq       uint64 // of the newest change
	tables    map[string]*table
	behind    int       // listeners and routes that are held at older bytes
	streams   []*stream // by id; see wake
}

// table is the resources of one type.
type table struct {
	typeURL string
	items   map[string]*item
	log     changeLog
	live    int // items that exist
}

// item is one name.
type item struct {
	name    string      // the one copy that revisions and streams share
	cur     *revision   // what everybody is sent; nil: it does not exist
	before  []*revision // older ones, oldest first; the newest that an Envoy took is the last good one
	refused []refusal   // never sent again, oldest first
	fault   *fault      // nil: no Envoy objects
	behind  bool        // cur is older than what was published, because that was refused
	kept    bool        // was removed, but bytes that are still in force may refer to it
}

// revision is a resource with one certain content. It is immutable but for accepted.
type revision struct {
	resource.Resource
	seq      uint64 // when it was published
	sum      uint64 // of name and version; the sums of a set are combined by XOR
	wire     wire
	refs     *references // what it refers to; nil for types that refer to nothing
	accepted atomic.Bool // an Envoy has acknowledged it
	opaque   bool        // only the version is known: an Envoy came with it
}

func newView(name string, faulty func()) *view {
	return &view{name: name, faulty: faulty, tables: map[string]*table{}}
}

// table finds a type; it is empty for types of which nothing was published.
func (v *view) table(typeURL string) *table {
	if t, ok := v.tables[typeURL]; ok {
		return t
	}
	return noTable
}

// noTable is empty and stays so.
var noTable = &table{}

// current is what everybody is sent under a name, or nil.
func (v *view) current(typeURL, name string) *revision { return v.table(typeURL).current(name) }

func (t *table) current(name string) *revision {
	if it, ok := t.items[name]; ok {
		return it.cur
	}
	return nil
}

// share replaces names that a client says by the view's own copies. A stream looks
// up what a push carries in its maps, and strings that are the same memory are not
// compared; nor are they kept once per stream.
func (v *view) share(typeURL string, names []string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.table(typeURL)
	for i, name := range names {
		names[i] = t.own(name)
	}
}

func (t *table) own(name string) string {
	if it, ok := t.items[name]; ok {
		return it.name
	}
	return name
}

// publish applies a change and reports whether streams have something to look at.
func (v *view) publish(d resource.Delta) bool {
	puts := v.prepare(d.Put)
	v.mu.Lock()
	defer v.mu.Unlock()
	first := !v.published
	v.published = true
	v.seq++
	changed := first
	for i, rev := range puts {
		changed = v.put(d.Put[i], rev) || changed
	}
	for _, name := range d.Gone {
		changed = v.remove(name) || changed
	}
	return changed
}

// prepare makes the revisions that seem to be new, outside of the lock since
// reading references takes time; the others are nil.
func (v *view) prepare(put []resource.Resource) []*revision {
	revs := make([]*revision, len(put))
	known := make([]*revision, len(put))
	v.mu.RLock()
	for i, r := range put {
		known[i] = v.current(r.TypeURL, r.Name)
	}
	v.mu.RUnlock()
	for i, r := range put {
		if known[i] == nil || known[i].Version != r.Version {
			revs[i] = newRevision(r)
		}
	}
	return revs
}

func newRevision(r resource.Resource) *revision {
	return &revision{Resource: r, sum: sumOf(r.Name, r.Version), wire: newWire(r), refs: referencesOf(r)}
}

// put makes rev current, unless these bytes are current already or were refused.
func (v *view) put(r resource.Resource, rev *revision) bool {
	t, ok := v.tables[r.TypeURL]
	if !ok {
		t = &table{typeURL: r.TypeURL, items: map[string]*item{}}
		v.tables[r.TypeURL] = t
	}
	it, ok := t.items[r.Name]
	if !ok {
		it = &item{name: r.Name}
		t.items[it.name] = it
	}
	it.kept = false
	if it.cur != nil && it.cur.Version == r.Version {
		return it.fault != nil && it.cur.accepted.Load() && v.settle(it)
	}
	if refused := it.wasRefused(r.Version); refused != nil {
		it.fault = newFault(r, *refused)
		v.fallBehind(t, it)
		v.faulty()
		return false
	}
	if rev == nil { // it was current when prepare looked
		rev = newRevision(r)
	}
	rev.seq, rev.Name = v.seq, it.name
	it.remember()
	v.set(t, it, it.name, rev)
	return true
}

// maxBefore is how many older contents are kept that no Envoy has answered yet.
const maxBefore = 4

// remember keeps what was current, and nothing that is older than a good one.
func (it *item) remember() {
	switch {
	case it.cur == nil:
		return
	case it.cur.accepted.Load():
		it.before = it.before[:0]
	case len(it.before) == maxBefore:
		i := 0
		if it.before[0].accepted.Load() {
			i = 1
		}
		it.before = slices.Delete(it.before, i, i+1)
	}
	it.before = append(it.before, it.cur)
}

// good is the newest content before cur that an Envoy took, or nil.
func (it *item) good() *revision {
	for _, rev := range slices.Backward(it.before) {
		if rev.accepted.Load() {
			return rev
		}
	}
	return nil
}

// remove takes a resource away, unless older bytes that had to stay in force
// may need it.
func (v *view) remove(n resource.Name) bool {
	t := v.tables[n.TypeURL]
	if t == nil {
		return false
	}
	it, ok := t.items[n.Name]
	if !ok || it.kept {
		return false
	}
	changed := false
	if it.fault != nil {
		changed = v.settle(it)
	}
	if v.behind > 0 && referredTo(n.TypeURL) && it.cur != nil {
		it.kept = true
		return changed
	}
	v.set(t, it, n.Name, nil)
	delete(t.items, n.Name)
	return true
}

// set changes what is current and writes it into the log.
func (v *view) set(t *table, it *item, name string, rev *revision) {
	switch {
	case it.cur == nil && rev != nil:
		t.live++
	case it.cur != nil && rev == nil:
		t.live--
	}
	t.log.append(change{seq: v.seq, name: name, before: it.cur}, max(minLog, 2*len(t.items)))
	it.cur = rev
}

// wake lets every stream of the view send what it may. No lock may be held.
//
// It goes by age: streams that were opened one after the other lie together in
// memory. Jumping between a thousand of them costs a push 10 % more CPU.
func (v *view) wake() {
	v.mu.RLock()
	streams := slices.Clone(v.streams)
	v.mu.RUnlock()
	for i, st := range streams {
		st.push()
		if i%turn == turn-1 {
			runtime.Gosched()
		}
	}
}

// turn is after how many streams gRPC's writers have a turn, while what they need
// is in the processor's caches still: 3 % less CPU, more in the best runs.
const turn = 4

func (v *view) join(st *stream) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i, ok := slices.BinarySearchFunc(v.streams, st, byID); !ok {
		v.streams = slices.Insert(v.streams, i, st)
	}
}

func (v *view) leave(st *stream) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if i, ok := slices.BinarySearchFunc(v.streams, st, byID); ok {
		v.streams = slices.Delete(v.streams, i, i+1)
	}
}

func byID(a, b *stream) int { return cmp.Compare(a.id, b.id) }
