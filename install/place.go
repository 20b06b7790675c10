package install

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/geo/clouds"
)

// Site is what a cluster's nodes say of where it stands.
type Site struct {
	Regions  map[fleet.Region]int // nodes by region, from their labels or their zones
	Zones    map[string]int       // nodes by zone
	Nodes    int
	Unzoned  []string       // nodes that say no zone, sorted
	Networks []netip.Prefix // that pods and nodes have their addresses from, sorted; empty when nodes do not say
	NoPods   bool           // some node says no range of its pods
	Hidden   bool           // whoever asks may not list the nodes
}

// ReadSite reads nodes' labels and ranges.
func ReadSite(nodes []corev1.Node) Site {
	s := Site{Regions: map[fleet.Region]int{}, Zones: map[string]int{}, Nodes: len(nodes)}
	var pods, hosts []netip.Prefix
	for i := range nodes {
		n := &nodes[i]
		zone := n.Labels[corev1.LabelTopologyZone]
		region := fleet.Region(n.Labels[corev1.LabelTopologyRegion])
		if r, ok := clouds.OfZone(zone); ok && region == "" {
			region = r.Name
		}
		if zone != "" {
			s.Zones[zone]++
		} else {
			s.Unzoned = append(s.Unzoned, n.Name)
		}
		if region != "" {
			s.Regions[region]++
		}
		ranges := n.Spec.PodCIDRs
		if len(ranges) == 0 && n.Spec.PodCIDR != "" {
			ranges = []string{n.Spec.PodCIDR}
		}
		s.NoPods = s.NoPods || len(ranges) == 0
		for _, text := range ranges {
			if p, err := netip.ParsePrefix(text); err == nil {
				pods = append(pods, p.Masked())
			}
		}
		for _, a := range n.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				hosts = append(hosts, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			}
		}
	}
	slices.Sort(s.Unzoned)
	if s.Nodes > 0 && !s.NoPods {
		s.Networks = compact(append(cover(pods), cover(hosts)...))
	}
	return s
}

// How wide a range is guessed to be: at least these bits wide, so that nodes that
// come later fall into it; and at most these, since a wider one guards nothing.
const (
	guess4, widest4 = 16, 8
	guess6, widest6 = 56, 32
)

// cover is the smallest range around prefixes, one per family, widened so that
// neighbours fall into it. A family whose prefixes lie too far apart for one
// range keeps a range around each.
func cover(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, family := range []struct{ bits, guess, widest int }{{32, guess4, widest4}, {128, guess6, widest6}} {
		var all netip.Prefix
		var each []netip.Prefix
		for _, p := range prefixes {
			if p.Addr().BitLen() != family.bits {
				continue
			}
			each = append(each, netip.PrefixFrom(p.Addr(), min(p.Bits(), family.guess)).Masked())
			if !all.IsValid() {
				all = p
			}
			for !all.Contains(p.Addr()) || all.Bits() > p.Bits() {
				all = netip.PrefixFrom(all.Addr(), all.Bits()-1).Masked()
			}
		}
		switch {
		case !all.IsValid():
		case all.Bits() >= family.widest:
			out = append(out, netip.PrefixFrom(all.Addr(), min(all.Bits(), family.guess)).Masked())
		default:
			out = append(out, each...)
		}
	}
	return out
}

// compact sorts ranges and leaves out those that lie in others.
func compact(prefixes []netip.Prefix) []netip.Prefix {
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	var out []netip.Prefix
	for _, p := range prefixes {
		if len(out) == 0 || !out[len(out)-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

// Region is the one that the nodes name.
func (s Site) Region() (fleet.Region, error) {
	if s.Hidden {
		return "", errors.New("its nodes say the region, and you may not list them; name it with --region")
	}
	switch len(s.Regions) {
	case 0:
		return "", errors.New("its nodes have no label topology.kubernetes.io/region; name the region with --region")
	case 1:
		return slices.Collect(maps.Keys(s.Regions))[0], nil
	}
	names := slices.Sorted(maps.Keys(s.Regions))
	return "", fmt.Errorf("its nodes stand in several regions (%s, %s …); name the one to steer it by with --region", names[0], names[1])
}

// Zone is the one that all nodes stand in; empty when they stand in several, or do
// not all say.
func (s Site) Zone() string {
	if len(s.Zones) != 1 || len(s.Unzoned) > 0 {
		return ""
	}
	return slices.Collect(maps.Keys(s.Zones))[0]
}

// ParsePlace reads "lat,lon" in degrees.
func ParsePlace(text string) (fleet.Place, error) {
	a, b, ok := strings.Cut(text, ",")
	lat, errLat := strconv.ParseFloat(strings.TrimSpace(a), 64)
	lon, errLon := strconv.ParseFloat(strings.TrimSpace(b), 64)
	p := fleet.Place{Lat: lat, Lon: lon}
	if !ok || errLat != nil || errLon != nil || !(lat >= -90 && lat <= 90 && lon >= -180 && lon <= 180) || !p.Known() {
		return fleet.Place{}, fmt.Errorf("--place %.40q is no place on earth; write latitude and longitude in degrees, north and east positive: --place 50.4,3.8", text)
	}
	return p, nil
}
