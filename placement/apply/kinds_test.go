package apply

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/placement"
)

// kindsAreServed checks the table of resources against an API server, and the chart's
// file against the table.
func kindsAreServed(t *testing.T, host *site) {
	t.Helper()
	_, lists, err := host.admin.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			if r.Namespaced && placement.Builtin(gv.Group) && !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "delete") {
				served[schema.GroupKind{Group: gv.Group, Kind: r.Kind}.String()] = r.Name
			}
		}
	}
	data, err := os.ReadFile("../../deploy/helm/meridian/files/kinds.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]string
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(file, served) {
		t.Errorf("the chart has %v\nthe API server %v", file, served)
	}
	for kind, want := range served {
		if got, ok := placement.ResourceOf(schema.ParseGroupKind(kind)); !ok || got != want {
			t.Errorf("%s is %q (%v), want %q", kind, got, ok, want)
		}
	}
}
