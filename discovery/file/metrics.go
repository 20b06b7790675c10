package file

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	reads    prometheus.Counter
	clusters prometheus.Gauge
	files    prometheus.Gauge
	problems prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meridian", Subsystem: "file", Name: name, Help: help}
	}
	return &metrics{
		reads:    f.NewCounter(prometheus.CounterOpts(opts("reads_total", "Looks at the directory of clusters."))),
		clusters: f.NewGauge(prometheus.GaugeOpts(opts("clusters", "Directories that are read."))),
		files:    f.NewGauge(prometheus.GaugeOpts(opts("files", "Files that are in force."))),
		problems: f.NewGauge(prometheus.GaugeOpts(opts("problems", "Faults found in files."))),
	}
}
