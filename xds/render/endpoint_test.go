package render

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/xds/resource"
)

// say writes an assignment the way a person would.
func say(cla *endpointv3.ClusterLoadAssignment) string {
	var b strings.Builder
	for _, l := range cla.GetEndpoints() {
		weight := "-"
		if l.LoadBalancingWeight != nil {
			weight = fmt.Sprint(l.LoadBalancingWeight.Value)
		}
		fmt.Fprintf(&b, "%d %s", l.Priority, l.Locality.Region)
		if l.Locality.Zone != "" {
			fmt.Fprintf(&b, "/%s", l.Locality.Zone)
		}
		if l.Locality.SubZone != "" {
			fmt.Fprintf(&b, " by %s", l.Locality.SubZone)
		}
		fmt.Fprintf(&b, " weight %s:", weight)
		for _, e := range l.LbEndpoints {
			a := e.GetEndpoint().Address.GetSocketAddress()
			fmt.Fprintf(&b, " %s:%d", a.Address, a.GetPortValue())
			if e.HealthStatus != corev3.HealthStatus_HEALTHY {
				fmt.Fprintf(&b, " %s", strings.ToLower(e.HealthStatus.String()))
			}
			if w := e.LoadBalancingWeight.GetValue(); w != 0 {
				fmt.Fprintf(&b, " x%d", w)
			}
			if s := e.Metadata.GetFilterMetadata()["meridian"].GetFields()["service"].GetStringValue(); s != "" {
				fmt.Fprintf(&b, " for %s via %s", s, e.Metadata.FilterMetadata["envoy.transport_socket_match"].Fields["via"].GetStringValue())
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func endpointsOf(t *testing.T, v View, s *fleet.Snapshot, name string) string {
	t.Helper()
	for _, r := range All(v, steer.New(s)) {
		if r.TypeURL == resource.EndpointType && r.Name == name {
			cla := decode(t, r).(*endpointv3.ClusterLoadAssignment)
			if got := cla.Policy.GetOverprovisioningFactor().GetValue(); got != 140 {
				t.Errorf("overprovisioning factor %d", got)
			}
			return say(cla)
		}
	}
	t.Fatalf("nothing is rendered for %s", name)
	return ""
}

func TestEndpoints(t *testing.T) {
	eps := func(s ...fleet.Endpoint) fleet.Port { return fleet.Port{Name: "http", Number: 80, Endpoints: s} }
	unready := endpoint("10.0.0.2:80", "a")
	unready.Ready = false
	leaving := endpoint("10.0.0.3:80", "b")
	leaving.Terminating = true
	heavy := endpoint("10.0.0.4:80", "b")
	heavy.Weight = 5
	far1, far2 := endpoint("10.9.0.1:80", "x"), endpoint("10.9.0.2:80", "x")
	near1 := endpoint("10.0.0.1:80", "a")
	latency := fleet.DefaultPolicy()
	only := func(r ...fleet.Region) fleet.Policy { p := latency; p.Regions = r; return p }
	near := func(s site) site {
		s.region, s.place = "near", fleet.Place{Lat: 50, Lon: 8}
		return s
	}
	far := func(s site) site {
		s.region, s.place = "far", fleet.Place{Lat: 40, Lon: -74}
		return s
	}
	for _, c := range []struct {
		name    string
		world   *fleet.World
		policy  fleet.Policy
		of      func(w *fleet.World) []fleet.BackendView
		view    func(*View)
		cluster string // empty: shop/web/80
		want    string
	}{
		{
			name:  "own pods first by zone, then the other region's gateway with what is behind it",
			world: twoRegions(), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1, far2)), backend(w, "c-near", web, eps(near1, unready, leaving, heavy))}
			},
			want: `0 near/a weight 1: 10.0.0.1:80 10.0.0.2:80 unhealthy
0 near/b weight 5: 10.0.0.3:80 draining 10.0.0.4:80 x5
1 far by network:n2 weight 2: 192.0.2.2:15443 for shop/web/80 via relay
`,
		},
		{
			name:  "a relay gives what its own region has",
			world: twoRegions(), policy: latency, cluster: "local|shop/web/80",
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, eps(near1))}
			},
			want: "0 near/a weight 1: 10.0.0.1:80\n",
		},
		{
			name:  "one network over two regions needs no gateways",
			world: worldOf(near(site{cluster: "c-near", network: "n1"}), far(site{cluster: "c-far", network: "n1"})), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, eps(near1))}
			},
			want: "0 near/a weight 1: 10.0.0.1:80\n1 far/x weight 1: 10.9.0.1:80\n",
		},
		{
			name: "a region with clusters of two networks: pods of the one, gateways of the other, side by side",
			world: worldOf(near(site{cluster: "c-near", network: "n1"}),
				near(site{cluster: "c-near2", network: "n2", gateways: []fleet.GatewayView{gateway("192.0.2.7", fleet.Healthy)}})), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-near", web, eps(near1)), backend(w, "c-near2", web, eps(far1, far2))}
			},
			want: "0 near by network:n2 weight 2: 192.0.2.7:15443 for shop/web/80 via relay\n0 near/a weight 1: 10.0.0.1:80\n",
		},
		{
			name: "gateways of one network stand for all clusters in it; the bad and the draining are left out",
			world: worldOf(near(site{cluster: "c-near", network: "n1"}),
				far(site{cluster: "c-far", network: "n2", gateways: []fleet.GatewayView{gateway("192.0.2.3", fleet.Healthy), gateway("192.0.2.4", fleet.Unhealthy)}}),
				far(site{cluster: "c-far2", network: "n2", gateways: []fleet.GatewayView{gateway("192.0.2.1", fleet.Unknown)}}),
				far(site{cluster: "c-far3", network: "n2", draining: true, gateways: []fleet.GatewayView{gateway("192.0.2.2", fleet.Healthy)}})), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-far2", web, eps(far2)), backend(w, "c-far3", web, eps(near1))}
			},
			want: "0 far by network:n2 weight 2: 192.0.2.1:15443 for shop/web/80 via relay 192.0.2.3:15443 for shop/web/80 via relay\n",
		},
		{
			name:  "all gateways are bad: all are tried",
			world: worldOf(far(site{cluster: "c-far", network: "n2", gateways: []fleet.GatewayView{gateway("192.0.2.3", fleet.Unhealthy), gateway("192.0.2.4", fleet.Unhealthy)}})), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1))}
			},
			want: "0 far by network:n2 weight 1: 192.0.2.3:15443 for shop/web/80 via relay 192.0.2.4:15443 for shop/web/80 via relay\n",
		},
		{
			name: "clusters without a named network are entered each by its own gateways",
			world: worldOf(far(site{cluster: "c1", gateways: []fleet.GatewayView{gateway("192.0.2.3", fleet.Healthy)}}),
				far(site{cluster: "c2", gateways: []fleet.GatewayView{gateway("192.0.2.4", fleet.Healthy)}})), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c1", web, eps(far1)), backend(w, "c2", web, eps(near1, far2))}
			},
			want: "0 far by cluster:c1 weight 1: 192.0.2.3:15443 for shop/web/80 via relay\n0 far by cluster:c2 weight 2: 192.0.2.4:15443 for shop/web/80 via relay\n",
		},
		{
			name:  "an installation that names no networks reaches its own region directly",
			world: worldOf(near(site{cluster: "c-near"})), policy: latency,
			view: func(v *View) { v.Network = "" },
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-near", web, eps(near1))}
			},
			want: "0 near/a weight 1: 10.0.0.1:80\n",
		},
		{
			name:  "regions that share a priority get their shares, whatever their sizes",
			world: twoRegions(), view: func(v *View) { v.Region, v.Network = "nowhere", "n1" },
			policy: func() fleet.Policy {
				p := latency
				p.Strategy, p.Weights = fleet.StrategyWeighted, map[fleet.Region]uint32{"near": 1, "far": 3}
				return p
			}(),
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, eps(near1, endpoint("10.0.0.8:80", "a"), endpoint("10.0.0.9:80", "b")))}
			},
			want: `0 far by network:n2 weight 750000: 192.0.2.2:15443 for shop/web/80 via relay
0 near/a weight 166667: 10.0.0.1:80 10.0.0.8:80
0 near/b weight 83333: 10.0.0.9:80
`,
		},
		{
			name:  "residency is harder than availability",
			world: twoRegions(), policy: only("near"),
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, eps(unready))}
			},
			want: "0 near/a weight 1: 10.0.0.2:80 unhealthy\n",
		},
		{
			name:  "a port that only a drained region has is served from there",
			world: func() *fleet.World { w := twoRegions(); w.Edges[0].Drain = "by order"; return w }(), policy: latency,
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, fleet.Port{Number: 81, Endpoints: []fleet.Endpoint{near1}})}
			},
			want: "0 far by network:n2 weight 1: 192.0.2.2:15443 for shop/web/80 via relay\n",
		},
		{
			name:  "a port that only a foreign region has is not",
			world: twoRegions(), policy: only("near"),
			of: func(w *fleet.World) []fleet.BackendView {
				return []fleet.BackendView{backend(w, "c-far", web, eps(far1)), backend(w, "c-near", web, fleet.Port{Number: 81, Endpoints: []fleet.Endpoint{near1}})}
			},
			want: "",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := testView()
			if c.view != nil {
				c.view(&v)
			}
			name := c.cluster
			if name == "" {
				name = "shop/web/80"
			}
			s := snapshotOf(c.world, nil, serviceOf(web, c.policy, c.of(c.world)...))
			if got := endpointsOf(t, v, s, name); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
		})
	}
}
