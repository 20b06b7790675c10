package admin

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/steer"
	"github.com/meridian-lb/meridian/placement"
	"github.com/meridian-lb/meridian/trust"
)

// clerk knows the workloads that it is given.
type clerk struct {
	reports []placement.Report
	fault   error
}

func (r *clerk) Workloads() ([]placement.Report, error) { return r.reports, r.fault }

func (r *clerk) Spread(namespace, name string) (placement.Report, bool, error) {
	for _, w := range r.reports {
		if w.Namespace == namespace && w.Name == name {
			return w, true, r.fault
		}
	}
	return placement.Report{}, false, r.fault
}

// web is a Deployment in two clusters, of which one is silent.
func web() placement.Report {
	return placement.Report{
		Namespace: "shop", Name: "deployment-web", APIVersion: "apps/v1", Kind: "Deployment", Object: "web", Mode: placement.ModeDivide,
		Generation: 3, Observed: 2, Desired: 10, Ready: 4, Unschedulable: 1, Unplaced: 2, InClusters: "1/2",
		State: "NotPlaced", Reason: "Unreachable", Message: "us-a: it does not answer\xff", Seen: time.Now().Add(-2 * time.Second), Again: time.Now().Add(time.Hour),
		Clusters: []placement.Holding{
			{Cluster: "us-a", Goal: -1, Told: 4, State: "Unreachable", Reason: "Silent", Message: "it does not answer", Since: time.Now().Add(-time.Minute)},
			{Cluster: "eu-a", Goal: 6, Told: 5, Ready: 4, Unschedulable: 1, State: "Applied", Reasons: []string{"5 that run there and stay", "1 by its weight of 1"}},
		},
	}
}

func TestWorkloads(t *testing.T) {
	known := &clerk{reports: []placement.Report{web(), {Namespace: "shop", Name: "configmap-a"}, {Namespace: "bank", Name: "secret-keys", Kind: "Secret"}}}
	d := open(t, func(c *Config) { c.Workloads = known })
	list := func(namespace string) (names []string) {
		a, err := d.client.ListWorkloads(t.Context(), &adminv1.ListWorkloadsRequest{Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range a.GetWorkloads() {
			names = append(names, w.GetNamespace()+"/"+w.GetName())
		}
		return names
	}
	if got := strings.Join(list(""), " "); got != "bank/secret-keys shop/configmap-a shop/deployment-web" {
		t.Errorf("all: %s", got)
	}
	if got := strings.Join(list("shop"), " "); got != "shop/configmap-a shop/deployment-web" {
		t.Errorf("of shop: %s", got)
	}
	if got := list("nowhere"); got != nil {
		t.Errorf("of nowhere: %v", got)
	}

	a, err := d.client.ExplainSpread(t.Context(), &adminv1.ExplainSpreadRequest{Namespace: "shop", Name: "deployment-web"})
	if err != nil {
		t.Fatal(err)
	}
	w := a.GetWorkload()
	if w.GetKind() != "Deployment" || w.GetDesired() != 10 || w.GetReady() != 4 || w.GetObservedGeneration() != 2 || w.GetSeenAgo().AsDuration() < 2*time.Second || w.GetMessage() != "us-a: it does not answer\uFFFD" {
		t.Errorf("the whole: %v", w)
	}
	if in := a.GetAgainIn().AsDuration(); a.Unplaced == nil || a.GetUnplaced() != 2 || in < 59*time.Minute || in > time.Hour {
		t.Errorf("unplaced %v, again in %v", a.Unplaced, in)
	}
	eu, us := a.GetHoldings()[0], a.GetHoldings()[1]
	if eu.GetCluster() != "eu-a" || eu.GetGoal() != 6 || eu.GetTold() != 5 || len(eu.GetReasons()) != 2 || eu.StateFor != nil {
		t.Errorf("eu: %v", eu)
	}
	if us.Goal != nil || us.GetTold() != 4 || us.GetStateFor().AsDuration() < time.Minute {
		t.Errorf("us: %v", us)
	}

	_, err = d.client.ExplainSpread(t.Context(), &adminv1.ExplainSpreadRequest{Namespace: "shop", Name: "web"})
	wantCode(t, "another name", err, codes.NotFound, `"meridian get workloads" lists them`)
	_, err = d.client.ExplainSpread(t.Context(), &adminv1.ExplainSpreadRequest{Name: "deployment-web"})
	wantCode(t, "no namespace", err, codes.InvalidArgument, "by the namespace and the name")
	known.fault = errors.New("the host cluster has not been read yet")
	_, err = d.client.ListWorkloads(t.Context(), &adminv1.ListWorkloadsRequest{})
	wantCode(t, "before the first list", err, codes.FailedPrecondition, "has not been read yet")
	_, err = d.client.ExplainSpread(t.Context(), &adminv1.ExplainSpreadRequest{Namespace: "shop", Name: "x"})
	wantCode(t, "before the first list", err, codes.FailedPrecondition, "has not been read yet")
}

// Whoever may look may see how workloads fare.
func TestWorkloadsAreForViewers(t *testing.T) {
	for _, m := range []string{"ListWorkloads", "ExplainSpread"} {
		if !permits(trust.Viewer, "/"+adminv1.Admin_ServiceDesc.ServiceName+"/"+m) {
			t.Errorf("a viewer may not call %s", m)
		}
	}
}

func TestWhoWatchesAHost(t *testing.T) {
	d := open(t, nil)
	ask := func() error {
		_, err := d.client.ListWorkloads(t.Context(), &adminv1.ListWorkloadsRequest{})
		_, other := d.client.ExplainSpread(t.Context(), &adminv1.ExplainSpreadRequest{Namespace: "a", Name: "b"})
		if err == nil || other == nil || err.Error() != other.Error() {
			t.Errorf("%v, and %v", err, other)
		}
		return err
	}
	wantCode(t, "without a plan", ask(), codes.FailedPrecondition, "eu-1 carries out no workloads", "--kube")
	told := func(names ...string) {
		s := world()
		for _, n := range names {
			s.Sources = append(s.Sources, fleet.SourceState{Name: n})
		}
		d.Update(steer.New(s))
	}
	told("us-1/kube/us-a", "us-1/kube/host", "ap-1/kube/host")
	wantCode(t, "two watch it", ask(), codes.FailedPrecondition, "ask one that does: ap-1 or us-1")
	told("a/kube/host", "b/kube/host", "c/kube/host", "d/kube/host", "e/kube/host")
	wantCode(t, "five watch it", ask(), codes.FailedPrecondition, "a, b, c or one of 2 more")
}

func TestManyWorkloads(t *testing.T) {
	var many clerk
	for i := range 60_000 {
		w := web()
		w.Name = strings.Repeat("x", 60) + string(rune('a'+i%26))
		many.reports = append(many.reports, w)
	}
	d := open(t, func(c *Config) { c.Workloads = &many })
	a, err := d.client.ListWorkloads(t.Context(), &adminv1.ListWorkloadsRequest{})
	if err != nil || a.GetLeftOut() == 0 || len(a.GetWorkloads())+int(a.GetLeftOut()) != 60_000 || proto.Size(a) > maxMessage {
		t.Errorf("%v, %d left out, %d bytes", err, a.GetLeftOut(), proto.Size(a))
	}
	if text := protojson.Format(a.GetWorkloads()[0]); !strings.Contains(text, "apps/v1") {
		t.Errorf("%s", text)
	}
}
