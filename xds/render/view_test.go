package render

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meridian-lb/meridian/fleet"
)

func nodeOf(region string, metadata map[string]any) *corev3.Node {
	m, err := structpb.NewStruct(metadata)
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "n", Locality: &corev3.Locality{Region: region}, Metadata: m}
}

func TestViewOf(t *testing.T) {
	plain := View{Region: "eu-west", Class: "meridian", Bind: netip.MustParseAddr("0.0.0.0"), HTTPPort: 8080, RelayPort: 15443}
	with := func(change func(*View)) View { v := plain; change(&v); return v }
	for name, c := range map[string]struct {
		node *corev3.Node
		want View
		err  string
	}{
		"only a region": {nodeOf("eu-west", nil), plain, ""},
		"everything": {
			nodeOf("eu-west", map[string]any{"network": "vpc-1", "class": "edge", "bind": "::", "http_port": 80, "relay_port": 81, "other": true}),
			View{Region: "eu-west", Network: "vpc-1", Class: "edge", Bind: netip.MustParseAddr("::"), HTTPPort: 80, RelayPort: 81}, "",
		},
		"empty words are defaults": {nodeOf("eu-west", map[string]any{"class": "", "network": "", "bind": ""}), plain, ""},
		"highest port":             {nodeOf("eu-west", map[string]any{"http_port": 65535}), with(func(v *View) { v.HTTPPort = 65535 }), ""},
		"no node":                  {nil, View{}, "names no region"},
		"no region":                {nodeOf("", nil), View{}, "names no region"},
		"region with a slash":      {nodeOf("eu/west", nil), View{}, "region"},
		"endless region":           {nodeOf(strings.Repeat("x", 129), nil), View{}, "region"},
		"network with a space":     {nodeOf("eu", map[string]any{"network": "a b"}), View{}, "network"},
		"class is a number":        {nodeOf("eu", map[string]any{"class": 7}), View{}, `"class" is not a string`},
		"bind is a name":           {nodeOf("eu", map[string]any{"bind": "localhost"}), View{}, "localhost"},
		"bind has a zone":          {nodeOf("eu", map[string]any{"bind": "fe80::1%eth0"}), View{}, "fe80"},
		"port is a string":         {nodeOf("eu", map[string]any{"http_port": "80"}), View{}, `"http_port"`},
		"port 0":                   {nodeOf("eu", map[string]any{"http_port": 0}), View{}, `"http_port"`},
		"port 65536":               {nodeOf("eu", map[string]any{"relay_port": 65536}), View{}, `"relay_port"`},
		"half a port":              {nodeOf("eu", map[string]any{"relay_port": 1.5}), View{}, `"relay_port"`},
		"no number":                {nodeOf("eu", map[string]any{"relay_port": math.NaN()}), View{}, `"relay_port"`},
		"one port for both":        {nodeOf("eu", map[string]any{"http_port": 15443}), View{}, "give each its own"},
		"identity without need":    {nodeOf("eu", map[string]any{"identity": "/etc/id"}), View{}, "--identity"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ViewOf(c.node, "")
			if c.err == "" {
				if err != nil || got != c.want {
					t.Errorf("got %+v %v, want %+v", got, err, c.want)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want an error with %q", err, c.err)
			}
		})
	}
}

// With a trust domain every node must have an identity, at a path that is safe
// to be repeated.
func TestViewOfIdentity(t *testing.T) {
	const domain = "mesh.example"
	for path, ok := range map[string]bool{
		"/etc/meridian/identity": true, "/a": true, "/a/..b": true, "/" + strings.Repeat("x", 127) + "/" + strings.Repeat("x", 127): true,
		"": false, "/": false, "etc": false, "./etc": false, "/etc/": false, "/etc//id": false, "/etc/../id": false, "/..": false, "/./etc": false,
		"/etc/id entity": false, "/etc/id\n": false, "/etc/%2e": false, "/etc/ü": false, "/etc/$(id)": false, "/etc/\x00": false,
		"/" + strings.Repeat("x", 129): false, "/a" + strings.Repeat("/a", 128): false,
	} {
		v, err := ViewOf(nodeOf("eu", map[string]any{"identity": path}), domain)
		if (err == nil) != ok {
			t.Errorf("%.40q: %v", path, err)
			continue
		}
		if !ok {
			continue
		}
		if v.Identity != path || v.Domain != domain {
			t.Errorf("%.40q: %+v", path, v)
		}
		if back, err := ParseKey(v.Key()); err != nil || back != v {
			t.Errorf("%.40q: its key reads as %+v %v", path, back, err)
		}
	}
	if _, err := ViewOf(nodeOf("eu", nil), domain); err == nil || !strings.Contains(err.Error(), "node.metadata.identity") {
		t.Errorf("without an identity: %v", err)
	}
}

func FuzzViewOf(f *testing.F) {
	for _, n := range []*corev3.Node{
		nodeOf("eu", map[string]any{"identity": "/etc/meridian/identity"}),
		nodeOf("eu-west", nil),
		nodeOf("eu", map[string]any{"network": "n", "class": "c", "bind": "::1", "http_port": 1, "relay_port": 2}),
		nodeOf("eu", map[string]any{"bind": "::ffff:1.2.3.4"}),
	} {
		b, err := proto.Marshal(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var n corev3.Node
		if proto.Unmarshal(b, &n) != nil {
			return
		}
		for _, domain := range []string{"", "mesh.example"} {
			v, err := ViewOf(&n, domain)
			if err != nil {
				continue
			}
			back, err := ParseKey(v.Key())
			if err != nil || back != v {
				t.Errorf("view %+v has key %q, which reads as %+v %v", v, v.Key(), back, err)
			}
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(testView().Key())
	f.Add("eu//meridian/::/80/81")
	f.Add("eu/n/c/::ffff:1.2.3.4/80/81")
	f.Add("eu/n/c/1.2.3.4/080/81")
	f.Add("/////")
	f.Add(secureView().Key())
	f.Add("eu/n/c/1.2.3.4/80/81/mesh.example/")
	f.Add("eu/n/c/1.2.3.4/80/81/mesh.example//etc")
	f.Add("eu/n/c/1.2.3.4/80/81//etc")
	f.Add("eu/n/c/1.2.3.4/80/81/mesh.example")
	f.Fuzz(func(t *testing.T, key string) {
		v, err := ParseKey(key)
		if err != nil {
			return
		}
		if v.Key() != key || v.Region == "" || v.Class == "" || !v.Bind.IsValid() || v.HTTPPort == 0 || v.RelayPort == 0 || (v.Domain == "") != (v.Identity == "") {
			t.Errorf("%q reads as %+v", key, v)
		}
	})
}

func TestServiceOf(t *testing.T) {
	name := fleet.ServiceName{Namespace: "shop", Name: "web"}
	if got, ok := ServiceOf(ClusterName(name, 80)); !ok || got != name {
		t.Errorf("got %v %v", got, ok)
	}
	for _, s := range []string{
		"", "meridian-xds", LocalClusterName(name, 80), "shop/web", "shop/web/", "shop/web/0", "shop/web/65536", "shop/web/080", "shop/web/+80",
		"shop/web/http", "/web/80", "shop//80", "a/shop/web/80", "shop/we|b/80",
	} {
		if got, ok := ServiceOf(s); ok {
			t.Errorf("%q is taken for service %v", s, got)
		}
	}
}

func FuzzServiceOf(f *testing.F) {
	f.Add("shop/web/80")
	f.Add("local|shop/web/80")
	f.Add("//1")
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := ServiceOf(s)
		if !ok {
			return
		}
		if name.Namespace == "" || name.Name == "" || strings.ContainsAny(name.Namespace+name.Name, "/|") || !strings.HasPrefix(s, name.String()+"/") {
			t.Errorf("%q is taken for service %+v", s, name)
		}
	})
}
