package peer

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

func zoneFact(name, mailbox string) fleet.Fact {
	return fleet.NewFact(name, &fleet.Zone{Name: name, Mailbox: mailbox, Nameservers: []fleet.Nameserver{{Name: "ns."}}})
}

// keeper does with tellings what a keeper of facts does with updates.
type keeper map[string]map[fleet.FactName]fleet.Value

func (k keeper) take(source string, whole bool, put []fleet.Fact, gone []fleet.FactName) {
	if k[source] == nil || whole {
		k[source] = map[fleet.FactName]fleet.Value{}
	}
	for _, f := range put {
		k[source][fleet.FactName{Kind: f.Kind, Name: f.Name}] = f.Value
	}
	for _, n := range gone {
		delete(k[source], n)
	}
}

// Whatever sources say and whenever followers come and are ready: after a
// follower has taken what is pending, it holds exactly what the sources said.
func TestFollowersCatchUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, truth := newLedger("eu-1"), keeper{}
		type reader struct {
			f     *follower
			holds keeper
		}
		var readers []reader
		catchUp := func(r reader) {
			for _, x := range l.take(r.f) {
				r.holds.take(x.source, x.whole, x.put, x.gone)
			}
			if !reflect.DeepEqual(r.holds, truth) {
				t.Fatalf("it holds %v, the sources said %v", r.holds, truth)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"say": func(t *rapid.T) {
				u := fleet.Update{Source: rapid.SampledFrom([]string{"eu-1/a", "eu-1/b"}).Draw(t, "source"), Whole: rapid.Bool().Draw(t, "whole")}
				for _, n := range rapid.SliceOfDistinct(rapid.IntRange(0, 5), rapid.ID[int]).Draw(t, "put") {
					u.Put = append(u.Put, zoneFact(fmt.Sprintf("z%d.", n), fmt.Sprintf("m%d.", rapid.IntRange(0, 1<<40).Draw(t, "value"))))
				}
				for _, n := range rapid.SliceOfDistinct(rapid.IntRange(6, 8), rapid.ID[int]).Draw(t, "gone") {
					u.Gone = append(u.Gone, fleet.FactName{Kind: fleet.KindZone, Name: fmt.Sprintf("z%d.", n-6)})
				}
				u.Gone = slices.DeleteFunc(u.Gone, func(n fleet.FactName) bool {
					return slices.ContainsFunc(u.Put, func(f fleet.Fact) bool { return f.Name == n.Name })
				})
				l.record(u, time.Time{}.Add(time.Hour))
				truth.take(u.Source, u.Whole, u.Put, u.Gone)
			},
			"come": func(t *rapid.T) {
				if f, ok := l.follow(4); ok {
					readers = append(readers, reader{f, keeper{}})
				}
			},
			"go": func(t *rapid.T) {
				if len(readers) > 2 {
					l.unfollow(readers[0].f)
					readers = readers[1:]
				}
			},
			"ready": func(t *rapid.T) {
				if len(readers) > 0 {
					catchUp(rapid.SampledFrom(readers).Draw(t, "reader"))
				}
			},
		})
		for _, r := range readers {
			catchUp(r)
		}
	})
}

func TestARepeatedWholeTellingChangesNothing(t *testing.T) {
	l := newLedger("eu-1")
	whole := func() fleet.Update {
		return fleet.Update{Source: "eu-1/a", Whole: true, Put: []fleet.Fact{zoneFact("a.", "m."), zoneFact("b.", "m.")}}
	}
	l.record(whole(), time.Now())
	f, _ := l.follow(1)
	if got := l.take(f); len(got) != 1 || len(got[0].put) != 2 || !got[0].whole {
		t.Fatalf("the beginning is %+v", got)
	}
	l.record(whole(), time.Now())
	if got := l.take(f); len(got) != 1 || len(got[0].put)+len(got[0].gone) != 0 {
		t.Errorf("a relist that found nothing new sends %+v", got)
	}
}

func TestRestoredFactsYieldToTheLivingSource(t *testing.T) {
	l := newLedger("eu-1")
	l.restore(fleet.Update{Source: "eu-1/a", Whole: true, Put: []fleet.Fact{zoneFact("old.", "m."), zoneFact("kept.", "m.")}}, time.Now())
	f, _ := l.follow(1)
	if got := l.take(f); len(got) != 1 || len(got[0].put) != 2 || got[0].stale == "" || got[0].whole {
		t.Fatalf("after a restart a follower is sent %+v, want both facts, stale, and nothing said of others", got)
	}
	l.record(fleet.Update{Source: "eu-1/a", Put: []fleet.Fact{zoneFact("kept.", "m.")}}, time.Now())
	if got := l.take(f); len(got) != 1 || got[0].whole {
		t.Fatalf("a source that has not told everything yet is told as %+v, want no word of what it left out", got)
	}
	l.record(fleet.Update{Source: "eu-1/a", Whole: true, Put: []fleet.Fact{zoneFact("kept.", "m.")}}, time.Now())
	if got := l.take(f); len(got) != 1 || !got[0].whole || len(got[0].put) != 1 || got[0].stale != "" {
		t.Errorf("when the source lives again a follower is sent %+v, want it whole", got)
	}
	l.restore(fleet.Update{Source: "eu-1/a", Put: []fleet.Fact{zoneFact("older.", "m.")}}, time.Now())
	if got := l.take(f); len(got) != 0 {
		t.Errorf("what lay on disk overrides a living source: %+v", got)
	}
}

func TestAPendingNameIsKeptOnce(t *testing.T) {
	l := newLedger("eu-1")
	f, _ := l.follow(1)
	l.take(f)
	for i := range 10_000 {
		l.record(fleet.Update{Source: "eu-1/a", Put: []fleet.Fact{zoneFact("a.", fmt.Sprintf("m%d.", i))}}, time.Now())
	}
	if n := len(f.pending["eu-1/a"].names); n != 1 {
		t.Errorf("%d names are pending for a reader that sleeps, want 1", n)
	}
	if got := l.take(f); got[0].put[0].Value.(*fleet.Zone).Mailbox != "m9999." {
		t.Errorf("it wakes to %+v, want the newest", got[0].put[0].Value)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Keys of hosts are told over mutual TLS only; the daemon itself keeps them either way.
func TestKeysDoNotTravelInPlaintext(t *testing.T) {
	shop := fleet.NewFact("shop/tls", &fleet.Certificate{Name: "shop/tls", Key: []byte("key")})
	zone := fleet.NewFact("example.", &fleet.Zone{Name: "example."})
	for name, c := range map[string]struct {
		creds credentials.TransportCredentials
		want  int
	}{"plaintext": {nil, 1}, "with credentials": {insecure.NewCredentials(), 2}} {
		s := NewServer(ServerConfig{Instance: "a", Creds: c.creds})
		var kept fleet.Update
		u := fleet.Update{Source: "a/file/eu", Whole: true, Put: []fleet.Fact{shop, zone}}
		s.Tell(func(_ context.Context, u fleet.Update) { kept = u })(t.Context(), u)
		s.Restore([]fleet.Update{{Source: "a/kube/host", Whole: true, Put: []fleet.Fact{shop, zone}}})
		if len(kept.Put) != 2 || len(u.Put) != 2 {
			t.Errorf("%s: the daemon keeps %v of %v", name, kept.Put, u.Put)
		}
		for _, source := range []string{"a/file/eu", "a/kube/host"} {
			if facts := s.ledger.sources[source].facts; len(facts) != c.want {
				t.Errorf("%s: peers are told %v of %s, want %d facts", name, facts, source, c.want)
			}
		}
	}
}

// Whoever begins to follow later hears that a source has ended, and when it begins anew.
func TestFollowersHearThatASourceHasEnded(t *testing.T) {
	l := newLedger("eu-1")
	l.record(fleet.Update{Source: "eu-1/kube/a", Whole: true, Put: []fleet.Fact{zoneFact("z.", "m.")}}, time.Now())
	early, _ := l.follow(2)
	l.take(early)
	l.record(fleet.Update{Source: "eu-1/kube/a", Whole: true, Ended: true}, time.Now())
	late, _ := l.follow(2)
	for says, f := range map[string]*follower{"early": early, "late": late} {
		if got := l.take(f); len(got) != 1 || !got[0].ended || len(got[0].put) != 0 {
			t.Errorf("%s: %+v", says, got)
		}
	}
	l.record(fleet.Update{Source: "eu-1/kube/a", Stale: "not watched yet"}, time.Now())
	if got := l.take(early); len(got) != 1 || got[0].ended {
		t.Errorf("begun anew: %+v", got)
	}
}
