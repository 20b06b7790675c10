package xds

import (
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"

	"github.com/meridian-lb/meridian/xds/resource"
)

// resubscribe takes over the names of a later delta request. A name that the
// client subscribes to is sent even if the client should have it: it may have
// forgotten it. So is a name that it gives up by name while a wildcard still
// covers it.
func (w *watch) resubscribe(subscribe, unsubscribe []string) {
	for _, name := range subscribe {
		if name != "*" && w.wants(name) {
			w.mark(name, true)
		}
	}
	for _, name := range unsubscribe {
		switch {
		case name == "*":
			w.forgetUnwanted()
		case w.wants(name):
			w.mark(name, true)
		default:
			w.forget(name)
		}
	}
}

// renew takes over the names of a later state-of-the-world request.
func (w *watch) renew() {
	w.forgetUnwanted()
	for name := range w.sub.SubscribedResources() {
		if _, ok := w.before[name]; !ok {
			w.mark(name, true)
		}
	}
}

func (w *watch) forgetUnwanted() {
	var unwanted []string
	for rev := range w.known.all() {
		if !w.wants(rev.Name) {
			unwanted = append(unwanted, rev.Name)
		}
	}
	for _, name := range unwanted {
		w.forget(name)
	}
}

// dropUnsent takes back a state-of-the-world response that go-control-plane threw
// away because a request overtook it.
func (w *watch) dropUnsent() {
	f := w.flight
	if f == nil || f.nonce != "" {
		return
	}
	w.flight = nil
	w.owes = w.full
	for _, rev := range f.put {
		w.mark(rev.Name, true)
	}
	for _, name := range f.gone {
		w.mark(name, false)
	}
}

// settle takes the client's answer to the response in flight.
func (st *stream) settle(w *watch, nonce string, refused *status.Status) {
	f := w.flight
	if f == nil || nonce == "" || nonce != f.nonce {
		return
	}
	w.flight, w.landed = nil, f
	if refused == nil {
		w.acked++
		w.words = ""
		st.ack(w, f)
		return
	}
	w.nacked++
	w.words = short(refused.GetMessage())
	st.nack(w, f, refused.GetMessage())
	st.later = append(st.later, func() bool {
		st.server.refused(st, w, refused.GetMessage())
		return false
	})
}

func (st *stream) ack(w *watch, f *flight) {
	for _, rev := range f.put {
		had := w.known.get(rev.Name)
		if had == nil && !w.wants(rev.Name) {
			continue
		}
		if w.rank == rankCluster {
			st.warm(had, rev)
		}
		w.set(rev)
		st.accepted(rev)
	}
	for _, name := range f.gone {
		w.unset(name)
	}
}

// accepted notes that the client runs certain bytes.
func (st *stream) accepted(rev *revision) {
	if !rev.accepted.Load() {
		st.later = append(st.later, func() bool { return st.view.accept(rev) })
	}
}

// warm sends the endpoints of a cluster again that has changed: Envoy builds it
// anew beside the old one and the new one waits for its endpoints, although Envoy
// has them and does not ask.
func (st *stream) warm(had, cluster *revision) {
	if had == nil || cluster.refs == nil || cluster.refs.endpoint == "" {
		return
	}
	if endpoints := st.watch(resource.EndpointType); endpoints != nil && endpoints.known.get(cluster.refs.endpoint) != nil {
		endpoints.mark(cluster.refs.endpoint, true)
	}
}

// nack takes a refusal. Who is to blame is left out from now on; all others of
// the response are sent again, for the client may have taken them or not.
func (st *stream) nack(w *watch, f *flight, words string) {
	if f.probe && len(w.bisect) > 0 {
		w.bisect = w.bisect[:len(w.bisect)-1]
	}
	guilty := blamed(words, f.put)
	if len(f.put) == 1 {
		guilty = map[string]string{f.put[0].Name: words}
	}
	var suspects []string
	for _, rev := range f.put {
		if !w.wants(rev.Name) {
			continue
		}
		if words, ok := guilty[rev.Name]; ok {
			w.refused[rev.Name] = rev.Version
			st.later = append(st.later, func() bool { return st.view.refuse(rev, words) })
			continue
		}
		if !w.full { // a full response tells everything again anyway
			w.set(&revision{Resource: resource.Resource{TypeURL: w.typeURL, Name: rev.Name}, opaque: true})
		}
		w.mark(rev.Name, false)
		suspects = append(suspects, rev.Name)
	}
	if len(guilty) == 0 && len(suspects) > 1 {
		half := len(suspects) / 2
		w.bisect = append(w.bisect, suspects[half:], suspects[:half])
	} else if len(guilty) == 0 && len(suspects) == 1 { // the others are no longer wanted
		w.bisect = append(w.bisect, suspects)
	}
	for _, name := range f.gone {
		if len(f.put) == 0 { // nobody can be blamed, and saying it again would not help
			w.unset(name)
		} else {
			w.mark(name, false)
		}
	}
}

// blamed reads whom Envoy names: "Error adding/updating cluster(s) a: why, b: why".
// Envoy has taken all others then. Other messages name nobody in a way that can
// be relied on.
func blamed(words string, put []*revision) map[string]string {
	_, list, ok := strings.Cut(words, "Error adding/updating ")
	if !ok {
		return nil
	}
	_, list, ok = strings.Cut(list, "(s) ")
	if !ok {
		return nil
	}
	type start struct {
		at   int
		name string
	}
	var starts []start
	for _, rev := range put {
		for from := 0; rev.Name != ""; {
			i := strings.Index(list[from:], rev.Name+": ")
			if i < 0 {
				break
			}
			i += from
			if i == 0 || strings.HasSuffix(list[:i], ", ") || list[i-1] == '\n' {
				starts = append(starts, start{i, rev.Name})
				break
			}
			from = i + 1
		}
	}
	if len(starts) == 0 {
		return nil
	}
	slices.SortFunc(starts, func(a, b start) int { return a.at - b.at })
	guilty := make(map[string]string, len(starts))
	for i, s := range starts {
		end := len(list)
		if i+1 < len(starts) {
			end = starts[i+1].at
		}
		guilty[s.name] = strings.Trim(list[s.at+len(s.name)+2:end], ", \n")
	}
	return guilty
}
