package admin

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/meridian-lb/meridian/api/admin/v1"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/placement"
)

// Workloads knows how the workloads of the host cluster fare. It is asked from many
// goroutines, answers from memory, and what it answers is not changed afterwards.
type Workloads interface {
	// Workloads are all that there are, in any order; their Clusters may be left
	// out. The error says in a sentence for people why they are not known yet: none
	// known is not none there.
	Workloads() ([]placement.Report, error)
	// Spread is one of them, whole; false: there is none of that name.
	Spread(namespace, name string) (placement.Report, bool, error)
}

// ListWorkloads implements the Admin service. It needs no plan.
func (s *Server) ListWorkloads(_ context.Context, q *adminv1.ListWorkloadsRequest) (*adminv1.ListWorkloadsResponse, error) {
	if s.c.Workloads == nil {
		return nil, s.askAnother()
	}
	reports, err := s.c.Workloads.Workloads()
	if err != nil {
		return nil, unknownYet(err)
	}
	now := time.Now()
	var list []*adminv1.Workload
	for _, r := range reports {
		if q.GetNamespace() == "" || q.GetNamespace() == r.Namespace {
			list = append(list, workloadOut(r, now))
		}
	}
	slices.SortFunc(list, func(a, b *adminv1.Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	out := &adminv1.ListWorkloadsResponse{}
	out.Workloads, out.LeftOut = fit(list)
	return out, nil
}

// ExplainSpread implements the Admin service. It needs no plan.
func (s *Server) ExplainSpread(_ context.Context, q *adminv1.ExplainSpreadRequest) (*adminv1.ExplainSpreadResponse, error) {
	switch {
	case q.GetNamespace() == "" || q.GetName() == "":
		return nil, status.Error(codes.InvalidArgument, "name one workload by the namespace and the name of its FederatedObject")
	case s.c.Workloads == nil:
		return nil, s.askAnother()
	}
	r, found, err := s.c.Workloads.Spread(q.GetNamespace(), q.GetName())
	switch {
	case err != nil:
		return nil, unknownYet(err)
	case !found:
		return nil, status.Errorf(codes.NotFound, `there is no FederatedObject %.253q in the namespace %.63q; "meridian get workloads" lists them, and their names begin with the kind: deployment-web`, q.GetName(), q.GetNamespace())
	}
	now := time.Now()
	out := &adminv1.ExplainSpreadResponse{Workload: workloadOut(r, now), Unplaced: counted(r.Unplaced)}
	if !r.Again.IsZero() {
		out.AgainIn = durationpb.New(max(0, r.Again.Sub(now)))
	}
	var holdings []*adminv1.Holding
	for _, c := range r.Clusters {
		holdings = append(holdings, holdingOut(c, now))
	}
	slices.SortFunc(holdings, func(a, b *adminv1.Holding) int { return cmp.Compare(a.Cluster, b.Cluster) })
	out.Holdings, out.LeftOut = fit(holdings)
	return out, nil
}

// unknownYet is the answer while the host cluster has not been read.
func unknownYet(err error) error {
	return status.Errorf(codes.FailedPrecondition, "the workloads are not known here: %s", utf8Only(err.Error()))
}

// askAnother names the daemons that may know. Sources are called after who tells
// them, what they watch, and which cluster.
func (s *Server) askAnother() error {
	var who []string
	if p := s.newest.Load().plan; p != nil {
		for _, src := range p.Sources {
			if name, is := strings.CutSuffix(src.Name, "/kube/"+v1alpha1.HostCluster); is && name != s.c.Instance {
				who = append(who, utf8Only(name))
			}
		}
	}
	slices.Sort(who)
	remedy := "ask one that is started with --kube or --kubeconfig"
	switch n := len(who); {
	case n > 3:
		remedy = fmt.Sprintf("ask one that does: %s or one of %d more", strings.Join(who[:3], ", "), n-3)
	case n > 0:
		remedy = "ask one that does: " + strings.Join(who, " or ")
	}
	return status.Errorf(codes.FailedPrecondition, "%s carries out no workloads, since it watches no host cluster; %s", s.c.Instance, remedy)
}

func workloadOut(r placement.Report, now time.Time) *adminv1.Workload {
	out := &adminv1.Workload{
		Namespace: utf8Only(r.Namespace), Name: utf8Only(r.Name), ApiVersion: utf8Only(r.APIVersion), Kind: utf8Only(r.Kind), Object: utf8Only(r.Object),
		Mode: string(r.Mode), Generation: r.Generation, ObservedGeneration: r.Observed,
		Desired: r.Desired, Ready: r.Ready, Unschedulable: r.Unschedulable, InClusters: utf8Only(r.InClusters),
		State: utf8Only(r.State), Reason: utf8Only(r.Reason), Message: utf8Only(r.Message),
	}
	out.SeenAgo = age(r.Seen, now)
	return out
}

func holdingOut(c placement.Holding, now time.Time) *adminv1.Holding {
	out := &adminv1.Holding{
		Cluster: utf8Only(c.Cluster), Goal: counted(c.Goal), Told: counted(c.Told), Ready: c.Ready, Unschedulable: c.Unschedulable,
		State: utf8Only(c.State), Reason: utf8Only(c.Reason), Message: utf8Only(c.Message), StateFor: age(c.Since, now),
	}
	for _, why := range c.Reasons {
		out.Reasons = append(out.Reasons, utf8Only(why))
	}
	return out
}

// counted is a number that negative values stand for the absence of.
func counted(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// age is how long ago something was; nil when it is not known.
func age(at, now time.Time) *durationpb.Duration {
	if at.IsZero() {
		return nil
	}
	return durationpb.New(max(0, now.Sub(at)))
}
