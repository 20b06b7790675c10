package placement

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// NextJob decides the next step of a Job over many clusters. Jobs do not go through
// Next: their pods end, so that one which is missing is mostly one that is done, and
// what is done is not to be done again.
//
//   - A cluster's completions cannot be changed once it has its Job. It keeps them until
//     that is over; what nobody has yet is given to clusters without a Job, or whose Job
//     is over, which then goes to make room for another one of the same name.
//   - What was seen to be done stays done, though its Job is gone, whoever deleted it.
//     Only the rest is given again.
//   - A silent cluster keeps its rest in the count until its grace is over, and then until
//     another one can take it. If it comes back after that, its Job goes.
//   - What has begun in a cluster that is to be left ends there, and the Job goes then.
//   - A Job that has ended is left alone, and one that failed somewhere has failed.
//
// So no completion is given twice, and none is done twice but those that a cluster did
// unseen: while it was silent, or in the moment before its Job was deleted.
//
// An Indexed Job cannot be divided, for every cluster would count its indexes from 0: it
// is given whole to the one cluster that there is for it. In mode duplicate every
// cluster does all of it, once.
//
// Nothing that was handed in is changed.
func NextJob(t Template, choices []Choice, sights []JobSight, before map[string]Stint, now time.Time) (JobStep, map[string]Stint) {
	d := &day{job: JobOf(t.Object), object: nameOf(t), spread: t.Spread, now: now, grace: t.Spread.Grace}
	if d.grace <= 0 {
		d.grace = DefaultGrace
	}
	d.gather(choices, sights, before)
	switch {
	case t.Spread.Mode == ModeDuplicate:
		d.each(func(*shift) bool { return true })
	case d.job.Indexed:
		one, problem := d.single()
		if problem != "" {
			return JobStep{Problem: problem}, before
		}
		d.each(func(s *shift) bool { return s == one })
	default:
		d.divide()
	}
	return d.step()
}

// day is a step of a Job while it is made.
type day struct {
	job    Job
	object string
	spread Spread
	now    time.Time
	grace  time.Duration

	shifts   []*shift
	unplaced int64
	waiting  int64 // completions that are given to somebody once he is through with his own
}

// shift is one cluster during a step.
type shift struct {
	Choice
	sight JobSight
	Stint
	mourned bool // silent for longer than the grace
	begins  bool // it is given its Job by this step
	clears  bool // its Job, which is over, goes to make room for more
	share   int64
}

func (s *shift) silent() bool { return !s.Stint.Silent.IsZero() }
func (s *shift) leaves() bool { return s.Stand == StandLeaving || s.Stand == StandOutside }

// gather brings together what is known of each cluster, sorted by name. A cluster that
// nobody speaks of is silent.
func (d *day) gather(choices []Choice, sights []JobSight, before map[string]Stint) {
	byName := map[string]*shift{}
	at := func(name string) *shift {
		s, ok := byName[name]
		if !ok {
			s = &shift{Choice: Choice{Cluster: name, Stand: StandOutside, Why: "it is no cluster of the fleet any more"},
				sight: JobSight{Cluster: name, Silent: d.now}, Stint: before[name].checked()}
			byName[name] = s
		}
		return s
	}
	for name := range before {
		at(name)
	}
	for _, c := range choices {
		at(c.Cluster).Choice = c
	}
	for _, s := range sights {
		at(s.Cluster).sight = s
	}
	for _, s := range byName {
		s.settle(d.job.Completions < 0)
		s.mourned = s.silent() && d.now.Sub(s.Stint.Silent) >= d.grace
		d.shifts = append(d.shifts, s)
	}
	slices.SortFunc(d.shifts, func(a, b *shift) int { return cmp.Compare(a.Cluster, b.Cluster) })
}

// settle brings the memory of a cluster up to date with what is seen of it.
func (s *shift) settle(queue bool) {
	m, seen := &s.Stint, s.sight
	if since := seen.Silent; !since.IsZero() {
		if m.Silent.IsZero() || since.Before(m.Silent) {
			m.Silent = since
		}
		return
	}
	m.Silent = time.Time{}
	if m.UID != "" && seen.UID != m.UID || m.Void && seen.UID == "" { // that Job is gone
		m.Past = min(m.Past+m.Done, maxReplicas)
		m.UID, m.Given, m.Done, m.Void = "", 0, 0, false
	}
	if seen.UID == "" {
		return
	}
	if m.UID == "" && m.Given == 0 {
		m.Pods = clamp(seen.Parallelism, 0, maxReplicas) // it was there before it was remembered
	}
	m.UID, m.Given = seen.UID, clamp(seen.Completions, 0, maxReplicas)
	if queue || seen.Completions < 0 {
		m.Given = 1
	}
	m.Over, m.Broken = seen.Over, seen.Broken
	m.Void = m.Void && !m.Over // it has come to its end after all
	m.Done = max(m.Done, clamp(seen.Succeeded, 0, maxReplicas))
	if !queue {
		m.Done = min(m.Done, m.Given)
		if m.Over && !m.Broken {
			m.Done = m.Given
		}
	}
}

// single is the one cluster that does an Indexed Job.
func (d *day) single() (one *shift, problem string) {
	met, meant := 0, 0
	var has *shift
	for _, s := range d.shifts {
		if s.Stand != StandOutside {
			meant++
			one = s
		}
		if s.met() {
			met++
			has = s
		}
	}
	switch {
	case met == 1:
		return has, ""
	case met == 0 && meant <= 1:
		return one, ""
	}
	return nil, "an Indexed Job cannot be divided, since every cluster would work through the indexes from 0; let where name one cluster, or use completionMode NonIndexed, or the mode duplicate if each cluster is to do all of it"
}

// each gives all of it, once, to every cluster that may have it and for which may says so.
func (d *day) each(may func(*shift) bool) {
	for _, s := range d.shifts {
		if s.Given == 0 && !s.Over && s.Stand == StandOpen && !s.silent() && may(s) {
			s.Given, s.begins = max(1, d.job.Completions), true
		}
		if s.active() {
			s.Pods = d.job.Parallelism
		}
	}
}

// broken: it has failed somewhere.
func (d *day) broken() bool {
	return slices.ContainsFunc(d.shifts, func(s *shift) bool { return s.Broken })
}

// divide gives out pods and completions.
func (d *day) divide() {
	queue := d.job.Completions < 0
	rest, lost := d.rest()
	total := max(0, rest+lost)
	over := slices.ContainsFunc(d.shifts, func(s *shift) bool { return s.Over })
	if queue && !over {
		total = maxReplicas
	}
	if d.broken() {
		total = 0
	}
	d.seat(total)
	var takers []*shift
	var hands []hand
	for _, s := range d.shifts {
		if s.share > 0 && s.free() && total > 0 {
			takers = append(takers, s)
		}
	}
	slices.SortFunc(takers, func(a, b *shift) int { return byTie(d.object, a.Cluster, b.Cluster) })
	for _, s := range takers {
		hands = append(hands, hand{weight: s.share, high: maxReplicas})
	}
	if queue {
		for _, s := range takers {
			d.begin(s, 1, s.share)
		}
		elsewhere := slices.ContainsFunc(d.shifts, func(s *shift) bool { return s.active() && !s.silent() })
		for _, s := range d.shifts {
			s.Void = s.Void || elsewhere && s.mourned && s.active() // its pods run there
		}
		return
	}
	homeless := deal(total, hands)
	gave := int64(0)
	for i, s := range takers {
		switch n := hands[i].got; {
		case n == 0:
		case s.Given > 0: // its Job, which is over, has the name
			s.clears = true
			d.waiting += n
		default:
			gave += n
			d.begin(s, n, min(s.share, n))
		}
	}
	d.void(gave - rest)
	if busy := slices.ContainsFunc(d.shifts, func(s *shift) bool { return s.active() }); busy {
		d.waiting += homeless
	} else if !d.broken() {
		d.unplaced = min(homeless, max(0, rest))
	}
}

// free: it can be given a part, at once or after its Job, which is over, has gone.
func (s *shift) free() bool {
	return s.Stand == StandOpen && !s.silent() && !s.Void && (s.Given == 0 || s.Over)
}

func (d *day) begin(s *shift, completions, pods int64) {
	s.UID, s.Given, s.Done, s.Pods, s.Over, s.begins = "", completions, 0, pods, false, true
}

// rest are the completions that nobody has, and lost those of clusters that have been
// silent for too long: both can be given to somebody.
func (d *day) rest() (rest, lost int64) {
	rest = max(0, d.job.Completions)
	for _, s := range d.shifts {
		rest -= s.claim()
		if s.mourned {
			lost += s.left()
		}
	}
	return rest, lost
}

// void takes so many completions from clusters that have been silent for too long.
func (d *day) void(n int64) {
	var lost []*shift
	for _, s := range d.shifts {
		if s.mourned && s.left() > 0 {
			lost = append(lost, s)
		}
	}
	slices.SortStableFunc(lost, func(a, b *shift) int { return a.Stint.Silent.Compare(b.Stint.Silent) })
	for _, s := range lost {
		if n <= 0 {
			return
		}
		n -= s.left()
		s.Void = true
	}
}

// seat divides the pods that may run at one time. Whoever is through with his part keeps
// his place, so that nobody else's pods change for it, and may take over more.
func (d *day) seat(total int64) {
	pods := d.job.Parallelism
	if d.job.Completions >= 0 {
		pods = min(pods, d.job.Completions) // more would have nothing to do
	}
	var seats []Seat
	for _, s := range d.shifts {
		seat := Seat{Cluster: s.Cluster, Limit: d.spread.LimitOf(s.Cluster), Capacity: -1, Running: s.Pods}
		switch {
		case s.silent():
			if s.active() && !s.mourned {
				pods -= s.Pods
			}
			continue
		case s.Void:
			continue
		case s.active() && s.Stand != StandOpen:
			seat.Max = max(1, s.Pods) // so that what has begun can end
		case s.active():
		case s.Stand != StandOpen, !s.met() && total == 0:
			continue
		case !s.met():
			seat.Running = 0
		}
		seats = append(seats, seat)
	}
	if d.share(pods, seats) {
		return
	}
	// Nobody who has something to do gives way to places that are kept.
	seats = slices.DeleteFunc(seats, func(seat Seat) bool { return !d.shift(seat.Cluster).active() })
	d.share(pods, seats)
}

// share divides pods over seats, and reports whether everybody who has something to do
// got any.
func (d *day) share(pods int64, seats []Seat) (fair bool) {
	for _, s := range d.shifts {
		s.share = 0
	}
	for _, p := range Divide(d.object, max(0, pods), false, seats).Parts {
		d.shift(p.Cluster).share = p.Replicas
	}
	fair = true
	for _, seat := range seats {
		s := d.shift(seat.Cluster)
		fair = fair && (!s.active() || s.share > 0)
	}
	for _, seat := range seats {
		if s := d.shift(seat.Cluster); s.active() {
			if s.Pods = s.share; d.job.Completions >= 0 {
				s.Pods = min(s.share, s.Given)
			}
		}
	}
	return fair
}

func (d *day) shift(cluster string) *shift {
	return d.shifts[slices.IndexFunc(d.shifts, func(s *shift) bool { return s.Cluster == cluster })]
}

// step writes down what the day has come to.
func (d *day) step() (JobStep, map[string]Stint) {
	step := JobStep{Unplaced: d.unplaced, Broken: d.broken()}
	after := map[string]Stint{}
	whole := d.spread.Mode == ModeDuplicate || d.job.Indexed
	for _, s := range d.shifts {
		step.Succeeded += s.Past + s.Done
		if s.silent() && s.active() && !s.mourned {
			step.Again = firstAfter(d.now, step.Again, s.Stint.Silent.Add(d.grace))
		}
		if !s.met() {
			if s.Stand == StandOpen || s.Stand == StandClosed {
				step.Orders = append(step.Orders, JobOrder{Cluster: s.Cluster, Act: ActNone, Completions: -1, Reasons: d.reasons(s)})
			}
			continue
		}
		after[s.Cluster] = s.Stint
		o := JobOrder{Cluster: s.Cluster, Act: ActNone, Whole: whole, Completions: -1, Leaves: s.leaves(), Over: s.Over}
		if s.Given > 0 {
			o.Parallelism = s.Pods
			if d.job.Completions >= 0 && !whole {
				o.Completions = s.Given
			}
		}
		switch {
		case s.silent():
			o.Held = s.active()
		case s.sight.UID != "" && (s.Void || s.clears || s.Over && s.leaves()):
			o.Act = ActRemove
		case s.sight.UID != "" || s.active():
			o.Act, o.Begin = ActApply, s.active() && s.UID == ""
		}
		o.Reasons = d.reasons(s)
		step.Orders = append(step.Orders, o)
	}
	return step, after
}

// reasons says why, in words that stay while nothing changes.
func (d *day) reasons(s *shift) []string {
	var why []string
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	if s.Why != "" {
		say("%s", s.Why)
	}
	since := s.Stint.Silent.UTC().Format(time.RFC3339)
	switch {
	case s.Void && s.silent():
		say("silent since %s: what was left of its part is given to others, and its Job goes when it answers", since)
	case s.Void:
		say("what was left of its part is given to others, so its Job goes")
	case s.active() && s.mourned:
		say("silent since %s: its part is given to the next cluster that can take it", since)
	case s.active() && s.silent():
		say("silent since %s: its part is waited for until %s", since, s.Stint.Silent.Add(d.grace).UTC().Format(time.RFC3339))
	case s.clears:
		say("its part is done, and its Job goes so that it can take over from others")
	case s.Broken && s.Given > 0:
		say("its Job has failed, and is left as it is")
	case s.Broken:
		say("its Job has failed, and is gone")
	case s.Over && s.Given > 0:
		say("its part is done, and the Job is left as it is")
	case s.Over:
		say("its part is done, and its Job is gone")
	case s.active() && s.leaves():
		say("what has begun there ends there, and the Job goes then")
	case s.active() && (d.spread.Mode == ModeDuplicate || d.job.Indexed):
		say("all of the Job")
	case s.active() && d.job.Completions >= 0:
		say("%d of %d completions, %d at one time", s.Given, d.job.Completions, s.Pods)
	case s.active():
		say("%d pods at one time", s.Pods)
	case s.Why == "" && d.job.Parallelism == 0:
		say("parallelism is 0, so nothing of it is begun")
	case s.Why == "":
		say("none of the Job falls to it")
	}
	if d.waiting > 0 && s.Over && !s.clears {
		say("%d completions wait for a cluster that is through with its own", d.waiting)
	}
	return why
}
