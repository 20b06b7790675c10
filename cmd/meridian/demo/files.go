package demo

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

// Files of one region's cluster. They are ordinary Kubernetes YAML.
var (
	clusterFile = template.Must(template.New("cluster.yaml").Parse(`apiVersion: meridian.dev/v1alpha1
kind: Cluster
metadata:
  name: {{.Name}}
spec:
  region: {{.Name}}
  place: {lat: "{{.Place.Lat}}", lon: "{{.Place.Lon}}"}
  gateways:
  - address: {{.Public}}
    port: {{.Front}}
    relayPort: {{.Relay}}
  clientNetworks: ["{{.Prefix}}"]
---
apiVersion: v1
kind: Service
metadata: {name: whereami, namespace: default}
spec:
  ports: [{name: http, port: 80}]
`))

	sliceFile = template.Must(template.New("endpoints.yaml").Parse(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: whereami-1
  namespace: default
  labels: {kubernetes.io/service-name: whereami}
addressType: IPv4
ports: [{name: http, port: {{.Port}}, protocol: TCP}]
endpoints:
{{- range .Pods}}
- addresses: ["{{.Addr}}"]
  zone: {{.Zone}}
  conditions: {ready: {{.Ready}}, serving: {{.Ready}}}
{{- end}}
`))

	// What the installation says once, in the first region's directory; the
	// others learn it from their peer.
	installationFile = template.Must(template.New("installation.yaml").Parse(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: whereami, namespace: default}
spec:
  ingressClassName: meridian
  rules:
  - host: {{.Host}}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {service: {name: whereami, port: {number: 80}}}
---
apiVersion: meridian.dev/v1alpha1
kind: Zone
metadata: {name: demo}
spec:
  domain: {{.Zone}}
  nameservers: [{name: ns1.{{.Zone}}, addresses: ["127.0.0.1"]}]
---
apiVersion: meridian.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: default, namespace: meridian-system}
spec:
  strategy: latency
  ttl: 20s
  check: {interval: 1s, timeout: 1s, rise: 2, fall: 3}
`))
)

// podState is a pod as its cluster's files show it.
type podState struct {
	Addr, Zone string
	Ready      bool
}

func writeCluster(dir string, r region) error {
	return writeFile(dir, "cluster.yaml", clusterFile, map[string]any{
		"Name": r.name, "Place": r.place, "Public": r.public(), "Front": frontPort, "Relay": relayPort, "Prefix": r.prefix(),
	})
}

func writeSlice(dir string, pods []podState) error {
	return writeFile(dir, "endpoints.yaml", sliceFile, map[string]any{"Port": podPort, "Pods": pods})
}

func writeInstallation(dir string) error {
	return writeFile(dir, "installation.yaml", installationFile, map[string]any{"Host": Host, "Zone": Zone})
}

// writeFile replaces a file in one step, as a careful editor does.
func writeFile(dir, name string, t *template.Template, data any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+name+".new")
	if err := os.WriteFile(tmp, b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}
