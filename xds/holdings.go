package xds

import (
	"hash/maphash"
	"iter"
)

// holdings are the revisions that a client holds, by name: a hash table in one
// flat array. Every push looks one name up in every stream's, when none of it is in
// the processor's caches: a Go map is six dependent reads from memory then, this is
// one, for the revision itself is everybody's and its name says whether it is the
// right one. That is 4 % of the CPU of a push.
type holdings struct {
	slots []*revision // a power of two, or none; nil: free
	n     int
}

var holdingsSeed = maphash.MakeSeed() // names are chosen by clients, too

const minSlots = 8

// find is the slot of a name: where it is, or where it would be. There are slots.
func (h *holdings) find(name string) int {
	for i := h.home(name); ; i = (i + 1) & (len(h.slots) - 1) {
		if rev := h.slots[i]; rev == nil || rev.Name == name {
			return i
		}
	}
}

func (h *holdings) home(name string) int {
	return int(maphash.String(holdingsSeed, name) & uint64(len(h.slots)-1))
}

// get finds what is held under a name, or nil.
func (h *holdings) get(name string) *revision {
	if h.n == 0 {
		return nil
	}
	return h.slots[h.find(name)]
}

// put holds rev and returns what was held under its name before, or nil.
func (h *holdings) put(rev *revision) (before *revision) {
	if 4*(h.n+1) > 3*len(h.slots) {
		old := h.slots
		h.slots = make([]*revision, max(minSlots, 2*len(old)))
		for _, rev := range old {
			if rev != nil {
				h.slots[h.find(rev.Name)] = rev
			}
		}
	}
	i := h.find(rev.Name)
	before, h.slots[i] = h.slots[i], rev
	if before == nil {
		h.n++
	}
	return before
}

// remove returns what was held under a name, or nil.
func (h *holdings) remove(name string) (before *revision) {
	if h.n == 0 {
		return nil
	}
	free := h.find(name)
	if before = h.slots[free]; before == nil {
		return nil
	}
	h.n--
	if h.n == 0 {
		h.slots = nil
		return before
	}
	// What follows moves up if it was pushed past the slot that is free now.
	last := len(h.slots) - 1
	for i := (free + 1) & last; h.slots[i] != nil; i = (i + 1) & last {
		if home := h.home(h.slots[i].Name); (i-home)&last >= (i-free)&last {
			h.slots[free] = h.slots[i]
			free = i
		}
	}
	h.slots[free] = nil
	return before
}

// all yields everything, in no order. Nothing may be put or removed meanwhile.
func (h *holdings) all() iter.Seq[*revision] {
	return func(yield func(*revision) bool) {
		for _, rev := range h.slots {
			if rev != nil && !yield(rev) {
				return
			}
		}
	}
}
