package renew

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	expires  *prometheus.GaugeVec
	renewals *prometheus.CounterVec
	shown    map[string]bool // members; of Run's goroutine
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		expires: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "meridian", Subsystem: "kube", Name: "token_expires_seconds",
			Help: "When the token of a member expires, in seconds since 1970."}, []string{"cluster"}),
		renewals: f.NewCounterVec(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "kube", Name: "token_renewals_total",
			Help: "Attempts to renew the token of a member, by outcome."}, []string{"cluster", "outcome"}),
		shown: map[string]bool{},
	}
}

func (m *metrics) note(r result) {
	m.shown[r.member] = true
	if !r.expires.IsZero() {
		m.expires.WithLabelValues(r.member).Set(float64(r.expires.Unix()))
	}
	switch {
	case r.err != nil:
		m.renewals.WithLabelValues(r.member, "failed").Inc()
	case r.renewed:
		m.renewals.WithLabelValues(r.member, "renewed").Inc()
	}
}

// keep forgets the members that have left.
func (m *metrics) keep(known map[string]bool) {
	for member := range m.shown {
		if !known[member] {
			delete(m.shown, member)
			m.expires.DeleteLabelValues(member)
			m.renewals.DeletePartialMatch(prometheus.Labels{"cluster": member})
		}
	}
}
