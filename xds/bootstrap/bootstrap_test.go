package bootstrap

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the example in deploy/envoy")

func example() Config {
	return Config{
		ID: "gateway-0", Region: "europe-west1", Zone: "europe-west1-b", Network: "europe",
		XDS: []HostPort{{Host: "meridiand.meridian-system.svc", Port: 18000}},
	}
}

func secureExample() Config {
	c := example()
	c.Identity, c.Domain = "/etc/meridian/identity", "mesh.example.com"
	return c
}

// chart is what the Helm chart's gateways start with. Its words that end in
// ".placeholder" are replaced by the chart, and Envoy's own flags say who each is.
func chart() Config {
	return Config{
		ID: "gateways", Region: "region.placeholder", Network: "network.placeholder", Domain: "domain.placeholder",
		Identity: "/etc/meridian/identity", XDS: []HostPort{{Host: "xds.placeholder", Port: 18000}},
	}
}

// The examples that operators read, and the chart's files, are what this package writes.
func TestExamples(t *testing.T) {
	examples := map[string][]byte{}
	add := func(name string, body []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		examples[name] = body
	}
	body, err := YAML(example())
	add("bootstrap.yaml", body, err)
	body, err = YAML(secureExample())
	add("mtls/bootstrap.yaml", body, err)
	files, err := Secrets(secureExample())
	for name, body := range files {
		add("mtls/"+name, body, err)
	}
	body, err = YAML(chart())
	add("../helm/meridian/files/envoy/bootstrap.yaml", body, err)
	files, err = Secrets(chart())
	for name, body := range files {
		add("../helm/meridian/files/envoy/"+name, body, err)
	}
	if len(examples) != 7 {
		t.Errorf("%d files, %v", len(examples), err)
	}
	for name, body := range examples {
		want := append([]byte("# An Envoy of Meridian, as package xds/bootstrap writes it. Change it there:\n"+
			"# go test ./xds/bootstrap -update\n"), body...)
		path := filepath.Join("..", "..", "deploy", "envoy", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is not what the package writes; run: go test ./xds/bootstrap -update", path)
		}
	}
}

// What is written says the same as the message, and always in the same bytes.
func TestRoundTrip(t *testing.T) {
	m, err := Message(example())
	if err != nil {
		t.Fatal(err)
	}
	first, err := YAML(example())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := YAML(example())
		if err != nil || string(again) != string(first) {
			t.Fatalf("a second writing differs: %v", err)
		}
	}
	raw, err := yaml.YAMLToJSON(first)
	if err != nil {
		t.Fatal(err)
	}
	var back bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(m, &back) {
		t.Errorf("the file reads as\n%v\nbut was made from\n%v", &back, m)
	}
}

// Names are looked up; addresses are not, and each has its place in the order.
func TestControlPlane(t *testing.T) {
	c := example()
	c.XDS = []HostPort{{Host: "127.0.0.1", Port: 1}, {Host: "::1", Port: 2}}
	m, err := Message(c)
	if err != nil {
		t.Fatal(err)
	}
	cl := m.StaticResources.Clusters[0]
	if got := cl.GetType().String(); got != "STATIC" {
		t.Errorf("two addresses are a %s cluster", got)
	}
	for i, e := range cl.LoadAssignment.Endpoints {
		if e.Priority != uint32(i) {
			t.Errorf("address %d has priority %d", i, e.Priority)
		}
	}
	c.XDS = append(c.XDS, HostPort{Host: "control.example.org", Port: 3})
	if m, err = Message(c); err != nil {
		t.Fatal(err)
	}
	if got := m.StaticResources.Clusters[0].GetType().String(); got != "STRICT_DNS" {
		t.Errorf("a name among addresses is a %s cluster", got)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"no ID":          {func(c *Config) { c.ID = "" }, "no ID"},
		"no region":      {func(c *Config) { c.Region = "" }, "no region"},
		"no xDS":         {func(c *Config) { c.XDS = nil }, "no address of the control plane"},
		"half an xDS":    {func(c *Config) { c.XDS[0].Port = 0 }, "not complete"},
		"open admin":     {func(c *Config) { c.Admin = netip.MustParseAddrPort("0.0.0.0:9901") }, "loopback"},
		"one port":       {func(c *Config) { c.HTTPPort, c.RelayPort = 80, 80 }, "give each listener its own"},
		"no domain":      {func(c *Config) { c.Identity = "/etc/id" }, "trust domain"},
		"odd ID":         {func(c *Config) { *c = secureExample(); c.ID = "a/b" }, "name"},
		"relative path":  {func(c *Config) { *c = secureExample(); c.Identity = "id" }, "absolute"},
		"odd files":      {func(c *Config) { *c = secureExample(); c.Secrets = "/etc//envoy" }, "absolute"},
		"no connections": {func(c *Config) { c.MaxConnections = -1 }, "lets nobody in"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := example()
			c.change(&cfg)
			if _, err := YAML(cfg); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
		})
	}
}
