package xds

import (
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	delta "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	sotw "github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/grpc"

	"github.com/meridian-lb/meridian/xds/resource"
)

// named are the types of which a client that names nothing subscribes to
// nothing; that "nothing" means "everything" holds for clusters and listeners only.
func named() []string {
	return []string{resource.EndpointType, resource.RouteType, resource.SecretType}
}

// serveDelta runs one stream of the delta protocol; typeURL is empty for ADS.
func (s *Server) serveDelta(str streamv3.DeltaStream, typeURL string) error {
	st, err := s.open(str.Context(), "delta", typeURL == "", false)
	if err != nil {
		return err
	}
	defer s.close(st, "delta")
	st.direct = str
	return delta.NewServer(s.stopped, st, st, delta.DeactivateLegacyWildcardForTypes(named())).DeltaStreamHandler(deltaStream{str, st}, typeURL)
}

// serveWorld runs one stream of the state-of-the-world protocol.
func (s *Server) serveWorld(str streamv3.Stream, typeURL string) error {
	st, err := s.open(str.Context(), "sotw", typeURL == "", true)
	if err != nil {
		return err
	}
	defer s.close(st, "sotw")
	return sotw.NewServer(s.stopped, st, st, sotw.DeactivateLegacyWildcardForTypes(named())).StreamHandler(str, typeURL)
}

func (s *Server) register(g *grpc.Server) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, ads{Server: s})
	clusterservicev3.RegisterClusterDiscoveryServiceServer(g, cds{Server: s})
	endpointservicev3.RegisterEndpointDiscoveryServiceServer(g, eds{Server: s})
	listenerservicev3.RegisterListenerDiscoveryServiceServer(g, lds{Server: s})
	routeservicev3.RegisterRouteDiscoveryServiceServer(g, rds{Server: s})
	secretservicev3.RegisterSecretDiscoveryServiceServer(g, sds{Server: s})
	if s.config.Load != nil {
		loadstatsv3.RegisterLoadReportingServiceServer(g, lrs{Server: s})
	}
}

// One type per gRPC service, because each embeds its own answer to what is not
// served: polling.
type (
	ads struct {
		discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
		*Server
	}
	cds struct {
		clusterservicev3.UnimplementedClusterDiscoveryServiceServer
		*Server
	}
	eds struct {
		endpointservicev3.UnimplementedEndpointDiscoveryServiceServer
		*Server
	}
	lds struct {
		listenerservicev3.UnimplementedListenerDiscoveryServiceServer
		*Server
	}
	rds struct {
		routeservicev3.UnimplementedRouteDiscoveryServiceServer
		*Server
	}
	sds struct {
		secretservicev3.UnimplementedSecretDiscoveryServiceServer
		*Server
	}
	lrs struct {
		loadstatsv3.UnimplementedLoadReportingServiceServer
		*Server
	}
)

func (s ads) StreamAggregatedResources(str discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serveWorld(str, "")
}

func (s ads) DeltaAggregatedResources(str discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serveDelta(str, "")
}

func (s cds) StreamClusters(str clusterservicev3.ClusterDiscoveryService_StreamClustersServer) error {
	return s.serveWorld(str, resource.ClusterType)
}

func (s cds) DeltaClusters(str clusterservicev3.ClusterDiscoveryService_DeltaClustersServer) error {
	return s.serveDelta(str, resource.ClusterType)
}

func (s eds) StreamEndpoints(str endpointservicev3.EndpointDiscoveryService_StreamEndpointsServer) error {
	return s.serveWorld(str, resource.EndpointType)
}

func (s eds) DeltaEndpoints(str endpointservicev3.EndpointDiscoveryService_DeltaEndpointsServer) error {
	return s.serveDelta(str, resource.EndpointType)
}

func (s lds) StreamListeners(str listenerservicev3.ListenerDiscoveryService_StreamListenersServer) error {
	return s.serveWorld(str, resource.ListenerType)
}

func (s lds) DeltaListeners(str listenerservicev3.ListenerDiscoveryService_DeltaListenersServer) error {
	return s.serveDelta(str, resource.ListenerType)
}

func (s rds) StreamRoutes(str routeservicev3.RouteDiscoveryService_StreamRoutesServer) error {
	return s.serveWorld(str, resource.RouteType)
}

func (s rds) DeltaRoutes(str routeservicev3.RouteDiscoveryService_DeltaRoutesServer) error {
	return s.serveDelta(str, resource.RouteType)
}

func (s sds) StreamSecrets(str secretservicev3.SecretDiscoveryService_StreamSecretsServer) error {
	return s.serveWorld(str, resource.SecretType)
}

func (s sds) DeltaSecrets(str secretservicev3.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.serveDelta(str, resource.SecretType)
}
