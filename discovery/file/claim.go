package file

import (
	"cmp"
	"fmt"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meridian-lb/meridian/api/k8s"
	"github.com/meridian-lb/meridian/fleet"
)

// claims decides which object holds a name of a directory when several files have
// one: the one that was there first, so that nobody takes a name away from an
// object in force by adding a file. Of those that are found at one look, as at the
// first one, it is the first by file name; of EndpointSlices the one that stands in
// the file of its Service. Replicas that saw the same files in the same order
// choose alike.
type claims struct {
	queues   queues
	holders  map[identity]claimant
	objects  []object // that hold their name, in the order of the files
	problems []fleet.Problem
}

// queues are who claims a name, by its identity; the first one holds it.
type queues map[identity][]claimant

// claimant is an object that claims a name.
type claimant struct {
	id     identity
	origin fleet.Origin
	kept   bool
}

func (c claimant) same(d claimant) bool { return c.id == d.id && c.origin.File == d.origin.File }

// domain is the name of a zone's domain, which is a name of its own: it names the fact.
func domain(z *fleet.Zone) identity { return identity{kind: "domain", name: z.Name} }

// asRemembered is who holds the names of facts that an earlier process told, as
// far as those say it.
func asRemembered(facts map[fleet.FactName]fleet.Value) queues {
	q := queues{}
	for _, v := range facts {
		o := fleet.OriginOf(v)
		if o.File == "" {
			continue
		}
		c := claimant{id: identity{o.Kind, o.Namespace, o.Name}, origin: o}
		q[c.id] = []claimant{c}
		if z, ok := v.(*fleet.Zone); ok {
			q[domain(z)] = []claimant{c}
		}
	}
	return q
}

// claim is handed the directory's files in their order.
func claim(files []*contents, before queues) *claims {
	c := &claims{queues: queues{}, holders: map[identity]claimant{}}
	names := map[identity][]claimant{}
	slicesOf := map[identity]identity{} // the Service of each EndpointSlice
	for _, f := range files {
		for _, o := range f.objects {
			names[o.id] = append(names[o.id], o.claimant())
			if s, ok := o.value.(*discoveryv1.EndpointSlice); ok {
				of, _ := k8s.ServiceOf(s)
				slicesOf[o.id] = identity{"Service", of.Namespace, of.Name}
			}
		}
	}
	for id, list := range names {
		if _, slice := slicesOf[id]; !slice {
			c.settle(id, list, before)
		}
	}
	for id, of := range slicesOf {
		c.settle(id, besideFirst(names[id], c.holders[of]), before)
	}
	c.settleDomains(files, before)
	for _, f := range files {
		for _, o := range f.objects {
			c.take(o)
		}
	}
	return c
}

// settle finds out who holds a name of those who claim it now.
func (c *claims) settle(id identity, now []claimant, before queues) {
	queue := lineUp(before[id], now)
	c.queues[id], c.holders[id] = queue, queue[0]
}

func (c *claims) settleDomains(files []*contents, before queues) {
	domains := map[identity][]claimant{}
	for _, f := range files {
		for _, o := range f.objects {
			if z, ok := o.value.(*fleet.Zone); ok && c.holders[o.id].same(o.claimant()) {
				domains[domain(z)] = append(domains[domain(z)], o.claimant())
			}
		}
	}
	for id, list := range domains {
		c.settle(id, list, before)
	}
}

// lineUp is the next queue for a name. Who comes now stands behind all that are in
// good order, and before those of which a faulty file only may still have one: it
// may be the same object, moved.
func lineUp(before, now []claimant) []claimant {
	var queue []claimant
	for _, old := range before {
		if i := slices.IndexFunc(now, old.same); i >= 0 {
			queue = append(queue, now[i])
		}
	}
	good := len(queue)
	for good > 0 && queue[good-1].kept {
		good--
	}
	isNew := func(c claimant) bool { return !slices.ContainsFunc(queue, c.same) }
	var come []claimant
	for _, c := range now {
		if isNew(c) {
			come = append(come, c)
		}
	}
	return slices.Insert(queue, good, come...)
}

// besideFirst puts the EndpointSlice that stands in the same file as its Service
// before the others.
func besideFirst(list []claimant, service claimant) []claimant {
	slices.SortStableFunc(list, func(a, b claimant) int {
		return -cmp.Compare(beside(a, service), beside(b, service))
	})
	return list
}

func beside(c, service claimant) int {
	if c.origin.File == service.origin.File {
		return 1
	}
	return 0
}

// take takes an object if it holds its names. One that does not has a problem,
// but for one that is only kept, which goes silently.
func (c *claims) take(o object) {
	holder, me := c.holders[o.id], o.claimant()
	if !holder.same(me) {
		c.refuse(o, fmt.Sprintf("%s already holds this kind and name; remove or rename one of them", place(holder.origin)))
		return
	}
	if z, ok := o.value.(*fleet.Zone); ok {
		if first := c.holders[domain(z)]; !first.same(me) {
			c.refuse(o, fmt.Sprintf("spec.domain: Zone %q at %s already is %s; put the records into one of them", first.id.name, place(first.origin), z.Name))
			return
		}
	}
	c.objects = append(c.objects, o)
}

func (c *claims) refuse(o object, message string) {
	if !o.kept {
		c.problems = append(c.problems, fleet.Problem{About: o.origin, Reason: "DuplicateName", Message: message})
	}
}

// serves reports whether the directory has a Service of that name.
func (c *claims) serves(n fleet.ServiceName) bool {
	_, ok := c.holders[identity{"Service", n.Namespace, n.Name}]
	return ok
}

func (o object) claimant() claimant { return claimant{o.id, o.origin, o.kept} }

func place(o fleet.Origin) string { return fmt.Sprintf("%s:%d", o.File, o.Line) }
