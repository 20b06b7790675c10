package admin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectiongrpc "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
)

func wantCode(t *testing.T, what string, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, err, w)
		}
	}
}

func TestBeforeTheFirstPlan(t *testing.T) {
	d := open(t, nil)
	_, err := d.client.ListRegions(t.Context(), &adminv1.ListRegionsRequest{})
	wantCode(t, "regions", err, codes.Unavailable, "no plan yet")
	_, err = d.client.Drain(t.Context(), &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu"})
	wantCode(t, "drain", err, codes.Unavailable, "no plan yet")
	if err := d.Ready(); err == nil {
		t.Error("it says that it is ready")
	}
	d.Update(d.keeper.plan())
	if err := d.Ready(); err != nil {
		t.Errorf("with a plan it is not ready: %v", err)
	}
}

func TestLists(t *testing.T) {
	d := open(t, func(c *Config) {
		c.Gateways = func() []GatewayInfo {
			return []GatewayInfo{{Node: "envoy-2", Region: "eu"}, {Node: "envoy-1\xff", Region: "eu", Since: time.Now().Add(-time.Minute), Resources: 12, Refused: "Listener x: bad"}}
		}
	})
	d.Update(d.keeper.plan())
	ctx := t.Context()

	regions, err := d.client.ListRegions(ctx, &adminv1.ListRegionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	eu := regions.Regions[1]
	if len(regions.Regions) != 3 || regions.Generation != 7 || eu.Name != "eu" || eu.Health.State != adminv1.Health_HEALTH_HEALTHY ||
		eu.Rps != 60 || eu.Share != 0.6 || eu.Rtt.AsDuration() != 51*time.Millisecond || eu.Gateways[0].Front != "192.0.2.2:80" || eu.Gateways[0].Relay != "192.0.2.2:8443" {
		t.Errorf("regions: %v", regions)
	}

	clusters, err := d.client.ListClusters(ctx, &adminv1.ListClustersRequest{Region: "us"})
	if err != nil || len(clusters.Clusters) != 1 || clusters.Clusters[0].Name != "us-a" || clusters.Clusters[0].Origin != "Cluster us-a (fleet.yaml:3)" || len(clusters.Clusters[0].Gateways) != 1 {
		t.Errorf("clusters of us: %v, %v", clusters, err)
	}

	services, err := d.client.ListServices(ctx, &adminv1.ListServicesRequest{})
	if err != nil || len(services.Services) != 2 || services.Services[0].Name != "basket" || services.Services[1].Rps != 80 {
		t.Errorf("services: %v, %v", services, err)
	} else if b := services.Services[1].Backends[0]; b.Cluster != "ap-a" || b.Ready != 1 || b.Total != 2 || b.Ports[0] != "http:80" {
		t.Errorf("the shop's backend: %v", b)
	}

	routes, err := d.client.ListRoutes(ctx, &adminv1.ListRoutesRequest{})
	if err != nil || len(routes.Hosts) != 3 || routes.Hosts[1].Routes[0].Match != "Exact" || routes.Hosts[1].Routes[1].To[0].Port != "80" {
		t.Errorf("routes: %v, %v", routes, err)
	}
	if routes, err = d.client.ListRoutes(ctx, &adminv1.ListRoutesRequest{Host: "nobody.example"}); err != nil || len(routes.Hosts) != 0 {
		t.Errorf("routes of nobody: %v, %v", routes, err)
	}

	problems, err := d.client.ListProblems(ctx, &adminv1.ListProblemsRequest{Cluster: "eu-a"})
	if err != nil || len(problems.Problems) != 1 || problems.Problems[0].Reason != "HostConflict" {
		t.Errorf("problems: %v, %v", problems, err)
	}
	sources, err := d.client.ListSources(ctx, &adminv1.ListSourcesRequest{})
	if err != nil || len(sources.Sources) != 2 || sources.Sources[1].Stale != "lost touch" || sources.Sources[1].HeardAgo != nil || sources.Sources[0].HeardAgo == nil {
		t.Errorf("sources: %v, %v", sources, err)
	}
	gateways, err := d.client.ListGateways(ctx, &adminv1.ListGatewaysRequest{})
	if err != nil || len(gateways.Gateways) != 2 || gateways.Gateways[0].Resources != 12 || gateways.Gateways[0].Connected.AsDuration() < time.Minute {
		t.Errorf("gateways: %v, %v", gateways, err)
	}
}

func TestAnswersStayWithinBounds(t *testing.T) {
	d := open(t, nil)
	d.Update(manyServices())
	all, err := d.client.ListServices(t.Context(), &adminv1.ListServicesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(all.Services); n == 0 || all.LeftOut == 0 || n+int(all.LeftOut) != 40_002 || proto.Size(all) > maxMessage {
		t.Errorf("%d services and %d left out in %d bytes", n, all.LeftOut, proto.Size(all))
	}
	one, err := d.client.ListServices(t.Context(), &adminv1.ListServicesRequest{Namespace: "namespace-39999"})
	if err != nil || len(one.Services) != 1 || one.LeftOut != 0 {
		t.Errorf("asked for one of those left out: %v, %v", one, err)
	}
	_, err = d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "192.0.2.1", Host: strings.Repeat("a", maxMessage+1)})
	wantCode(t, "a question larger than a message", err, codes.ResourceExhausted)
}

func TestExplain(t *testing.T) {
	ask := func(client, host, path string) *adminv1.ExplainRequest {
		return &adminv1.ExplainRequest{Client: client, Host: host, Path: path}
	}
	for _, c := range []struct {
		name    string
		change  func(*fleet.Snapshot)
		ask     *adminv1.ExplainRequest
		region  string
		hops    []string // region of each
		agree   bool
		because string
	}{
		{name: "Berlin is served in Frankfurt", ask: ask("198.51.100.9", "shop.example", ""), region: "eu", hops: []string{"eu"}, agree: true},
		{name: "Virginia at home, by IPv6", ask: ask("2001:db8:1:2:3::4", "Shop.Example.", "/any?x=1"), region: "us", hops: []string{"us"}, agree: true},
		{name: "an IPv4 address in IPv6 clothes", ask: ask("::ffff:198.51.100.9", "shop.example", "/"), region: "eu", hops: []string{"eu"}, agree: true},
		{name: "a route with two targets", ask: ask("198.51.100.9", "shop.example", "/basket"), region: "eu", hops: []string{"eu", "eu"}, agree: true},
		{name: "the nearest is drained", ask: ask("198.51.100.9", "shop.example", "/"), region: "us", hops: []string{"us"}, agree: true, // and so for every client, since nobody else has shop and basket
			change: func(s *fleet.Snapshot) { s.World.Edges[1].Drain = "by order of ops" }},
		{name: "DNS names a region whose gateway hands on", ask: ask("198.51.100.9", "shop.example", "/basket"), region: "eu", hops: []string{"us", "eu"}, because: "DNS names eu, whose gateway hands requests for shop/basket on to us",
			change: func(s *fleet.Snapshot) {
				// Residency keeps the basket in us and the shop in eu: no region
				// serves both, so half a site beats none.
				s.Services[basket].Policy = &fleet.Policy{Strategy: fleet.StrategyLatency, Regions: []fleet.Region{"us"}, TTL: time.Second}
				s.Services[shop].Policy = &fleet.Policy{Strategy: fleet.StrategyLatency, Regions: []fleet.Region{"eu"}, TTL: time.Second}
			}},
		{name: "no route takes the path", ask: ask("198.51.100.9", "static.example", "/css"), region: "eu", because: "answers 404"},
		{name: "a host without a living service", ask: ask("198.51.100.9", "old.example", "/"), because: "no region may serve the host"},
		{name: "one weight for all", ask: ask("198.51.100.9", "shop.example", "/"), region: "ap", hops: []string{"ap"}, agree: true,
			change: func(s *fleet.Snapshot) {
				for _, svc := range s.Services {
					svc.Policy = &fleet.Policy{Strategy: fleet.StrategyWeighted, Weights: map[fleet.Region]uint32{"ap": 1}, TTL: time.Second}
				}
				delete(s.Services, basket)
			}},
		{name: "split by weight", ask: ask("198.51.100.9", "shop.example", "/"), agree: true,
			change: func(s *fleet.Snapshot) {
				s.Services[shop].Policy = &fleet.Policy{Strategy: fleet.StrategyWeighted, Weights: map[fleet.Region]uint32{"eu": 1, "us": 1}, TTL: time.Second}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, nil)
			s := world()
			if c.change != nil {
				c.change(s)
			}
			p := steer.New(s)
			d.Update(p)
			got, err := d.client.Explain(t.Context(), c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if c.name != "split by weight" && got.Answer.Region != c.region {
				t.Errorf("DNS names %q, want %q", got.Answer.Region, c.region)
			}
			var addrs, hops []string
			for _, a := range p.Addresses(fleet.Region(got.Answer.Region)) {
				addrs = append(addrs, a.String())
			}
			if !slices.Equal(got.Answer.Addresses, addrs) {
				t.Errorf("DNS answers %v, want %v", got.Answer.Addresses, addrs)
			}
			for _, h := range got.Hops {
				hops = append(hops, h.Region)
			}
			if c.hops != nil && !slices.Equal(hops, c.hops) {
				t.Errorf("the gateway sends to %v, want %v", hops, c.hops)
			}
			if got.Agree != c.agree || got.Agree != (got.Disagreement == "") || !strings.Contains(got.Disagreement, c.because) {
				t.Errorf("agree %v, %q; want %v, %q", got.Agree, got.Disagreement, c.agree, c.because)
			}
			if got.Generation != 7 || got.Gateway != got.Answer.Region {
				t.Errorf("generation %d, gateway %q", got.Generation, got.Gateway)
			}
		})
	}
}

// A refused region is in the explanation with the reason.
func TestExplainKeepsTheRefused(t *testing.T) {
	d := open(t, nil)
	s := world()
	s.World.Edges[1].Drain = "by order of ops: flood"
	d.Update(steer.New(s))
	got, err := d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "198.51.100.9", Host: "shop.example"})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(got.Dns.Refused, func(c *adminv1.Candidate) bool { return c.Region == "eu" })
	if i < 0 || got.Dns.Refused[i].Reasons[0].Code != string(steer.ReasonDraining) || !strings.Contains(got.Dns.Refused[i].Reasons[0].Text, "flood") {
		t.Errorf("refused: %v", got.Dns.Refused)
	}
	if got.Location.City != "Berlin" || got.Answer.Prefix != "198.51.100.0/24" || got.Dns.Services[0] != "shop/web" {
		t.Errorf("%v", got)
	}
}

func TestExplainRefusesNonsense(t *testing.T) {
	d := open(t, nil)
	d.Update(d.keeper.plan())
	for _, q := range []*adminv1.ExplainRequest{
		{},
		{Client: "here", Host: "shop.example"},
		{Client: "fe80::1%eth0", Host: "shop.example"},
		{Client: "192.0.2.1"},
		{Client: "192.0.2.1", Host: "shop.example:80"},
		{Client: "192.0.2.1", Host: "https://shop.example/"},
		{Client: "192.0.2.1", Host: strings.Repeat("a", 254)},
		{Client: "192.0.2.1", Host: strings.Repeat("a", 64) + ".example"},
		{Client: "192.0.2.1", Host: "shop..example"},
		{Client: "192.0.2.1", Host: `shop\.example`},
		{Client: "192.0.2.1", Host: "shop.example", Path: "basket"},
		{Client: "192.0.2.1", Host: "shop.example", Path: "/" + strings.Repeat("a", 5000)},
	} {
		_, err := d.client.Explain(t.Context(), q)
		wantCode(t, fmt.Sprintf("%.80v", q), err, codes.InvalidArgument)
	}
	_, err := d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "192.0.2.1", Host: "nobody.example"})
	wantCode(t, "a host nobody has", err, codes.NotFound, "nobody.example", "NXDOMAIN")
}

func region(name string) *adminv1.DrainRequest {
	return &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: name, Reason: "works", By: "kim"}
}

func TestAnOperatorsDay(t *testing.T) {
	d := open(t, nil)
	d.Update(d.keeper.plan())
	ctx := t.Context()

	_, err := d.client.Drain(ctx, region("mars"))
	wantCode(t, "a region that is not", err, codes.NotFound, "region mars", "ap, eu, us")
	_, err = d.client.Drain(ctx, &adminv1.DrainRequest{Name: "eu"})
	wantCode(t, "no scope", err, codes.InvalidArgument)
	_, err = d.client.Drain(ctx, &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu", Reason: "\x1b[31m"})
	wantCode(t, "a coloured reason", err, codes.InvalidArgument)

	got, err := d.client.Drain(ctx, region("eu"))
	if err != nil || !got.Changed || got.Drain.Order != 1 || !got.Drain.On || got.Drain.By != "kim" || got.Generation != 7 {
		t.Fatalf("draining eu: %v, %v", got, err)
	}
	if again, err := d.client.Drain(ctx, region("eu")); err != nil || again.Changed || again.Drain.Order != 1 {
		t.Errorf("draining eu again, before any plan shows it: %v, %v", again, err)
	}
	d.Update(d.keeper.plan())
	if again, err := d.client.Drain(ctx, region("eu")); err != nil || again.Changed || again.Drain.Order != 1 {
		t.Errorf("draining eu again, when the plan shows it: %v, %v", again, err)
	}
	if n := len(d.keeper.orders()); n != 1 {
		t.Fatalf("%d orders were told, want 1", n)
	}

	// Before a plan shows the second order, the third would leave nobody.
	if _, err := d.client.Drain(ctx, &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_CLUSTER, Name: "us-a"}); err != nil {
		t.Fatal(err)
	}
	_, err = d.client.Drain(ctx, region("ap"))
	wantCode(t, "the last region", err, codes.FailedPrecondition, "ap is the last", "undrain", "force")
	_, err = d.client.Drain(ctx, &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_CLUSTER, Name: "ap-a"})
	wantCode(t, "the last cluster", err, codes.FailedPrecondition, "force")
	forced := region("ap")
	forced.Force = true
	if got, err := d.client.Drain(ctx, forced); err != nil || got.Drain.Order != 3 {
		t.Errorf("the last region by force: %v, %v", got, err)
	}
	d.Update(d.keeper.plan())

	lifted, err := d.client.Undrain(ctx, &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu", By: "kim"})
	if err != nil || !lifted.Changed || lifted.Drain.On || lifted.Drain.Order != 4 {
		t.Errorf("undraining eu: %v, %v", lifted, err)
	}
	d.Update(d.keeper.plan())
	if again, err := d.client.Undrain(ctx, &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "eu"}); err != nil || again.Changed || again.Drain != nil {
		t.Errorf("undraining eu again: %v, %v", again, err)
	}
	_, err = d.client.Undrain(ctx, &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: "mars"})
	wantCode(t, "undraining what is not", err, codes.NotFound, "mars")

	// Drained again, which once more takes force, the number goes on from what
	// was taken back.
	_, err = d.client.Drain(ctx, region("eu"))
	wantCode(t, "the last region again", err, codes.FailedPrecondition, "eu is the last")
	forced = region("eu")
	forced.Force = true
	if got, err := d.client.Drain(ctx, forced); err != nil || got.Drain.Order != 5 {
		t.Errorf("draining eu once more: %v, %v", got, err)
	}
	log := d.log.String()
	for _, want := range []string{"an operator gave an order", "by=kim", "name=eu", "generation=7", "order=5", "refused", "force=true"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if n := strings.Count(log, "an operator gave an order"); n != 5 {
		t.Errorf("%d orders in the log, want 5", n)
	}
	for i, o := range d.keeper.orders() {
		if o.Order != uint64(i+1) {
			t.Errorf("orders are numbered %v", d.keeper.orders())
		}
	}
	for i, u := range d.keeper.told {
		if u.Whole || u.Source != "eu-1/admin" || (i > 0 && u.Put[0].Name != fmt.Sprintf("%s/%s", u.Put[0].Value.(*fleet.Drain).Scope, u.Put[0].Value.(*fleet.Drain).Name)) {
			t.Errorf("told %+v; orders outlive a process, so nothing may be told as whole", u)
		}
	}
}

// Orders of other replicas are seen in the plan: the next one goes above them,
// and one that theirs overrides is no longer taken for ours.
func TestOrdersOfOtherReplicas(t *testing.T) {
	d := open(t, nil)
	d.Update(d.keeper.plan())
	if _, err := d.client.Drain(t.Context(), region("eu")); err != nil {
		t.Fatal(err)
	}
	s := world()
	s.World.DrainOrder = 41 // another replica has taken ours back
	d.Update(steer.New(s))
	got, err := d.client.Drain(t.Context(), region("eu"))
	if err != nil || !got.Changed || got.Drain.Order != 42 {
		t.Errorf("draining what another replica undrained: %v, %v", got, err)
	}
	s = world()
	s.World.DrainOrder = maxOrder
	d.Update(steer.New(s))
	_, err = d.client.Drain(t.Context(), region("us"))
	wantCode(t, "above the highest number", err, codes.FailedPrecondition)
}

// An order is told again by whoever hears of it, once, and so is the one that
// takes it back: it outlives the daemon that was given it.
func TestOrdersOfOthersAreAdopted(t *testing.T) {
	d := open(t, nil)
	d.Update(d.keeper.plan())
	if _, err := d.client.Drain(t.Context(), region("eu")); err != nil {
		t.Fatal(err)
	}
	told := func(want ...fleet.Drain) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for !slices.Equal(d.keeper.orders()[1:], want) {
			if time.Now().After(deadline) {
				t.Fatalf("told %+v, want %+v", d.keeper.orders()[1:], want)
			}
			runtime.Gosched()
		}
	}
	theirs := fleet.Drain{Scope: fleet.ScopeRegion, Name: "us", On: true, Order: 7, By: "kim"}
	s := world()
	s.World.Drains = []fleet.Drain{theirs, {Scope: fleet.ScopeRegion, Name: "mars", On: true, Order: 8}}
	d.Update(steer.New(s))
	told(theirs)
	d.Update(steer.New(s)) // no news
	lifted := fleet.Drain{Scope: fleet.ScopeRegion, Name: "us", Order: 9, By: "robin"}
	s = world()
	s.World.Lifted = []fleet.Drain{{Scope: fleet.ScopeRegion, Name: "eu", Order: 1}, lifted} // the former was given at the same moment as ours, and gives way
	d.Update(steer.New(s))
	told(theirs, lifted)
}

func TestUndrainSaysWhatElseDrains(t *testing.T) {
	d := open(t, nil)
	s := world()
	s.World.Edges[0].Clusters[0].Draining = true
	d.Update(steer.New(s))
	got, err := d.client.Undrain(t.Context(), &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_CLUSTER, Name: "ap-a"})
	if err != nil || got.Changed || !strings.Contains(got.Note, "its own object") {
		t.Errorf("a cluster that drains by itself: %v, %v", got, err)
	}
	if _, err := d.client.Drain(t.Context(), region("eu")); err != nil {
		t.Fatal(err)
	}
	d.Update(d.keeper.plan())
	got, err = d.client.Undrain(t.Context(), &adminv1.UndrainRequest{Scope: adminv1.Scope_SCOPE_CLUSTER, Name: "eu-a"})
	if err != nil || !strings.Contains(got.Note, "region eu is drained as a whole") {
		t.Errorf("a cluster in a drained region: %v, %v", got, err)
	}
}

// Many operators at once: numbers are never given twice, and somebody goes on serving.
func TestOrdersAtOnce(t *testing.T) {
	d := open(t, nil)
	d.Update(d.keeper.plan())
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range 30 {
		wg.Go(func() {
			if _, err := d.client.Drain(t.Context(), &adminv1.DrainRequest{Scope: adminv1.Scope_SCOPE_REGION, Name: []string{"ap", "eu", "us"}[i%3]}); err != nil {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	orders := d.keeper.orders()
	if len(orders) != 2 || orders[0].Order != 1 || orders[1].Order != 2 || refused.Load() != 10 {
		t.Errorf("%d refused, orders %+v", refused.Load(), orders)
	}
}

func TestAnOrderThatIsNotSavedIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) {
			c.Order = func(_ context.Context, u fleet.Update) error {
				if len(u.Put) > 0 {
					return errors.New("no space left on device")
				}
				return nil
			}
		})
		d.Update(d.keeper.plan())
		_, err := d.client.Drain(t.Context(), region("eu"))
		wantCode(t, "with a full disk", err, codes.Internal, "no space left")
	})
}

func TestAnOrderThatIsNotTakenIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, func(c *Config) {
			c.Order = func(ctx context.Context, u fleet.Update) error {
				if len(u.Put) > 0 {
					<-ctx.Done() // the hub hangs
				}
				return ctx.Err()
			}
		})
		d.Update(d.keeper.plan())
		_, err := d.client.Drain(t.Context(), region("eu"))
		wantCode(t, "with a hub that hangs", err, codes.DeadlineExceeded, "give it again")
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	d := open(t, func(c *Config) {
		c.Tokens = []Token{{Name: "reader", Secret: "r3ad"}, {Name: "writer", Secret: "wr1te", Write: true}, {Name: "empty", Write: true}}
	})
	d.Update(d.keeper.plan())
	read := func(ctx context.Context) error {
		_, err := d.client.ListRegions(ctx, &adminv1.ListRegionsRequest{})
		return err
	}
	watch := func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := d.client.WatchPlan(ctx, &adminv1.WatchPlanRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	}
	reflect := func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := reflectiongrpc.NewServerReflectionClient(d.conn).ServerReflectionInfo(ctx)
		if err != nil {
			return err
		}
		_ = s.Send(&reflectiongrpc.ServerReflectionRequest{MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{}})
		_, err = s.Recv()
		return err
	}
	write := func(ctx context.Context) error {
		_, err := d.client.Drain(ctx, region("eu"))
		return err
	}
	check := func(ctx context.Context) error {
		_, err := healthgrpc.NewHealthClient(d.conn).Check(ctx, &healthgrpc.HealthCheckRequest{})
		return err
	}
	for _, c := range []struct {
		header      []string
		read, write codes.Code
	}{
		{nil, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{""}, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{"Bearer "}, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{"Bearer r3a"}, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{"Basic wr1te"}, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{"Bearer r3ad", "Bearer wr1te"}, codes.Unauthenticated, codes.Unauthenticated},
		{[]string{"Bearer r3ad"}, codes.OK, codes.PermissionDenied},
		{[]string{"Bearer wr1te"}, codes.OK, codes.OK},
	} {
		ctx := t.Context()
		for _, h := range c.header {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", h)
		}
		what := fmt.Sprintf("with %q", c.header)
		wantCode(t, what+" list", read(ctx), c.read)
		wantCode(t, what+" watch", watch(ctx), c.read)
		wantCode(t, what+" reflection", reflect(ctx), c.read)
		wantCode(t, what+" drain", write(ctx), c.write)
		wantCode(t, what+" health", check(ctx), codes.OK)
	}
	orders := d.keeper.orders()
	if len(orders) != 1 || orders[0].By != "writer" {
		t.Errorf("orders %+v; want one by the bearer of the token, whatever name it gives itself", orders)
	}
	if strings.Contains(d.log.String(), "wr1te") {
		t.Error("a secret is in the log")
	}
}

func TestAPanicStaysInside(t *testing.T) {
	reg := prometheus.NewRegistry()
	d := open(t, func(c *Config) {
		c.Registerer = reg
		c.Resolve = func(string, netip.Addr) Resolution { panic("secret detail") }
	})
	d.Update(d.keeper.plan())
	_, err := d.client.Explain(t.Context(), &adminv1.ExplainRequest{Client: "192.0.2.1", Host: "shop.example"})
	wantCode(t, "explain", err, codes.Internal, "daemon's log")
	if strings.Contains(err.Error(), "secret detail") || strings.Contains(err.Error(), ".go:") {
		t.Errorf("the caller is told of our inside: %v", err)
	}
	if log := d.log.String(); !strings.Contains(log, "secret detail") || !strings.Contains(log, "explain.go") {
		t.Errorf("the log does not say what happened: %s", log)
	}
	if _, err := d.client.ListRegions(t.Context(), &adminv1.ListRegionsRequest{}); err != nil {
		t.Errorf("the next call fails too: %v", err)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP meridian_admin_calls_total Calls of the admin API that have ended.
# TYPE meridian_admin_calls_total counter
meridian_admin_calls_total{code="Internal",method="/meridian.admin.v1.Admin/Explain"} 1
meridian_admin_calls_total{code="OK",method="/meridian.admin.v1.Admin/ListRegions"} 1
# HELP meridian_admin_panics_total Calls that failed by a fault of this daemon.
# TYPE meridian_admin_panics_total counter
meridian_admin_panics_total 1
`), "meridian_admin_calls_total", "meridian_admin_panics_total"); err != nil {
		t.Error(err)
	}
}

func planOf(generation uint64) *steer.Plan {
	s := world()
	s.Generation = generation
	return steer.New(s)
}

func TestWatchersGetTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, nil)
		stream, err := d.client.WatchPlan(t.Context(), &adminv1.WatchPlanRequest{})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		d.Update(planOf(1))
		first, err := stream.Recv()
		if err != nil || first.Generation != 1 || first.From != "eu" || first.Instance != "eu-1" || first.Rps != 100 ||
			len(first.Regions) != 3 || first.Services != 2 || first.Hosts != 3 || first.Problems != 1 || !slices.Equal(first.StaleSources, []string{"us-1/file"}) {
			t.Errorf("the first summary: %v, %v", first, err)
		}
		// While nobody reads, plans follow each other; the stream takes as many as
		// fit into its window and skips the others.
		const plans = 5000
		for g := uint64(2); g <= plans; g++ {
			d.Update(planOf(g))
			synctest.Wait()
		}
		got, last := 0, first
		for last.Generation < plans {
			next, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if next.Generation <= last.Generation {
				t.Fatalf("generation %d after %d", next.Generation, last.Generation)
			}
			last, got = next, got+1
		}
		if got > plans/2 {
			t.Errorf("a reader that slept was sent %d of %d plans", got, plans)
		}

		// When the daemon stops, watchers are told rather than waited for.
		began := time.Now()
		d.stop()
		if took := time.Since(began); took >= stopGrace {
			t.Errorf("stopping took %v", took)
		}
		_, err = stream.Recv()
		wantCode(t, "after the stop", err, codes.Unavailable)
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stuck atomic.Pointer[error]
		d := open(t, func(c *Config) {
			c.Progress = func() error {
				if err := stuck.Load(); err != nil {
					return *err
				}
				return nil
			}
		})
		want := func(when, name string, state healthgrpc.HealthCheckResponse_ServingStatus) {
			t.Helper()
			got, err := healthgrpc.NewHealthClient(d.conn).Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: name})
			if err != nil || got.Status != state {
				t.Errorf("%s: %q is %v, %v; want %v", when, name, got.GetStatus(), err, state)
			}
		}
		serving, not := healthgrpc.HealthCheckResponse_SERVING, healthgrpc.HealthCheckResponse_NOT_SERVING
		want("at first", "", not)
		want("at first", HealthServing, not)
		want("at first", HealthAlive, serving)
		d.Update(planOf(1))
		want("with a plan", "", serving)
		want("with a plan", HealthServing, serving)
		err := errors.New("the hub has not moved for 60s")
		stuck.Store(&err)
		time.Sleep(progressEvery + time.Millisecond)
		want("when stuck", HealthAlive, not)
		want("when stuck", "", serving)
		stuck.Store(nil)
		time.Sleep(progressEvery)
		want("moving again", HealthAlive, serving)
		if n := strings.Count(d.log.String(), "progress of the daemon has changed"); n != 2 {
			t.Errorf("%d lines about progress, want 2", n)
		}
	})
}

func TestReflectionKnowsTheService(t *testing.T) {
	d := open(t, nil)
	s, err := reflectiongrpc.NewServerReflectionClient(d.conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&reflectiongrpc.ServerReflectionRequest{MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Recv()
	if err != nil || !strings.Contains(got.String(), "meridian.admin.v1.Admin") {
		t.Errorf("%v, %v", got, err)
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
}

// Every method of the service is either known to be harmless or guarded as a write.
func TestEveryMethodIsGuarded(t *testing.T) {
	var writing []string
	for _, m := range adminv1.Admin_ServiceDesc.Methods {
		if writes("/" + adminv1.Admin_ServiceDesc.ServiceName + "/" + m.MethodName) {
			writing = append(writing, m.MethodName)
		}
	}
	if slices.Sort(writing); !slices.Equal(writing, []string{"Drain", "Undrain"}) {
		t.Errorf("methods that need a token which may write: %v", writing)
	}
	if !writes("/other.Service/ListThings") {
		t.Error("a method of another service passes as harmless by its name")
	}
}
