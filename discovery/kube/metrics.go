package kube

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	stale       *prometheus.GaugeVec
	services    *prometheus.GaugeVec
	ready       *prometheus.GaugeVec
	told        *prometheus.CounterVec
	lists       *prometheus.CounterVec
	audits      *prometheus.CounterVec
	differences *prometheus.CounterVec
	held        *prometheus.GaugeVec
	drops       *prometheus.CounterVec
	writes      *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meridian", Subsystem: "kube", Name: name, Help: help}
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	return &metrics{
		stale:       gauge("stale", "1 while the API server of a cluster is out of touch.", "cluster"),
		services:    gauge("services", "Federated services that a cluster has.", "cluster"),
		ready:       gauge("ready_endpoints", "Ready endpoints of a cluster's federated services.", "cluster"),
		told:        counter("updates_total", "Updates told about a cluster.", "cluster"),
		lists:       counter("lists_total", "Whole lists taken from a cluster.", "cluster"),
		audits:      counter("audits_total", "Comparisons of a kind with a fresh list.", "cluster", "kind"),
		differences: counter("audit_differences_total", "Objects that a watch had lost and an audit mended.", "cluster", "kind"),
		held:        gauge("mass_drop_held", "1 while a list that takes most endpoints away waits to be confirmed.", "cluster"),
		drops:       counter("mass_drops_total", "Lists that would have taken most endpoints away, by what came of them.", "cluster", "outcome"),
		writes:      counter("status_writes_total", "Statuses written back, by outcome.", "kind", "outcome"),
	}
}

// forget drops what is shown of a cluster that has left.
func (m *metrics) forget(cluster string) {
	of := prometheus.Labels{"cluster": cluster}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.stale, m.services, m.ready, m.told, m.lists, m.audits, m.differences, m.held, m.drops,
	} {
		v.DeletePartialMatch(of)
	}
}
