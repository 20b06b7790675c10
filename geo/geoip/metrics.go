package geoip

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// tally counts lookups by the layer that knew. It is cut into shards, each on a
// cache line of its own and chosen by the address, so that many cores do not
// wait for one another.
type tally [16]struct {
	by [inNone + 1]atomic.Uint64
	_  [24]byte
}

func (t *tally) count(key uint64, in int) { t[key%uint64(len(t))].by[in].Add(1) }

func (t *tally) sum(in int) float64 {
	var n uint64
	for i := range t {
		n += t[i].by[in].Load()
	}
	return float64(n)
}

type metrics struct {
	built *prometheus.GaugeVec   // by database
	loads *prometheus.CounterVec // by database and result
}

// newMetrics makes the metrics and registers them where reg is not nil.
func newMetrics(reg prometheus.Registerer, lookups *tally) (*metrics, error) {
	m := &metrics{
		built: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meridian_geoip_database_build_timestamp_seconds",
			Help: "When the geo database in use was built by its maker, in Unix time; absent while none is in use.",
		}, []string{"database"}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_geoip_database_loads_total",
			Help: "Attempts to load a geo database from its file, by result (ok or failed); after a failed one the previous data stays in use.",
		}, []string{"database", "result"}),
	}
	if reg == nil {
		return m, nil
	}
	all := []prometheus.Collector{m.built, m.loads}
	for in, name := range layerNames() {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name:        "meridian_geoip_lookups_total",
			Help:        "Client addresses looked up, by the layer that knew where they are.",
			ConstLabels: prometheus.Labels{"layer": name},
		}, func() float64 { return lookups.sum(in) }))
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
