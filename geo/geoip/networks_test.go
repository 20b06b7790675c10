package geoip

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

func TestNetworks(t *testing.T) {
	l := layered(t, nil, nil,
		Network{pfx("10.0.0.0/8"), berlin, "eu-1"},
		Network{pfx("10.1.0.0/16"), chicago, "us-1"},
		Network{pfx("10.1.2.0/24"), tokyo, "jp-1"},
		Network{pfx("192.0.2.128/25"), saoPaulo, "br-1"},
		Network{pfx("fd00:1::/32"), tokyo, "jp-1"},
		Network{pfx("10.128.0.1/9"), berlin, "eu-2"}, // not masked, same place as what it is in
	)
	for _, c := range []struct {
		addr   string
		place  fleet.Place
		prefix string
	}{
		{"10.2.0.1", berlin, "10.2.0.0/15"},
		{"10.200.0.1", berlin, "10.128.0.0/9"},
		{"10.1.9.9", chicago, "10.1.8.0/21"},
		{"10.1.2.9", tokyo, "10.1.2.0/24"},
		{"10.1.3.0", chicago, "10.1.3.0/24"},
		{"192.0.2.1", saoPaulo, "192.0.2.0/24"}, // the grain
		{"::ffff:10.1.2.9", tokyo, "10.1.2.0/24"},
		{"2002:0a01:0209::1", tokyo, "2002:a01:200::/40"},
		{"fd00:1:ffff::1", tokyo, "fd00:1::/32"},
		{"9.255.0.1", fleet.Place{}, "8.0.0.0/7"},
		{"fd00:2::1", fleet.Place{}, "fd00:2::/31"},
	} {
		got := l.Locate(addr(c.addr))
		if got.Place != c.place || got.Prefix.String() != c.prefix {
			t.Errorf("%s: %v in %s, want %v in %s", c.addr, got.Place, got.Prefix, c.place, c.prefix)
		}
		if want := map[bool]string{true: LayerNetwork, false: LayerDefault}[c.place.Known()]; got.Layer != want {
			t.Errorf("%s: layer %q, want %q", c.addr, got.Layer, want)
		}
	}
}

// A network that cannot hold is refused in one sentence; its neighbours hold.
func TestNetworksRefused(t *testing.T) {
	good := Network{pfx("10.0.0.0/16"), berlin, "good"}
	for _, c := range []struct {
		bad  Network
		want string
	}{
		{Network{netip.Prefix{}, berlin, "x"}, "no valid prefix"},
		{Network{pfx("10.9.0.0/16"), fleet.Place{}, "x"}, "place is not known"},
		{Network{pfx("10.9.0.0/16"), fleet.Place{Lat: 91, Lon: 3}, "x"}, "place is not known"},
		{Network{pfx("2002:a00::/24"), berlin, "x"}, "IPv4 prefix"},
		{Network{pfx("::ffff:10.0.0.0/104"), berlin, "x"}, "IPv4 prefix"},
		{Network{pfx("2001:0:4136::/48"), berlin, "x"}, "IPv4 prefix"},
		{Network{pfx("10.0.0.0/16"), tokyo, "x"}, `network 10.0.0.0/16 of "x" is ignored because network 10.0.0.0/16 of "good" is in the same /16`},
	} {
		l := layered(t, nil, nil)
		err := l.SetNetworks([]Network{c.bad, good})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: error %v, want one sentence with %q", c.bad, err, c.want)
		}
		if got := l.Locate(addr("10.0.0.1")); got.Place != berlin {
			t.Errorf("%v: its neighbour does not hold: %+v", c.bad, got)
		}
	}
}

func TestNetworksShareAGrain(t *testing.T) {
	l := layered(t, nil, nil, // two subnets of one site are no conflict
		Network{pfx("10.0.0.0/25"), berlin, "a"}, Network{pfx("10.0.0.128/25"), berlin, "b"})
	if got := l.Locate(addr("10.0.0.200")); got.Place != berlin {
		t.Errorf("got %+v, want Berlin", got)
	}
	err := l.SetNetworks([]Network{{pfx("10.0.0.128/25"), tokyo, "b"}, {pfx("10.0.0.0/25"), berlin, "a"}})
	if err == nil || !strings.Contains(err.Error(), "in the same /24") {
		t.Errorf("two sites in one /24: error %v", err)
	}
	if got := l.Locate(addr("10.0.0.200")); got.Place != berlin {
		t.Errorf("got %+v, want the first by address, Berlin", got)
	}
	if err := l.SetNetworks(nil); err != nil {
		t.Fatal(err)
	}
	if got := l.Locate(addr("10.0.0.200")); got.Layer != LayerDefault || got.Prefix.Bits() != 0 {
		t.Errorf("after all networks went: %+v", got)
	}
}

func drawNetworks(t *rapid.T) []Network {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Network {
		base := rapid.SampledFrom([]netip.Prefix{pfx("10.0.0.0/8"), pfx("10.1.0.0/16"), pfx("10.1.2.0/20"), pfx("2a00::/16"), pfx("2a00:1::/32"), pfx("0.0.0.0/0"), pfx("::/0")}).Draw(t, "base")
		a := drawAddr(t, "in")
		if a.Is4() != base.Addr().Is4() {
			a = base.Addr()
		}
		p := netip.PrefixFrom(graft(base, a), rapid.IntRange(base.Bits(), min(base.Bits()+20, base.Addr().BitLen())).Draw(t, "bits"))
		return Network{p, rapid.SampledFrom([]fleet.Place{berlin, chicago, tokyo}).Draw(t, "place"), rapid.StringMatching("[a-c]").Draw(t, "name")}
	}), 0, 12).Draw(t, "networks")
}

// The layer agrees with asking every network in turn, whatever the order given.
func TestNetworksAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := drawNetworks(t)
		l, _ := New(Config{})
		errL := l.SetNetworks(ns)
		m, _ := New(Config{})
		errM := m.SetNetworks(rapid.Permutation(ns).Draw(t, "shuffled"))
		for range 20 {
			a := drawAddr(t, "address")
			if len(ns) > 0 && rapid.Bool().Draw(t, "near") {
				if n := rapid.SampledFrom(ns).Draw(t, "network"); n.Prefix.Addr().Is4() == a.Is4() {
					a = graft(n.Prefix, a)
				}
			}
			got := l.Locate(a)
			if fmt.Sprint(errL) != fmt.Sprint(errM) {
				t.Fatalf("errors depend on the order: %v and %v", errL, errM)
			}
			if other := m.Locate(a); other != got {
				t.Fatalf("%s: %+v, in another order %+v", a, got, other)
			}
			if want := oracle(ns, a); got.Place != want {
				t.Fatalf("%s: %v, want %v", a, got.Place, want)
			}
		}
	})
}

// oracle is the place of the most specific network around an address; of equals the first.
func oracle(ns []Network, a netip.Addr) fleet.Place {
	a = inner(a)
	var best Network
	bits := -1
	for _, n := range ns {
		if n.check() != nil {
			continue
		}
		n.Prefix = n.Prefix.Masked()
		whole := n.Prefix
		if g := grain(whole); whole.Bits() > g {
			whole, _ = whole.Addr().Prefix(g)
		}
		if !whole.Contains(a) {
			continue
		}
		if whole.Bits() > bits || whole.Bits() == bits && n.compare(best) < 0 {
			best, bits = n, whole.Bits()
		}
	}
	return best.Place
}

// inner is the address that is looked up, made the slow way.
func inner(a netip.Addr) netip.Addr {
	b := a.As16()
	switch {
	case a.Is4() || a.Is4In6():
		return a.Unmap()
	case carriers[1].Contains(a):
		return netip.AddrFrom4([4]byte(b[12:]))
	case carriers[2].Contains(a):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	case carriers[3].Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}
