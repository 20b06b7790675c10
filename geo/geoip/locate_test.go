package geoip

import (
	"net/netip"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

// The first layer that knows wins, and a prefix takes in nothing that is known better.
func TestLayers(t *testing.T) {
	l := layered(t,
		mmdb(t, "GeoLite2-City",
			entry{prefix: "8.0.0.0/10", country: "DE", city: "Berlin", place: berlin},
			entry{prefix: "8.64.0.0/16", country: "CA"}, // no coordinates
			entry{prefix: "8.65.0.0/16", city: "Nowhere"},
			entry{prefix: "2a00::/20", country: "JP", city: "Tokyo", place: tokyo}),
		mmdb(t, "DBIP-Country-Lite",
			entry{prefix: "8.0.0.0/8", country: "BR"},
			entry{prefix: "10.0.0.0/8", country: "BR"}, // is nobody's, whatever a file says
			entry{prefix: "9.0.0.0/8", country: "ZZ"}),
		Network{pfx("8.1.0.0/16"), chicago, "office"})
	canada, brazil := centroid("CA"), centroid("BR")
	for _, c := range []struct {
		addr string
		want fleet.Location
	}{
		{"8.1.7.7", fleet.Location{Place: chicago, Prefix: pfx("8.1.0.0/16"), Layer: LayerNetwork}},
		{"8.0.7.7", fleet.Location{Place: berlin, Prefix: pfx("8.0.0.0/16"), Country: "DE", City: "Berlin", Layer: LayerCity}},
		{"8.32.7.7", fleet.Location{Place: berlin, Prefix: pfx("8.32.0.0/11"), Country: "DE", City: "Berlin", Layer: LayerCity}},
		{"8.64.7.7", fleet.Location{Place: canada, Prefix: pfx("8.64.0.0/16"), Country: "CA", Layer: LayerCity}},
		{"8.65.7.7", fleet.Location{Place: brazil, Prefix: pfx("8.65.0.0/16"), Country: "BR", Layer: LayerCountry}},
		{"8.128.7.7", fleet.Location{Place: brazil, Prefix: pfx("8.128.0.0/9"), Country: "BR", Layer: LayerCountry}},
		{"2a00:1::1", fleet.Location{Place: tokyo, Prefix: pfx("2a00::/20"), Country: "JP", City: "Tokyo", Layer: LayerCity}},
		{"64:ff9b::8.0.7.7", fleet.Location{Place: berlin, Prefix: pfx("64:ff9b::800:0/112"), Country: "DE", City: "Berlin", Layer: LayerCity}},
		{"2002:0800:0707::1", fleet.Location{Place: berlin, Prefix: pfx("2002:800::/32"), Country: "DE", City: "Berlin", Layer: LayerCity}},
		{"::ffff:8.0.7.7", fleet.Location{Place: berlin, Prefix: pfx("8.0.0.0/16"), Country: "DE", City: "Berlin", Layer: LayerCity}},
		{"9.9.9.9", fleet.Location{Prefix: pfx("9.0.0.0/8"), Layer: LayerDefault}},
		{"10.9.9.9", fleet.Location{Prefix: pfx("10.0.0.0/7"), Layer: LayerDefault}},
	} {
		if got := l.Locate(addr(c.addr)); got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.addr, got, c.want)
		}
	}
}

// Addresses that are nobody's get the default, without a place, whatever there is loaded.
func TestBogons(t *testing.T) {
	l := layered(t, mmdb(t, "GeoLite2-City", entry{prefix: "::/0", country: "DE", place: berlin}), nil)
	for _, s := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.255.255", "192.168.1.1",
		"198.19.0.1", "224.0.0.251", "239.255.255.255", "255.255.255.255", "::ffff:10.0.0.1", "2002:7f00:1::1",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "64:ff9b:1::1", "100::1", "5f00::1", "2001:10::1",
		"64:ff9b::127.0.0.1",
	} {
		got := l.Locate(addr(s))
		if got.Layer != LayerDefault || got.Place.Known() || got.Country != "" {
			t.Errorf("%s: %+v, want the default", s, got)
		}
		if a := addr(s).Unmap().WithZone(""); !got.Prefix.Contains(a) {
			t.Errorf("%s: prefix %s does not hold it", s, got.Prefix)
		}
	}
	if got := (l.Locate(netip.Addr{})); got != (fleet.Location{Layer: LayerDefault}) {
		t.Errorf("zero Addr: %+v", got)
	}
	for _, s := range []string{"1.1.1.1", "192.0.1.0", "223.255.255.255", "2001:db8::1", "3fff:ffff::1"} {
		if got := l.Locate(addr(s)); got.Place != berlin {
			t.Errorf("%s: %+v, want Berlin", s, got)
		}
	}
}

// A record longer than the grain must not make an answer depend on the low bits.
func TestRecordsLongerThanTheGrain(t *testing.T) {
	l := layered(t, mmdb(t, "GeoLite2-City",
		entry{prefix: "8.8.0.0/16", country: "DE", place: berlin},
		entry{prefix: "8.8.8.0/25", country: "JP", place: tokyo},
		entry{prefix: "8.8.9.128/25", country: "JP", place: tokyo},
		entry{prefix: "2a00:1:2:300::/64", country: "JP", place: tokyo},
		entry{prefix: "2a00:1:2:401::/64", country: "JP", place: tokyo},
	), nil)
	for _, c := range []struct {
		addr  string
		place fleet.Place
	}{
		{"8.8.8.1", tokyo}, {"8.8.8.255", tokyo}, {"8.8.9.1", berlin}, {"8.8.9.255", berlin},
		{"2a00:1:2:300::1", tokyo}, {"2a00:1:2:3ff::1", tokyo}, {"2a00:1:2:401::1", fleet.Place{}},
	} {
		if got := l.Locate(addr(c.addr)); got.Place != c.place {
			t.Errorf("%s: %v in %s, want %v", c.addr, got.Place, got.Prefix, c.place)
		}
	}
}

// without is a Location of which only what it says of the place counts.
func without(loc fleet.Location) fleet.Location {
	loc.Prefix = netip.Prefix{}
	return loc
}

func drawEntries(t *rapid.T, label string) []entry {
	bases := []netip.Prefix{pfx("8.0.0.0/8"), pfx("10.0.0.0/8"), pfx("8.8.0.0/16"), pfx("8.8.8.0/22"), pfx("2a00::/16"), pfx("2a00:1::/32"), pfx("2a00:1:2::/48"), pfx("2001:200::/23"), pfx("0.0.0.0/0"), pfx("2000::/3")}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entry {
		base := rapid.SampledFrom(bases).Draw(t, "base")
		a := graft(base, rapid.Custom(func(t *rapid.T) netip.Addr {
			b := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
			if base.Addr().Is4() {
				return netip.AddrFrom4([4]byte(b[:4]))
			}
			return netip.AddrFrom16(b)
		}).Draw(t, "in"))
		p, _ := a.Prefix(min(base.Bits()+rapid.IntRange(0, 18).Draw(t, "bits"), a.BitLen()))
		return entry{prefix: p.String(),
			country: rapid.SampledFrom([]string{"DE", "BR", "JP", "", "xx"}).Draw(t, "country"),
			place:   rapid.SampledFrom([]fleet.Place{berlin, tokyo, {}}).Draw(t, "place")}
	}).Filter(insertable), 0, 12).Draw(t, label)
}

// insertable leaves out 6to4: in a database it is an alias of IPv4 and holds nothing of its own.
func insertable(e entry) bool { return !pfx("2002::/16").Contains(pfx(e.prefix).Addr()) }

// For random layers and addresses: everybody in a Prefix has the same Location;
// the Prefix holds the address and its Truncate; and it could not be wider.
func TestPrefixIsHonestAndWide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, _ := New(Config{})
		_ = l.SetNetworks(drawNetworks(t))
		for in, kind := range map[int]string{inCity: "GeoLite2-City", inCountry: "GeoLite2-Country"} {
			if entries := drawEntries(t, kind); len(entries) > 0 {
				if db, err := parse(mmdb(t, kind, entries...), in); err == nil { // fails when no entry says a place
					l.set(in, db.layer)
				}
			}
		}
		near := rapid.SampledFrom([]netip.Prefix{pfx("8.0.0.0/8"), pfx("8.8.0.0/16"), pfx("8.8.8.0/22"), pfx("10.1.2.0/20"), pfx("2a00:1:2::/48"), pfx("2a00:1::/32"), pfx("2a00::/16")})
		for range 10 {
			a := drawAddr(t, "address")
			if p := near.Draw(t, "near"); p.Addr().Is4() == a.Is4() {
				a = graft(p, a)
			}
			loc := l.Locate(a)
			p := loc.Prefix
			if !p.Contains(a.Unmap()) || p != p.Masked() {
				t.Fatalf("%s: prefix %s does not hold it", a, p)
			}
			unit := Truncate(a)
			if p.Bits() > unit.Bits() {
				t.Fatalf("%s: prefix %s is longer than %s", a, p, unit)
			}
			for range 8 { // anybody in it
				if b := graft(p, drawSame(t, a.Unmap())); without(l.Locate(b)) != without(loc) {
					t.Fatalf("%s: %+v, but %s in its prefix: %+v", a, loc, b, l.Locate(b))
				}
			}
			last := graft(p, ones(a.Unmap()))
			for _, b := range []netip.Addr{p.Addr(), last, unit.Addr()} {
				if got := l.Locate(b); got != loc {
					t.Fatalf("%s: %+v, but %s in its prefix: %+v", a, loc, b, got)
				}
			}
			for _, b := range []netip.Addr{p.Addr().Prev(), last.Next()} {
				mine, _ := see(a)
				if v, ok := see(b); !ok || v.width != mine.width || v.lead != mine.lead || p.Bits() == mine.floor {
					continue // looked up otherwise
				}
				// A neighbour of the same Location whose block is the other half would make the prefix wider.
				up, _ := a.Unmap().Prefix(p.Bits() - 1)
				other := l.Locate(b)
				if up.Contains(b) && without(other) == without(loc) && other.Prefix.Bits() <= p.Bits() {
					t.Fatalf("%s: prefix %s could be %s, since %s is %+v", a, p, up, b, other)
				}
			}
		}
	})
}

func drawSame(t *rapid.T, like netip.Addr) netip.Addr {
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "other")
	if like.Is4() {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16([16]byte(b))
}

func ones(like netip.Addr) netip.Addr {
	if like.Is4() {
		return addr("255.255.255.255")
	}
	return addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	l, err := New(Config{Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetNetworks([]Network{{pfx("10.0.0.0/8"), berlin, "eu-1"}}); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		l.Locate(addr("10.0.0.1"))
	}
	l.Locate(addr("8.8.8.8"))
	l.Locate(netip.Addr{})
	if got := l.lookups.sum(inNetworks); got != 40 {
		t.Errorf("lookups by networks: %v, want 40", got)
	}
	if got := l.lookups.sum(inNone); got != 2 {
		t.Errorf("lookups by nobody: %v, want 2", got)
	}
	if n, err := testutil.GatherAndCount(reg, "meridian_geoip_lookups_total"); err != nil || n != inNone+1 {
		t.Errorf("%d series of lookups, want %d; %v", n, inNone+1, err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	if _, err := New(Config{Metrics: reg}); err == nil {
		t.Error("the same metrics were registered twice without an error")
	}
}
