package geoip

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestTruncate(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"192.0.2.77", "192.0.2.0/24"},
		{"::ffff:192.0.2.77", "192.0.2.0/24"},
		{"2001:db8:1:2345::6", "2001:db8:1:2300::/56"},
		{"fe80::1%eth0", "fe80::/56"},
		{"2002:c000:024d::1", "2002:c000:200::/40"},
		{"64:ff9b::192.0.2.77", "64:ff9b::c000:200/120"},
		{"2001:0:4136:e378:8000:63bf:3fff:fdb2", "2001:0:4136:e378:8000:63bf:3fff:fd00/120"},
		{"::", "::/81"}, // ::ffff:0:0/96 is in its /56
		{"64:ff9b::1:0:0:1", "64:ff9b:0:0:1::/80"}, // 64:ff9b::/96 is in its /56
	} {
		if got := Truncate(addr(c.addr)); got.String() != c.want {
			t.Errorf("Truncate(%s) = %s, want %s", c.addr, got, c.want)
		}
	}
	if got := Truncate(netip.Addr{}); got.IsValid() {
		t.Errorf("Truncate of the zero Addr = %s, want the zero Prefix", got)
	}
}

// What an IPv6 address carries is what is looked up.
func TestSeeInside(t *testing.T) {
	want, _ := see(addr("203.0.113.9"))
	for _, s := range []string{"::ffff:203.0.113.9", "64:ff9b::203.0.113.9", "2002:cb00:7109::1", "2001:0:1:2:3:4:34ff:8ef6"} {
		got, ok := see(addr(s))
		if !ok || got.key != want.key || got.width != want.width {
			t.Errorf("%s: key %x of %d, want %x of %d", s, got.key, got.width, want.key, want.width)
		}
	}
}

var carriers = []netip.Prefix{pfx("::ffff:0:0/96"), pfx("64:ff9b::/96"), pfx("2001::/32"), pfx("2002::/16")}

// drawAddr draws from all of the space, and often from where it is knotty.
func drawAddr(t *rapid.T, label string) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label)
	a6 := netip.AddrFrom16([16]byte(b))
	switch rapid.IntRange(0, 4).Draw(t, label+" kind") {
	case 0, 1:
		return netip.AddrFrom4([4]byte(b[:4]))
	case 2:
		block := rapid.SampledFrom(append([]netip.Prefix{pfx("::/56"), pfx("64:ff9b::/56"), pfx("2001::/24"), pfx("2000::/12")}, carriers...)).Draw(t, label+" block")
		return graft(block, a6)
	}
	return graft(pfx("2000::/3"), a6)
}

// graft is the address with the leading bits of the prefix.
func graft(p netip.Prefix, a netip.Addr) netip.Addr {
	if p.Addr().Is4() {
		x, y := p.Addr().As4(), a.As4()
		mix(x[:], y[:], p.Bits())
		return netip.AddrFrom4(y)
	}
	x, y := p.Addr().As16(), a.As16()
	mix(x[:], y[:], p.Bits())
	return netip.AddrFrom16(y)
}

func mix(x, y []byte, n int) {
	for i := range n {
		bit := byte(0x80) >> (i % 8)
		y[i/8] = y[i/8]&^bit | x[i/8]&bit
	}
}

// An address outside the blocks that carry IPv4 never gets a prefix that
// touches one, since clients there are looked up otherwise.
func TestPrefixKeepsOffCarriers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, ok := see(drawAddr(t, "address"))
		if !ok || v.width == grain4 {
			t.SkipNow()
		}
		p := v.widest(0, 1<<v.width) // as wide as can be
		for _, c := range carriers {
			if p.Overlaps(c) {
				t.Fatalf("%s: prefix %s touches %s", v.addr, p, c)
			}
		}
		if up, _ := v.addr.Prefix(p.Bits() - 1); p.Bits() > 0 {
			touches := false
			for _, c := range carriers {
				touches = touches || up.Overlaps(c)
			}
			if !touches {
				t.Fatalf("%s: prefix %s could be %s", v.addr, p, up)
			}
		}
	})
}
