package k8s

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

// pods is what one EndpointSlice says, before its ports are known to be wanted.
type pods struct {
	family discoveryv1.AddressType
	ports  map[string]uint16 // TCP, by name
	list   []fleet.Endpoint  // without port numbers
}

// families are the two families of addresses in the order in which the Service has
// them; one that says nothing is taken for IPv4.
func families(svc *corev1.Service) [2]discoveryv1.AddressType {
	if f := svc.Spec.IPFamilies; len(f) > 0 && f[0] == corev1.IPv6Protocol {
		return [2]discoveryv1.AddressType{discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeIPv4}
	}
	return [2]discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}
}

// readSlices reads each slice once for all ports.
func readSlices(f *field.Faults, list []*discoveryv1.EndpointSlice) []pods {
	var out []pods
	for _, s := range list {
		path := "EndpointSlice"
		if field.Subdomain(s.Name) == nil {
			path += "/" + s.Name
		}
		if s.AddressType != discoveryv1.AddressTypeIPv4 && s.AddressType != discoveryv1.AddressTypeIPv6 {
			f.Add(path+".addressType", "%s is not taken, since nobody here resolves names; use IPv4 or IPv6", field.Quote(string(s.AddressType)))
			continue
		}
		p := pods{family: s.AddressType, ports: slicePorts(s)}
		if len(p.ports) == 0 {
			continue
		}
		for i, e := range s.Endpoints {
			if ep, ok := endpoint(f, field.Index(path+".endpoints", i), s.AddressType, e); ok {
				p.list = append(p.list, ep)
			}
		}
		out = append(out, p)
	}
	return out
}

// slicePorts are the TCP ports that have a number. A port without one means "any",
// which only something other than a Service can say.
func slicePorts(s *discoveryv1.EndpointSlice) map[string]uint16 {
	out := map[string]uint16{}
	for _, p := range s.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		if n, err := field.Port(*p.Port); err == nil {
			out[deref(p.Name, "")] = n
		}
	}
	return out
}

// endpoint reads one endpoint. Of several addresses the first counts, as for
// kube-proxy. Conditions that are not said: ready follows serving, serving is
// true, terminating is false.
func endpoint(f *field.Faults, path string, family discoveryv1.AddressType, e discoveryv1.Endpoint) (fleet.Endpoint, bool) {
	if len(e.Addresses) == 0 {
		f.Add(path+".addresses", "is empty; write the endpoint's address")
		return fleet.Endpoint{}, false
	}
	if len(e.Addresses) > 1 {
		f.Add(path+".addresses", "has %d entries and only the first counts, as for kube-proxy; write one endpoint for each", len(e.Addresses))
	}
	addr, err := field.Addr(e.Addresses[0])
	if err != nil {
		f.Add(path+".addresses[0]", "%v", err)
		return fleet.Endpoint{}, false
	}
	if addr.Is4() != (family == discoveryv1.AddressTypeIPv4) {
		f.Add(path+".addresses[0]", "%s is not of the slice's addressType %s; put it into a slice of its own family", addr, family)
		return fleet.Endpoint{}, false
	}
	zone := deref(e.Zone, "")
	if err := field.ZoneName(zone); err != nil {
		f.Add(path+".zone", "%v", err)
		zone = ""
	}
	c := e.Conditions
	return fleet.Endpoint{
		Addr:        netip.AddrPortFrom(addr, 0),
		Zone:        zone,
		Ready:       deref(c.Ready, deref(c.Serving, true)),
		Terminating: deref(c.Terminating, false),
	}, true
}

// merge gathers the endpoints of one port over all slices of the first family that
// has any, sorted by address and port. A pod of a dual-stack Service stands in a
// slice of each family; taken twice, it would count twice as ready, and a cluster of
// two families would weigh twice as much as one of the same pods with one family.
func merge(f *field.Faults, port fleet.Port, order [2]discoveryv1.AddressType, read []pods) []fleet.Endpoint {
	for _, family := range order {
		if list := mergeFamily(f, port, family, read); len(list) > 0 {
			return list
		}
	}
	return nil
}

func mergeFamily(f *field.Faults, port fleet.Port, family discoveryv1.AddressType, read []pods) []fleet.Endpoint {
	var list []fleet.Endpoint
	for _, p := range read {
		number, ok := p.ports[port.Name]
		if !ok || p.family != family {
			continue
		}
		for _, e := range p.list {
			e.Addr = netip.AddrPortFrom(e.Addr.Addr(), number)
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b fleet.Endpoint) int { return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(b.Zone, a.Zone)) })
	var out []fleet.Endpoint
	for _, e := range list {
		if last := len(out) - 1; last >= 0 && out[last].Addr == e.Addr {
			// The first of them has the zone, if any has one: zones are sorted
			// downwards, the empty one last.
			out[last].Ready = out[last].Ready || e.Ready
			out[last].Terminating = out[last].Terminating && e.Terminating
			continue
		}
		out = append(out, e)
	}
	if len(out) > MaxEndpoints {
		f.Add("endpoints", "port %d has %d and at most %d are taken, the lowest addresses; divide the service", port.Number, len(out), MaxEndpoints)
		out = slices.Clip(out[:MaxEndpoints:MaxEndpoints])
	}
	return out
}

func deref[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
