package k8s

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// The bounds of one service in one cluster.
const (
	MaxPorts     = 100
	MaxEndpoints = 10_000 // of a port
)

// Backend makes one service in one cluster of a Service and its EndpointSlices;
// slices of other services are passed over. Ports other than TCP are not ours to
// balance and are left out. It returns nil when the Service has no usable TCP
// port, or points outside the cluster (Outside).
//
// Endpoints are of one family of addresses: the one that the Service has first, or
// the other where a port has no endpoints of that. So a pod of a dual-stack Service
// is one endpoint. An address that several slices hold is one endpoint too: ready
// when any says so, terminating when all do. More than MaxEndpoints are cut, highest
// addresses first.
func Backend(cluster string, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice, origin fleet.Origin) (*fleet.Backend, []fleet.Problem) {
	f := &field.Faults{About: origin}
	name := fleet.ServiceName{Namespace: svc.Namespace, Name: svc.Name}
	if err := field.Label(name.Namespace); err != nil {
		f.Add("metadata.namespace", "%v", err)
	}
	if err := field.Label(name.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	}
	if Outside(svc) {
		f.AddReason("ExternalName", "spec.type", "ExternalName points outside the cluster and has no endpoints; federate a Service with a selector or EndpointSlices")
	}
	if f.Count() > 0 {
		return nil, f.Problems()
	}
	b := &fleet.Backend{Cluster: cluster, Service: name, Ports: ports(f, svc), Origin: origin}
	if len(b.Ports) == 0 {
		f.Add("spec.ports", "holds no usable TCP port, so there is nothing to balance; add one, or label the Service %s: \"false\"", FederateLabel)
		return nil, f.Problems()
	}
	own := slices.DeleteFunc(slices.Clone(endpoints), func(s *discoveryv1.EndpointSlice) bool {
		of, ok := ServiceOf(s)
		return !ok || of != name
	})
	slices.SortStableFunc(own, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	order, read := families(svc), readSlices(f, own)
	for i := range b.Ports {
		b.Ports[i].Endpoints = merge(f, b.Ports[i], order, read)
	}
	return b, f.Problems()
}

// ports are the Service's TCP ports, sorted by number, without endpoints.
func ports(f *field.Faults, svc *corev1.Service) []fleet.Port {
	var list []fleet.Port
	for i, p := range svc.Spec.Ports {
		path := field.Index("spec.ports", i)
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if len(list) == MaxPorts {
			f.Add("spec.ports", "has more than %d TCP ports; split the Service, the rest is not used", MaxPorts)
			break
		}
		number, err := field.Port(p.Port)
		if err != nil {
			f.Add(path+".port", "%v", err)
			continue
		}
		if p.Name != "" {
			if err := field.Label(p.Name); err != nil {
				f.Add(path+".name", "%v", err)
				continue
			}
		}
		if j := slices.IndexFunc(list, func(o fleet.Port) bool { return o.Number == number || o.Name == p.Name }); j >= 0 {
			f.Add(path, "has the number or name of another port (%d %s); give each port its own", list[j].Number, field.Quote(list[j].Name))
			continue
		}
		list = append(list, fleet.Port{Name: p.Name, Number: number, AppProtocol: appProtocol(f, path, p.AppProtocol)})
	}
	slices.SortFunc(list, func(a, b fleet.Port) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

func appProtocol(f *field.Faults, path string, p *string) string {
	if p == nil {
		return ""
	}
	for _, c := range *p {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '/' || len(*p) > 317 {
			f.Add(path+".appProtocol", "%s is not a protocol name, so HTTP/1.1 is spoken; write one like kubernetes.io/h2c", field.Quote(*p))
			return ""
		}
	}
	return *p
}
