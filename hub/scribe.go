package hub

import (
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// page is everything that was known at one moment, to be kept on disk, with those
// who wait until it is.
type page struct {
	content []fleet.Update
	at      time.Time
	orders  []chan<- error
}

// scribe writes pages until there are no more, and returns how the last one went.
// It works beside the hub: a disk that is slow, or stands still, delays orders,
// which wait for it, and no fact on its way to anybody.
func (h *Hub) scribe(pages <-chan page) error {
	var err error
	for p := range pages {
		if err = h.keeper.save(p.content, p.at); err != nil { // logged; the next one may work
			h.metrics.saveFailed.Inc()
		}
		for _, saved := range p.orders {
			saved <- err // has room for it
		}
	}
	return err
}

// turn opens a new page in place of one that the scribe has not come to yet; who
// waits for that one waits for this one.
func (h *Hub) turn(unwritten *page, orders []chan<- error) *page {
	p := &page{at: time.Now()}
	if unwritten != nil {
		p.orders = unwritten.orders
	}
	p.orders = append(p.orders, orders...)
	if h.keeper.path != "" {
		p.content = contentOf(h.ledger.book)
	}
	return p
}
