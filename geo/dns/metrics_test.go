package dns

import (
	"testing"

	miekg "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := newServer(t, Config{Registerer: reg})
	snap := testSnapshot()
	s.Update(steer.New(snap))
	s.handle(packet{name: "www.example.test.", qtype: miekg.TypeA, records: [][]byte{opt(0, false, ecs(1, 24, 0, 81, 9, 9))}}.bytes(), inStates, overUDP)
	s.handle(packet{name: "www.example.test.", qtype: 4711}.bytes(), inStates, overTCP)
	s.handle(packet{name: "www.example.test.", qtype: 1, records: [][]byte{opt(1, false)}}.bytes(), inStates, overUDP)
	s.handle([]byte("short"), inStates, overUDP)
	for _, tc := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"meridian_dns_queries_total", []string{"udp", "NOERROR", "A"}, 1},
		{"meridian_dns_queries_total", []string{"tcp", "NOERROR", "other"}, 1},
		{"meridian_dns_queries_total", []string{"udp", "BADVERS", "A"}, 1},
		{"meridian_dns_dropped_total", []string{"udp"}, 1},
		{"meridian_dns_client_subnet_total", nil, 1},
		{"meridian_dns_answers_total", []string{"eu"}, 1},
		{"meridian_dns_answers_total", []string{"us"}, 0},
		{"meridian_dns_plan_generation", nil, 7},
		{"meridian_dns_zones", nil, 1},
	} {
		if got := metric(t, reg, tc.name, tc.labels...); got != tc.want {
			t.Errorf("%s%v is %v, want %v", tc.name, tc.labels, got, tc.want)
		}
	}
	gone := *snap
	gone.World = &fleet.World{Edges: snap.World.Edges[:1], Latency: fleet.Latency{}}
	s.Update(steer.New(&gone))
	if got := metric(t, reg, "meridian_dns_answers_total", "eu"); got != -1 {
		t.Errorf("a region that is gone still has a series: %v", got)
	}
}

// metric finds one value, -1 when there is no such series. Labels are values.
func metric(t *testing.T, reg *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	next:
		for _, m := range f.GetMetric() {
			for _, want := range labels {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetValue() == want
				}
				if !found {
					continue next
				}
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return -1
}
