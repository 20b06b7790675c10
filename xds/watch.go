package xds

import (
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/meridian-lb/meridian/xds/resource"
)

// maxResponse is where a response is closed and the rest waits for the ACK, in
// bytes, so that no message passes 4 MiB. Clusters and listeners are not divided:
// Envoy begins to serve when it has had one response of each.
const maxResponse = 3 << 20

// watch is one resource type of a stream: a cursor into the view's log and what
// the client holds. The stream's lock guards it.
type watch struct {
	typeURL string
	rank    int
	full    bool // state of the world and fullState: a response lists everything
	sotw    bool

	// What go-control-plane gave with the latest request. open is false while
	// it handles a request; sub must not be touched then.
	open     bool
	sub      cache.Subscription
	wildcard bool
	answer   func(*flight)       // sends; nil before the first request
	before   map[string]struct{} // state of the world: names of the request before

	fresh bool   // nothing was looked at yet
	claim string // state of the world: the version that a client came with
	owes  bool   // an answer is due even if there is nothing to say
	seen  uint64 // position in the log

	known holdings        // what the client has acknowledged, all of it wanted
	sum   uint64          // of known
	dirty map[string]mark // to be looked at; nil when there is nothing
	names []string        // scratch

	// single is the one name to be looked at when it is not worth a mark: the
	// usual case, one change and nothing else.
	single string

	flight  *flight // in flight; nil: the client has answered everything
	landed  *flight // the last one, whose memory is used again
	bisect  [][]string
	refused map[string]string // name to version that this client did not take

	metrics       typeMetrics
	acked, nacked uint64
	words         string // of the last NACK; empty after an ACK
}

// mark is why and since when a name is to be looked at.
type mark struct {
	asked bool      // the client asked for it just now
	held  time.Time // since when it waits to be sent; zero: it does not
}

// flight is a response that was handed over and has not been answered.
type flight struct {
	nonce string // empty until it was sent
	put   []*revision
	gone  []string
	probe bool // carries one group of suspects

	delta    cache.DeltaPassthroughResponse
	response discoveryv3.DeltaDiscoveryResponse
	sotw     cache.PassthroughResponse
}

func newWatch(typeURL string, sotw bool) *watch {
	return &watch{
		typeURL: typeURL,
		rank:    rankOf(typeURL),
		sotw:    sotw,
		full:    sotw && fullState(typeURL),
		fresh:   true,
		refused: map[string]string{},
	}
}

// wants reports whether the client subscribes to a name.
func (w *watch) wants(name string) bool {
	if w.wildcard {
		return true
	}
	_, ok := w.sub.SubscribedResources()[name]
	return ok
}

// set notes what the client holds.
func (w *watch) set(rev *revision) {
	w.sum ^= rev.sum
	if old := w.known.put(rev); old != nil {
		w.sum ^= old.sum
	}
}

// unset notes that the client holds nothing under a name.
func (w *watch) unset(name string) {
	if old := w.known.remove(name); old != nil {
		w.sum ^= old.sum
	}
}

// hold believes a client that comes with versions of what it subscribes to.
func (v *view) hold(w *watch, versions map[string]string) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.table(w.typeURL)
	for name, version := range versions {
		if w.wants(name) {
			name = t.own(name)
			w.set(&revision{Resource: resource.Resource{TypeURL: w.typeURL, Name: name, Version: version}, opaque: true})
		}
	}
}

// mark notes that a name is to be looked at.
func (w *watch) mark(name string, asked bool) {
	m := w.dirty[name]
	m.asked = m.asked || asked
	w.note(name, m)
}

func (w *watch) note(name string, m mark) {
	if w.dirty == nil {
		w.dirty = map[string]mark{}
	}
	w.dirty[name] = m
}

func (w *watch) clean(name string) {
	delete(w.dirty, name)
	if len(w.dirty) == 0 {
		w.dirty = nil // or a first sync's list would be kept for good
	}
}

// forget drops a name that the client no longer subscribes to.
func (w *watch) forget(name string) {
	w.unset(name)
	w.clean(name)
	delete(w.refused, name)
}

// absorb moves the cursor to the end of the log and marks what lies between.
func (w *watch) absorb(t *table) {
	changes, ok := t.log.since(w.seen)
	switch {
	case w.fresh || !ok:
		w.markAll(t)
		w.fresh = false
	case len(changes) == 1 && len(w.dirty) == 0 && w.flight == nil:
		w.single = changes[0].name // looked at without a detour
	default:
		for _, c := range changes {
			if w.wants(c.name) {
				w.mark(c.name, false)
			}
		}
	}
	w.seen = t.log.last
}

// markAll compares everything. A client that comes with nothing asks for all of it.
func (w *watch) markAll(t *table) {
	asks := w.fresh && w.known.n == 0
	for rev := range w.known.all() {
		w.mark(rev.Name, false)
	}
	if w.wildcard {
		for name, it := range t.items {
			if it.cur != nil {
				w.mark(name, asks)
			}
		}
		return
	}
	for name := range w.sub.SubscribedResources() {
		w.mark(name, false)
	}
}

// honour believes a state-of-the-world client that came with a version: when it
// is the version of exactly what it subscribes to, it holds that.
func (w *watch) honour(st *stream, t *table) {
	claim := w.claim
	w.claim = ""
	if claim == "" {
		return
	}
	var have []*revision
	var sum uint64
	for name, it := range t.items {
		if it.cur != nil && w.wants(name) {
			have = append(have, it.cur)
			sum ^= it.cur.sum
		}
	}
	if hexSum(sum) != claim {
		return
	}
	for _, rev := range have {
		w.set(rev)
		st.accepted(rev)
	}
	w.owes = false
}

// step sends what may be sent now. The view is locked for reading.
func (w *watch) step(st *stream, v *view) {
	if !w.open {
		return
	}
	t := v.table(w.typeURL)
	if w.fresh {
		w.honour(st, t)
	}
	w.absorb(t)
	if w.flight != nil || (len(w.dirty) == 0 && w.single == "" && !w.owes) {
		return
	}
	f := w.nextFlight()
	w.load(f, st, v, t)
	for len(w.bisect) > 0 && len(f.put) == 0 && len(f.gone) == 0 { // that group is settled
		w.bisect = w.bisect[:len(w.bisect)-1]
		w.load(f, st, v, t)
	}
	if len(f.put) == 0 && len(f.gone) == 0 && (!w.owes || len(w.dirty) > 0) {
		w.landed = f
		return
	}
	if w.sotw && !w.full && len(f.put) == 0 { // there is no way to say "gone"
		for _, name := range f.gone {
			w.unset(name)
		}
		w.landed = f
		return
	}
	w.owes = false
	w.flight = f
	w.write(f)
	w.answer(f)
}

// nextFlight is an empty flight, made of the memory of the last if there is one.
func (w *watch) nextFlight() *flight {
	f := w.landed
	w.landed = nil
	if f == nil {
		return &flight{}
	}
	clear(f.put)
	f.nonce, f.put, f.gone = "", f.put[:0], f.gone[:0]
	return f
}

// load chooses what the flight carries, and takes it off the list.
func (w *watch) load(f *flight, st *stream, v *view, t *table) {
	names := w.candidates()
	f.probe = len(w.bisect) > 0
	gate := gate{stream: st, view: v}
	size := 0
	for _, name := range names {
		switch w.judge(name, t, &gate) {
		case drop:
			w.clean(name)
		case wait:
			if m := w.dirty[name]; m.held.IsZero() {
				m.held = time.Now()
				w.note(name, m)
				st.lookAgain()
			}
		case stay:
			w.mark(name, false)
		case remove:
			f.gone = append(f.gone, name)
			w.clean(name)
		case put:
			rev := t.current(name)
			if size > 0 && size+rev.wire.size() > maxResponse && !fullState(w.typeURL) {
				return
			}
			size += rev.wire.size()
			f.put = append(f.put, rev)
			w.clean(name)
		}
	}
}

// candidates lists the names to look at, sorted: after a NACK that named nobody
// the suspects of one group, else everything that is dirty.
func (w *watch) candidates() []string {
	w.names = w.names[:0]
	if w.single != "" {
		w.names = append(w.names, w.single)
		w.single = ""
		return w.names
	}
	for len(w.bisect) > 0 {
		for _, name := range w.bisect[len(w.bisect)-1] {
			if _, ok := w.dirty[name]; ok {
				w.names = append(w.names, name)
			}
		}
		if len(w.names) > 0 {
			return w.names
		}
		w.bisect = w.bisect[:len(w.bisect)-1]
	}
	for name := range w.dirty {
		w.names = append(w.names, name)
	}
	if len(w.names) > 1 {
		slices.Sort(w.names)
	}
	return w.names
}

// verdict is what becomes of a name.
type verdict uint8

const (
	drop   verdict = iota // the client has what it should have
	wait                  // it has to be sent when others are in place
	stay                  // it is gone, but may still be in use
	put                   // send it
	remove                // say that it is gone
)

func (w *watch) judge(name string, t *table, g *gate) verdict {
	have := w.known.get(name)
	if have == nil && !w.wants(name) {
		w.forget(name)
		return drop
	}
	m := w.dirty[name]
	var cur *revision
	it := t.items[name]
	if it != nil {
		cur = it.cur
	}
	switch {
	case cur == nil && have == nil:
		if m.asked && !w.sotw {
			return remove
		}
		return drop
	case cur == nil && it != nil && it.behind:
		return drop // no good bytes are known here, but the client has some
	case cur == nil:
		if m.asked || g.mayGo(w, name) {
			return remove
		}
		return stay
	case w.refused[name] == cur.Version:
		return drop
	case m.asked || len(w.bisect) > 0:
		return put
	case have != nil && have.Version == cur.Version:
		if have.opaque {
			w.set(cur)
			g.stream.accepted(cur)
		}
		return drop
	case g.mayPut(w, m, have, cur):
		return put
	}
	return wait
}

// write makes the message. For the delta protocol that is only a token that
// go-control-plane carries through its loop; deltaStream.Send puts the flight in
// its place.
func (w *watch) write(f *flight) {
	if w.sotw {
		f.sotw.DiscoveryResponse = w.world(f)
		return
	}
	f.response.TypeUrl = w.typeURL
}

// sent notes that the flight goes out under a nonce.
func (w *watch) sent(nonce string) {
	w.flight.nonce = nonce
	size := 0
	for _, rev := range w.flight.put {
		size += rev.wire.size()
	}
	w.metrics.pushed(len(w.flight.put), size)
}

// world is the state-of-the-world form of a flight. Its version is the sum of all
// that the client will hold.
func (w *watch) world(f *flight) *discoveryv3.DiscoveryResponse {
	sum := w.sum
	for _, rev := range f.put {
		sum ^= rev.sum
		if old := w.known.get(rev.Name); old != nil {
			sum ^= old.sum
		}
	}
	for _, name := range f.gone {
		if old := w.known.get(name); old != nil {
			sum ^= old.sum
		}
	}
	m := &discoveryv3.DiscoveryResponse{TypeUrl: w.typeURL, VersionInfo: hexSum(sum)}
	send := f.put
	if w.full {
		send = w.everything(f)
	}
	for _, rev := range send {
		m.Resources = append(m.Resources, rev.Body)
	}
	return m
}

// everything lists what the client will hold after a flight, sorted by name.
func (w *watch) everything(f *flight) []*revision {
	after := make(map[string]*revision, w.known.n+len(f.put))
	for rev := range w.known.all() {
		if !rev.opaque {
			after[rev.Name] = rev
		}
	}
	for _, rev := range f.put {
		after[rev.Name] = rev
	}
	for _, name := range f.gone {
		delete(after, name)
	}
	all := make([]*revision, 0, len(after))
	for _, rev := range after {
		all = append(all, rev)
	}
	slices.SortFunc(all, func(a, b *revision) int { return a.Key().Compare(b.Key()) })
	return all
}
