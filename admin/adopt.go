package admin

import (
	"context"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// adopt makes the orders that hold, and those that took others back, this
// daemon's own, whoever was given them: so an order is in force as long as any
// daemon that has heard of it lives, and one that has lost its memory hears of its
// own orders again. Orders about what does not exist are left to whoever told them.
func (s *Server) adopt(ctx context.Context, p *steer.Plan) error {
	if !s.orders.mu.TryLock() {
		return nil // an order is being given, and makes a plan after this one
	}
	defer s.orders.mu.Unlock()
	u := fleet.Update{Source: s.c.Source}
	for _, d := range slices.Concat(p.World.Drains, p.World.Lifted) {
		name := order{scope: d.Scope, name: d.Name}.fact()
		if mine, ok := s.orders.given[name]; ok && !d.Supersedes(mine) || !slices.Contains(existing(p, d.Scope), d.Name) {
			continue
		}
		s.orders.given[name] = d // once is enough: it is in force though it may not be on disk
		u.Put = append(u.Put, fleet.Fact{Kind: name.Kind, Name: name.Name, Value: &d})
	}
	if len(u.Put) == 0 {
		return nil
	}
	return s.c.Order(ctx, u)
}
