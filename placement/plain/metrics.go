package plain

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	writes *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{writes: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
		Namespace: "meridian", Subsystem: "plain", Name: "writes_total", Help: "Requests that write to the dedicated API for its plain objects, by outcome.",
	}, []string{"verb", "outcome"})}
}

func (m *metrics) write(verb string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "failed"
	}
	m.writes.WithLabelValues(verb, outcome).Inc()
}
