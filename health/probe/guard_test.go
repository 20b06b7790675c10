package probe

import (
	"net/netip"
	"strings"
	"testing"
)

func TestRefusal(t *testing.T) {
	for _, tc := range []struct {
		target string
		why    string // part of the refusal; empty: may be probed
	}{
		{"192.0.2.1:80", ""},
		{"10.1.2.3:443", ""},
		{"[2001:db8::1]:443", ""},
		{"[fd00::1]:443", ""},
		{"169.254.169.254:80", "link-local"},
		{"169.254.0.1:80", "link-local"},
		{"[fe80::1%eth0]:80", "link-local"},
		{"[fd00:ec2::254]:80", "cloud metadata"},
		{"[fd20:ce::254]:80", "cloud metadata"},
		{"168.63.129.16:80", "cloud metadata"},
		{"100.100.100.200:80", "cloud metadata"},
		{"127.0.0.1:80", "loopback"},
		{"127.9.9.9:80", "loopback"},
		{"[::1]:80", "loopback"},
		{"0.0.0.0:80", "unspecified"},
		{"0.1.2.3:80", "unspecified"},
		{"[::]:80", "unspecified"},
		{"224.0.0.1:80", "multicast"},
		{"[ff02::1]:80", "multicast"},
		{"255.255.255.255:80", "broadcast"},
		{"240.0.0.1:80", "reserved"},
		{"[::ffff:169.254.169.254]:80", "link-local"},
		{"[::ffff:127.0.0.1]:80", "loopback"},
		{"[::ffff:168.63.129.16]:80", "cloud metadata"},
		{"[::ffff:0.1.2.3]:80", "unspecified"},
		{"[::ffff:192.0.2.1]:80", ""},
		{"[::169.254.169.254]:80", "link-local"},
		{"[64:ff9b::169.254.169.254]:80", "link-local"},
		{"[64:ff9b::192.0.2.1]:80", ""},
		{"[2002:a9fe:a9fe::1]:80", "link-local"},
		{"[2002:7f00:1::]:80", "loopback"},
		{"192.0.2.1:0", "no address and port"},
	} {
		got := refusal(netip.MustParseAddrPort(tc.target), false)
		if (got == "") != (tc.why == "") || !strings.Contains(got, tc.why) {
			t.Errorf("%s: %q, want %q", tc.target, got, tc.why)
		}
	}
	if refusal(netip.AddrPort{}, true) == "" {
		t.Error("no target at all may be probed")
	}
	for _, a := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
		if got := refusal(netip.MustParseAddrPort(a), true); got != "" {
			t.Errorf("%s with loopback allowed: %q", a, got)
		}
	}
}

// Whatever the spelling, no address of the forbidden networks gets through.
func FuzzRefusal(f *testing.F) {
	for _, s := range []string{"169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::a9fe:a9fe", "::1", "fe80::1"} {
		a := netip.MustParseAddr(s).As16()
		f.Add(a[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		why := refusal(netip.AddrPortFrom(addr, 80), false)
		plain := addr.Unmap()
		if v4, ok := embedded(plain); ok {
			plain = v4
		}
		if why == "" && (plain.IsLoopback() || plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified()) {
			t.Fatalf("%v may be probed", addr)
		}
		if why == "" && !plain.IsGlobalUnicast() {
			t.Fatalf("%v is not unicast and may be probed", addr)
		}
	})
}
