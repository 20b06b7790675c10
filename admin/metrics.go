package admin

import "github.com/prometheus/client_golang/prometheus"

// metrics are labelled with methods and codes that are ours, never with what a
// caller says.
type metrics struct {
	calls    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	orders   *prometheus.CounterVec
	panics   prometheus.Counter
	watchers prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_admin_calls_total", Help: "Calls of the admin API that have ended."}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "meridian_admin_call_seconds", Help: "Duration of unary calls of the admin API.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)}, []string{"method"}),
		orders: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_admin_orders_total", Help: "Operators' orders by what became of them: given, unchanged, refused."}, []string{"scope", "order", "result"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_admin_panics_total", Help: "Calls that failed by a fault of this daemon."}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meridian_admin_watchers", Help: "Callers that watch the plan."}),
	}
	if r != nil {
		r.MustRegister(m.calls, m.seconds, m.orders, m.panics, m.watchers)
	}
	return m
}
