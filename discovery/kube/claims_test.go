package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// at is so many seconds after a noon.
func at(second int) time.Time {
	return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

// naming is the set of an object made at a second, with the hosts that it names.
func naming(namespace, name string, made int, hosts ...string) *fleet.RouteSet {
	s := &fleet.RouteSet{Origin: fleet.Origin{Cluster: "host", Kind: "Ingress", Namespace: namespace, Name: name, Created: at(made)}}
	for _, h := range hosts {
		s.Routes = append(s.Routes, fleet.Route{Host: h, Origin: s.Origin})
	}
	return s
}

func setsOf(list ...*fleet.RouteSet) routeSets {
	rs := routeSets{}
	for _, s := range list {
		rs["ingress/"+s.Origin.Namespace+"/"+s.Origin.Name] = s
	}
	return rs
}

// since is the set with another time for its hosts.
func since(s *fleet.RouteSet, second int, hosts ...string) *fleet.RouteSet {
	c := &fleet.RouteSet{Routes: s.Routes, Origin: s.Origin, Claimed: map[string]time.Time{}}
	for _, h := range hosts {
		c.Claimed[h] = at(second)
	}
	return c
}

func TestSinceWhenAHostIsClaimed(t *testing.T) {
	const now = 100
	for name, c := range map[string]struct {
		before, after routeSets
		records       string
		want          string // what has to be recorded
		told          string // Claimed of every set
	}{
		"objects seen for the first time": {
			after: setsOf(naming("a", "x", 1, "g", "h"), naming("b", "x", 2, "h")),
			want:  "12:00:01 a h, 12:00:02 b h"},
		"an object that was without the host": {
			before: setsOf(naming("a", "x", 1, "g")),
			after:  setsOf(naming("a", "x", 1, "g", "h")),
			want:   "12:01:40 a h", told: "a/x h=12:01:40"},
		"an object that had the host": {
			before: setsOf(since(naming("a", "x", 1, "h"), 50, "h")),
			after:  setsOf(naming("a", "x", 1, "g", "h")),
			want:   "12:01:40 a g, 12:00:50 a h", told: "a/x g=12:01:40 h=12:00:50"},
		"the ledger knows better than memory": {
			before:  setsOf(since(naming("a", "x", 1, "h"), 50, "h")),
			after:   setsOf(naming("a", "x", 1, "h")),
			records: "2026-06-01T12:00:40Z a h\n",
			want:    "12:00:40 a h", told: "a/x h=12:00:40"},
		"an object made again": {
			before: setsOf(since(naming("a", "x", 1, "h"), 50, "h")),
			after:  setsOf(naming("a", "x", 90, "h"))},
		"an object made again without which others have the host": {
			before: setsOf(naming("a", "x", 1, "h"), naming("b", "x", 50, "h")),
			after:  setsOf(naming("a", "x", 90, "h"), naming("b", "x", 50, "h")),
			want:   "12:01:30 a h, 12:00:50 b h"},
		"an old object that others did not reckon with": {
			before: setsOf(naming("b", "x", 50, "h")),
			after:  setsOf(naming("a", "x", 1, "h"), naming("b", "x", 50, "h")),
			want:   "12:01:40 a h, 12:00:50 b h", told: "a/x h=12:01:40"},
		"one made in the same second, but seen later": {
			before: setsOf(since(naming("b", "x", 1, "h"), now, "h")),
			after:  setsOf(naming("a", "x", now, "h"), naming("b", "x", 1, "h")),
			want:   "12:01:41 a h, 12:01:40 b h", told: "a/x h=12:01:41, b/x h=12:01:40"},
		"an old object that the ledger did not reckon with": {
			after:   setsOf(naming("a", "x", 1, "h"), naming("b", "x", 2, "h")),
			records: "2026-06-01T12:00:50Z b h\n",
			want:    "12:01:40 a h, 12:00:50 b h", told: "a/x h=12:01:40, b/x h=12:00:50"},
		"a namespace hands its host on to another object": {
			before: setsOf(naming("a", "x", 1, "h"), naming("a", "y", 50, "h")),
			after:  setsOf(naming("a", "y", 50, "h")),
			want:   "12:00:01 a h", told: "a/y h=12:00:01"},
		"our clock is behind": {
			before: setsOf(naming("a", "x", 200, "g")),
			after:  setsOf(naming("a", "x", 200, "g", "h")),
			want:   "12:03:21 a h", told: "a/x h=12:03:21"},
	} {
		t.Run(name, func(t *testing.T) {
			records, err := readClaims(c.records)
			if err != nil {
				t.Fatal(err)
			}
			d := dating{before: c.before, after: c.after, records: records, now: at(now)}
			cs := d.claims()
			text, _ := writeClaims(d.record(cs))
			text = strings.NewReplacer("2026-06-01T", "", "Z ", " ", "\n", ", ").Replace(text)
			if got := strings.TrimSuffix(text, ", "); got != c.want {
				t.Errorf("recorded: %q, want %q", got, c.want)
			}
			anew := d.say(cs)
			var told []string
			for _, fact := range slices.Sorted(maps.Keys(anew)) {
				line := strings.TrimPrefix(fact, "ingress/")
				for _, h := range slices.Sorted(maps.Keys(anew[fact].Claimed)) {
					line += " " + h + "=" + anew[fact].Claimed[h].Format(time.TimeOnly)
				}
				told = append(told, line)
			}
			if got := strings.Join(told, ", "); got != c.told {
				t.Errorf("told: %q, want %q", got, c.told)
			}
			again := dating{before: c.after, after: c.after, records: records, now: at(now + 1000)}
			maps.Copy(again.after, anew)
			if got := again.claims(); !maps.EqualFunc(got, cs, time.Time.Equal) || len(again.say(got)) > 0 {
				t.Errorf("at the next look: %v, was %v", got, cs)
			}
		})
	}
}

func TestTheLedgerIsReadAtTheDoor(t *testing.T) {
	good := "2026-06-01T12:00:00Z shop *\n2026-06-01T12:00:00Z shop *.example.com\n2026-06-01T12:00:00Z shop www.example.com\n"
	cs, err := readClaims(good)
	if text, beyond := writeClaims(cs); err != nil || text != good || beyond != 0 || cs[claim{"", "shop"}].IsZero() {
		t.Errorf("%v, %q, %d", err, text, beyond)
	}
	for text, says := range map[string]string{
		"yesterday shop www.example.com":                          "no time",
		"0001-01-01T00:00:00Z shop www.example.com":               "no time",
		"2026-06-01T12:00:00Z shop":                               "not a time, a namespace and a host",
		"2026-06-01T12:00:00Z  shop www.example.com":              "not a time",
		"2026-06-01T12:00:00Z Shop www.example.com":               "line 2: ",
		"2026-06-01T12:00:00Z shop www..example.com":              "line 2: ",
		"2026-06-01T12:00:00Z shop a.*.example.com":               "line 2: ",
		"2027-06-01T12:00:00Z b h\n2026-06-01T12:00:00Z b h\nx y": "there twice",
	} {
		cs, err := readClaims("2026-06-01T12:00:00Z a g\n" + text + "\n2026-06-01T12:00:00Z c h\n")
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
		if cs[claim{"g", "a"}].IsZero() || cs[claim{"h", "c"}].IsZero() {
			t.Errorf("%q hides its neighbours: %v", text, cs)
		}
	}
	if cs, err := readClaims(strings.Repeat("x", maxLedger+1)); err == nil || len(cs) > 0 {
		t.Errorf("%v, %v", cs, err)
	}
}

// Whoever adds hosts without end crowds out nobody who quarrels over one.
func TestTheLedgerIsBounded(t *testing.T) {
	cs := claims{{"quarrel.test", "x"}: at(1 << 20), {"quarrel.test", "y"}: at(1 << 20)}
	for n := range 20_000 {
		cs[claim{fmt.Sprintf("h%d.test", n), "flood"}] = at(n)
	}
	text, beyond := writeClaims(cs)
	if len(text) > maxLedger || len(text) < maxLedger-100 || beyond == 0 {
		t.Fatalf("%d bytes, %d beyond", len(text), beyond)
	}
	read, err := readClaims(text)
	if err != nil || len(read)+beyond != len(cs) || read[claim{"quarrel.test", "x"}].IsZero() || read[claim{"h1.test", "flood"}].IsZero() {
		t.Errorf("%v, %d read, %d beyond", err, len(read), beyond)
	}
}

// replica is one that dates claims, with what it remembers.
type replica struct {
	up     bool
	before routeSets
}

func (r *replica) look(world routeSets, ledger string, now time.Time) (owner map[string]string, text string) {
	records, err := readClaims(ledger)
	if err != nil {
		panic(err)
	}
	d := dating{before: r.before, after: maps.Clone(world), records: records, now: now}
	cs := d.claims()
	maps.Copy(d.after, d.say(cs))
	r.before = d.after
	first := map[string]fleet.Claim{}
	owner = map[string]string{}
	for _, s := range d.after {
		for _, route := range s.Routes {
			c := s.Claim(route.Host)
			if held, ok := first[route.Host]; !ok || c.Compare(held) < 0 {
				first[route.Host], owner[route.Host] = c, s.Origin.Namespace
			}
		}
	}
	text, _ = writeClaims(d.record(cs))
	return owner, text
}

// Replicas come and go, with their memories or without, and hosts are added, taken
// back and claimed by objects however old: whoever has a host keeps it as long as he
// names it, and all replicas agree on who that is.
func TestTheFirstOwnerKeepsTheHost(t *testing.T) {
	hosts := []string{"g", "h"}
	rapid.Check(t, func(t *rapid.T) {
		world, ledger, second := routeSets{}, "", 1000
		replicas := []*replica{{up: true}, {up: true}}
		var owner map[string]string
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			second += rapid.IntRange(0, 2).Draw(t, "seconds")
			before := maps.Clone(world)
			namespace, name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "namespace"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
			fact := "ingress/" + namespace + "/" + name
			made := rapid.SampledFrom([]int{second, rapid.IntRange(1, second).Draw(t, "age")}).Draw(t, "made")
			if s := world[fact]; s != nil && rapid.Bool().Draw(t, "same") {
				made = int(s.Origin.Created.Sub(at(0)) / time.Second)
			}
			if named := rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 2, rapid.ID).Draw(t, "hosts"); len(named) > 0 {
				world[fact] = naming(namespace, name, made, named...)
			} else {
				delete(world, fact)
			}
			// One of the two may be away, and come back with what it remembered or
			// without; who leads has been there.
			leads := rapid.IntRange(0, 1).Draw(t, "leads")
			if !replicas[leads].up {
				leads = 1 - leads
			}
			leader := replicas[leads]
			for _, r := range replicas {
				if r == leader {
					continue
				}
				r.up = rapid.Bool().Draw(t, "up")
				if rapid.IntRange(0, 3).Draw(t, "forgets") == 0 {
					r.before = nil
				}
			}
			for round := range 2 { // the watch brings what the leader has written
				written := ""
				for n, r := range replicas {
					if !r.up {
						continue
					}
					now, text := r.look(world, ledger, at(second))
					if r == leader {
						written = text
					}
					for h, has := range owner {
						if round > 0 && before.goesOn(world)[claim{h, has}] && now[h] != has {
							t.Fatalf("replica %d: %s went from %s to %s\n%s", n, h, has, now[h], ledger)
						}
					}
				}
				ledger = written
			}
			owner, _ = leader.look(world, ledger, at(second))
		}
	})
}
