package file

import (
	"reflect"

	"github.com/meridian-lb/meridian/fleet"
)

// holding is a fact of an earlier process that a file which has been broken ever
// since may still mean.
type holding struct {
	value fleet.Value
	file  string      // that told it then
	first fleet.Value // what this process made of it at its first look; nil: nothing
}

// recall adds to the facts what must not be forgotten only because a process
// started while a file was broken. What is held is settled at the first look:
//   - a fact whose file is broken and that nothing else tells;
//   - a backend that has lost endpoints, while any file is broken, since they
//     may stand in that one.
//
// It is let go when its file is understood, and as soon as the facts about it
// change: then somebody is editing, and knows better.
func (s *site) recall(after map[fleet.FactName]fleet.Value) {
	broken := map[string]bool{}
	for name, f := range s.files {
		if f.never {
			broken[s.path(name)] = true
		}
	}
	if s.remembered != nil {
		s.held = hold(s.remembered, after, broken)
		s.remembered = nil
	}
	for name, h := range s.held {
		now := after[name]
		switch {
		case len(broken) == 0, h.first == nil && !broken[h.file],
			(h.first != nil || now != nil) && !reflect.DeepEqual(now, h.first):
			delete(s.held, name)
		default:
			after[name] = h.value
		}
	}
}

func hold(remembered, after map[fleet.FactName]fleet.Value, broken map[string]bool) map[fleet.FactName]holding {
	held := map[fleet.FactName]holding{}
	for name, old := range remembered {
		h := holding{value: old, file: fleet.OriginOf(old).File, first: after[name]}
		was, _ := old.(*fleet.Backend)
		is, _ := h.first.(*fleet.Backend)
		if h.first == nil && broken[h.file] || len(broken) > 0 && was != nil && is != nil && is.Size() < was.Size() {
			held[name] = h
		}
	}
	return held
}
