package placement

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/fleet"
)

func thing(apiVersion, kind, name string, more map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": "shop"}}}
	for k, v := range more {
		o.Object[k] = v
	}
	return o
}

func TestDefaultMode(t *testing.T) {
	replicas := map[string]any{"spec": map[string]any{"replicas": int64(3)}}
	for _, c := range []struct {
		o         *unstructured.Unstructured
		divisible bool
		mode      Mode
	}{
		{thing("apps/v1", "Deployment", "web", nil), true, ModeDivide},
		{thing("apps/v1", "StatefulSet", "db", replicas), true, ModeDuplicate},
		{thing("apps/v1", "DaemonSet", "log", replicas), false, ModeDuplicate},
		{thing("batch/v1", "Job", "sum", nil), true, ModeDivide},
		{thing("batch/v1", "CronJob", "sum", nil), false, ModeDuplicate},
		{thing("v1", "ConfigMap", "web", nil), false, ModeDuplicate},
		{thing("networking.k8s.io/v1", "Ingress", "web", replicas), false, ModeDuplicate},
		{thing("argoproj.io/v1alpha1", "Rollout", "web", replicas), true, ModeDivide},
		{thing("argoproj.io/v1alpha1", "StatefulSet", "web", replicas), true, ModeDivide},
		{thing("gateway.networking.k8s.io/v1", "HTTPRoute", "web", nil), false, ModeDuplicate},
		{thing("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "web", replicas), true, ModeDivide},
	} {
		if got := Divisible(c.o); got != c.divisible {
			t.Errorf("%s: divisible %v", c.o.GroupVersionKind(), got)
		}
		if got := DefaultMode(c.o); got != c.mode {
			t.Errorf("%s: mode %s, want %s", c.o.GroupVersionKind(), got, c.mode)
		}
	}
}

func TestTheEldestRuleThatSelectsCounts(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	rule := func(name string, created time.Time, s Selection) *Rule {
		return &Rule{Namespace: "shop", Objects: []Selection{s}, Terms: Template{Origin: fleet.Origin{Name: name, Created: created}}}
	}
	all := Selection{APIVersion: "apps/v1", Kind: "Deployment"}
	named, labelled, other := all, all, all
	named.Name, labelled.Labels, other.APIVersion = "db", labels.SelectorFromSet(labels.Set{"tier": "gold"}), "apps/v1beta1"
	rules := []*Rule{rule("z", day(5), all), rule("b", day(4), all), rule("a", day(4), all), rule("named", day(3), named), rule("labelled", day(2), labelled), rule("other", day(1), other)}
	web := thing("apps/v1", "Deployment", "web", nil)
	gold := thing("apps/v1", "Deployment", "gold", nil)
	gold.SetLabels(map[string]string{"tier": "gold"})
	away := thing("apps/v1", "Deployment", "web", nil)
	away.SetNamespace("bank")
	for _, c := range []struct {
		o    *unstructured.Unstructured
		want string
	}{
		{web, "a"}, {thing("apps/v1", "Deployment", "db", nil), "named"}, {gold, "labelled"}, {away, ""}, {thing("v1", "Service", "web", nil), ""},
	} {
		got := ""
		if r := First(rules, c.o); r != nil {
			got = r.Terms.Origin.Name
		}
		if got != c.want {
			t.Errorf("%s/%s is placed by %q, want %q", c.o.GetNamespace(), c.o.GetName(), got, c.want)
		}
	}
	placed := rules[0].Place(web)
	if placed.Object != web || placed.Spread.Mode != ModeDivide || rules[0].Terms.Object != nil || rules[0].Terms.Spread.Mode != "" {
		t.Errorf("placed %+v by %+v", placed, rules[0].Terms)
	}
}
