package apply

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

type metrics struct {
	workloads prometheus.Gauge
	objects   *prometheus.GaugeVec
	writes    *prometheus.CounterVec
	mended    *prometheus.CounterVec
	waiting   *prometheus.GaugeVec
	oldest    *prometheus.GaugeVec
	silent    *prometheus.GaugeVec
	questions *prometheus.CounterVec
	leads     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "meridian", Subsystem: "placement", Name: name, Help: help}
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	return &metrics{
		workloads: f.NewGauge(prometheus.GaugeOpts(opts("workloads", "FederatedObjects that there are."))),
		leads:     f.NewGauge(prometheus.GaugeOpts(opts("leads", "1 while this replica is the one that writes."))),
		objects:   gauge("objects", "Objects by how it stands with them in a cluster.", "cluster", "state"),
		writes:    counter("writes_total", "Requests that write to a cluster, by outcome.", "cluster", "verb", "outcome"),
		mended:    counter("drift_mended_total", "Objects that somebody in the cluster had changed in fields of ours.", "cluster"),
		waiting:   gauge("queue_length", "Objects that wait to be looked at.", "cluster"),
		oldest:    gauge("queue_oldest_seconds", "For how long the first of them waits.", "cluster"),
		silent:    gauge("silent", "1 while a cluster does not answer.", "cluster"),
		questions: counter("questions_total", "Questions to the host whether an account may write, by outcome.", "outcome"),
	}
}

// question counts a question whether an account may write.
func (m *metrics) question(err error) {
	if err != nil {
		m.questions.WithLabelValues("failed").Inc()
		return
	}
	m.questions.WithLabelValues("answered").Inc()
}

func (m *metrics) write(cluster, verb string, err error) {
	outcome := "written"
	switch {
	case err == nil:
	case apierrors.IsConflict(err):
		outcome = "conflict"
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		outcome = "refused"
	default:
		outcome = "failed"
	}
	m.writes.WithLabelValues(cluster, verb, outcome).Inc()
}

// outcome counts objects by state.
func (m *metrics) outcome(cluster string, before, after outcome) {
	if before.state == after.state {
		return
	}
	for state, by := range map[v1alpha1.WorkloadState]float64{before.state: -1, after.state: 1} {
		if state != "" {
			m.objects.WithLabelValues(cluster, string(state)).Add(by)
		}
	}
}

// resign drops what is shown of objects that another replica writes now.
func (m *metrics) resign(cluster string) {
	m.objects.DeletePartialMatch(prometheus.Labels{"cluster": cluster})
}

// drift counts what is mended because somebody changed it.
func (m *metrics) drift(cluster string, l *live, w wish, b base) {
	if b.applied != "" && b.applied == w.object.GetAnnotations()[appliedAnnotation] && b.fields != l.fields {
		m.mended.WithLabelValues(cluster).Inc()
	}
}

// member shows how a member is doing.
func (m *metrics) member(cluster string, waiting int, oldest time.Duration, silent bool) {
	m.waiting.WithLabelValues(cluster).Set(float64(waiting))
	m.oldest.WithLabelValues(cluster).Set(oldest.Seconds())
	out := 0.0
	if silent {
		out = 1
	}
	m.silent.WithLabelValues(cluster).Set(out)
}

// forget drops what is shown of a cluster that has left.
func (m *metrics) forget(cluster string) {
	of := prometheus.Labels{"cluster": cluster}
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.objects, m.writes, m.mended, m.waiting, m.oldest, m.silent} {
		v.DeletePartialMatch(of)
	}
}
