package placement

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/fleet"
)

// ClusterOf makes a member as placement sees it. drain says why nothing new is to be
// sent there, by order of an operator, or why it leaves; empty: neither.
func ClusterOf(c *fleet.Cluster, drain string) Cluster {
	out := Cluster{Name: c.Name, Region: c.At.Region, Labels: make(labels.Set, len(c.Labels))}
	for _, l := range c.Labels {
		out.Labels[l.Key] = l.Value
	}
	switch {
	case drain != "":
		out.Effect, out.Why = EffectNoExecute, "draining "+drain
	case c.Draining:
		out.Effect, out.Why = EffectNoExecute, "draining by its own object"
	default:
		out.Effect, out.Why = hardest(c.Taints)
	}
	return out
}

// hardest is the first of the hardest taints.
func hardest(taints []fleet.Taint) (effect Effect, why string) {
	for _, t := range taints {
		switch {
		case t.Effect == fleet.NoExecute:
			return EffectNoExecute, "taint " + t.String()
		case effect == "":
			effect, why = EffectNoSchedule, "taint "+t.String()
		}
	}
	return effect, why
}
