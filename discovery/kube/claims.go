package kube

import (
	"cmp"
	"maps"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// claim is a namespace's claim to a host.
type claim struct{ host, namespace string }

func (c claim) compare(d claim) int {
	return cmp.Or(cmp.Compare(c.host, d.host), cmp.Compare(c.namespace, d.namespace))
}

// claims say since when.
type claims map[claim]time.Time

func (cs claims) earliest(c claim, since time.Time) {
	if old, ok := cs[c]; !ok || since.Before(old) {
		cs[c] = since
	}
}

// routeSets are those of all objects, by the names of their facts.
type routeSets map[string]*fleet.RouteSet

// claims are the earliest of each namespace, by what since says of an object's.
func (rs routeSets) claims(since func(fact string, s *fleet.RouteSet, host string) time.Time) claims {
	cs := claims{}
	for fact, s := range rs {
		for _, r := range s.Routes {
			cs.earliest(claim{r.Host, s.Origin.Namespace}, since(fact, s, r.Host))
		}
	}
	return cs
}

// natural are the claims as old as the objects that make them.
func (rs routeSets) natural() claims {
	return rs.claims(func(_ string, s *fleet.RouteSet, _ string) time.Time { return s.Origin.Created })
}

// same is the set made of the same object; one that was deleted and made again is
// another.
func (rs routeSets) same(fact string, s *fleet.RouteSet) *fleet.RouteSet {
	if other := rs[fact]; other != nil && other.Origin.Created.Equal(s.Origin.Created) {
		return other
	}
	return nil
}

// dating is what is known when claims are dated. It decides without I/O.
type dating struct {
	before, after routeSets // in force till now, and from now on
	records       claims    // what the ledger says
	now           time.Time // in whole seconds, as API servers count
}

// claims dates the claims of what is in force from now on. A namespace has claimed
// a host since
//   - the ledger says so, else
//   - it is said in what is in force, as long as one object goes on to name it;
//   - now, when an object that we know adds it;
//   - the object was made, when we see that for the first time.
//
// Who comes to a host that others have comes after them, however old his object is:
// it may have been of another class till now.
func (d dating) claims() claims {
	held := d.held()
	out := d.after.claims(func(fact string, s *fleet.RouteSet, _ string) time.Time {
		if d.before.same(fact, s) == nil {
			return s.Origin.Created
		}
		return later(d.now, s.Origin.Created.Add(time.Second)) // never as if it had been there from the beginning
	})
	fresh := map[claim]bool{}
	last := map[string]time.Time{} // of the claims to a host that were there before
	for c := range out {
		since, known := d.records[c]
		if !known {
			since, known = held[c]
		}
		if known {
			out[c] = since
			last[c.host] = later(last[c.host], since)
		} else {
			fresh[c] = true
		}
	}
	for c := range fresh {
		if before, taken := last[c.host]; taken && !out[c].After(before) {
			out[c] = later(d.now, before.Add(time.Second))
		}
	}
	return out
}

// say writes the claims to the sets, where they are not as old as their objects.
// Sets in force are never changed: what has to be told anew is returned.
func (d dating) say(cs claims) routeSets {
	natural := d.after.natural()
	anew := routeSets{}
	for fact, s := range d.after {
		var claimed map[string]time.Time
		for _, r := range s.Routes {
			c := claim{r.Host, s.Origin.Namespace}
			if cs[c].Equal(natural[c]) {
				continue
			}
			if claimed == nil {
				claimed = map[string]time.Time{}
			}
			claimed[r.Host] = cs[c]
		}
		if !maps.EqualFunc(claimed, s.Claimed, time.Time.Equal) {
			anew[fact] = &fleet.RouteSet{Routes: s.Routes, Origin: s.Origin, Claimed: claimed}
		}
	}
	return anew
}

// record is what a replica that remembers nothing, or something old, cannot see from
// objects: all claims to hosts that several namespaces claim, or of which one is not
// as old as its objects. Of a host all are recorded or none, so that one that is not
// recorded is known to be new.
func (d dating) record(cs claims) claims {
	natural := d.after.natural()
	seen, hosts := map[string]bool{}, map[string]bool{}
	for c, since := range cs {
		hosts[c.host] = hosts[c.host] || seen[c.host] || !since.Equal(natural[c])
		seen[c.host] = true
	}
	out := maps.Clone(cs)
	maps.DeleteFunc(out, func(c claim, _ time.Time) bool { return !hosts[c.host] })
	return out
}

// held are the claims in force that an object goes on to make.
func (d dating) held() claims {
	goesOn := d.before.goesOn(d.after)
	cs := d.before.claims(func(_ string, s *fleet.RouteSet, host string) time.Time { return s.Claim(host).Since })
	maps.DeleteFunc(cs, func(c claim, _ time.Time) bool { return !goesOn[c] })
	return cs
}

// goesOn are the claims that one object made and still makes.
func (rs routeSets) goesOn(after routeSets) map[claim]bool {
	out := map[claim]bool{}
	for fact, s := range after {
		had := map[string]bool{}
		if before := rs.same(fact, s); before != nil {
			for _, r := range before.Routes {
				had[r.Host] = true
			}
		}
		for _, r := range s.Routes {
			if had[r.Host] {
				out[claim{r.Host, s.Origin.Namespace}] = true
			}
		}
	}
	return out
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
