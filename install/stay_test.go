package install

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fares is a FederatedObject with a status, as a host has it.
func fares(t *testing.T, template, spec, status string) *unstructured.Unstructured {
	t.Helper()
	objects, err := decode([]byte("apiVersion: meridian.dev/v1alpha1\nkind: FederatedObject\nmetadata: {name: x, namespace: shop, generation: 2}\nspec: {template: {" + template + "}" + spec + "}\nstatus: {" + status + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return objects[0]
}

const (
	someWeb = "apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 9}"
	seen    = "observedGeneration: 2"
)

func aRow(cluster string, desired, ready int, message string) string {
	return fmt.Sprintf("{cluster: %s, desired: %d, ready: %d, state: Leaving, message: %q}", cluster, desired, ready, message)
}

// What keeps a cluster from leaving: replicas that run nowhere else yet, and nothing else.
func TestStaying(t *testing.T) {
	rows := func(list ...string) string { return seen + ", clusters: [" + strings.Join(list, ", ") + "]" }
	for _, c := range []struct {
		name, template, spec, status, want string
	}{
		{"divided", someWeb, "", rows(aRow("eu", 6, 6, ""), aRow("us", 3, 2, "waits until the others are ready")), "Deployment shop/web: 3 replicas: waits until the others are ready"},
		{"still ending", someWeb, "", rows(aRow("eu", 9, 9, ""), aRow("us", 0, 2, "waits")), "Deployment shop/web: 2 replicas: waits"},
		{"without a word", someWeb, "", rows("{cluster: us, desired: 3, ready: 0}"), "Deployment shop/web: 3 replicas: it has not been said why"},
		{"not told to move yet", someWeb, "", rows("{cluster: us, desired: 3, ready: 3, state: Applied, message: 3 that run there and stay}"), "Deployment shop/web: 3 replicas"},
		{"empty", someWeb, "", rows(aRow("us", 0, 0, "the cluster deletes it")), ""},
		{"elsewhere only", someWeb, "", rows(aRow("eu", 9, 3, "")), ""},
		{"nowhere", someWeb, "", seen, ""},
		{"new", someWeb, "", "observedGeneration: 1", "Deployment shop/web: no daemon has looked at it yet as it is now"},
		{"out of the daemons' reach", someWeb, "", "desired: 9, ready: 6, " + rows(aRow("eu", 9, 6, ""), strings.Replace(aRow("us", 0, 0, "placed elsewhere"), "Leaving", "Unreachable", 1)), "Deployment shop/web: 3 replicas: placed elsewhere"},
		{"out of the daemons' reach, and ready elsewhere", someWeb, "", "desired: 9, ready: 9, " + rows(aRow("eu", 9, 9, ""), strings.Replace(aRow("us", 0, 0, "placed elsewhere"), "Leaving", "Unreachable", 1)), ""},
		{"never placed", someWeb, "", "", ""},
		{"without room", someWeb, "", rows(aRow("us", 3, 3, "3 stay until there is room elsewhere")) + ", conditions: [{type: Placed, status: 'False', reason: Unplaced, message: 3 replicas find no place, lastTransitionTime: '2026-01-01T00:00:00Z'}]",
			"Deployment shop/web: 3 replicas: 3 stay until there is room elsewhere; 3 replicas find no place"},
		{"as many everywhere", someWeb, ", spread: {mode: duplicate}", rows(aRow("eu", 3, 1, ""), aRow("us", 3, 3, "waits")), ""},
		{"as many everywhere, and only there", someWeb, ", spread: {mode: duplicate}", rows(aRow("eu", 3, 0, ""), aRow("us", 3, 3, "waits")), "Deployment shop/web: 3 replicas: waits"},
		{"a StatefulSet is not divided by itself", "apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {replicas: 3}", "", rows(aRow("eu", 3, 3, ""), aRow("us", 3, 3, "waits")), ""},
		{"no replicas", "apiVersion: v1, kind: ConfigMap, metadata: {name: a}", "", rows(aRow("us", 0, 0, "waits")), ""},
		{"a Job that runs", "apiVersion: batch/v1, kind: Job, metadata: {name: sum}, spec: {parallelism: 9}", "", rows(aRow("us", 3, 2, "its part")), "Job shop/sum: 2 replicas: a Job ends where it began"},
		{"a Job that is done", "apiVersion: batch/v1, kind: Job, metadata: {name: sum}, spec: {parallelism: 9}", "", rows(aRow("us", 3, 0, "its part")), ""},
		{"not understood", "kind: Deployment", "", rows(aRow("us", 3, 3, "waits")), "Deployment shop/x: 3 replicas: waits"},
		{"unreadable", someWeb, ", spread: {budget: many}", rows(aRow("us", 3, 3, "waits")), "FederatedObject shop/x: it cannot be read: json: "},
	} {
		left := stays{"shop/x": {}}
		left.see(fares(t, c.template, c.spec, c.status), "us", false)
		got := strings.Join(left.lines(), "\n")
		if got != c.want && (c.name != "unreadable" || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	left := stays{}
	o := fares(t, someWeb, "", rows(aRow("us", 3, 3, "waits")))
	for i := range 7 {
		o.SetName(fmt.Sprint("x", i))
		left.see(o, "us", false)
	}
	if text := left.String(); !strings.HasPrefix(text, "7 workloads with 21 replicas there\n") || !strings.HasSuffix(text, "and 2 more") {
		t.Error(text)
	}
	left.see(o, "us", true)
	if len(left) != 6 {
		t.Errorf("what is gone stays: %v", left)
	}
}
