package fleet

import (
	"cmp"
	"net/netip"
	"time"
)

// ServiceName names a service. The same name in every cluster is the same
// service (namespace sameness, Kubernetes multi-cluster SIG).
type ServiceName struct{ Namespace, Name string }

func (n ServiceName) String() string { return n.Namespace + "/" + n.Name }

// Compare orders names by namespace, then name.
func (n ServiceName) Compare(m ServiceName) int {
	return cmp.Or(cmp.Compare(n.Namespace, m.Namespace), cmp.Compare(n.Name, m.Name))
}

// Backend is one service in one cluster.
type Backend struct {
	Cluster  string
	Service  ServiceName
	Ports    []Port  // sorted by number
	Capacity float64 // requests per second; 0 means unlimited
	Origin   Origin
}

// Port is one port of a service with the endpoints that serve it.
type Port struct {
	Name        string // may be empty when it is the only one
	Number      uint16 // the service's port, not the endpoints'
	AppProtocol string // as Kubernetes says it ("kubernetes.io/h2c"); empty means HTTP/1.1
	Endpoints   []Endpoint
}

// Endpoint is one address that serves a port. Endpoints are sorted by address.
type Endpoint struct {
	Addr        netip.AddrPort
	Zone        string // empty when unknown
	Ready       bool   // may be given new requests
	Terminating bool   // is going away; finishes what it has
	Weight      uint32 // relative to its neighbours; 0 means 1
}

// ReadyCount is the number of endpoints of any port that may be given requests:
// the largest over the ports, since a pod serves all of them.
func (b *Backend) ReadyCount() int {
	most := 0
	for _, p := range b.Ports {
		n := 0
		for _, e := range p.Endpoints {
			if e.Ready && !e.Terminating {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// Size is the number of endpoints, ready or not.
func (b *Backend) Size() int {
	most := 0
	for _, p := range b.Ports {
		most = max(most, len(p.Endpoints))
	}
	return most
}

// Service is one service over all clusters, with the policy that holds for it.
// A Service whose pointer has not changed between two Snapshots has not changed.
type Service struct {
	Name     ServiceName
	Backends []BackendView // sorted by cluster, never empty
	Policy   *Policy       // never nil
}

// BackendView is a backend with what is known of its cluster's voice.
type BackendView struct {
	*Backend
	Region Region
	Stale  bool      // its source has lost touch; the endpoints are the last ones told
	Seen   time.Time // when its source last spoke; set only when Stale, so that a fresh view does not change with time
}

// PortRef names a port of a service by number or, when Number is 0, by name.
// The zero PortRef is the service's only port.
type PortRef struct {
	Name   string
	Number uint16
}

// Port finds the port of a backend that ref means.
func (b *Backend) Port(ref PortRef) (Port, bool) {
	for _, p := range b.Ports {
		switch {
		case ref.Number != 0 && p.Number == ref.Number,
			ref.Number == 0 && ref.Name != "" && p.Name == ref.Name,
			ref == PortRef{} && len(b.Ports) == 1:
			return p, true
		}
	}
	return Port{}, false
}

// LoadReport is what one region's gateways sent to one region's endpoints of a
// service, averaged over the report's interval.
type LoadReport struct {
	From      Vantage
	Service   ServiceName
	To        Region
	RPS       float64 // requests per second
	InFlight  float64 // requests at the report's time
	ErrorRate float64 // 0 to 1
}
