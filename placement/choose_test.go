package placement

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meridian-lb/meridian/fleet"
)

func TestChoose(t *testing.T) {
	clusters := []Cluster{
		{Name: "paris", Region: "eu", Labels: labels.Set{"gpu": "yes"}},
		{Name: "berlin", Region: "eu", Effect: EffectNoExecute, Why: "drained by ops"},
		{Name: "oslo", Region: "eu", Labels: labels.Set{"gpu": "yes"}, Effect: EffectNoSchedule},
		{Name: "tokyo", Region: "asia", Labels: labels.Set{"gpu": "no"}},
	}
	gpu, err := labels.Parse("gpu=yes")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		where Where
		limit map[string]Limit
		want  []string
	}{
		{"everywhere", Where{}, nil, []string{
			"berlin Leaving it must be left: drained by ops",
			"oslo Closed it takes nothing new",
			"paris Open",
			"tokyo Open",
		}},
		{"all that is named must hold", Where{Clusters: []string{"oslo", "paris", "tokyo"}, Regions: []fleet.Region{"eu"}, Labels: gpu}, nil, []string{
			"berlin Outside where does not name it",
			"oslo Closed it takes nothing new",
			"paris Open",
			`tokyo Outside its region "asia" is none of where's`,
		}},
		{"labels", Where{Labels: gpu}, nil, []string{
			`berlin Outside its labels do not match "gpu=yes"`,
			"oslo Closed it takes nothing new",
			"paris Open",
			`tokyo Outside its labels do not match "gpu=yes"`,
		}},
		{"names that nobody has", Where{Clusters: []string{"lyon", "paris"}, Regions: []fleet.Region{"eu", "mars"}},
			map[string]Limit{"*": {Weight: 1}, "rome": {Weight: 2}}, []string{
				"berlin Outside where does not name it",
				"oslo Outside where does not name it",
				"paris Open",
				"tokyo Outside where does not name it",
				`NoSuchCluster: spread names a name that no cluster has: "rome"; mend the name, or wait until it joins (known: "berlin", "oslo", "paris", "tokyo")`,
				`NoSuchCluster: where names a name that no cluster has: "lyon"; mend the name, or wait until it joins (known: "berlin", "oslo", "paris", "tokyo")`,
				`NoSuchRegion: where names a region that no cluster has: "mars"; mend the name, or wait until it joins (known: "asia", "eu")`,
			}},
		{"nothing matches", Where{Clusters: []string{"paris"}, Regions: []fleet.Region{"asia"}}, nil, []string{
			"berlin Outside where does not name it",
			"oslo Outside where does not name it",
			`paris Outside its region "eu" is none of where's`,
			"tokyo Outside where does not name it",
			"NoCluster: where matches no cluster, so the workload gets no new place; widen it, or label a cluster so that it matches",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			choices, problems := Choose(Template{Where: test.where, Spread: Spread{Limits: test.limit}}, clusters)
			var got []string
			for _, c := range choices {
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Cluster, c.Stand, c.Why)))
			}
			for _, p := range problems {
				got = append(got, p.Reason+": "+p.Message)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimitOf(t *testing.T) {
	star := Spread{Limits: map[string]Limit{"a": {Weight: 3}, Everywhere: {Weight: 1, Max: 7}}}
	for _, test := range []struct {
		spread  Spread
		cluster string
		want    Limit
	}{
		{Spread{}, "a", Limit{Weight: 1, Max: -1}},
		{star, "a", Limit{Weight: 3}},
		{star, "b", Limit{Weight: 1, Max: 7}},
		{Spread{Limits: map[string]Limit{"a": {Weight: 3, Max: -1}}}, "b", Limit{}},
	} {
		if got := test.spread.LimitOf(test.cluster); got != test.want {
			t.Errorf("%s gets %+v, want %+v", test.cluster, got, test.want)
		}
	}
}
