package geoip

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/maxmind/mmdbwriter"

	"github.com/meridian-lb/meridian/fleet"
)

// big is a City database of about 66,000 random networks over all of IPv4 and IPv6.
var big = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	entries := make([]entry, 0, 66_000)
	at := func() fleet.Place {
		return fleet.Place{Lat: float64(r.IntN(1200))/10 - 60, Lon: float64(r.IntN(3600))/10 - 180}
	}
	for range 60_000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32N(223<<24-1<<24)+1<<24)
		entries = append(entries, entry{prefix: netip.PrefixFrom(netip.AddrFrom4(b), 16+r.IntN(9)).Masked().String(), country: "DE", city: "X", place: at()})
	}
	for range 6_000 {
		b := [16]byte{0x2a}
		binary.BigEndian.PutUint32(b[1:], r.Uint32())
		entries = append(entries, entry{prefix: netip.PrefixFrom(netip.AddrFrom16(b), 24+r.IntN(25)).Masked().String(), country: "FR", city: "Y", place: at()})
	}
	return mmdbWith(fatal{}, mmdbwriter.Options{DatabaseType: "GeoLite2-City"}, entries...)
})

// fatal reports from where there is no test to fail.
type fatal struct{}

func (fatal) Helper()                           {}
func (fatal) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// full is a Locator with all layers.
func full(tb testing.TB) *Locator {
	var networks []Network
	for i := range 200 {
		p, _ := netip.AddrFrom4([4]byte{10, byte(i), 0, 0}).Prefix(16)
		networks = append(networks, Network{p, []fleet.Place{berlin, chicago}[i%2], "x"})
	}
	l := layered(tb, big(), nil, networks...)
	l.set(inEmbedded, embeddedLayer())
	return l
}

func addresses(kind string) []netip.Addr {
	r := rand.New(rand.NewPCG(3, 4))
	out := make([]netip.Addr, 1<<14)
	for i := range out {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		switch kind {
		case "ipv4":
			out[i] = netip.AddrFrom4([4]byte(b[:4]))
		case "ipv6":
			b[0] = 0x2a
			out[i] = netip.AddrFrom16(b)
		case "network":
			b[0] = 10
			out[i] = netip.AddrFrom4([4]byte(b[:4]))
		case "nat64":
			copy(b[:], []byte{0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0})
			out[i] = netip.AddrFrom16(b)
		}
	}
	return out
}

var kinds = []string{"ipv4", "ipv6", "network", "nat64"}

func BenchmarkLocate(b *testing.B) {
	l := full(b)
	for _, kind := range kinds {
		as := addresses(kind)
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Locate(as[i%len(as)])
				i++
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	data := big()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := parse(data, inCity); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEmbeddedScan(b *testing.B) {
	iploc6(0) // the library unpacks its IPv6 data once
	for b.Loop() {
		n := 0
		count := func(_, _ uint64, _ string) { n++ }
		scan(grain4, iploc4, count)
		scan(grain6, iploc6, count)
		b.ReportMetric(float64(n), "runs")
	}
}

func BenchmarkSetNetworks(b *testing.B) {
	l, _ := New(Config{})
	var networks []Network
	for i := range 1000 {
		p, _ := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}).Prefix(24)
		networks = append(networks, Network{p, berlin, "x"})
	}
	i := 0
	for b.Loop() {
		networks[i%1000].Place.Lon += 0.001 // is news each time
		if err := l.SetNetworks(networks); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// A lookup allocates nothing, in whatever layer it ends.
func TestLocateAllocatesNothing(t *testing.T) {
	l := full(t)
	for _, kind := range kinds {
		as := addresses(kind)
		i := 0
		if n := testing.AllocsPerRun(2000, func() { l.Locate(as[i%len(as)]); i++ }); n != 0 {
			t.Errorf("%s: %v allocations, want none", kind, n)
		}
	}
}
