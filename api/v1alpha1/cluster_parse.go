package v1alpha1

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/fleet"
)

const (
	defaultFrontPort = 80
	defaultTLSPort   = 443
	defaultRelayPort = 15443
	maxGateways      = 64
	maxNetworks      = 256
	maxNamespaces    = 256
)

// Parse makes the fleet's cluster. It returns nil when the name, region, zone,
// place, network or capacity is faulty, or when gateways are given and none is
// usable; a faulty gateway or client network among good ones is left out.
func (c *Cluster) Parse(origin fleet.Origin) (*fleet.Cluster, []fleet.Problem) {
	f := &field.Faults{About: origin}
	out := &fleet.Cluster{Name: c.Name, Draining: c.Spec.Draining, Origin: origin}
	if err := field.Label(c.Name); err != nil {
		f.Add("metadata.name", "%v", err)
	} else if c.Name == HostCluster {
		f.Add("metadata.name", "%q names the installation itself; choose another name", HostCluster)
	}
	out.At = c.Spec.vantage(f, c.Name)
	out.Capacity = c.Spec.capacity(f)
	fatal := f.Count() > 0
	out.Gateways = c.Spec.gateways(f)
	if len(out.Gateways) == 0 && len(c.Spec.Gateways) > 0 {
		fatal = true
	}
	out.ClientNetworks = networks(f, "spec.clientNetworks", c.Spec.ClientNetworks, "every client on earth; write the prefixes that stand where this cluster stands")
	before := f.Count()
	out.EndpointNetworks = networks(f, "spec.endpointNetworks", c.Spec.EndpointNetworks, "every address on earth; leave the list out for that")
	out.Namespaces = c.Spec.namespaces(f)
	if f.Count() > before { // half a permission may be too little or, when none is left, too much
		fatal = true
	}
	out.Labels, out.Taints = c.labels(f), c.taints(f)
	if fatal {
		return nil, f.Problems()
	}
	return out, f.Problems()
}

func (s *ClusterSpec) vantage(f *field.Faults, name string) fleet.Vantage {
	v := fleet.Vantage{Region: fleet.Region(s.Region), Zone: s.Zone, Network: fleet.Network(cmp.Or(s.Network, name))}
	if err := field.Label(s.Region); err != nil {
		f.Add("spec.region", "%v", err)
	}
	if err := field.ZoneName(s.Zone); err != nil {
		f.Add("spec.zone", "%v", err)
	}
	if s.Network != "" {
		if err := field.Label(s.Network); err != nil {
			f.Add("spec.network", "%v", err)
		}
	}
	before := f.Count()
	v.Place = fleet.Place{
		Lat: s.Place.Lat.degrees(f, "spec.place.lat", 90),
		Lon: s.Place.Lon.degrees(f, "spec.place.lon", 180),
	}
	if f.Count() == before && !v.Place.Known() {
		f.Add("spec.place", "lat 0 and lon 0 lie in the Atlantic and stand for an unknown place; write where the cluster is")
	}
	return v
}

func (s *ClusterSpec) capacity(f *field.Faults) float64 {
	if s.Capacity == "" {
		return 0
	}
	text, scale := string(s.Capacity), 1.0
	for suffix, by := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, scale = rest, by
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if v *= scale; err != nil || len(text) > 24 || !(v > 0 && v <= 1e12) {
		f.Add("spec.capacity", "%s is no number of requests per second above 0, like 250 or \"1.5k\"; leave it out for unlimited, or set draining: true to send nothing",
			field.Quote(string(s.Capacity)))
		return 0
	}
	return v
}

func (s *ClusterSpec) gateways(f *field.Faults) []fleet.Gateway {
	var list []fleet.Gateway
	first := map[netip.AddrPort]int{}
	for i, g := range bounded(f, "spec.gateways", s.Gateways, maxGateways) {
		path := field.Index("spec.gateways", i)
		before := f.Count()
		addr, err := field.Addr(string(g.Address))
		if err != nil {
			f.Add(path+".address", "%v", err)
		}
		out := fleet.Gateway{Addr: addr, Port: port(f, path+".port", g.Port, defaultFrontPort)}
		if g.RelayPort == nil || *g.RelayPort != 0 {
			out.RelayPort = port(f, path+".relayPort", g.RelayPort, defaultRelayPort)
		}
		switch {
		case g.TLSPort == nil && out.Port != defaultTLSPort && out.RelayPort != defaultTLSPort:
			out.TLSPort = defaultTLSPort
		case g.TLSPort != nil && *g.TLSPort != 0:
			out.TLSPort = port(f, path+".tlsPort", g.TLSPort, defaultTLSPort)
		}
		if f.Count() > before {
			continue
		}
		if out.TLSPort != 0 && (out.TLSPort == out.Port || out.TLSPort == out.RelayPort) {
			f.Add(path+".tlsPort", "%d is the port of another listener too; give each its own, or 0 for none", out.TLSPort)
			continue
		}
		if out.Port == out.RelayPort {
			f.Add(path+".relayPort", "%d is the front port too; give the relay a port of its own, or 0 for none", out.Port)
			continue
		}
		if j, ok := first[out.Front()]; ok {
			f.Add(path, "is %s like spec.gateways[%d]; remove one of them", out.Front(), j)
			continue
		}
		first[out.Front()] = i
		list = append(list, out)
	}
	slices.SortFunc(list, func(a, b fleet.Gateway) int { return a.Front().Compare(b.Front()) })
	return list
}

// networks reads a list of prefixes; all says what a prefix of length 0 would mean.
func networks(f *field.Faults, path string, given []Prefix, all string) []netip.Prefix {
	var list []netip.Prefix
	for i, given := range bounded(f, path, given, maxNetworks) {
		path, text := field.Index(path, i), string(given)
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			f.Add(path, "%s is not an address prefix; write one like 10.1.0.0/16 or 2001:db8::/48", field.Quote(text))
		case p.Addr().Is4In6():
			f.Add(path, "%s is IPv4 in IPv6 clothes; write it as an IPv4 prefix", field.Quote(text))
		case p != p.Masked():
			f.Add(path, "%s has bits beyond its length; write %s", field.Quote(text), p.Masked())
		case p.Bits() == 0:
			f.Add(path, "%s is %s", field.Quote(text), all)
		case slices.Contains(list, p):
			f.Add(path, "%s is named twice; remove one of them", p)
		default:
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return list
}

func (s *ClusterSpec) namespaces(f *field.Faults) []string {
	var list []string
	for i, n := range bounded(f, "spec.namespaces", s.Namespaces, maxNamespaces) {
		if err := field.Label(n); err != nil {
			f.Add(field.Index("spec.namespaces", i), "%v", err)
			continue
		}
		list = append(list, n)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
