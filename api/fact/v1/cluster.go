package factv1

import (
	"cmp"
	"net/netip"

	"github.com/meridian-lb/meridian/fleet"
)

func placeOut(p fleet.Place) *Place {
	if !p.Known() {
		return nil
	}
	return &Place{Lat: p.Lat, Lon: p.Lon}
}

func (d *door) place(x *Place) fleet.Place {
	p := fleet.Place{Lat: x.GetLat(), Lon: x.GetLon()}
	if !(p.Lat >= -90 && p.Lat <= 90 && p.Lon >= -180 && p.Lon <= 180) { // false for NaN too
		d.refuse("place %v, %v is not on earth", p.Lat, p.Lon)
	}
	return p
}

func vantageOut(v fleet.Vantage) *Vantage {
	return &Vantage{Region: valid(string(v.Region)), Zone: valid(v.Zone), Place: placeOut(v.Place), Network: valid(string(v.Network))}
}

func (d *door) vantage(x *Vantage) fleet.Vantage {
	return fleet.Vantage{
		Region:  fleet.Region(d.maybeWord("region", x.GetRegion())),
		Zone:    d.maybeWord("zone", x.GetZone()),
		Place:   d.place(x.GetPlace()),
		Network: fleet.Network(d.text("network", x.GetNetwork())),
	}
}

func originOut(o fleet.Origin) *Origin {
	if o == (fleet.Origin{}) {
		return nil
	}
	return &Origin{
		Cluster: valid(o.Cluster), Kind: valid(o.Kind), Namespace: valid(o.Namespace), Name: valid(o.Name),
		Generation: o.Generation, Created: momentOut(o.Created), File: clean(o.File), Line: int32(countOut(o.Line)),
	}
}

func (d *door) origin(x *Origin) fleet.Origin {
	if x.GetLine() < 0 || x.GetGeneration() < 0 {
		d.refuse("origin has a negative line or generation")
	}
	return fleet.Origin{
		Cluster:    d.text("origin's cluster", x.GetCluster()),
		Kind:       d.text("origin's kind", x.GetKind()),
		Namespace:  d.text("origin's namespace", x.GetNamespace()),
		Name:       d.text("origin's name", x.GetName()),
		Generation: x.GetGeneration(),
		Created:    d.moment("origin's created", x.GetCreated()),
		File:       d.text("origin's file", x.GetFile()),
		Line:       int(x.GetLine()),
	}
}

func clusterOut(c *fleet.Cluster) *Cluster {
	return &Cluster{
		Name: valid(c.Name),
		At:   vantageOut(c.At),
		Gateways: mapped(c.Gateways, func(g fleet.Gateway) *Gateway {
			return &Gateway{Addr: addrOut(g.Addr), Port: uint32(g.Port), RelayPort: uint32(g.RelayPort), TlsPort: uint32(g.TLSPort)}
		}),
		Capacity:         c.Capacity,
		Draining:         c.Draining,
		ClientNetworks:   mapped(c.ClientNetworks, prefixOut),
		EndpointNetworks: mapped(c.EndpointNetworks, prefixOut),
		Namespaces:       mapped(c.Namespaces, valid),
		Labels:           mapped(c.Labels, labelOut),
		Taints:           mapped(c.Taints, taintOut),
		Origin:           originOut(c.Origin),
	}
}

func prefixOut(p netip.Prefix) *Prefix {
	return &Prefix{Addr: addrOut(p.Masked().Addr()), Bits: uint32(max(p.Bits(), 0))}
}

func (d *door) cluster(x *Cluster) *fleet.Cluster {
	c := &fleet.Cluster{
		Name: d.word("cluster", x.GetName()),
		At:   d.vantage(x.GetAt()),
		Gateways: sorted(list(d, "gateways", x.GetGateways(), maxSmall, func(g *Gateway) fleet.Gateway {
			return fleet.Gateway{
				Addr:      d.addr("gateway", g.GetAddr()),
				Port:      d.port("gateway's port", g.GetPort()),
				TLSPort:   d.maybePort("gateway's TLS port", g.GetTlsPort()),
				RelayPort: d.maybePort("gateway's relay port", g.GetRelayPort()),
			}
		}), func(a, b fleet.Gateway) int { return compareAddrPort(a.Front(), b.Front()) }),
		Capacity: d.amount("capacity", x.GetCapacity()),
		Draining: x.GetDraining(),
		ClientNetworks: list(d, "client networks", x.GetClientNetworks(), maxLarge, func(p *Prefix) netip.Prefix {
			return d.prefix("client network", p)
		}),
		EndpointNetworks: list(d, "endpoint networks", x.GetEndpointNetworks(), maxSmall, func(p *Prefix) netip.Prefix {
			return d.prefix("endpoint network", p)
		}),
		Namespaces: sorted(list(d, "namespaces", x.GetNamespaces(), maxSmall, func(s string) string {
			return d.word("namespace", s)
		}), cmp.Compare[string]),
		Labels: d.labels(x.GetLabels()),
		Taints: sorted(list(d, "taints", x.GetTaints(), maxSmall, d.taint), fleet.Taint.Compare),
		Origin: d.origin(x.GetOrigin()),
	}
	if c.At.Region == "" {
		d.refuse("cluster %s is in no region", c.Name)
	}
	if !c.At.Place.Known() {
		d.refuse("cluster %s has no place", c.Name)
	}
	return c
}

func serviceOut(n fleet.ServiceName) *ServiceName {
	return &ServiceName{Namespace: valid(n.Namespace), Name: valid(n.Name)}
}

func (d *door) service(x *ServiceName) fleet.ServiceName {
	return fleet.ServiceName{
		Namespace: d.maybeWord("namespace", x.GetNamespace()),
		Name:      d.word("service", x.GetName()),
	}
}

func backendOut(b *fleet.Backend) *Backend {
	return &Backend{
		Cluster: valid(b.Cluster), Service: serviceOut(b.Service), Ports: mapped(b.Ports, portOut),
		Capacity: b.Capacity, Origin: originOut(b.Origin),
	}
}

func portOut(p fleet.Port) *Port {
	return &Port{
		Name: valid(p.Name), Number: uint32(p.Number), AppProtocol: valid(p.AppProtocol),
		Endpoints: mapped(p.Endpoints, func(e fleet.Endpoint) *Endpoint {
			return &Endpoint{
				Addr: addrOut(e.Addr.Addr()), Port: uint32(e.Addr.Port()), Zone: valid(e.Zone),
				Ready: e.Ready, Terminating: e.Terminating, Weight: e.Weight,
			}
		}),
	}
}

func (d *door) backend(x *Backend) *fleet.Backend {
	return &fleet.Backend{
		Cluster: d.word("cluster", x.GetCluster()),
		Service: d.service(x.GetService()),
		Ports: sorted(list(d, "ports", x.GetPorts(), maxSmall, d.servicePort),
			func(a, b fleet.Port) int { return cmp.Compare(a.Number, b.Number) }),
		Capacity: d.amount("capacity", x.GetCapacity()),
		Origin:   d.origin(x.GetOrigin()),
	}
}

func (d *door) servicePort(x *Port) fleet.Port {
	return fleet.Port{
		Name:        d.maybeWord("port", x.GetName()),
		Number:      d.port("port", x.GetNumber()),
		AppProtocol: d.text("app protocol", x.GetAppProtocol()),
		Endpoints: sorted(list(d, "endpoints", x.GetEndpoints(), maxLarge, func(e *Endpoint) fleet.Endpoint {
			return fleet.Endpoint{
				Addr:        netip.AddrPortFrom(d.addr("endpoint", e.GetAddr()), d.port("endpoint's port", e.GetPort())),
				Zone:        d.maybeWord("endpoint's zone", e.GetZone()),
				Ready:       e.GetReady(),
				Terminating: e.GetTerminating(),
				Weight:      e.GetWeight(),
			}
		}), func(a, b fleet.Endpoint) int { return compareAddrPort(a.Addr, b.Addr) }),
	}
}
