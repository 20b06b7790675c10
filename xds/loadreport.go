package xds

import (
	"cmp"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meridian-lb/meridian/fleet"
)

// StreamLoadStats asks an Envoy for its load and hands on what it says, until the
// stream ends.
func (s lrs) StreamLoadStats(str loadstatsv3.LoadReportingService_StreamLoadStatsServer) error {
	who, err := s.bearer(str.Context())
	if err != nil {
		return err
	}
	if err := s.openLoad(); err != nil {
		return err
	}
	defer s.closeLoad()
	requests, failed := receive(str)
	var node *corev3.Node
	for {
		var req *loadstatsv3.LoadStatsRequest
		select {
		case <-s.stopped.Done():
			return nil
		case <-failed:
			return nil
		case req = <-requests:
		}
		if node == nil {
			if node = req.GetNode(); node.GetId() == "" {
				return status.Error(codes.InvalidArgument, "the first load report names no node; set node.id in Envoy's bootstrap")
			}
			if err := s.vouch(who, node); err != nil {
				return err
			}
			if _, err := s.config.ViewOf(node); err != nil {
				return s.turnAway(refusedView, codes.NotFound, "node %q is not served here: %v", node.GetId(), err)
			}
			if err := str.Send(&loadstatsv3.LoadStatsResponse{SendAllClusters: true, LoadReportingInterval: durationpb.New(s.config.ReportEvery)}); err != nil {
				return err
			}
		}
		s.metrics.reports.Inc()
		if reports := loadReports(node, req.GetClusterStats(), s.config.ServiceOf, s.config.ReportEvery); len(reports) > 0 {
			s.config.Load(node, reports)
		}
	}
}

// receive reads in a goroutine that ends with the stream, so that the handler can
// be stopped while it waits.
func receive(str loadstatsv3.LoadReportingService_StreamLoadStatsServer) (<-chan *loadstatsv3.LoadStatsRequest, <-chan struct{}) {
	requests, failed := make(chan *loadstatsv3.LoadStatsRequest), make(chan struct{})
	go func() {
		defer close(failed)
		for {
			req, err := str.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- req:
			case <-str.Context().Done():
				return
			}
		}
	}()
	return requests, failed
}

func (s *Server) openLoad() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(); err != nil {
		return err
	}
	s.loads++
	s.metrics.streams.WithLabelValues("load").Inc()
	return nil
}

func (s *Server) closeLoad() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads--
	s.metrics.streams.WithLabelValues("load").Dec()
}

// loadReports adds up what an Envoy counted, per service and region, sorted.
// Clusters that serve no service are left out.
func loadReports(node *corev3.Node, stats []*endpointv3.ClusterStats, serviceOf func(string) (fleet.ServiceName, bool), usual time.Duration) []fleet.LoadReport {
	type key struct {
		service fleet.ServiceName
		to      fleet.Region
	}
	type sums struct{ rps, inFlight, good, bad float64 }
	totals := map[key]sums{}
	for _, cluster := range stats {
		service, ok := serviceOf(cluster.GetClusterName())
		if !ok {
			continue
		}
		seconds := cluster.GetLoadReportInterval().AsDuration().Seconds()
		if seconds <= 0 {
			seconds = usual.Seconds()
		}
		for _, l := range cluster.GetUpstreamLocalityStats() {
			k := key{service, fleet.Region(l.GetLocality().GetRegion())}
			t := totals[k]
			t.rps += float64(l.GetTotalIssuedRequests()) / seconds
			t.inFlight += float64(l.GetTotalRequestsInProgress())
			t.good += float64(l.GetTotalSuccessfulRequests()) / seconds
			t.bad += float64(l.GetTotalErrorRequests()) / seconds
			totals[k] = t
		}
	}
	from := fleet.Vantage{Region: fleet.Region(node.GetLocality().GetRegion()), Zone: node.GetLocality().GetZone()}
	reports := make([]fleet.LoadReport, 0, len(totals))
	for k, t := range totals {
		r := fleet.LoadReport{From: from, Service: k.service, To: k.to, RPS: t.rps, InFlight: t.inFlight}
		if done := t.good + t.bad; done > 0 {
			r.ErrorRate = math.Min(1, t.bad/done)
		}
		reports = append(reports, r)
	}
	slices.SortFunc(reports, func(a, b fleet.LoadReport) int {
		return cmp.Or(a.Service.Compare(b.Service), cmp.Compare(a.To, b.To))
	})
	return reports
}
