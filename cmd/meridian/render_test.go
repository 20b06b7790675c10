package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cluster is a Cluster as YAML.
func clusterYAML(name, region, more string) string {
	return fmt.Sprintf("---\napiVersion: meridian.dev/v1alpha1\nkind: Cluster\nmetadata: {name: %s}\nspec: {region: %s, place: {lat: \"50\", lon: \"3\"}%s}\n", name, region, more)
}

// threeClusters are two open ones and one that is tainted.
var threeClusters = clusterYAML("eu-1", "eu", "") + clusterYAML("us-1", "us", "") + clusterYAML("us-2", "us", ", taints: [{key: full, effect: NoSchedule}]")

const federatedWeb = `---
apiVersion: meridian.dev/v1alpha1
kind: FederatedObject
metadata: {name: deployment-web, namespace: shop, generation: 2, uid: 7f}
spec:
  template:
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 9
      template: {spec: {containers: [{name: web, image: shop/web}]}}
  spread: {limits: [{cluster: "*", weight: 1}, {cluster: eu-1, weight: 2}]}
  overrides: [{where: {regions: [eu]}, registry: registry.eu.example.com, env: [{name: REGION, value: eu}]}]
`

const placedStatus = `status:
  observedGeneration: %d
  clusters:
  - {cluster: eu-1, desired: 4, ready: 4, state: Applied, message: 4 that run there and stay}
  - {cluster: us-2, desired: 0, ready: 0, state: Leaving}
`

const webInEurope = `apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    meridian.dev/placed-by: 7f
    meridian.dev/placed-from: FederatedObject shop/deployment-web
  labels:
    meridian.dev/placed: "true"
  name: web
  namespace: shop
spec:
  replicas: %d
  template:
    spec:
      containers:
      - env:
        - name: REGION
          value: eu
        image: registry.eu.example.com/shop/web
        name: web
`

func TestRender(t *testing.T) {
	for name, c := range map[string]struct {
		in, line, out, said string
	}{
		"as it would be divided": {
			federatedWeb + threeClusters, "deployment-web --cluster eu-1", fmt.Sprintf(webInEurope, 6),
			"eu-1: 6 replicas, as it would be divided, since no daemon has looked at it: 6 by its weight of 2\n",
		},
		"by the object's own kind and name": {federatedWeb + threeClusters, "deployment/web --cluster eu-1", fmt.Sprintf(webInEurope, 6), "eu-1: 6 replicas"},
		"as it is divided": {
			federatedWeb + fmt.Sprintf(placedStatus, 2) + threeClusters, "--cluster eu-1 -n shop", fmt.Sprintf(webInEurope, 4),
			"eu-1: 4 replicas, as its status has it: Applied: 4 that run there and stay\n",
		},
		"its status is of an earlier generation": {
			federatedWeb + fmt.Sprintf(placedStatus, 1) + threeClusters, "--cluster eu-1", fmt.Sprintf(webInEurope, 6),
			"eu-1: 6 replicas, as it would be divided, since its status does not speak of it as it is now: 4 that run there and stay; 2 by its weight of 2\n",
		},
		"ordinary YAML": {
			"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours, uid: x}\ndata: {a: b}\n" + threeClusters, "--cluster us-1 -n shop",
			"apiVersion: v1\ndata:\n  a: b\nkind: ConfigMap\nmetadata:\n  annotations:\n    meridian.dev/placed-by: \"\"\n    meridian.dev/placed-from: FederatedObject shop/configmap-colours\n  labels:\n    meridian.dev/placed: \"true\"\n  name: colours\n  namespace: shop\n",
			"ConfigMap colours: removed what a server had set: metadata.uid.\nus-1: as it would be divided, since no daemon has looked at it: as many as everywhere\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, said, err := typed(t, c.in, append([]string{"render", "-f", "-"}, strings.Fields(c.line)...)...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.out, out); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if !strings.Contains(said, c.said) {
				t.Errorf("no %q in\n%s", c.said, said)
			}
		})
	}
	out, _, err := typed(t, federatedWeb+threeClusters, "render", "-f", "-", "--cluster", "eu-1", "-o", "json")
	var object struct{ Kind string }
	if err != nil || json.Unmarshal([]byte(out), &object) != nil || object.Kind != "Deployment" {
		t.Errorf("as JSON: %v\n%s", err, out)
	}
	follow := strings.Replace(federatedWeb, "  spread:", "  follow: true\n  spread:", 1)
	follow = strings.Replace(follow, "image: shop/web}", "image: shop/web, envFrom: [{configMapRef: {name: colours}}]}", 1)
	if _, said, err := typed(t, follow+threeClusters, "render", "-f", "-", "--cluster", "eu-1"); err != nil || !strings.Contains(said, "ConfigMap shop/colours of the host cluster goes along.") {
		t.Errorf("what goes along: %v\n%s", err, said)
	}
}

func TestRenderNamesTheRemedy(t *testing.T) {
	bad := func(from, to string) string { return strings.Replace(federatedWeb, from, to, 1) + threeClusters }
	for name, c := range map[string]struct{ in, line, want string }{
		"no such cluster":     {federatedWeb + threeClusters, "--cluster ap-1", "there is no Cluster ap-1; there is eu-1, us-1, us-2"},
		"a closed cluster":    {federatedWeb + threeClusters, "--cluster us-2", "us-2 is given nothing of FederatedObject shop/deployment-web (as it would be divided, since no daemon has looked at it): it takes nothing new: taint full:NoSchedule"},
		"a leaving cluster":   {federatedWeb + fmt.Sprintf(placedStatus, 2) + threeClusters, "--cluster us-2", "us-2 is given nothing"},
		"not in its status":   {federatedWeb + fmt.Sprintf(placedStatus, 2) + threeClusters, "--cluster us-1", "its status does not name the cluster"},
		"another name":        {federatedWeb + threeClusters, "web --cluster eu-1", "it holds FederatedObject shop/deployment-web"},
		"another namespace":   {federatedWeb + threeClusters, "-n bank --cluster eu-1", "it holds FederatedObject shop/deployment-web"},
		"several":             {federatedWeb + strings.Replace(federatedWeb, "deployment-web", "deployment-b", 1) + threeClusters, "--cluster eu-1", "name one of them"},
		"only clusters":       {threeClusters, "--cluster eu-1", "holds no FederatedObject"},
		"no cluster is named": {federatedWeb + threeClusters, "", `required flag(s) "cluster" not set`},
		"a bad spread":        {bad("weight: 1}", "weight: 1, min: 3, max: 2}"), "--cluster eu-1", "above the max of 2"},
		"a bad override":      {bad("env:", "args: [{container: wbe, args: []}], env:"), "--cluster eu-1", `there is no container "wbe"; there are web`},
		"a bad override, but not for this cluster": {bad("regions: [eu]", "regions: [us]") + "", "--cluster ap-1", "no Cluster ap-1"},
		"a kind that is not placed":                {bad("apiVersion: apps/v1\n    kind: Deployment", "apiVersion: v1\n    kind: Endpoints"), "--cluster eu-1", "let the clusters make their own"},
		"a system namespace":                       {strings.ReplaceAll(federatedWeb, "namespace: shop", "namespace: kube-system") + threeClusters, "--cluster eu-1", "kube-*"},
		"no YAML":                                  {"a: [", "--cluster eu-1", "is no YAML of objects"},
	} {
		t.Run(name, func(t *testing.T) {
			out, said, err := typed(t, c.in, append([]string{"render", "-f", "-"}, strings.Fields(c.line)...)...)
			if err == nil {
				t.Fatalf("no error, but\n%s%s", out, said)
			}
			if s := sentence(err); !strings.Contains(s, c.want) || strings.Contains(s, "\n") || out != "" {
				t.Errorf("%q does not say %q; printed %q", s, c.want, out)
			}
		})
	}
	if _, _, err := typed(t, "", "render", "--cluster", "eu-1"); err == nil || !strings.Contains(err.Error(), "or a file with -f") {
		t.Errorf("nothing named: %v", err)
	}
	broken := clusterYAML("ap-1", "Bad Region", "")
	if _, said, err := typed(t, federatedWeb+threeClusters+broken, "render", "-f", "-", "--cluster", "eu-1"); err != nil || !strings.Contains(said, "Cluster ap-1 is at fault and is left out") {
		t.Errorf("a broken Cluster: %v\n%s", err, said)
	}
}
