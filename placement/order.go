package placement

import (
	"fmt"
	"time"
)

// Act is what a step wants done in one cluster.
type Act string

// The acts.
const (
	ActApply  Act = "Apply"  // the object is to be there, with Replicas
	ActRemove Act = "Remove" // the object is to be deleted there
	ActNone   Act = "None"   // nothing: it is not meant to be there, or the cluster is out of reach
)

// NotReplicas in Order.Replicas leaves spec.replicas to whoever owns it there.
const NotReplicas = -1

// Order is what one cluster is to do now, where it is heading, and why.
type Order struct {
	Cluster  string
	Act      Act
	Replicas int64    // now, or NotReplicas
	Goal     int64    // when the moves are done; of a silent cluster: what is counted as running there
	Overflow int64    // as in Part
	Reasons  []string // never empty; the same words while nothing changes
}

// Step is what is to be done next for one workload.
type Step struct {
	Orders   []Order   // sorted by cluster; those where it neither is nor may be are left out
	Unplaced int64     // replicas that no cluster can take
	Again    time.Time // when to look again though nothing changed; zero: never
}

// step writes down what the stage has come to.
func (s *stage) step() Step {
	step := Step{Unplaced: s.unplaced}
	othersReady := s.othersReady()
	duplicate := s.spread.Mode == ModeDuplicate
	for _, p := range s.posts {
		if t := p.again(s.grace, s.now); !t.IsZero() {
			step.Again = firstAfter(s.now, step.Again, t)
		}
		o := Order{Cluster: p.Choice.Cluster, Act: ActApply, Replicas: p.to, Goal: p.goal}
		if p.part != nil {
			o.Overflow = p.part.Overflow
		}
		whole := duplicate || p.Scaled || p.to < 0 // moves as a whole
		switch {
		case p.silent():
			o.Act, o.Replicas = ActNone, NotReplicas
			if p.have == 0 && !p.open() {
				continue
			}
		case p.leaves() && !p.Present && p.have == 0:
			if !p.known || p.Stand == StandOutside {
				continue
			}
			o.Act, o.Replicas = ActNone, NotReplicas
		case p.leaves() && (whole && othersReady && s.relieved(p) || !whole && p.have == 0 && p.Desired == 0 && p.Ready == 0):
			o.Act, o.Replicas = ActRemove, 0
		case p.Stand == StandClosed && !p.Present && p.have == 0, !whole && p.open() && !p.Present && p.to == 0:
			o.Act, o.Replicas = ActNone, NotReplicas
		case p.Scaled:
			o.Replicas = NotReplicas
		}
		if o.Act != ActNone {
			p.Ordered = o.Replicas
			if whole {
				p.Ordered = p.Desired
			}
		}
		o.Reasons = s.reasons(p, o)
		step.Orders = append(step.Orders, o)
	}
	return step
}

// reasons says why, in words that stay while nothing changes.
func (s *stage) reasons(p *post, o Order) []string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if p.Why != "" {
		say("%s", p.Why)
	}
	switch since := p.Recollection.Silent.UTC().Format(time.RFC3339); {
	case p.silent() && p.Replaced:
		say("silent since %s: its %d are placed elsewhere", since, p.have)
	case p.silent() && p.missing > 0:
		say("silent since %s, as %d of %d clusters are or just were, which looks like a fault of our own network: its %d are waited for until most answer, or it is drained", since, p.missing, p.asked, p.have)
	case p.silent():
		say("silent since %s: its %d are waited for until %s", since, p.have, p.Recollection.Silent.Add(s.grace).UTC().Format(time.RFC3339))
	case !p.believed:
		say("answers again since %s and is not built upon yet", p.Back.UTC().Format(time.RFC3339))
	}
	if p.part != nil {
		why = append(why, p.part.Reasons()...)
	}
	if l := p.Lesson; l != nil && l.capacity(s.now) >= 0 && p.part != nil {
		say("pods found no node: more than %d are tried again from %s", l.Capacity, l.Until.UTC().Format(time.RFC3339))
	}
	switch {
	case o.Act == ActRemove:
		say("nothing is left to wait for there")
	case o.Act == ActApply && p.Scaled && !p.leaves():
		say("an autoscaler there owns the replicas")
	case o.Act == ActApply && p.leaves() && p.goal > 0:
		say("%d stay until there is room elsewhere", p.goal)
	case o.Act == ActApply && p.leaves() && p.owes(s.now, s.grace) && !s.relieved(p):
		say("waits until %d are ready elsewhere, or until %s", p.Owed, p.Leaves.Add(s.grace).UTC().Format(time.RFC3339))
	case o.Act == ActApply && p.leaves():
		say("waits until the others are ready")
	case o.Act == ActApply && p.to > p.goal:
		say("%d more wait until others are ready", p.to-p.goal)
	case o.Act == ActApply && p.to < p.goal:
		say("%d more to come, as the budget of %d allows", p.goal-p.to, s.budget)
	}
	if len(why) == 0 {
		say("as many as everywhere")
	}
	return why
}
