package apply

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/internal/lab/told"
)

// One replica writes. When it is gone another one goes on where it stopped.
func TestTakeover(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	one := applier(t, "one", host, eu, us).run(t)
	host.federate(t, "shop", shop, "")
	host.wantStatus(t, "shop", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	two := applier(t, "two", host, eu, us).run(t)
	two.quiet(t, time.Second)
	for name, r := range two.requests {
		if w := writes(r.since(0)); len(w) > 0 {
			t.Errorf("who follows has written to %s: %q", name, w)
		}
	}

	one.stop()
	begin := time.Now()
	host.patch(t, federated+"/shop", `{"spec":{"template":{"spec":{"replicas":8}}}}`)
	for _, s := range []*site{eu, us} {
		s.want(t, "4", shopPath, "spec", "replicas")
	}
	t.Logf("the other replica has written after %s", time.Since(begin))
	two.quiet(t, time.Second)
	for name, r := range two.requests {
		if w := writes(r.since(0)); len(w) != 1 {
			t.Errorf("it has written to %s: %q", name, w)
		}
	}
}

// A cluster that is lost for good is let go of by its name, one that left the
// installation by itself.
func TestLetGo(t *testing.T) {
	all := sites(t, "host", "eu", "us")
	host, eu, us := all["host"], all["eu"], all["us"]
	host.install(t)
	h := applier(t, "one", host, eu, us).run(t)
	for i := range 2 {
		name := fmt.Sprintf("c%d", i)
		host.federate(t, name, strings.Replace("{apiVersion: v1, kind: ConfigMap, metadata: {name: NAME}, data: {a: b}}", "NAME", name, 1), "")
		host.wantStatus(t, name, told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	}
	if err := eu.StopAPI(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		host.wantStatus(t, fmt.Sprintf("c%d", i), told.Row("eu", v1alpha1.WorkloadUnreachable, ""))
		host.delete(t, federated+fmt.Sprintf("/c%d", i))
		host.wantStatus(t, fmt.Sprintf("c%d", i), told.Condition(v1alpha1.ConditionPlaced, "False", v1alpha1.LetGoAnnotation))
	}
	host.patch(t, federated+"/c0", `{"metadata":{"annotations":{"`+v1alpha1.LetGoAnnotation+`":"true"}}}`)
	host.wantNone(t, federated+"/c0")
	if o, err := host.object("c1"); err != nil || o.DeletionTimestamp == nil {
		t.Fatal(o, err)
	}
	h.Members(map[string]Member{"us": h.access["us"]})
	host.wantNone(t, federated+"/c1")
	us.wantNone(t, configMaps+"/c1")
}

// Before it is known who the members are, nothing is let go of.
func TestEarlyDeletion(t *testing.T) {
	all := sites(t, "host", "eu")
	host, eu := all["host"], all["eu"]
	host.install(t)
	h := applier(t, "one", host, eu).run(t)
	host.federate(t, "settings", "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {a: b}}", "")
	host.wantStatus(t, "settings", told.Condition(v1alpha1.ConditionPlaced, "True", ""))
	h.stop()
	host.delete(t, federated+"/settings")
	h = applier(t, "two", host, eu)
	h.members.Store(nil)
	h.run(t)
	eventually(t, func() error {
		if testutil.ToFloat64(h.meter.leads) != 1 || testutil.ToFloat64(h.meter.workloads) != 1 {
			return fmt.Errorf("it has not begun")
		}
		return nil
	})
	h.desk.touchAll()
	h.quiet(t, time.Second)
	if o, err := host.object("settings"); err != nil || len(o.Finalizers) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	h.Members(h.access)
	host.wantNone(t, federated+"/settings")
	eu.wantNone(t, configMaps+"/settings")
}

// Credentials that lead to another cluster lead to no write there.
func TestStranger(t *testing.T) {
	all := sites(t, "host", "eu", "other")
	host, eu, other := all["host"], all["eu"], all["other"]
	host.install(t)
	h := applier(t, "one", host, eu).run(t)
	const settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {color: blue}}"
	host.federate(t, "settings", settings, "")
	eu.want(t, "blue", configMaps+"/settings", "data", "color")
	astray := applier(t, "nobody", host, other)
	h.Members(map[string]Member{"eu": {Config: astray.access["other"].Config, Client: astray.access["other"].Client, Token: "2"}})
	host.wantStatus(t, "settings", told.Row("eu", v1alpha1.WorkloadUnreachable, "another cluster answers under this name"))
	host.patch(t, federated+"/settings", `{"spec":{"template":{"data":{"color":"green"}}}}`)
	host.wantStatus(t, "settings", func(s v1alpha1.WorkloadStatus) error {
		if s.ObservedGeneration != 2 {
			return fmt.Errorf("it is not read yet")
		}
		return nil
	})
	if w := writes(astray.requests["other"].since(0)); len(w) > 0 {
		t.Errorf("the other cluster was asked %q", w)
	}
	count := &requests{}
	cfg := rest.CopyConfig(eu.REST())
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.Members(map[string]Member{"eu": {Config: cfg, Client: client, Token: "3"}})
	eu.want(t, "green", configMaps+"/settings", "data", "color")
}
