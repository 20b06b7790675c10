package hub

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

// What only workloads ask for makes a new world and leaves every service as it is.
func TestALabelTouchesNoService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var plans []*steer.Plan
		h := open(t, config("", func(p *steer.Plan) { plans = append(plans, p) }))
		run(t, h, func(ctx context.Context) {
			h.Tell(ctx, fleet.Update{Source: "i/file/a", Whole: true, Put: []fleet.Fact{clusterFact(cluster("a", "eu")), backendFact(backend("a", "shop", 2))}})
			synctest.Wait()
			before := plans[len(plans)-1]
			c := cluster("a", "eu")
			c.Labels, c.Taints = []fleet.Label{{Key: "tier", Value: "gold"}}, []fleet.Taint{{Key: "kernel", Effect: fleet.NoExecute}}
			h.Tell(ctx, fleet.Update{Source: "i/file/a", Put: []fleet.Fact{clusterFact(c)}})
			synctest.Wait()
			after := plans[len(plans)-1]
			if known, ok := after.World.Cluster("a"); !ok || len(known.Labels) != 1 || len(known.Taints) != 1 {
				t.Errorf("the label and taint are not known: %+v", known)
			}
			if before.Services[shop] == nil || before.Services[shop] != after.Services[shop] {
				t.Error("the service was made anew")
			}
			told := len(plans)
			same := *c
			h.Tell(ctx, fleet.Update{Source: "i/file/a", Put: []fleet.Fact{clusterFact(&same)}})
			synctest.Wait()
			if len(plans) != told {
				t.Error("the same label once more made a new plan")
			}
		})
	})
}
