package probe

import (
	"fmt"
	"net/netip"
)

// metadata are the addresses at which clouds hand out credentials to whoever
// asks from inside. Most clouds use 169.254.169.254, which is link-local.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
}

var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")   // RFC 1122 §3.2.1.3
	reserved    = netip.MustParsePrefix("240.0.0.0/4") // with the broadcast address
	nat64       = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour   = netip.MustParsePrefix("2002::/16")
	compatible  = netip.MustParsePrefix("::/96")
)

// refusal says why an address must never be probed; empty: it may be. Gateways'
// addresses come from the objects of members, who are not trusted with a way to
// make this process talk to its own host or its cloud.
func refusal(target netip.AddrPort, allowLoopback bool) string {
	if !target.IsValid() || target.Port() == 0 {
		return "target refused: it has no address and port"
	}
	addr := target.Addr().WithZone("").Unmap()
	if v4, ok := embedded(addr); ok {
		return refusal(netip.AddrPortFrom(v4, target.Port()), allowLoopback)
	}
	kind := ""
	switch {
	case addr.IsUnspecified(), thisNetwork.Contains(addr):
		kind = "unspecified"
	case addr.IsLoopback() && !allowLoopback:
		kind = "loopback"
	case addr.IsLinkLocalUnicast():
		kind = "link-local"
	case addr.IsMulticast():
		kind = "multicast"
	case reserved.Contains(addr):
		kind = "reserved or broadcast"
	}
	for _, m := range metadata {
		if addr == m {
			kind = "cloud metadata"
		}
	}
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("target refused: %v is a %s address, a gateway needs one of its own", addr, kind)
}

// embedded finds the IPv4 address that an IPv6 address leads to by translation.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr),
		compatible.Contains(addr) && !addr.IsUnspecified() && !addr.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:])), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
