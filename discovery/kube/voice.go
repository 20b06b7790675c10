package kube

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// voice is what one source has told, so that only news are told. It belongs to
// one goroutine.
type voice struct {
	source string
	tell   fleet.Tell
	facts  map[fleet.FactName]fleet.Value // in force, as told or remembered
	whole  bool                           // everything was told once by this process
	stale  string
	spoke  bool
}

// newVoice begins with what was told before a restart, but for problems, which
// are found again where they last.
func newVoice(source string, tell fleet.Tell, known []fleet.Update) *voice {
	v := &voice{source: source, tell: tell, facts: map[fleet.FactName]fleet.Value{}}
	for _, u := range known {
		if u.Source != source {
			continue
		}
		for _, f := range u.Put {
			if f.Kind != fleet.KindProblems {
				v.facts[fleet.FactName{Kind: f.Kind, Name: f.Name}] = f.Value
			}
		}
	}
	return v
}

// news are facts that may differ from what was told; a nil value is gone.
type news map[fleet.FactName]fleet.Value

func (n news) put(name string, v fleet.Value) {
	n[fleet.FactName{Kind: v.Kind(), Name: name}] = v
}

func (n news) gone(kind fleet.Kind, name string) { n[fleet.FactName{Kind: kind, Name: name}] = nil }

// problems says what is wrong with an object; none: nothing.
func (n news) problems(name string, list []fleet.Problem) {
	if len(list) == 0 {
		n.gone(fleet.KindProblems, name)
		return
	}
	list = slices.Clone(list)
	slices.SortFunc(list, fleet.Problem.Compare)
	n.put(name, fleet.Problems(slices.Compact(list)))
}

// unread is why a source has no touch that has not told everything yet. What is
// remembered of it may be older than what others have heard of it meanwhile.
const unread = "it has not been read since the daemon started"

// say tells what is new, and whether the source has touch. With whole everything
// is told that is in force afterwards; without touch that has to wait.
func (v *voice) say(ctx context.Context, n news, whole bool, stale string, heard time.Time) bool {
	if !v.whole && !whole {
		stale = cmp.Or(stale, unread)
	}
	u := fleet.Update{Source: v.source, Stale: stale, Whole: whole && stale == ""}
	if stale != "" {
		u.Heard = heard
	}
	for name, value := range n {
		old, had := v.facts[name]
		switch {
		case value == nil && had:
			u.Gone = append(u.Gone, name)
			delete(v.facts, name)
		case value != nil && !(had && reflect.DeepEqual(old, value)):
			u.Put = append(u.Put, fleet.NewFact(name.Name, value))
			v.facts[name] = value
		}
	}
	if u.Whole {
		u.Put, u.Gone = nil, nil
		for name, value := range v.facts {
			u.Put = append(u.Put, fleet.NewFact(name.Name, value))
		}
		v.whole = true
	}
	if !u.Whole && len(u.Put) == 0 && len(u.Gone) == 0 && v.stale == stale && v.spoke {
		return false
	}
	slices.SortFunc(u.Put, func(a, b fleet.Fact) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	slices.SortFunc(u.Gone, func(a, b fleet.FactName) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	v.stale, v.spoke = stale, true
	v.tell(ctx, u)
	return true
}

// end tells that nothing is left, and nobody who will say more.
func (v *voice) end(ctx context.Context) {
	v.facts = map[fleet.FactName]fleet.Value{}
	v.tell(ctx, fleet.Update{Source: v.source, Whole: true, Ended: true})
}

// names are those of a kind that are in force, sorted.
func (v *voice) names(kind fleet.Kind) []string {
	var list []string
	for n := range maps.Keys(v.facts) {
		if n.Kind == kind {
			list = append(list, n.Name)
		}
	}
	slices.Sort(list)
	return list
}
