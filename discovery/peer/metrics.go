package peer

import "github.com/prometheus/client_golang/prometheus"

type serverMetrics struct {
	followers prometheus.Gauge
	messages  prometheus.Counter
	facts     prometheus.Counter
	refused   prometheus.Counter
}

func newServerMetrics(r prometheus.Registerer) *serverMetrics {
	m := &serverMetrics{
		followers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meridian_peer_followers", Help: "Peers that follow this daemon's facts."}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_peer_messages_sent_total", Help: "Messages with facts sent to peers, heartbeats not counted."}),
		facts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_peer_facts_sent_total", Help: "Facts and tombstones sent to peers."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "meridian_peer_followers_refused_total", Help: "Attempts to follow this daemon's facts by somebody whose certificate does not allow it."}),
	}
	if r != nil {
		r.MustRegister(m.followers, m.messages, m.facts, m.refused)
	}
	return m
}

// clientMetrics carry the configured address of the peer, never a name that the
// peer gives itself.
type clientMetrics struct {
	connected *prometheus.GaugeVec
	losses    *prometheus.CounterVec
	facts     *prometheus.CounterVec
	refused   *prometheus.CounterVec
	heard     *prometheus.GaugeVec
}

func newClientMetrics(r prometheus.Registerer) *clientMetrics {
	label := []string{"peer"}
	m := &clientMetrics{
		connected: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meridian_peer_connected", Help: "1 while the peer tells us its facts."}, label),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_peer_losses_total", Help: "How often touch with the peer was lost."}, label),
		facts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_peer_facts_received_total", Help: "Facts and tombstones taken from the peer."}, label),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meridian_peer_facts_refused_total", Help: "Facts and updates of the peer that were not in order."}, label),
		heard: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "meridian_peer_heard_timestamp_seconds", Help: "When the peer last sent anything, in seconds since 1970."}, label),
	}
	if r != nil {
		r.MustRegister(m.connected, m.losses, m.facts, m.refused, m.heard)
	}
	return m
}

// standing says that a peer is not connected. An address of our own is none that
// anybody should be called for.
func (m *clientMetrics) standing(peer string, ours bool) {
	if ours {
		m.connected.DeleteLabelValues(peer)
		m.heard.DeleteLabelValues(peer)
		return
	}
	m.connected.WithLabelValues(peer).Set(0)
}
