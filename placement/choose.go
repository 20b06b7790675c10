package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meridian-lb/meridian/fleet"
)

// Stand is how a workload may stand on a cluster.
type Stand string

// The stands.
const (
	StandOpen    Stand = "Open"    // it may get replicas
	StandClosed  Stand = "Closed"  // it keeps what it has and gets nothing new
	StandLeaving Stand = "Leaving" // what is there moves away, then the object goes
	StandOutside Stand = "Outside" // not meant, or not any longer: as Leaving
)

// Choice says how a workload may stand on one cluster, and why.
type Choice struct {
	Cluster string
	Stand   Stand
	Why     string // empty for an open cluster
}

// Choose says of every cluster whether a workload may stand there, sorted by
// name. Whether it does stand there is not asked: a cluster that left the
// workload's where is outside like one that never was in it. A where or a spread
// that names what does not exist is a problem, and the rest of it holds.
func Choose(t Template, clusters []Cluster) ([]Choice, []fleet.Problem) {
	choices := make([]Choice, 0, len(clusters))
	var meant bool
	for _, c := range clusters {
		choice := Choice{Cluster: c.Name, Stand: StandOpen}
		switch missed := t.Where.misses(c); {
		case missed != "":
			choice.Stand, choice.Why = StandOutside, missed
		case c.Effect == EffectNoExecute:
			choice.Stand, choice.Why = StandLeaving, c.because("it must be left")
		case c.Effect == EffectNoSchedule:
			choice.Stand, choice.Why = StandClosed, c.because("it takes nothing new")
		}
		meant = meant || choice.Stand != StandOutside
		choices = append(choices, choice)
	}
	slices.SortFunc(choices, func(a, b Choice) int { return cmp.Compare(a.Cluster, b.Cluster) })
	problems := t.strangers(clusters)
	if !meant {
		problems = append(problems, fleet.Problem{About: t.Origin, Reason: "NoCluster",
			Message: "where matches no cluster, so the workload gets no new place; widen it, or label a cluster so that it matches"})
	}
	slices.SortFunc(problems, fleet.Problem.Compare)
	return choices, problems
}

// misses says which part of a where a cluster does not meet; empty: it meets all.
func (w Where) misses(c Cluster) string {
	switch {
	case len(w.Clusters) > 0 && !slices.Contains(w.Clusters, c.Name):
		return "where does not name it"
	case len(w.Regions) > 0 && !slices.Contains(w.Regions, c.Region):
		return fmt.Sprintf("its region %q is none of where's", c.Region)
	case w.Labels != nil && !w.Labels.Matches(c.Labels):
		return fmt.Sprintf("its labels do not match %q", w.Labels)
	}
	return ""
}

// Matches says whether a where means a cluster, whatever its taints.
func (w Where) Matches(c Cluster) bool { return w.misses(c) == "" }

func (c Cluster) because(effect string) string {
	if c.Why == "" {
		return effect
	}
	return effect + ": " + c.Why
}

// strangers reports names that no cluster has.
func (t Template) strangers(clusters []Cluster) []fleet.Problem {
	names, regions := map[string]bool{Everywhere: true}, map[fleet.Region]bool{}
	for _, c := range clusters {
		names[c.Name], regions[c.Region] = true, true
	}
	var problems []fleet.Problem
	report := func(reason, what, where string, unknown, known []string) {
		if len(unknown) == 0 {
			return
		}
		slices.Sort(unknown)
		slices.Sort(known)
		problems = append(problems, fleet.Problem{About: t.Origin, Reason: reason,
			Message: fmt.Sprintf("%s names %s that no cluster has: %s; mend the name, or wait until it joins (known: %s)", where, what, some(unknown), some(known))})
	}
	var clusterNames, regionNames []string
	for _, c := range clusters {
		clusterNames = append(clusterNames, c.Name)
		if c.Region != "" && !slices.Contains(regionNames, string(c.Region)) {
			regionNames = append(regionNames, string(c.Region))
		}
	}
	report("NoSuchCluster", "a name", "where", missing(t.Where.Clusters, names), clusterNames)
	report("NoSuchRegion", "a region", "where", missing(t.Where.Regions, regions), regionNames)
	var limited []string
	for name := range t.Spread.Limits {
		limited = append(limited, name)
	}
	report("NoSuchCluster", "a name", "spread", missing(limited, names), clusterNames)
	return problems
}

func missing[T ~string](wanted []T, known map[T]bool) []string {
	var gone []string
	for _, w := range wanted {
		if !known[w] {
			gone = append(gone, string(w))
		}
	}
	return gone
}

// some quotes a few of many names: a message is read by people.
func some(names []string) string {
	const few = 8
	var quoted []string
	for _, n := range names[:min(len(names), few)] {
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > few:
		return fmt.Sprintf("%s and %d more", strings.Join(quoted, ", "), len(names)-few)
	}
	return strings.Join(quoted, ", ")
}

// LimitOf is a cluster's part of a division. Where nobody said anything, all
// clusters weigh the same.
func (s Spread) LimitOf(cluster string) Limit {
	if l, ok := s.Limits[cluster]; ok {
		return l
	}
	if l, ok := s.Limits[Everywhere]; ok {
		return l
	}
	if len(s.Limits) == 0 {
		return Limit{Weight: 1, Max: -1}
	}
	return Limit{}
}
