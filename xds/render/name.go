package render

import (
	"strconv"
	"strings"

	"github.com/meridian-lb/meridian/fleet"
)

// Names of resources that every view has.
const (
	FrontName  = "front"  // listener, and its routes, for clients
	SecureName = "secure" // listener for clients over TLS, with the front's routes; only where a host has a certificate
	RelayName  = "relay"  // listener, and its routes, for other regions' Envoys
)

// Headers between Meridian's own Envoys. Clients and pods never see them.
const (
	// ServiceHeader names, as "namespace/name/port", the service that a relay is
	// asked for. Only the front's upstream filter sets it.
	ServiceHeader = "x-meridian-service"
	// UnservedHeader is in a relay's answer when no pod has seen the request, so
	// that the front may try the next region whatever the method.
	UnservedHeader = "x-meridian-unserved"

	// localClusterHeader carries a relay's choice of cluster from its header
	// mutation to its route, within one Envoy.
	localClusterHeader = "x-meridian-local-cluster"
)

// localPrefix begins the names of clusters that hold only endpoints which an
// Envoy reaches in its own region. A service name cannot contain "|", and the
// relay listener puts the prefix before whatever it is asked for: so a relay
// cannot be made to pass a request on to another region.
const localPrefix = "local|"

// ClusterName names the cluster of a service's port and its endpoints.
func ClusterName(s fleet.ServiceName, port uint16) string {
	return s.Namespace + "/" + s.Name + "/" + strconv.Itoa(int(port))
}

// LocalClusterName names the cluster of the same port for requests that have
// already crossed regions.
func LocalClusterName(s fleet.ServiceName, port uint16) string {
	return localPrefix + ClusterName(s, port)
}

// ServiceOf is the service of a cluster by the cluster's name; it reports false for
// every name but those of ClusterName. Local clusters are not counted among a
// service's load, since the front that sent the request counts it already.
func ServiceOf(cluster string) (fleet.ServiceName, bool) {
	parts := strings.Split(cluster, "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || strings.Contains(cluster, "|") {
		return fleet.ServiceName{}, false
	}
	n, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != parts[2] {
		return fleet.ServiceName{}, false
	}
	return fleet.ServiceName{Namespace: parts[0], Name: parts[1]}, true
}

// nameable reports whether a service's name can be told apart in names of clusters.
func nameable(s fleet.ServiceName) bool {
	got, ok := ServiceOf(ClusterName(s, 1))
	return ok && got == s && word(s.Namespace) && word(s.Name)
}
