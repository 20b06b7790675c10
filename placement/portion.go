package placement

import (
	"cmp"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// Known is what is known of a workload that has been placed. The zero Known: it has
// not been.
type Known struct {
	Running map[string]int64 // by cluster that has it: the replicas that it was told to run; 0 of what has none
	Record
}

// Portion is what one cluster gets of a workload, and why.
type Portion struct {
	Choice
	Gets     bool // the object is to be there
	Given    Given
	Replicas int64    // there; of an autoscaler the most that it may want; NotReplicas: none that could be counted
	Reasons  []string // never empty
}

// Placed is what the clusters get of a workload as it is placed now, sorted by
// name. Why is for the caller to add.
func Placed(t Template, clusters []Cluster, known Known, now time.Time) []Portion {
	kind, shape := kindOf(t.Object), ShapeOf(t.Object, known.Scale)
	divided := t.Spread.Mode != ModeDuplicate
	if divided && shape.Scales { // its bounds are written down nowhere
		portions, _, _ := Foresee(t, clusters, known, now)
		return slices.DeleteFunc(portions, func(p Portion) bool { return !p.Gets })
	}
	portions := make([]Portion, 0, len(known.Running))
	for _, name := range sortedKeys(known.Running) {
		p := Portion{Choice: Choice{Cluster: name}, Gets: true, Replicas: copiesOf(t, known.Scale)}
		p.Given.Scale = known.Scale
		if divided && shape.Replicas != nil {
			p.give(known.Running[name])
		}
		if kind == kindJob {
			if p.Given = (Given{}); divided {
				p.part(JobOf(t.Object), known.Job[name])
			}
		}
		portions = append(portions, p)
	}
	if divided && kind == kindStatefulSet {
		ordinals(portions, known)
	}
	return portions
}

// Foresee says of every cluster what it would get of a workload once all moves are
// done, if it answers as it does now: what Next is heading for, without asking any
// cluster. How much room there is, and where an autoscaler owns the replicas, is
// seen by nobody but a daemon. The portions are sorted by cluster; unplaced are the
// replicas that no cluster can take.
func Foresee(t Template, clusters []Cluster, known Known, now time.Time) (portions []Portion, unplaced int64, problems []fleet.Problem) {
	choices, problems := Choose(t, clusters)
	f := foresight{t: t, choices: choices, known: known, now: now, grace: cmp.Or(max(t.Spread.Grace, 0), DefaultGrace)}
	shape := ShapeOf(t.Object, known.Scale)
	switch divided := t.Spread.Mode != ModeDuplicate; {
	case IsJob(t.Object):
		var more []fleet.Problem
		portions, unplaced, more = f.job()
		problems = append(problems, more...)
	case divided && shape.Scales:
		portions, unplaced = f.scale()
	case divided && shape.Replicas != nil:
		portions, unplaced = f.replicas()
	default:
		portions = f.whole()
	}
	for i := range portions {
		portions[i].Given.Scale = known.Scale
	}
	slices.SortFunc(portions, func(a, b Portion) int { return cmp.Compare(a.Cluster, b.Cluster) })
	slices.SortFunc(problems, fleet.Problem.Compare)
	return portions, unplaced, problems
}

// foresight is what Foresee looks at.
type foresight struct {
	t       Template
	choices []Choice
	known   Known
	now     time.Time
	grace   time.Duration
}

// copiesOf are the replicas of an object that is the same in every cluster.
func copiesOf(t Template, scale Scale) int64 {
	if c, counts := CountOf(t.Object, scale); counts && !ShapeOf(t.Object, scale).PerNode {
		return c.Desired
	}
	return NotReplicas
}

func (p *Portion) give(replicas int64) {
	p.Replicas, p.Given.Replicas = replicas, &replicas
}

// replicas divides them as a step does, all clusters being calm.
func (f foresight) replicas() ([]Portion, int64) {
	var sights []Sight
	for _, c := range f.choices {
		n, present := f.known.Running[c.Cluster]
		sights = append(sights, Sight{Cluster: c.Cluster, Silent: f.known.Memory.Clusters[c.Cluster].Silent, Present: present, Desired: n, Ready: n, Free: -1})
	}
	s := &stage{posts: posts(f.choices, sights, f.known.Memory, f.grace, f.now), spread: f.t.Spread, object: nameOf(f.t), most: mostOf(f.t), now: f.now, grace: f.grace}
	s.place(max(0, copiesOf(f.t, f.known.Scale)))
	var portions []Portion
	for _, p := range s.posts {
		p.to = p.goal
		portion := Portion{Choice: p.Choice, Gets: p.goal > 0 || p.Present && !p.leaves()}
		act := ActNone
		if portion.Gets {
			act = ActApply
			portion.give(p.goal)
		}
		portion.Reasons = s.reasons(p, Order{Act: act})
		portions = append(portions, portion)
	}
	if kindOf(f.t.Object) == kindStatefulSet {
		ordinals(portions, f.known)
	}
	return portions, s.unplaced
}

// ordinals gives each cluster of a divided StatefulSet its block.
func ordinals(portions []Portion, known Known) {
	var parts []Part
	for _, p := range portions {
		if p.Gets {
			parts = append(parts, Part{Seat: Seat{Cluster: p.Cluster}, Replicas: p.Replicas})
		}
	}
	given, _ := Ordinals(parts, known.Ordinals)
	for _, g := range given {
		p := &portions[slices.IndexFunc(portions, func(p Portion) bool { return p.Cluster == g.Cluster })]
		p.give(g.Replicas)
		p.Given.Ordinal = &g.Start
	}
}

// seats are the places at which a Job or an autoscaler is divided, and the portions
// of the clusters that have none.
func (f foresight) seats() (seats []Seat, none []Portion) {
	for _, c := range f.choices {
		n, present := f.known.Running[c.Cluster]
		seat := Seat{Cluster: c.Cluster, Limit: f.t.Spread.LimitOf(c.Cluster), Capacity: -1, Running: n}
		switch {
		case c.Stand == StandOpen:
		case present:
			seat.Max = n
		default:
			none = append(none, Portion{Choice: c, Reasons: []string{c.Why}})
			continue
		}
		seats = append(seats, seat)
	}
	return seats, none
}

func (f foresight) choice(cluster string) Choice {
	i := slices.IndexFunc(f.choices, func(c Choice) bool { return c.Cluster == cluster })
	if i < 0 {
		return Choice{Cluster: cluster, Stand: StandOutside, Why: "it is no cluster of the fleet any more"}
	}
	return f.choices[i]
}

// subject is the name by which the ties of Jobs and autoscalers are broken.
func (f foresight) subject() string { return f.t.Origin.Namespace + "/" + f.t.Origin.Name }

// job is what the next step gives out, if what has begun goes on as it does.
func (f foresight) job() ([]Portion, int64, []fleet.Problem) {
	var sights []JobSight
	for _, c := range f.choices {
		m, met := f.known.Job[c.Cluster]
		pods, runs := f.known.Running[c.Cluster]
		s := JobSight{Cluster: c.Cluster, Silent: m.Silent, UID: m.UID, Parallelism: pods, Completions: m.Given, Succeeded: m.Done, Over: m.Over, Broken: m.Broken}
		if runs && !met {
			s.UID, s.Completions = "it", -1
		}
		sights = append(sights, s)
	}
	step, after := NextJob(f.t, f.choices, sights, f.known.Job, f.now)
	if step.Problem != "" {
		return nil, 0, []fleet.Problem{{About: f.t.Origin, Reason: "IndexedJob", Message: step.Problem}}
	}
	var portions []Portion
	for _, o := range step.Orders {
		p := Portion{Choice: f.choice(o.Cluster), Gets: o.Act == ActApply || o.Held, Reasons: o.Reasons}
		switch {
		case p.Gets && o.Whole:
			p.Replicas = copiesOf(f.t, f.known.Scale)
		case p.Gets:
			p.part(JobOf(f.t.Object), after[o.Cluster])
		}
		portions = append(portions, p)
	}
	return portions, step.Unplaced, nil
}

// part is a cluster's part of a divided Job.
func (p *Portion) part(j Job, m Stint) {
	p.give(m.Pods)
	if j.Completions >= 0 && !j.Indexed && m.Given > 0 {
		p.Given.Completions = &m.Given
	}
}

func (f foresight) scale() ([]Portion, int64) {
	spec := mapAt(f.t.Object.Object, "spec")
	least, most := int64(1), int64(1)
	if n, said := countAt(spec, "minReplicas"); said {
		least = n
	}
	if n, said := countAt(spec, "maxReplicas"); said {
		most = n
	}
	seats, portions := f.seats()
	open := slices.DeleteFunc(slices.Clone(seats), func(s Seat) bool { return f.choice(s.Cluster).Stand != StandOpen })
	for _, s := range seats {
		if c := f.choice(s.Cluster); c.Stand != StandOpen {
			portions = append(portions, Portion{Choice: c, Reasons: []string{c.Why}})
		}
	}
	for i := range open {
		open[i].Running = 0 // bounds do not run
	}
	parts, unplaced := DivideScale(f.subject(), least, most, true, open)
	for _, p := range parts {
		portion := Portion{Choice: f.choice(p.Cluster), Gets: p.Max > 0, Replicas: p.Max, Reasons: []string{"none of the bounds falls to it"}}
		if portion.Gets {
			portion.Given.Min, portion.Given.Max = &p.Min, &p.Max
			portion.Reasons = []string{"its part of the bounds"}
		}
		portions = append(portions, portion)
	}
	return portions, unplaced
}

// whole gives it to every cluster as it is. What must be left is left once it is
// elsewhere.
func (f foresight) whole() []Portion {
	stays := func(c Choice) bool {
		_, present := f.known.Running[c.Cluster]
		return c.Stand == StandOpen || c.Stand == StandClosed && present
	}
	elsewhere := slices.ContainsFunc(f.choices, stays)
	var portions []Portion
	for _, c := range f.choices {
		_, present := f.known.Running[c.Cluster]
		p := Portion{Choice: c, Gets: stays(c) || present && !elsewhere}
		if p.Gets {
			p.Replicas = copiesOf(f.t, f.known.Scale)
		}
		switch {
		case c.Why == "":
			p.Reasons = []string{"as many as everywhere"}
		case p.Gets && c.Stand != StandClosed:
			p.Reasons = []string{c.Why, "it stays until it is somewhere else"}
		default:
			p.Reasons = []string{c.Why}
		}
		portions = append(portions, p)
	}
	return portions
}
