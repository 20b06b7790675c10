package xds

import (
	"fmt"
	"strings"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

const (
	maxRefused = 16  // versions remembered per name
	maxReason  = 500 // bytes of Envoy's words that are repeated
)

// refusal is a version that an Envoy did not take, with its words.
type refusal struct{ version, words string }

// fault is what is wrong with the bytes that were published last.
type fault struct {
	resource resource.Resource
	refusal
}

func newFault(r resource.Resource, why refusal) *fault { return &fault{resource: r, refusal: why} }

func (it *item) wasRefused(version string) *refusal {
	for i := range it.refused {
		if it.refused[i].version == version {
			return &it.refused[i]
		}
	}
	return nil
}

// refuse records that an Envoy did not take rev. Bytes that no Envoy has taken
// are withdrawn: the view goes back to the last good ones, and every stream is to
// be woken when it says true. Bytes that another Envoy runs, or could run since
// they depend on its machine, stay; then only the Envoy that refused stays behind.
func (v *view) refuse(rev *revision, words string) bool {
	words = short(words)
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.table(rev.TypeURL)
	it, ok := t.items[rev.Name]
	if !ok || it.cur != rev {
		return false // something else is being tried already
	}
	why := refusal{version: rev.Version, words: words}
	it.fault = newFault(rev.Resource, why)
	v.faulty()
	if rev.accepted.Load() || rev.Local {
		return false
	}
	if len(it.refused) == maxRefused {
		it.refused = it.refused[1:]
	}
	it.refused = append(it.refused, why)
	v.fallBehind(t, it)
	v.seq++
	v.set(t, it, rev.Name, it.good())
	it.before = nil
	if refersToOthers(rev.TypeURL) {
		v.bringBack(rev.seq)
	}
	return true
}

// short bounds what an Envoy says.
func short(words string) string {
	if len(words) > maxReason {
		return strings.ToValidUTF8(words[:maxReason], "") + "..."
	}
	return words
}

// fallBehind notes that an item is held at bytes that are not the published ones.
func (v *view) fallBehind(t *table, it *item) {
	if !it.behind {
		it.behind = true
		if refersToOthers(t.typeURL) {
			v.behind++
		}
	}
}

// bringBack restores what was removed since a refused listener or route was
// published: the bytes that stay in force instead may still refer to it.
func (v *view) bringBack(since uint64) {
	for typeURL, t := range v.tables {
		if !referredTo(typeURL) {
			continue
		}
		changes, _ := t.log.since(since - 1)
		for i := len(changes) - 1; i >= 0; i-- {
			c := changes[i]
			if _, exists := t.items[c.name]; exists || c.before == nil {
				continue
			}
			it := &item{kept: true}
			t.items[c.name] = it
			v.set(t, it, c.name, c.before)
		}
	}
}

// accept notes that an Envoy runs rev, and reports whether streams are to be woken.
func (v *view) accept(rev *revision) bool {
	if rev.accepted.Swap(true) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	t := v.table(rev.TypeURL)
	it, ok := t.items[rev.Name]
	switch {
	case !ok:
		return false
	case it.cur == rev:
		return it.fault != nil && v.settle(it)
	case it.cur == nil && it.behind: // the first good bytes that are known
		v.seq++
		v.set(t, it, rev.Name, rev)
		return true
	}
	return false
}

// settle ends a fault, since what was wrong is gone or replaced. It reports
// whether streams are to be woken.
func (v *view) settle(it *item) bool {
	typeURL := it.fault.resource.TypeURL
	it.fault = nil
	v.faulty()
	if !it.behind {
		return false
	}
	it.behind = false
	if !refersToOthers(typeURL) {
		return false
	}
	v.behind--
	return v.behind == 0 && v.letGo()
}

// letGo removes what was only kept for bytes that are no longer in force.
func (v *view) letGo() bool {
	changed := false
	v.seq++
	for _, t := range v.tables {
		for name, it := range t.items {
			if it.kept {
				v.set(t, it, name, nil)
				delete(t.items, name)
				changed = true
			}
		}
	}
	return changed
}

// problems adds what Envoys of this view refuse.
func (v *view) problems(all []fleet.Problem) []fleet.Problem {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, t := range v.tables {
		for _, it := range t.items {
			if it.fault != nil {
				all = it.fault.problems(all)
			}
		}
	}
	return all
}

func (f *fault) problems(all []fleet.Problem) []fleet.Problem {
	kind := shortType(f.resource.TypeURL)
	message := fmt.Sprintf("Envoy refused the %s %q that was made from this object, so what it ran before stays in force; change the object to correct it: %s",
		kind, f.resource.Name, f.words)
	origins := f.resource.Origins
	if len(origins) == 0 {
		origins = []fleet.Origin{{Cluster: "host", Kind: kind, Name: f.resource.Name}}
	}
	for _, o := range origins {
		all = append(all, fleet.Problem{About: o, Reason: "RefusedByEnvoy", Message: message})
	}
	return all
}

// shortType is the last word of a type URL.
func shortType(typeURL string) string { return typeURL[strings.LastIndexAny(typeURL, "./")+1:] }
