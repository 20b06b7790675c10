package xds

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the server. Labels are views and types, never resources or nodes.
type metrics struct {
	streams *prometheus.GaugeVec
	pushes  *prometheus.CounterVec
	sent    *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	nacks   *prometheus.CounterVec
	reports prometheus.Counter

	turnedAway *prometheus.CounterVec

	resources *prometheus.Desc
	refused   *prometheus.Desc
	store     *store
}

func newMetrics(r prometheus.Registerer, s *store) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "xds", Name: name, Help: help}, labels)
	}
	m := &metrics{
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "meridian", Subsystem: "xds", Name: "streams",
			Help: "Open streams by protocol: delta, sotw or load."}, []string{"protocol"}),
		pushes: counter("pushes_total", "Responses sent.", "type"),
		sent:   counter("resources_sent_total", "Resources sent in responses.", "type"),
		bytes:  counter("bytes_sent_total", "Bytes of the resources sent, before compression and framing.", "type"),
		nacks:  counter("nacks_total", "Responses that Envoys refused.", "type"),
		reports: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "xds", Name: "load_reports_total",
			Help: "Load reports received."}),
		turnedAway: counter("nodes_refused_total", "Streams of nodes that are sent nothing, by reason: certificate, role, region, name or view.", "reason"),
		resources:  prometheus.NewDesc("meridian_xds_resources", "Resources of a view.", []string{"view", "type"}, nil),
		refused:    prometheus.NewDesc("meridian_xds_refused_resources", "Resources of a view whose newest content an Envoy refuses.", []string{"view", "type"}, nil),
		store:      s,
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.streams, m.pushes, m.sent, m.bytes, m.nacks, m.reports, m.turnedAway, m} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// typeMetrics are the counters of one type, looked up once per watch.
type typeMetrics struct{ pushes, sent, bytes, nacks prometheus.Counter }

// of gives the counters of a type. Types that Meridian does not speak share one.
func (m *metrics) of(typeURL string) typeMetrics {
	label := "other"
	if rankOf(typeURL) != rankOther {
		label = shortType(typeURL)
	}
	return typeMetrics{m.pushes.WithLabelValues(label), m.sent.WithLabelValues(label), m.bytes.WithLabelValues(label), m.nacks.WithLabelValues(label)}
}

func (m typeMetrics) pushed(resources, bytes int) {
	m.pushes.Inc()
	m.sent.Add(float64(resources))
	m.bytes.Add(float64(bytes))
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.resources
	ch <- m.refused
}

// Collect implements prometheus.Collector: it counts what the views hold.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, v := range m.store.all() {
		for typeURL, n := range v.counts() {
			kind := shortType(typeURL)
			ch <- prometheus.MustNewConstMetric(m.resources, prometheus.GaugeValue, float64(n.live), v.name, kind)
			ch <- prometheus.MustNewConstMetric(m.refused, prometheus.GaugeValue, float64(n.refused), v.name, kind)
		}
	}
}

type counts struct{ live, refused int }

func (v *view) counts() map[string]counts {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make(map[string]counts, len(v.tables))
	for typeURL, t := range v.tables {
		c := counts{live: t.live}
		for _, it := range t.items {
			if it.fault != nil {
				c.refused++
			}
		}
		all[typeURL] = c
	}
	return all
}
