package placement

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/fleet"
)

func TestClusterOf(t *testing.T) {
	mild := fleet.Taint{Key: "a", Effect: fleet.NoSchedule}
	hard := fleet.Taint{Key: "b", Value: "kernel", Effect: fleet.NoExecute}
	for name, c := range map[string]struct {
		taints   []fleet.Taint
		draining bool
		drain    string
		effect   Effect
		why      string
	}{
		"nothing":               {},
		"a taint":               {taints: []fleet.Taint{mild}, effect: EffectNoSchedule, why: "taint a:NoSchedule"},
		"the harder one counts": {taints: []fleet.Taint{mild, hard}, effect: EffectNoExecute, why: "taint b=kernel:NoExecute"},
		"its own object":        {draining: true, effect: EffectNoExecute, why: "draining by its own object"},
		"an operator's words come first": {taints: []fleet.Taint{hard}, draining: true, drain: "by order of kim: upgrade",
			effect: EffectNoExecute, why: "draining by order of kim: upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ClusterOf(&fleet.Cluster{Name: "eu-1", At: fleet.Vantage{Region: "eu"}, Draining: c.draining, Taints: c.taints,
				Labels: []fleet.Label{{Key: "tier", Value: "gold"}}}, c.drain)
			if got.Name != "eu-1" || got.Region != "eu" || got.Effect != c.effect || got.Why != c.why {
				t.Errorf("got %+v", got)
			}
			if !labels.SelectorFromSet(labels.Set{"tier": "gold"}).Matches(got.Labels) {
				t.Errorf("labels %v", got.Labels)
			}
		})
	}
}
