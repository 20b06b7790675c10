// Package xds speaks Envoy's discovery protocol: rendered views go out to Envoys in order, refusals and load reports come back.
//
// A view is a set of resources that any number of Envoys share. Per view there is
// one table and one change log for each resource type; a stream is a cursor into
// them. What is published costs as much as what changed, an ACK costs nothing.
package xds

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// maxViews bounds the views, since a view is born when a node asks for it.
const maxViews = 4096

// errTooManyViews is returned for a view beyond maxViews.
var errTooManyViews = errors.New("too many views are in use; check that the nodes' localities and classes are the ones of this installation")

// store holds the views.
type store struct {
	// faulty is told that the list of problems may have changed. It must not
	// block and is called with locks held.
	faulty func()

	mu    sync.RWMutex
	views map[string]*view
}

func newStore(faulty func()) *store {
	return &store{faulty: faulty, views: map[string]*view{}}
}

// view finds a view, or makes an empty one; born says that it was made.
func (s *store) view(name string) (v *view, born bool, err error) {
	s.mu.RLock()
	v, ok := s.views[name]
	s.mu.RUnlock()
	if ok {
		return v, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.views[name]; ok {
		return v, false, nil
	}
	if len(s.views) >= maxViews {
		return nil, false, fmt.Errorf("view %q: %w", name, errTooManyViews)
	}
	v = newView(name, s.faulty)
	s.views[name] = v
	return v, true, nil
}

// publish changes a view and pushes to its streams what they may have now.
func (s *store) publish(name string, d resource.Delta) error {
	v, _, err := s.view(name)
	if err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	if v.publish(d) {
		v.wake()
	}
	return nil
}

// names lists the views, sorted.
func (s *store) names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.views))
	for name := range s.views {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// all lists the views, sorted by name.
func (s *store) all() []*view {
	names := s.names()
	s.mu.RLock()
	defer s.mu.RUnlock()
	views := make([]*view, 0, len(names))
	for _, name := range names {
		views = append(views, s.views[name])
	}
	return views
}

// problems lists what Envoys refuse at this moment, sorted. What two views have
// in common is said once.
func (s *store) problems() []fleet.Problem {
	var all []fleet.Problem
	for _, v := range s.all() {
		all = v.problems(all)
	}
	slices.SortFunc(all, fleet.Problem.Compare)
	return slices.CompactFunc(all, func(p, q fleet.Problem) bool { return p.Compare(q) == 0 })
}
