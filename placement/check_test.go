package placement

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meridian-lb/meridian/fleet"
)

var origin = fleet.Origin{Cluster: "host", Kind: "FederatedObject", Namespace: "shop", Name: "web"}

var rules = Rules{
	Home: "meridian-system",
	Kinds: map[schema.GroupKind]bool{
		kindDeployment: true, kindService: true, kindConfigMap: true, kindSecret: true, {Kind: "Namespace"}: false, {Kind: "Node"}: false,
		{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}: false,
	},
	Cluster: []schema.GroupKind{{Kind: "Namespace"}},
}

func TestCheck(t *testing.T) {
	stories(t, "check", func(t *testing.T, files map[string][]byte) string {
		problems := Check(object(t, files["object.yaml"]), rules, origin)
		for _, p := range problems {
			if p.About != origin {
				t.Errorf("%q is about %v", p.Message, p.About)
			}
			if !strings.Contains(p.Message, ";") {
				t.Errorf("%q says no remedy", p.Message)
			}
		}
		return sentences(problems)
	})
}

func sentences(problems []fleet.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.Reason + ": " + p.Message + "\n")
	}
	return b.String()
}

func TestCheckOpen(t *testing.T) {
	open := rules
	open.System, open.Kinds = true, nil
	for _, text := range []string{
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: kube-system}}",
		"{apiVersion: example.com/v1, kind: Thing, metadata: {name: web, namespace: shop}}",
		"{apiVersion: v1, kind: Namespace, metadata: {name: kube-x}}",
	} {
		if problems := Check(object(t, []byte(text)), open, origin); len(problems) > 0 {
			t.Errorf("%s: %s", text, sentences(problems))
		}
	}
}

// TestCheckLarge refuses what no API server keeps.
func TestCheckLarge(t *testing.T) {
	config := func(data string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}, data: {a: %s}}", data)
	}
	if problems := Check(object(t, []byte(config(strings.Repeat("a", 1_000_000)))), rules, origin); len(problems) > 0 {
		t.Error(sentences(problems))
	}
	for name, data := range map[string]string{
		"1.4 MB": strings.Repeat("a", 1_400_000),
		"deep":   strings.Repeat("[", 500) + strings.Repeat("]", 500),
	} {
		problems := Check(object(t, []byte(config(data))), rules, origin)
		if len(problems) != 1 || problems[0].Reason != ReasonTooLarge {
			t.Errorf("%s: got %q", name, sentences(problems))
		}
	}
}
