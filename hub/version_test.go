package hub

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/health"
)

// policyFrom is the TrafficPolicy default/cart of a cluster, made so many hours
// after midnight; 0: it does not say.
func policyFrom(cluster string, hour int, region fleet.Region) fleet.Fact {
	p := fleet.DefaultPolicy()
	p.Regions = []fleet.Region{region}
	p.Origin = fleet.Origin{Cluster: cluster, Kind: "TrafficPolicy", Namespace: "default", Name: "cart"}
	if hour > 0 {
		p.Origin.Created = time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC)
	}
	return fleet.NewFact("default/cart", &fleet.PolicyRule{Policy: p, Targets: []fleet.PolicyTarget{{Namespace: "default", Service: "cart"}}})
}

func zoneFrom(cluster, server string, addrs ...netip.Addr) fleet.Fact {
	return fleet.NewFact("shop.test.", &fleet.Zone{
		Name: "shop.test.", Nameservers: []fleet.Nameserver{{Name: server, Addrs: addrs}}, Mailbox: "hostmaster.shop.test.",
		Origin: fleet.Origin{Cluster: cluster, Kind: "Zone", Name: "shop"},
	})
}

func whole(source string, facts ...fleet.Fact) fleet.Update {
	return fleet.Update{Source: source, Whole: true, Put: facts}
}

// ledgerOf is told updates in order.
func ledgerOf(updates ...fleet.Update) *Ledger {
	l := NewLedger(health.Rules{})
	for _, u := range updates {
		l.Tell(u, noon)
		l.Snapshot(noon)
	}
	return l
}

// duplicates are the clusters whose objects do not hold.
func duplicates(s *fleet.Snapshot) (list []string) {
	for _, p := range s.Problems {
		if p.Reason == "DuplicateName" {
			list = append(list, p.About.Cluster)
		}
	}
	return list
}

func TestWhoHoldsANameToldByTwoClusters(t *testing.T) {
	stale := func(source string) fleet.Update { return fleet.Update{Source: source, Stale: "lost touch"} }
	for name, c := range map[string]struct {
		told  []fleet.Update
		holds fleet.Region // of the policy
		loser string       // empty: nobody is told anything
	}{
		"equal but for where they come from": {[]fleet.Update{
			whole("i/kube/b", policyFrom("b", 2, "eu")), whole("i/kube/a", policyFrom("a", 1, "eu"))}, "eu", ""},
		"the elder": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 2, "eu")), whole("i/kube/b", policyFrom("b", 1, "us"))}, "us", "a"},
		"one that says its age": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 0, "eu")), whole("i/kube/b", policyFrom("b", 5, "us"))}, "us", "a"},
		"the first by cluster, not by source": {[]fleet.Update{
			whole("a/kube/z", policyFrom("z", 0, "eu")), whole("z/kube/a", policyFrom("a", 0, "us"))}, "us", "z"},
		"the fresh one, elder or not": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "eu")), whole("i/kube/b", policyFrom("b", 2, "us")), stale("i/kube/a")}, "us", "a"},
		"the elder of those that are stale": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "eu")), whole("i/kube/b", policyFrom("b", 2, "us")), stale("i/kube/a"), stale("i/kube/b")}, "eu", "b"},
		"the one that is left": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "eu")), whole("i/kube/b", policyFrom("b", 2, "us")), whole("i/kube/a")}, "us", ""},
		"a replica that is a moment behind is no rival": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "us")), whole("j/kube/a", policyFrom("a", 1, "eu"))}, "us", ""},
		"nor is a replica of an object made anew": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 7, "us")), whole("j/kube/a", policyFrom("a", 1, "eu"))}, "us", ""},
		"one of two replicas is stale": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "us")), whole("j/kube/a", policyFrom("a", 1, "eu")), stale("i/kube/a")}, "eu", ""},
		"a rival is one of the replicas' own": {[]fleet.Update{
			whole("i/kube/a", policyFrom("a", 1, "us")), whole("j/kube/a", policyFrom("a", 9, "us")), whole("i/kube/b", policyFrom("b", 5, "eu"))}, "us", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledgerOf(c.told...)
			held := l.builder.policies.of(fleet.ServiceName{Namespace: "default", Name: "cart"})
			if !slices.Equal(held.Regions, []fleet.Region{c.holds}) {
				t.Errorf("%v holds", held.Regions)
			}
			if got := strings.Join(duplicates(l.Snapshot(noon)), ","); got != c.loser {
				t.Errorf("the problem is of %q, want %q", got, c.loser)
			}
		})
	}
}

// A value that came from disk or a peer has no empty lists.
func TestNothingAndAnEmptyListAreEqual(t *testing.T) {
	l := ledgerOf(whole("i/file/a", zoneFrom("a", "ns1.")), whole("i/file/b", zoneFrom("b", "ns1.", []netip.Addr{}...)))
	other := *zoneFrom("c", "ns1.").Value.(*fleet.Zone)
	other.Records, other.Nameservers = []fleet.Record{}, []fleet.Nameserver{{Name: "ns1.", Addrs: []netip.Addr{}}}
	l.Tell(whole("j/file/c", fleet.NewFact(other.Name, &other)), noon)
	if got := duplicates(l.Snapshot(noon)); got != nil {
		t.Errorf("%v", got)
	}
}

// Endpoints of a source that was lost differ soon, which is nobody's fault.
func TestBackendsAreComparedWhileBothAreFresh(t *testing.T) {
	one, two := backend("a", "shop", 1), backend("a", "shop", 2)
	one.Origin, two.Origin = fleet.Origin{Cluster: "a", File: "x"}, fleet.Origin{Cluster: "a", File: "y"}
	l := ledgerOf(whole("i/file/a", backendFact(one)), whole("i/kube/a", backendFact(two)))
	if got := duplicates(l.Snapshot(noon)); len(got) != 1 {
		t.Errorf("both fresh: %v", got)
	}
	l.Tell(fleet.Update{Source: "i/file/a", Stale: "lost touch"}, noon)
	if got := duplicates(l.Snapshot(noon)); len(got) != 0 {
		t.Errorf("one is stale: %v", got)
	}
}

// What is compared is what changed, not everything.
func TestOnlyWhatIsDirtyIsCompared(t *testing.T) {
	l := ledgerOf(
		whole("i/file/a", policyFrom("a", 0, "eu"), zoneFrom("a", "ns1."), clusterFact(cluster("a", "eu"))),
		whole("i/file/b", policyFrom("b", 0, "us"), zoneFrom("b", "ns2."), clusterFact(cluster("b", "eu"))))
	if got := duplicates(l.Snapshot(noon)); len(got) != 2 {
		t.Fatalf("%v", got)
	}
	l.Tell(fleet.Update{Source: "i/file/b", Put: []fleet.Fact{zoneFrom("b", "ns3."), clusterFact(cluster("b", "us")), policyFrom("b", 0, "us")}}, noon)
	zone := fleet.FactName{Kind: fleet.KindZone, Name: "shop.test."}
	if want := map[fleet.FactName]bool{zone: true}; !reflect.DeepEqual(l.dirt.contended, want) {
		t.Errorf("contended: %v", l.dirt.contended)
	}
}

// Replicas that know the same choose alike, in whatever order they heard of it,
// and instances of one subject are never each other's rivals.
func TestReplicasAgreeOnWhoHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var last []fleet.Update
		subjects := map[string]bool{}
		for _, source := range []string{"i/file/x", "j/file/x", "i/file/y", "j/kube/y"} {
			if !rapid.Bool().Draw(t, "tells "+source) {
				continue
			}
			u := whole(source, policyFrom(subject(source)[5:], rapid.IntRange(0, 2).Draw(t, "hour"), rapid.SampledFrom([]fleet.Region{"eu", "us"}).Draw(t, "region")))
			last = append(last, u)
			subjects[subject(source)] = true
		}
		one, other := ledgerOf(last...), ledgerOf(rapid.Permutation(last).Draw(t, "order")...)
		a, b := one.Snapshot(noon), other.Snapshot(noon)
		if !reflect.DeepEqual(a.Problems, b.Problems) || !reflect.DeepEqual(one.builder.policies.byTarget, other.builder.policies.byTarget) {
			t.Fatalf("they disagree: %v and %v", a.Problems, b.Problems)
		}
		if n := len(duplicates(a)); n > max(0, len(subjects)-1) {
			t.Fatalf("%d losers among %d subjects", n, len(subjects))
		}
	})
}
