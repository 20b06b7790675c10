package apply

import (
	"testing"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
)

const shop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 6
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - {name: web, image: "whereami:1", resources: {requests: {cpu: 1000m}}}
`

const shopPath = "/apis/apps/v1/namespaces/default/deployments/shop"

// A diary of one workload in two clusters.
func TestWorkload(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	h := applier(t, "one", host, eu, us).run(t)

	step(t, "replicas are divided", func(t *testing.T) {
		host.federate(t, "shop", shop, "")
		for _, s := range []*site{eu, us} {
			s.want(t, "3", shopPath, "spec", "replicas")
		}
		host.wantStatus(t, "shop", condition(v1alpha1.ConditionPlaced, "True", ""))
		host.wantStatus(t, "shop", row("eu", v1alpha1.WorkloadApplied, ""))
	})

	step(t, "a steady state asks nothing of anybody", func(t *testing.T) {
		n := h.quiet(t, 2*time.Second)
		for name, r := range h.requests {
			t.Logf("%s: %q", name, r.since(0))
			_ = n
		}
	})
}
