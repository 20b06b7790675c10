package hub

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/meridian-lb/meridian/fleet"
)

type metrics struct {
	updates    prometheus.Counter
	saveFailed prometheus.Counter
	generation prometheus.Gauge
	services   prometheus.Gauge
	hosts      prometheus.Gauge
	problems   prometheus.Gauge
	stale      prometheus.Gauge
	regions    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "meridian", Subsystem: "hub", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "hub", Name: name, Help: help})
	}
	return &metrics{
		updates:    counter("updates_total", "Updates taken from sources."),
		saveFailed: counter("save_failures_total", "Failed attempts to write the last known good facts to disk."),
		generation: gauge("generation", "Generation of the newest snapshot."),
		services:   gauge("services", "Services known."),
		hosts:      gauge("hosts", "Host names routed."),
		problems:   gauge("problems", "Faults in objects, waiting for their authors."),
		stale:      gauge("stale_sources", "Sources that have lost touch; their last facts are in force."),
		regions: f.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "meridian", Subsystem: "hub", Name: "region_state",
			Help: "Health of a region's gateways by quorum: 0 unknown, 1 healthy, 2 unhealthy.",
		}, []string{"region"}),
	}
}

func (m *metrics) snapshot(s *fleet.Snapshot) {
	m.generation.Set(float64(s.Generation))
	m.services.Set(float64(len(s.Services)))
	m.hosts.Set(float64(len(s.Routes.Hosts)))
	m.problems.Set(float64(len(s.Problems)))
	stale := 0
	for _, src := range s.Sources {
		if src.Stale != "" {
			stale++
		}
	}
	m.stale.Set(float64(stale))
	m.regions.Reset()
	for _, e := range s.World.Edges {
		m.regions.WithLabelValues(string(e.Region)).Set(float64(e.Health.State))
	}
}
