package kube

import (
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// guard holds back a list that would take most of a cluster's endpoints away: an
// API server that has just been restored, or whose cache is not yet filled, says
// such things. Single events of a watch are always believed.
type guard struct {
	aside        map[fleet.ServiceName]bool // whose loss is held back
	lost, before int                        // ready endpoints
	until        time.Time                  // when everything is listed again
	lists        []int                      // how many lists of each kind had come then; nil: not yet
}

func (g *guard) holds() bool { return len(g.aside) > 0 }

// hold takes losses out of the news while they wait to be confirmed.
func (m *member) hold(n news, relisted bool) {
	g := &m.guard
	if !g.holds() && !relisted {
		return
	}
	before, lost := 0, 0
	losers := map[fleet.ServiceName]bool{}
	for _, v := range m.voice.facts {
		if b, ok := v.(*fleet.Backend); ok {
			before += b.ReadyCount()
		}
	}
	for name, v := range n {
		old, had := m.voice.facts[name].(*fleet.Backend)
		if !had {
			continue
		}
		left := 0
		if b, ok := v.(*fleet.Backend); ok {
			left = b.ReadyCount()
		}
		if left < old.ReadyCount() {
			lost += old.ReadyCount() - left
			losers[old.Service] = true
		}
	}
	switch {
	case 2*lost <= before:
		m.release("recovered")
	case g.holds() && m.confirmed():
		m.release("confirmed")
	default:
		if !g.holds() {
			g.until = time.Now().Add(m.pace.Confirm)
			m.meter.held.WithLabelValues(m.name).Set(1)
			m.log.Warn("a list would take most endpoints away, it is looked at again before that is believed", "lost", lost, "before", before, "again", m.pace.Confirm)
		}
		g.aside, g.lost, g.before = losers, lost, before
		for name := range losers {
			delete(n, fleet.FactName{Kind: fleet.KindBackend, Name: m.fact(name)})
		}
	}
}

func (m *member) release(outcome string) {
	if !m.guard.holds() {
		return
	}
	m.log.Info("the list that was held back is decided upon", "outcome", outcome)
	m.meter.held.WithLabelValues(m.name).Set(0)
	m.meter.drops.WithLabelValues(m.name, outcome).Inc()
	m.guard = guard{}
}

// silent reports whether the lists that are asked for anew are not to be had.
func (m *member) silent() bool {
	if m.server == nil {
		return true
	}
	_, err := m.server.pulse.trouble()
	return err != nil || m.kinds[0].trouble() != nil || m.kinds[1].trouble() != nil
}

// confirmed asks for second lists when their time has come, and reports whether
// they are here. Without touch nothing is confirmed.
func (m *member) confirmed() bool {
	g := &m.guard
	if time.Now().Before(g.until) || m.silent() {
		return false
	}
	now := []int{m.services.listed(), m.slices.listed()}
	if g.lists == nil {
		g.lists = now
		for _, k := range m.kinds[:len(now)] {
			k.relist()
		}
		return false
	}
	return now[0] > g.lists[0] && now[1] > g.lists[1]
}
