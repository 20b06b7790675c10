package apply

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

const following = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - {name: web, image: "whereami:1", envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: key}}, {configMapRef: {name: extra, optional: true}}]}
`

// What a workload names goes along while anybody needs it.
func TestFollow(t *testing.T) {
	all := sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	h, whole := applier(t, "one", host, eu).run(t), t
	const secrets = "/api/v1/namespaces/default/secrets"

	step(t, "what is missing is waited for, and said", func(t *testing.T) {
		host.post(t, configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}")
		host.federate(t, "one", strings.ReplaceAll(following, "NAME", "one"), "follow: true")
		host.wantStatus(t, "one", told.Condition(v1alpha1.ConditionPlaced, "False", "it names Secret default/key, which is not in the host cluster"))
		host.post(t, secrets, "{apiVersion: v1, kind: Secret, metadata: {name: key}, stringData: {key: abc}}")
		host.wantStatus(t, "one", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		eu.want(t, "blue", configMaps+"/settings", "data", "color")
		eu.want(t, "YWJj", secrets+"/key", "data", "key")
	})

	step(t, "a change in the host goes along", func(t *testing.T) {
		host.patch(t, configMaps+"/settings", `{"data":{"color":"green"}}`)
		eu.want(t, "green", configMaps+"/settings", "data", "color")
		h.wantNoRequests(t, func() {})
	})

	step(t, "what goes along no more goes, though the daemon was away meanwhile", func(t *testing.T) {
		host.federate(t, "brief", strings.NewReplacer("NAME", "brief", "settings", "brief", "{secretRef: {name: key}}, ", "").Replace(following), "follow: true")
		host.wantStatus(t, "brief", told.Condition(v1alpha1.ConditionPlaced, "False", "it names ConfigMap default/brief"))
		host.post(t, configMaps, "{apiVersion: v1, kind: ConfigMap, metadata: {name: brief}, data: {color: red}}")
		eu.want(t, "red", configMaps+"/brief", "data", "color")
		host.wantStatus(t, "brief", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		host.delete(t, federated+"/one") // so that nobody else has ConfigMaps watched
		eu.wantNone(t, configMaps+"/settings")
		h.quiet(t, time.Second)
		h.stop()
		host.patch(t, federated+"/brief", `{"spec":{"follow":false}}`)
		h = applier(whole, "two", host, eu).run(whole)
		eu.wantNone(t, configMaps+"/brief")
		eventually(t, func() error {
			o, err := host.object("brief")
			if err == nil && strings.Contains(string(o.Status.Memory.Raw), "along") {
				err = fmt.Errorf("it is remembered still: %s", o.Status.Memory.Raw)
			}
			return err
		})
		host.delete(t, federated+"/brief")
		host.federate(t, "one", strings.ReplaceAll(following, "NAME", "one"), "follow: true")
		host.wantStatus(t, "one", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	})

	step(t, "what two need goes when neither does", func(t *testing.T) {
		host.federate(t, "two", strings.ReplaceAll(following, "NAME", "two"), "follow: true")
		host.wantStatus(t, "two", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
		one, err := host.object("one")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			o, err := eu.get(configMaps + "/settings")
			if err == nil && (len(neededBy(o)) != 2 || !slices.Contains(neededBy(o), one.UID)) {
				err = fmt.Errorf("it is needed by %v", neededBy(o))
			}
			return err
		})
		host.delete(t, federated+"/one")
		host.wantNone(t, federated+"/one")
		eu.wantNone(t, deployments+"/one")
		eu.want(t, "green", configMaps+"/settings", "data", "color")
		host.delete(t, federated+"/two")
		host.wantNone(t, federated+"/two")
		eu.wantNone(t, configMaps+"/settings")
		eu.wantNone(t, secrets+"/key")
	})
}

// Room is counted, and more goes where there is more of it. Replicas that are once
// somewhere stay there, so a count that takes its time is waited for.
func TestFree(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	for s, cpus := range map[*site]int{eu: 3, us: 9} {
		s.post(t, "/api/v1/nodes", "{apiVersion: v1, kind: Node, metadata: {name: machine}}")
		s.patch(t, "/api/v1/nodes/machine", `{"spec":{"taints":null}}`) // that it is new, which a controller would take away
		s.patch(t, "/api/v1/nodes/machine/status", fmt.Sprintf(`{"status":{"allocatable":{"cpu":"%d","memory":"64Gi","pods":"110"},"conditions":[{"type":"Ready","status":"True"}]}}`, cpus))
	}
	h := applier(t, "one", host, eu, us)
	h.requests["us"].slow = map[string]time.Duration{"/api/v1/nodes": 3 * h.cfg.Pace.Timeout}
	h.run(t)
	host.federate(t, "shop", strings.Replace(shop, "replicas: 6", "replicas: 8", 1), "spread: {mode: free}")
	eu.want(t, "2", shopPath, "spec", "replicas")
	us.want(t, "6", shopPath, "spec", "replicas")
}
