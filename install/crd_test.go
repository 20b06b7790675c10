package install

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

// accepts looks what a real API server says to objects of our kinds, and to
// everything that the chart can render.
func accepts(t *testing.T, host *Reach) {
	ctx := t.Context()
	for _, c := range []struct{ doc, refused string }{
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '50', lon: '4'}, gateways: [{address: 192.0.2.1}]}", ""},
		{"kind: Cluster\nmetadata: {name: host}\nspec: {region: eu, place: {lat: '50', lon: '4'}}", `"host" names the installation itself`},
		{"kind: Cluster\nmetadata: {name: a.b}\nspec: {region: eu, place: {lat: '50', lon: '4'}}", "the name must be a DNS label"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '95', lon: '4'}}", "lat must lie between -90 and 90"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '5', lon: '-181'}}", "lon must lie between -180 and 180"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: north, lon: '4'}}", "spec.place.lat"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: Europe!, place: {lat: '5', lon: '4'}}", "spec.region"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {place: {lat: '5', lon: '4'}}", "spec.region: Required"},
		{"kind: Cluster\nmetadata: {name: a}\nspec: {region: eu, place: {lat: '5', lon: '4'}, gateways: [{address: 192.0.2.1, port: 70000}]}", "should be less than or equal to 65535"},
		{"kind: Zone\nmetadata: {name: example.com}\nspec: {nameservers: [{name: ns1.example.net}]}", ""},
		{"kind: Zone\nmetadata: {name: example.com}\nspec: {nameservers: []}", "should have at least 1 item"},
		{"kind: Zone\nmetadata: {name: example.com}\nspec: {nameservers: [{name: ns1.example.net}], ttl: 200h}", "ttl must lie between 1s and 168h"},
		{"kind: Zone\nmetadata: {name: example.com}\nspec: {nameservers: [{name: ns1.example.net}], records: [{name: a, type: MAGIC, data: x}]}", "spec.records[0].type: Unsupported value"},
		{"kind: TrafficPolicy\nmetadata: {name: a, namespace: default}\nspec: {strategy: failover, targetRefs: [{kind: Service, name: a}], order: [eu]}", ""},
		{"kind: TrafficPolicy\nmetadata: {name: a, namespace: default}\nspec: {strategy: luck, targetRefs: [{kind: Service, name: a}]}", "spec.strategy: Unsupported value"},
	} {
		objects, err := decode([]byte("apiVersion: meridian.dev/v1alpha1\n" + c.doc))
		if err != nil {
			t.Fatal(err)
		}
		client, err := host.resource(ctx, objects[0])
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Create(ctx, objects[0], metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s\nis refused: %v", c.doc, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s\nis answered by %v, want %q", c.doc, err, c.refused)
		case err == nil && got.GetKind() == v1alpha1.KindCluster:
			list, _, _ := unstructured.NestedSlice(got.Object, "spec", "gateways")
			if g := list[0].(map[string]any); g["port"] != int64(80) || g["relayPort"] != int64(15443) {
				t.Errorf("defaults are not filled in: %v", g)
			}
		case err == nil && got.GetKind() == v1alpha1.KindZone:
			if ttl, _, _ := unstructured.NestedString(got.Object, "spec", "ttl"); ttl != "1h" {
				t.Errorf("the TTL is %q by default", ttl)
			}
		}
	}

	objects, err := Render(Namespace, everything())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.GetNamespace() == "shop" || o.GetNamespace() == "bank" {
			continue // these namespaces are not there
		}
		client, err := host.resource(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if name(o) == "StatefulSet "+Namespace+"/meridiand" {
			o.SetName("another") // volumes cannot be added to one that is there
		}
		if _, err := client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "trial", Force: true, DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("%s is refused: %v", name(o), err)
		}
	}
}
