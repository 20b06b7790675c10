package dns

import (
	miekg "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// otherLabel stands for every value without a label of its own, so that no
// stranger's query can make a new time series.
const otherLabel = "other"

var (
	countedRcodes = [...]int{
		miekg.RcodeSuccess, miekg.RcodeFormatError, miekg.RcodeServerFailure, miekg.RcodeNameError,
		miekg.RcodeNotImplemented, miekg.RcodeRefused, miekg.RcodeNotAuth, miekg.RcodeBadVers,
	}
	countedTypes = [...]uint16{
		miekg.TypeA, miekg.TypeAAAA, miekg.TypeHTTPS, miekg.TypeNS, miekg.TypeSOA, miekg.TypeTXT,
		miekg.TypeMX, miekg.TypeCAA, miekg.TypeDS, miekg.TypeANY,
	}
)

// metrics are made whole at the start, so that counting a query is one addition.
type metrics struct {
	queries   [transports][len(countedRcodes) + 1][len(countedTypes) + 1]prometheus.Counter
	dropped   [transports]prometheus.Counter
	truncated prometheus.Counter
	subnets   prometheus.Counter
	panics    prometheus.Counter
	sendError prometheus.Counter

	connections prometheus.Gauge
	turnedAway  prometheus.Counter

	answers    *prometheus.CounterVec
	generation prometheus.Gauge
	updated    prometheus.Gauge
	zones      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{}
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "dns", Name: name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "meridian", Subsystem: "dns", Name: name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "meridian", Subsystem: "dns", Name: name, Help: help})
		all = append(all, g)
		return g
	}
	queries := counters("queries_total", "Queries answered, by transport, response code and type.", "transport", "rcode", "type")
	dropped := counters("dropped_total", "Packets that deserve no answer: no header, answers themselves, no port to answer to.", "transport")
	for t := range transports {
		m.dropped[t] = dropped.WithLabelValues(t.String())
		for r := range m.queries[t] {
			for q := range m.queries[t][r] {
				m.queries[t][r][q] = queries.WithLabelValues(t.String(), rcodeLabel(r), typeLabel(q))
			}
		}
	}
	m.truncated = counter("truncated_total", "Answers that did not fit and told the resolver to come back over TCP.")
	m.subnets = counter("client_subnet_total", "Answers made for a client subnet that the resolver told of (RFC 7871).")
	m.panics = counter("panics_total", "Queries whose handling failed by a fault of this program.")
	m.sendError = counter("send_errors_total", "Answers that the kernel did not take.")
	m.connections = gauge("tcp_connections", "TCP connections that are open.")
	m.turnedAway = counter("tcp_turned_away_total", "TCP connections closed at once, because all or those of one network were too many.")
	m.answers = counters("answers_total", "Steered answers, by the region whose addresses they hold.", "region")
	m.generation = gauge("plan_generation", "Generation of the plan that answers are made from.")
	m.updated = gauge("plan_timestamp_seconds", "When the plan that answers are made from arrived, in Unix time.")
	m.zones = gauge("zones", "Zones that are answered for.")
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}

func rcodeLabel(i int) string {
	if i == len(countedRcodes) {
		return otherLabel
	}
	if countedRcodes[i] == miekg.RcodeBadVers {
		return "BADVERS" // the library's table calls 16 BADSIG
	}
	return miekg.RcodeToString[countedRcodes[i]]
}

func typeLabel(i int) string {
	if i == len(countedTypes) {
		return otherLabel
	}
	return miekg.TypeToString[countedTypes[i]]
}

func (m *metrics) count(over transport, o outcome, regions regionCounters) {
	r, q := 0, 0
	for r < len(countedRcodes) && countedRcodes[r] != o.rcode {
		r++
	}
	for q < len(countedTypes) && countedTypes[q] != o.qtype {
		q++
	}
	m.queries[over][r][q].Inc()
	if o.truncated {
		m.truncated.Inc()
	}
	if o.ecs {
		m.subnets.Inc()
	}
	if c, ok := regions[o.region]; ok {
		c.Inc()
	}
}

// regionCounters are the counters of a plan's regions. The map is not changed.
type regionCounters map[fleet.Region]prometheus.Counter

// forRegions returns the counters of the plan's regions and forgets those of
// regions that are gone.
func (m *metrics) forRegions(p *steer.Plan, before regionCounters) regionCounters {
	now := make(regionCounters, len(p.World.Edges))
	for _, e := range p.World.Edges {
		now[e.Region] = m.answers.WithLabelValues(string(e.Region))
	}
	for r := range before {
		if _, ok := now[r]; !ok {
			m.answers.DeleteLabelValues(string(r))
		}
	}
	return now
}
