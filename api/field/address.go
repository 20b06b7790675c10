package field

import (
	"fmt"
	"net/netip"
)

// Addr reads an address that traffic may be sent to: IPv4 or IPv6, without zone.
// An IPv4 address in IPv6 clothes comes back as IPv4.
//
// Whoever writes an address could otherwise make gateways and probes speak to
// their own host's services, so the unspecified, multicast, link-local and
// reserved ones and the metadata services of clouds are refused. Loopback is
// allowed: an installation on one machine has nothing else.
func Addr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s is not an IP address; write one like 203.0.113.7 or 2001:db8::7", Quote(s))
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%s carries an interface's name, which means nothing elsewhere; write a global address", Quote(s))
	}
	a = a.Unmap()
	if kind := refused(a); kind != "" {
		return netip.Addr{}, fmt.Errorf("%s is refused as %s; write an address that others can reach", a, kind)
	}
	return a, nil
}

// refused says of which forbidden kind an address is; empty: of none. What leads
// to an IPv4 address by translation is judged by where it leads.
func refused(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "unspecified"
	case a.IsMulticast():
		return "multicast"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a.Is4():
		return refused4(a.As4())
	case a.IsLoopback():
		return ""
	}
	b := a.As16()
	inner := [4]byte(b[12:])
	switch {
	case b == [16]byte{0: 0xfd, 2: 0x0e, 3: 0xc2, 14: 0x02, 15: 0x54}: // AWS, fd00:ec2::254
		return "cloud metadata"
	case b == [16]byte{0: 0xfd, 1: 0x20, 3: 0xce, 14: 0x02, 15: 0x54}: // Google Cloud, fd20:ce::254
		return "cloud metadata"
	case [12]byte(b[:12]) == [12]byte{0: 0, 1: 0x64, 2: 0xff, 3: 0x9b}, // NAT64, 64:ff9b::/96
		[12]byte(b[:12]) == [12]byte{}: // IPv4-compatible, ::/96
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, 2002::/16
		inner = [4]byte(b[2:6])
	default:
		return ""
	}
	return refused(netip.AddrFrom4(inner))
}

func refused4(b [4]byte) string {
	switch {
	case b[0] == 0: // "this network", RFC 1122 §3.2.1.3
		return "unspecified"
	case b[0] >= 240: // with the broadcast address
		return "reserved"
	case b == [4]byte{168, 63, 129, 16}, // Azure
		b == [4]byte{100, 100, 100, 200}, // Alibaba Cloud
		b == [4]byte{192, 0, 0, 192}:     // Oracle Cloud
		return "cloud metadata"
	}
	return ""
}

// Port checks a port number, 1 to 65535.
func Port(n int32) (uint16, error) {
	if n < 1 || n > 65535 {
		return 0, fmt.Errorf("%d is not a port; write a number from 1 to 65535", n)
	}
	return uint16(n), nil
}
