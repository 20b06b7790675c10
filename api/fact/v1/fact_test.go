package factv1

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// overTheWire is what the other side makes of a message.
func overTheWire[M proto.Message](t rapid.TB, x, y M) M {
	t.Helper()
	b, err := proto.Marshal(x)
	if err != nil {
		t.Fatalf("marshalling: %v", err)
	}
	if err := proto.Unmarshal(b, y); err != nil {
		t.Fatalf("unmarshalling: %v", err)
	}
	return y
}

var exactly = gocmp.Options{
	gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	gocmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
}

func TestEveryKindComesBackEqual(t *testing.T) {
	if len(values) != len(kinds) {
		t.Fatalf("%d kinds, but values are drawn for %d", len(kinds), len(values))
	}
	for _, kind := range kinds {
		t.Run(string(kind), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f := fleet.NewFact(word(t), values[kind](t))
				if got := KindOf(FactFromFleet(f, now)); got != kind {
					t.Fatalf("its form says it is of kind %q", got)
				}
				got, err := FactToFleet(overTheWire(t, FactFromFleet(f, now), &Fact{}), now)
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if diff := gocmp.Diff(f, got, exactly); diff != "" {
					t.Fatalf("told (-), read (+):\n%s", diff)
				}
			})
		})
	}
}

func TestUpdateComesBackEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := update(t)
		got, refused, err := ToFleet(overTheWire(t, FromFleet(u, now), &Update{}), now)
		if err != nil || len(refused) > 0 {
			t.Fatalf("refused: %v, %v", err, refused)
		}
		if diff := gocmp.Diff(u, got, exactly); diff != "" {
			t.Fatalf("told (-), read (+):\n%s", diff)
		}
	})
}

func TestBookComesBackEqualAndSorted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		told := rapid.SliceOfNDistinct(rapid.Custom(update), 0, 4, func(u fleet.Update) string { return u.Source }).Draw(t, "sources")
		b := BookFromFleet(told, now)
		turned := slices.Clone(told)
		slices.Reverse(turned)
		first, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		second, err := proto.MarshalOptions{Deterministic: true}.Marshal(BookFromFleet(turned, now))
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("the order of sources shows in the book (%v)", err)
		}
		got, refused, err := BookToFleet(overTheWire(t, b, &Book{}))
		if err != nil || len(refused) > 0 {
			t.Fatalf("refused: %v, %v", err, refused)
		}
		if len(got) != len(told) {
			t.Fatalf("told %d sources, read %d", len(told), len(got))
		}
		for _, u := range got {
			i := slices.IndexFunc(told, func(v fleet.Update) bool { return v.Source == u.Source })
			if !u.Whole || u.Stale != told[i].Stale || u.Ended != told[i].Ended || !u.Heard.Equal(told[i].Heard) || len(u.Put) != len(told[i].Put) {
				t.Fatalf("told %+v, read %+v", told[i], u)
			}
		}
	})
}

// A book says moments that stay the same however long it lies; a message says
// ages, so a wrong clock on the other side does no harm.
func TestMomentsAndAges(t *testing.T) {
	o := &fleet.Observation{By: "eu-1", Target: netip.MustParseAddrPort("192.0.2.1:80"), At: now.Add(-3 * time.Second), Since: now.Add(-time.Hour)}
	u := fleet.Update{Source: "eu-1/probe", Heard: now.Add(-2 * time.Second), Put: []fleet.Fact{fleet.NewFact("eu-1/192.0.2.1:80", o)}}

	sources, refused, err := BookToFleet(BookFromFleet([]fleet.Update{u}, now))
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	if got := sources[0].Put[0].Value.(*fleet.Observation); !got.At.Equal(o.At) || !got.Since.Equal(o.Since) || !sources[0].Heard.Equal(u.Heard) {
		t.Errorf("the book moved the moments: %+v", got)
	}

	theirs := now.Add(time.Hour) // their clock is an hour ahead of ours
	got, _, err := ToFleet(FromFleet(u, now), theirs)
	if err != nil {
		t.Fatal(err)
	}
	seen := got.Put[0].Value.(*fleet.Observation)
	if age := theirs.Sub(seen.At); age != 3*time.Second {
		t.Errorf("the probe is %v old over there, want 3s", age)
	}
	if age := theirs.Sub(got.Heard); age != 2*time.Second {
		t.Errorf("the source was heard %v ago over there, want 2s", age)
	}

	o.At = now.Add(time.Minute) // our clock was set back after the probe
	got, refused, err = ToFleet(FromFleet(u, now), now)
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	if seen := got.Put[0].Value.(*fleet.Observation); !seen.At.Equal(now) {
		t.Errorf("a probe in the future reads as %v, want now", seen.At)
	}
}

// A sentence with a stray byte must not make a whole message unsendable, and a
// terminal must not be handed somebody's escape codes.
func TestSentencesAreMadeHarmless(t *testing.T) {
	long := strings.Repeat("ß", maxText)
	for _, in := range []string{"bad \xff byte", "escape \x1b[31m and\nnewline", long, long[1:]} {
		o := &fleet.Observation{By: "eu-1", Target: netip.MustParseAddrPort("192.0.2.1:80"), Error: in}
		got, err := FactToFleet(overTheWire(t, FactFromFleet(fleet.NewFact("x", o), now), &Fact{}), now)
		if err != nil {
			t.Errorf("%.40q: %v", in, err)
			continue
		}
		text := got.Value.(*fleet.Observation).Error
		if strings.ContainsAny(text, "\x1b\n") || len(text) > maxText || len(text) < min(len(in), 10) {
			t.Errorf("%.40q became %.40q (%d bytes)", in, text, len(text))
		}
	}
	if x := FromFleet(fleet.Update{Source: "eu-1/\xff", Stale: "\xff"}, now); !proto.Equal(x, overTheWire(t, x, &Update{})) {
		t.Error("an update with stray bytes does not survive the wire")
	}
}

func observed(change func(*Observation)) *Fact {
	x := FactFromFleet(fleet.NewFact("eu-1/a", &fleet.Observation{By: "eu-1", Target: netip.MustParseAddrPort("192.0.2.1:80")}), now)
	change(x.GetObservation())
	return x
}

func TestHostileFactsAreRefused(t *testing.T) {
	goodCluster := func(change func(*Cluster)) *Fact {
		x := FactFromFleet(fleet.NewFact("a", &fleet.Cluster{Name: "a", At: fleet.Vantage{Region: "eu", Place: fleet.Place{Lat: 50, Lon: 8}},
			Gateways: []fleet.Gateway{{Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}}}), now)
		change(x.GetCluster())
		return x
	}
	goodRoute := func(change func(*Route)) *Fact {
		x := FactFromFleet(fleet.NewFact("a", &fleet.RouteSet{Routes: []fleet.Route{{Host: "a.example",
			Match: fleet.Match{Path: "/"}, To: []fleet.Target{{Service: fleet.ServiceName{Name: "s"}, Weight: 1}}}}}), now)
		change(x.GetRoutes().Routes[0])
		return x
	}
	goodZone := func(change func(*Zone)) *Fact {
		x := FactFromFleet(fleet.NewFact("a", &fleet.Zone{Name: "a.example.", Mailbox: "m.a.example.", Nameservers: []fleet.Nameserver{{Name: "ns.a.example."}},
			Records: []fleet.Record{{Name: "a.example.", Type: "TXT", Data: `"x"`}}}), now)
		change(x.GetZone())
		return x
	}
	goodPolicy := func(change func(*PolicyRule)) *Fact {
		x := FactFromFleet(fleet.NewFact("a", &fleet.PolicyRule{Policy: fleet.DefaultPolicy(), Targets: []fleet.PolicyTarget{{}}}), now)
		change(x.GetPolicy())
		return x
	}
	for name, c := range map[string]struct {
		fact *Fact
		want string // part of the sentence
	}{
		"no name":             {&Fact{Value: &Fact_Problems{&Problems{}}}, "name is empty"},
		"nothing said":        {&Fact{Name: "a"}, "nothing of a kind"},
		"nil value":           {&Fact{Name: "a", Value: &Fact_Cluster{}}, "cluster is empty"},
		"cluster nowhere":     {goodCluster(func(c *Cluster) { c.At.Region = "" }), "in no region"},
		"no place":            {goodCluster(func(c *Cluster) { c.At.Place = nil }), "has no place"},
		"off the earth":       {goodCluster(func(c *Cluster) { c.At.Place.Lat = 91 }), "not on earth"},
		"no number":           {goodCluster(func(c *Cluster) { c.At.Place.Lat = math.NaN() }), "not on earth"},
		"negative capacity":   {goodCluster(func(c *Cluster) { c.Capacity = -1 }), "no amount"},
		"endless capacity":    {goodCluster(func(c *Cluster) { c.Capacity = math.Inf(1) }), "no amount"},
		"slash in name":       {goodCluster(func(c *Cluster) { c.Name = "../a" }), "slash"},
		"escape in name":      {goodCluster(func(c *Cluster) { c.Name = "a\x1b" }), "control character"},
		"three bytes":         {goodCluster(func(c *Cluster) { c.Gateways[0].Addr = []byte{1, 2, 3} }), "no address"},
		"unspecified":         {goodCluster(func(c *Cluster) { c.Gateways[0].Addr = make([]byte, 4) }), "no address"},
		"multicast":           {goodCluster(func(c *Cluster) { c.Gateways[0].Addr = []byte{224, 0, 0, 1} }), "no address"},
		"port 0":              {goodCluster(func(c *Cluster) { c.Gateways[0].Port = 0 }), "is 0"},
		"port 65536":          {goodCluster(func(c *Cluster) { c.Gateways[0].RelayPort = 65536 }), "no port"},
		"nil gateway":         {goodCluster(func(c *Cluster) { c.Gateways[0] = nil }), "no address"},
		"host bits":           {goodCluster(func(c *Cluster) { c.ClientNetworks = []*Prefix{{Addr: []byte{10, 0, 0, 1}, Bits: 8}} }), "host bits"},
		"prefix too long":     {goodCluster(func(c *Cluster) { c.ClientNetworks = []*Prefix{{Addr: []byte{10, 0, 0, 1}, Bits: 33}} }), "no prefix"},
		"too many gateways":   {goodCluster(func(c *Cluster) { c.Gateways = make([]*Gateway, maxSmall+1) }), "at most"},
		"label without key":   {goodCluster(func(c *Cluster) { c.Labels = []*Label{{Value: "a"}} }), "no key"},
		"nil label":           {goodCluster(func(c *Cluster) { c.Labels = []*Label{nil} }), "no key"},
		"a label twice":       {goodCluster(func(c *Cluster) { c.Labels = []*Label{{Key: "a"}, {Key: "b"}, {Key: "a"}} }), "twice"},
		"endless label":       {goodCluster(func(c *Cluster) { c.Labels = []*Label{{Key: strings.Repeat("a", 400)}} }), "bytes long"},
		"endless value":       {goodCluster(func(c *Cluster) { c.Labels = []*Label{{Key: "a", Value: strings.Repeat("a", 64)}} }), "bytes long"},
		"too many labels":     {goodCluster(func(c *Cluster) { c.Labels = make([]*Label, maxSmall+1) }), "at most"},
		"unknown effect":      {goodCluster(func(c *Cluster) { c.Taints = []*Taint{{Key: "a", Effect: "Evict"}} }), "not known"},
		"taint with escape":   {goodCluster(func(c *Cluster) { c.Taints = []*Taint{{Key: "a\x1b", Effect: "NoExecute"}} }), "control character"},
		"too many taints":     {goodCluster(func(c *Cluster) { c.Taints = make([]*Taint, maxSmall+1) }), "at most"},
		"host in capitals":    {goodRoute(func(r *Route) { r.Host = "A.example" }), "lower-case DNS name"},
		"host with port":      {goodRoute(func(r *Route) { r.Host = "a.example:80" }), "lower-case DNS name"},
		"star inside":         {goodRoute(func(r *Route) { r.Host = "a.*.example" }), "lower-case DNS name"},
		"empty label":         {goodRoute(func(r *Route) { r.Host = "a..example" }), "lower-case DNS name"},
		"endless host":        {goodRoute(func(r *Route) { r.Host = strings.Repeat("a.", 200) }), "bytes long"},
		"no target":           {goodRoute(func(r *Route) { r.To = nil }), "no target"},
		"relative path":       {goodRoute(func(r *Route) { r.Path = "shop" }), "begin with a slash"},
		"prefix with slash":   {goodRoute(func(r *Route) { r.Path = "/shop/" }), "ends with a slash"},
		"endless path":        {goodRoute(func(r *Route) { r.Path = "/" + strings.Repeat("a", maxPath) }), "bytes long"},
		"relative zone":       {goodZone(func(z *Zone) { z.Name = "a.example" }), "end with a dot"},
		"no nameserver":       {goodZone(func(z *Zone) { z.Nameservers = nil }), "no nameserver"},
		"mailbox":             {goodZone(func(z *Zone) { z.Mailbox = "me@a.example" }), "domain name"},
		"unknown type":        {goodZone(func(z *Zone) { z.Records[0].Type = "BOGUS" }), "not known"},
		"data of other type":  {goodZone(func(z *Zone) { z.Records[0].Type = "A" }), "not in order"},
		"two lines":           {goodZone(func(z *Zone) { z.Records[0].Data = "\"x\"\nb.example. A 192.0.2.1" }), "control character"},
		"include":             {goodZone(func(z *Zone) { z.Records[0].Name = "$include." }), "DNS name"},
		"half a second":       {goodZone(func(z *Zone) { z.Ttl = durationpb.New(time.Second / 2) }), "whole seconds"},
		"negative ttl":        {goodZone(func(z *Zone) { z.Ttl = durationpb.New(-time.Second) }), "not between"},
		"unknown strategy":    {goodPolicy(func(p *PolicyRule) { p.Policy.Strategy = "random" }), "not known"},
		"no policy":           {goodPolicy(func(p *PolicyRule) { p.Policy = nil }), "not known"},
		"policy for nothing":  {goodPolicy(func(p *PolicyRule) { p.Targets = nil }), "holds for nothing"},
		"unknown check":       {goodPolicy(func(p *PolicyRule) { p.Policy.Check.Kind = "exec" }), "not known"},
		"check every decade":  {goodPolicy(func(p *PolicyRule) { p.Policy.Check.Interval = durationpb.New(maxAge) }), "not between"},
		"seen tomorrow":       {observed(func(o *Observation) { o.AtAgo = durationpb.New(-time.Hour) }), "not between"},
		"seen ages ago":       {observed(func(o *Observation) { o.AtAgo = durationpb.New(maxAge + 1) }), "not between"},
		"overflowing age":     {observed(func(o *Observation) { o.AtAgo = &durationpb.Duration{Seconds: math.MaxInt64} }), "not between"},
		"seen by nobody":      {observed(func(o *Observation) { o.By = "" }), "prober is empty"},
		"novel for an error":  {observed(func(o *Observation) { o.Error = strings.Repeat("a", maxText+1) }), "bytes long"},
		"too many samples":    {observed(func(o *Observation) { o.Samples = math.MaxUint32 }), "at most"},
		"more than all":       {&Fact{Name: "a", Value: &Fact_Load{&LoadReport{Service: &ServiceName{Name: "s"}, To: "eu", ErrorRate: 1.5}}}, "more than all"},
		"order without rest":  {&Fact{Name: "a", Value: &Fact_Drain{&Drain{Scope: "region", Name: "eu", Order: math.MaxUint64}}}, "at most"},
		"drain of everything": {&Fact{Name: "a", Value: &Fact_Drain{&Drain{Scope: "world", Name: "eu"}}}, "not known"},
		"year 300000":         {&Fact{Name: "a", Value: &Fact_Drain{&Drain{Scope: "region", Name: "eu", Since: &timestamppb.Timestamp{Seconds: math.MaxInt64}}}}, "no moment"},
		"negative line":       {&Fact{Name: "a", Value: &Fact_Problems{&Problems{Problems: []*Problem{{About: &Origin{Line: -1}}}}}}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FactToFleet(c.fact, now)
			if err == nil {
				t.Fatalf("taken as %+v", got.Value)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("refused with %q, want a sentence with %q", err, c.want)
			}
		})
	}
}

func TestABadFactSparesItsNeighbours(t *testing.T) {
	x := &Update{Source: "eu-1/file", Whole: true, Put: []*Fact{
		observed(func(*Observation) {}),
		observed(func(o *Observation) { o.Port = 0 }),
	}}
	u, refused, err := ToFleet(x, now)
	if err != nil || len(refused) != 1 || len(u.Put) != 1 {
		t.Fatalf("took %d facts and refused %v, %v", len(u.Put), refused, err)
	}
	if u.Whole {
		t.Error("a telling with a hole still says that it is whole: what was in the hole would be taken as gone")
	}
}

func TestAKindOfTheFutureIsPassedOver(t *testing.T) {
	future := &Fact{}
	b := protowire.AppendTag(nil, 1, protowire.BytesType)
	b = protowire.AppendString(b, "new")
	b = protowire.AppendTag(b, 900, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("news"))
	if err := proto.Unmarshal(b, future); err != nil {
		t.Fatal(err)
	}
	x := &Update{Source: "eu-1/file", Whole: true, Put: []*Fact{future, observed(func(*Observation) {})}, Gone: []*FactName{{Kind: "news", Name: "old"}}}
	u, refused, err := ToFleet(x, now)
	if err != nil || len(refused) != 0 || len(u.Put) != 1 || len(u.Gone) != 0 || !u.Whole {
		t.Errorf("read %+v, %v, %v; want the one known fact and no complaint", u, refused, err)
	}
}

func TestUnusableUpdates(t *testing.T) {
	for name, x := range map[string]*Update{
		"nil":             nil,
		"no source":       {Whole: true},
		"endless source":  {Source: strings.Repeat("a", MaxName+1)},
		"too many":        {Source: "a", Put: make([]*Fact, MaxFacts+1)},
		"heard tomorrow":  {Source: "a", HeardAgo: durationpb.New(-1)},
		"stale beyond":    {Source: "a", Stale: strings.Repeat("a", maxText+1)},
		"stale in colour": {Source: "a", Stale: "\x1b[31m"},
	} {
		if u, _, err := ToFleet(x, now); err == nil {
			t.Errorf("%s: taken as %+v", name, u)
		}
	}
	if _, _, err := BookToFleet(&Book{}); err == nil {
		t.Error("a book without a date was taken")
	}
	if got, refused, err := BookToFleet(&Book{Written: timestamppb.New(now), Sources: []*Update{{}, {Source: "a"}}}); err != nil || len(got) != 1 || len(refused) != 1 {
		t.Errorf("one bad source spoils the book: %v, %v, %v", got, refused, err)
	}
}

// FuzzToFleet: whatever comes in does no harm, and what is taken is a fixed
// point: it converts out and comes back equal.
func FuzzToFleet(f *testing.F) {
	seed := func(u *Update) {
		b, err := proto.Marshal(u)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, kind := range kinds {
		gen := rapid.Custom(func(t *rapid.T) fleet.Fact { return fleet.NewFact("a", values[kind](t)) })
		seed(FromFleet(fleet.Update{Source: "eu-1/seed", Whole: true, Put: []fleet.Fact{gen.Example(1), gen.Example(2)}}, now))
	}
	seed(&Update{Source: "a", Gone: []*FactName{{Kind: "cluster", Name: "b"}}, Stale: "x", HeardAgo: durationpb.New(1)})
	f.Fuzz(func(t *testing.T, b []byte) {
		x := &Update{}
		if proto.Unmarshal(b, x) != nil {
			return
		}
		u, _, err := ToFleet(x, now)
		if err != nil {
			return
		}
		again, refused, err := ToFleet(overTheWire(t, FromFleet(u, now), &Update{}), now)
		if err != nil || len(refused) > 0 {
			t.Fatalf("what was taken once is refused the second time: %v, %v", err, refused)
		}
		if diff := gocmp.Diff(u, again, exactly); diff != "" {
			t.Fatalf("first (-), second (+):\n%s", diff)
		}
	})
}
