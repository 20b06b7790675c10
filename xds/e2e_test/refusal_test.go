//go:build linux

package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/xds/resource"
)

// eventually asks a real Envoy until it has come round.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// One resource is bad on purpose. Envoy refuses it; what comes along with it
// takes effect, and the object behind the bad one is named.
func TestOneBadResourceStopsNobody(t *testing.T) {
	http80 := fleet.Port{Name: "http", Number: 80}
	h := newHouse(t, []*fleet.Service{
		service("web", http80, []*pod{newPod(t, "web-near-0", nil)}, nil),
	}, table())
	c := client(t)
	author := fleet.Origin{Cluster: "near", Kind: "Service", Namespace: "default", Name: "bad"}
	// An EDS cluster that does not say where its endpoints come from passes every
	// rule of its message, and Envoy refuses it.
	bad, err := resource.New("default/bad/80", &clusterv3.Cluster{
		Name:                 "default/bad/80",
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
	}, author)
	if err != nil {
		t.Fatal(err)
	}
	api := service("api", http80, []*pod{newPod(t, "api-near-0", nil)}, nil)
	h.snapshot.Services[api.Name] = api
	h.snapshot.Routes = &fleet.Routes{Hosts: []fleet.Host{{Name: "new.example", Routes: []fleet.Route{{
		Host: "new.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{to("api", 80, 1)}}}}}}
	if err := h.server.Publish(h.near.view.Key(), resource.Delta{Put: []resource.Resource{bad}}); err != nil {
		t.Fatal(err)
	}
	h.publish(t)
	eventually(t, func() error {
		a, err := ask{to: h.near.front(), host: "new.example", path: "/"}.do(c)
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("the new route answers %d (%w)", a.status, err)
		}
		return nil
	})
	eventually(t, func() error {
		problems := h.server.Problems()
		if len(problems) != 1 || problems[0].About != author {
			return fmt.Errorf("problems %v, want one about %v", problems, author)
		}
		return nil
	})
	if stats := h.near.get(t, "/stats?filter=cluster_manager.cds.update_rejected"); !strings.Contains(stats, "update_rejected: 1") {
		t.Errorf("the refused version was sent again: %s", stats)
	}
	for _, n := range h.server.Connected() {
		for _, s := range n.Types {
			if n.View == h.far.view.Key() && s.NACKs > 0 {
				t.Errorf("the other view was bothered: %+v", s)
			}
		}
	}
	// Mended, the object is taken and nobody complains any more.
	if err := h.server.Publish(h.near.view.Key(), resource.Delta{Gone: []resource.Name{{TypeURL: resource.ClusterType, Name: "default/bad/80"}}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if p := h.server.Problems(); len(p) != 0 {
			return fmt.Errorf("still: %v", p)
		}
		return nil
	})
}

// What Envoys count comes back as load, by service and region.
func TestLoadComesBack(t *testing.T) {
	http80 := fleet.Port{Name: "http", Number: 80}
	h := newHouse(t, []*fleet.Service{
		service("web", http80, []*pod{newPod(t, "web-near-0", nil)}, nil),
		service("remote", http80, nil, []*pod{newPod(t, "remote-far-0", nil)}),
	}, &fleet.Routes{Hosts: []fleet.Host{
		{Name: "remote.example", Routes: []fleet.Route{{Host: "remote.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{to("remote", 80, 1)}}}},
		{Name: "web.example", Routes: []fleet.Route{{Host: "web.example", Match: fleet.Match{Path: "/"}, To: []fleet.Target{to("web", 80, 1)}}}},
	}})
	c := client(t)
	eventually(t, func() error {
		for _, host := range []string{"web.example", "remote.example"} {
			if a, err := (ask{to: h.near.front(), host: host, path: "/"}).do(c); err != nil || a.status != http.StatusOK {
				return fmt.Errorf("%s answers %d (%w)", host, a.status, err)
			}
		}
		if near, far := h.loads.of("shop/web to near"), h.loads.of("shop/remote to far"); near <= 0 || far <= 0 {
			return fmt.Errorf("load of web %.1f, of remote %.1f requests/s", near, far)
		}
		return nil
	})
	if wrong := h.loads.of("shop/remote to near"); wrong > 0 {
		t.Errorf("%.1f requests/s for the far region were counted as the near one's", wrong)
	}
}
