package xds

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meridian-lb/meridian/xds/resource"
)

// The order in which types are offered; it is that of Envoy's protocol
// description: what is referred to comes before what refers to it.
const (
	rankCluster = iota
	rankEndpoint
	rankSecret
	rankListener
	rankRoute
	rankOther
)

func rankOf(typeURL string) int {
	switch typeURL {
	case resource.ClusterType:
		return rankCluster
	case resource.EndpointType:
		return rankEndpoint
	case resource.SecretType:
		return rankSecret
	case resource.ListenerType:
		return rankListener
	case resource.RouteType:
		return rankRoute
	}
	return rankOther
}

// refersToOthers: removals wait for changes of these types.
func refersToOthers(typeURL string) bool {
	return typeURL == resource.ListenerType || typeURL == resource.RouteType
}

// referredTo: removals of these types wait for those who refer to them.
func referredTo(typeURL string) bool {
	return typeURL == resource.ClusterType || typeURL == resource.EndpointType || typeURL == resource.SecretType
}

// fullState: in the state-of-the-world protocol a response of these types lists
// everything, and what is missing is removed.
func fullState(typeURL string) bool {
	return typeURL == resource.ClusterType || typeURL == resource.ListenerType
}

// references is what a resource's bytes refer to by name.
type references struct {
	clusters []string            // each once; of listeners and routes
	names    map[string]struct{} // everything: clusters, endpoints, secrets, routes
	endpoint string              // of a cluster: the name it asks EDS for; empty: it does not use EDS
}

// to reports whether a name is referred to. Names of different types are not
// told apart: a false yes costs a removal some patience and nothing else.
func (r *references) to(name string) bool {
	if r == nil {
		return false
	}
	_, ok := r.names[name]
	return ok
}

// referencesOf reads the references of a cluster, listener or route
// configuration. References that exist only in requests (a cluster named by a
// header) or in scripts cannot be seen. Bytes that cannot be read refer to nothing.
func referencesOf(r resource.Resource) *references {
	if r.TypeURL != resource.ClusterType && !refersToOthers(r.TypeURL) {
		return nil
	}
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		return nil
	}
	w := walker{references: &references{names: map[string]struct{}{}}, clusters: map[string]struct{}{}}
	w.walk(m.ProtoReflect(), 0)
	if c, ok := m.(*clusterv3.Cluster); ok {
		w.endpoint = endpointName(c)
		if w.endpoint != "" {
			w.names[w.endpoint] = struct{}{}
		}
	}
	return w.references
}

// endpointName is the name that a cluster asks EDS for, or empty.
func endpointName(c *clusterv3.Cluster) string {
	if c.GetType() != clusterv3.Cluster_EDS {
		return ""
	}
	if name := c.GetEdsClusterConfig().GetServiceName(); name != "" {
		return name
	}
	return c.GetName()
}

type walker struct {
	*references
	clusters map[string]struct{}
}

// maxDepth bounds the nesting of messages; real configuration stays below 40.
const maxDepth = 100

// walk collects the names in a message and everything in it.
func (w *walker) walk(m protoreflect.Message, depth int) {
	if depth > maxDepth {
		return
	}
	if packed, ok := m.Interface().(*anypb.Any); ok {
		if inner, err := packed.UnmarshalNew(); err == nil {
			w.walk(inner.ProtoReflect(), depth+1)
		}
		return
	}
	m.Range(func(f protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				value.Map().Range(func(_ protoreflect.MapKey, entry protoreflect.Value) bool {
					w.walk(entry.Message(), depth+1)
					return true
				})
			}
		case f.IsList():
			for i := range value.List().Len() {
				w.value(f, value.List().Get(i), depth)
			}
		default:
			w.value(f, value, depth)
		}
		return true
	})
}

func (w *walker) value(f protoreflect.FieldDescriptor, value protoreflect.Value, depth int) {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		w.walk(value.Message(), depth+1)
	case protoreflect.StringKind:
		toCluster, ok := refersBy(f)
		if !ok {
			return
		}
		name := value.String()
		w.names[name] = struct{}{}
		if _, seen := w.clusters[name]; toCluster && !seen {
			w.clusters[name] = struct{}{}
			w.references.clusters = append(w.references.clusters, name)
		}
	}
}

// refersBy says whether a field names another resource, and whether that is a cluster.
func refersBy(f protoreflect.FieldDescriptor) (toCluster, ok bool) {
	switch f.Name() {
	case "cluster", "cluster_name", "clusters":
		return true, true
	case "route_config_name":
		return false, true
	case "name":
		switch f.ContainingMessage().FullName() {
		case "envoy.config.route.v3.WeightedCluster.ClusterWeight",
			"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
			"envoy.extensions.clusters.composite.v3.ClusterConfig.ClusterEntry":
			return true, true
		case "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":
			return false, true
		}
	}
	return false, false
}
