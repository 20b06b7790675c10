package probe

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
)

// maxRows bounds the series by target and by region: of more targets only the
// first are shown, and the number of all always is.
const maxRows = 1000

// row is what is shown of a target.
type row struct {
	addr    netip.AddrPort
	region  fleet.Region
	cluster string
	known   bool
	up      bool
	rtt     time.Duration // 0 when not measured
}

// metrics shows probes as counters and the targets as they stand, read from the
// last rows when somebody scrapes: a target that vanished leaves no series.
type metrics struct {
	probes  *prometheus.CounterVec
	rows    atomic.Pointer[[]row]
	targets *prometheus.Desc
	up      *prometheus.Desc
	rtt     *prometheus.Desc
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_probes_total",
			Help: "Probes that have ended, by kind of check and result; \"own\" is trouble of the probing host.",
		}, []string{"kind", "result"}),
		targets: prometheus.NewDesc("meridian_probe_targets", "Gateways that are probed.", nil, nil),
		up: prometheus.NewDesc("meridian_probe_up",
			"Whether a gateway is up as seen from here, after rise and fall. Shown for the first 1000.",
			[]string{"target", "region", "cluster"}, nil),
		rtt: prometheus.NewDesc("meridian_probe_rtt_seconds",
			"Smoothed time to connect to the nearest gateway of a region.", []string{"region"}, nil),
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

// count counts a probe. Kinds are checked when they are parsed; one that slipped
// through does not make a series of its own.
func (m *metrics) count(kind fleet.CheckKind, o outcome) {
	switch kind {
	case fleet.CheckHTTP, fleet.CheckHTTPS, fleet.CheckTCP, fleet.CheckGRPC:
	default:
		kind = "unknown"
	}
	m.probes.WithLabelValues(string(kind), string(o)).Inc()
}

// show replaces the rows. They are the metrics' own from now on.
func (m *metrics) show(rows []row) {
	slices.SortFunc(rows, func(a, b row) int { return a.addr.Compare(b.addr) })
	m.rows.Store(&rows)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	m.probes.Describe(out)
	out <- m.targets
	out <- m.up
	out <- m.rtt
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.probes.Collect(out)
	var rows []row
	if p := m.rows.Load(); p != nil {
		rows = *p
	}
	out <- prometheus.MustNewConstMetric(m.targets, prometheus.GaugeValue, float64(len(rows)))
	nearest := map[string]time.Duration{}
	for _, r := range rows[:min(len(rows), maxRows)] {
		region := strings.ToValidUTF8(string(r.region), "?") // a label that is not UTF-8 is no metric at all
		if r.known {
			up := 0.0
			if r.up {
				up = 1
			}
			out <- prometheus.MustNewConstMetric(m.up, prometheus.GaugeValue, up, r.addr.String(), region, strings.ToValidUTF8(r.cluster, "?"))
		}
		if have, ok := nearest[region]; r.rtt > 0 && (!ok || r.rtt < have) {
			nearest[region] = r.rtt
		}
	}
	for region, rtt := range nearest {
		out <- prometheus.MustNewConstMetric(m.rtt, prometheus.GaugeValue, rtt.Seconds(), region)
	}
}
