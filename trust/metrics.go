package trust

import "github.com/prometheus/client_golang/prometheus"

// metrics of one identity; there is one in a process.
type metrics struct{ taken, refused prometheus.Counter }

func newMetrics(r prometheus.Registerer, f *Files) (*metrics, error) {
	m := &metrics{
		taken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_trust_renewals_total", Help: "Renewed identities that were taken over."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_trust_renewals_refused_total", Help: "Renewed identities that were not in order, so that what was there before stayed in force."}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.taken, m.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "meridian_trust_expiry_timestamp_seconds", Help: "When the certificate in force expires, in seconds since 1970."},
			func() float64 { return float64(f.Current().notAfter.Unix()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "meridian_trust_faulty", Help: "1 while the files of the identity are not in order or have expired."},
			func() float64 {
				if f.Fault() != nil {
					return 1
				}
				return 0
			}),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
