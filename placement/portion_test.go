package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/meridian-lb/meridian/fleet"
)

// asking is what a story about portions says beside the template.
type asking struct {
	Mode              Mode
	Where             []string
	Limits            map[string]Limit
	Clusters          []Cluster
	Running, Ordinals map[string]int64
	Job               map[string]Stint
}

func TestPortions(t *testing.T) {
	stories(t, "portion", func(t *testing.T, files map[string][]byte) string {
		var a asking
		if err := yaml.UnmarshalStrict(files["for.yaml"], &a); err != nil {
			t.Fatal(err)
		}
		tmpl := Template{Object: object(t, files["template.yaml"]), Where: Where{Clusters: a.Where}, Spread: Spread{Mode: a.Mode, Limits: a.Limits},
			Origin: fleet.Origin{Namespace: "shop", Name: "it"}}
		known := Known{Running: a.Running, Record: Record{Ordinals: a.Ordinals, Job: a.Job}}
		portions, unplaced, problems := Foresee(tmpl, a.Clusters, known, epoch)
		var b strings.Builder
		b.WriteString("to be:\n")
		for _, p := range portions {
			fmt.Fprintf(&b, "  %s: %s\n", p, strings.Join(p.Reasons, "; "))
			if len(p.Reasons) == 0 || p.Reasons[0] == "" {
				t.Errorf("%s has no reason", p.Cluster)
			}
			for _, c := range a.Clusters {
				if c.Name != p.Cluster || !p.Gets {
					continue
				}
				if _, problems := Render(tmpl, c, p.Given, anOwner); problems != nil {
					t.Errorf("%s cannot be given it: %s", c.Name, sentences(problems))
				}
			}
		}
		fmt.Fprintf(&b, "  without a place: %d\n%s", unplaced, sentences(problems))
		b.WriteString("as it is:\n")
		for _, p := range Placed(tmpl, a.Clusters, known, epoch) {
			fmt.Fprintf(&b, "  %s\n", p)
		}
		return b.String()
	})
}

// String is a portion in a story.
func (p Portion) String() string {
	if !p.Gets {
		return p.Cluster + " nothing"
	}
	text := p.Cluster + " the object"
	if n := p.Given.Replicas; n != nil {
		text = fmt.Sprintf("%s %d replicas", p.Cluster, *n)
	}
	if p.Given.Completions != nil {
		text += fmt.Sprintf(", %d completions", *p.Given.Completions)
	}
	if p.Given.Ordinal != nil {
		text += fmt.Sprintf(" from %d", *p.Given.Ordinal)
	}
	if p.Given.Min != nil {
		text += fmt.Sprintf(" from %d to %d", *p.Given.Min, *p.Given.Max)
	}
	if p.Given.Replicas == nil && p.Given.Min == nil && p.Replicas != NotReplicas {
		text += fmt.Sprintf(" with its own %d replicas", p.Replicas)
	}
	return text
}

// TestForeseenIsWhatComes: where clusters obey at once, the steps of Next lead to just
// what was foreseen.
func TestForeseenIsWhatComes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.SampledFrom([]int64{4, 30, 500}).Draw(t, "scale")
		tmpl := Template{Object: object(unfailing{}, []byte(fmt.Sprintf("{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {replicas: %d}}",
			rapid.Int64Range(0, most).Draw(t, "replicas")))),
			Spread: Spread{Mode: ModeDivide, Rebalance: rapid.Bool().Draw(t, "rebalance"), Budget: maxReplicas, Limits: map[string]Limit{Everywhere: {Weight: 1, Max: -1}}}}
		var clusters []Cluster
		running := map[string]int64{}
		for i := range rapid.IntRange(1, 6).Draw(t, "clusters") {
			c := Cluster{Name: fmt.Sprintf("c%d", i), Effect: rapid.SampledFrom([]Effect{"", "", EffectNoSchedule, EffectNoExecute}).Draw(t, "effect")}
			clusters = append(clusters, c)
			if rapid.Bool().Draw(t, "has it") {
				running[c.Name] = rapid.Int64Range(0, most).Draw(t, "running")
			}
			if rapid.Bool().Draw(t, "limit") {
				tmpl.Spread.Limits[c.Name] = Limit{Weight: rapid.Int64Range(0, 5).Draw(t, "weight"), Min: rapid.Int64Range(0, most).Draw(t, "min"), Max: rapid.SampledFrom([]int64{-1, 2, most}).Draw(t, "max")}
			}
		}
		foreseen, unplaced, _ := Foresee(tmpl, clusters, Known{Running: running}, epoch)

		choices, _ := Choose(tmpl, clusters)
		replicas := copiesOf(tmpl, Scale{})
		var m Memory
		for range 10 {
			var sights []Sight
			for _, c := range clusters {
				n, present := running[c.Name]
				sights = append(sights, Sight{Cluster: c.Name, Present: present, Desired: n, Ready: n, Free: -1})
			}
			var step Step
			step, m = Next(tmpl, replicas, choices, sights, m, epoch.Add(time.Hour))
			for _, o := range step.Orders {
				switch o.Act {
				case ActApply:
					running[o.Cluster] = o.Replicas
				case ActRemove:
					delete(running, o.Cluster)
				}
			}
		}
		var sum int64
		for _, p := range foreseen {
			n, has := running[p.Cluster]
			if has != p.Gets || n != p.Replicas*asInt(p.Gets) {
				t.Errorf("%s has %v %d, and %v %d was foreseen", p.Cluster, has, n, p.Gets, p.Replicas)
			}
			sum += n
		}
		if sum+min(unplaced, replicas) < replicas {
			t.Errorf("%d run and %d are said to have no place, of %d", sum, unplaced, replicas)
		}
	})
}

func asInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
