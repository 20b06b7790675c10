package geoip

import (
	"math/rand/v2"
	"testing"

	"github.com/phuslu/iploc"

	"github.com/meridian-lb/meridian/fleet"
)

// The scan finds what asking for every single /24 finds, and for a million /56.
func TestScanFindsEverything(t *testing.T) {
	y := embeddedLayer()
	said := func(value uint32) string { return y.places[value].Country }
	want := func(code string, key uint64, cuts []span) string {
		for _, c := range cuts {
			if c.lo <= key && key < c.hi {
				return ""
			}
		}
		if code == "ZZ" { // the library's word for unknown
			return ""
		}
		return code
	}
	cuts := bogons4()
	for key := uint64(0); key < 1<<grain4; key++ {
		for len(cuts) > 0 && cuts[0].hi <= key {
			cuts = cuts[1:]
		}
		value, _, _ := y.v4.run(key)
		if got, want := said(value), want(iploc4(key), key, cuts[:min(1, len(cuts))]); got != want {
			t.Fatalf("%s: %q, want %q", iploc4(key), got, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1_000_000 {
		key := r.Uint64N(1<<(grain6-3)) | 1<<(grain6-3) // in 2000::/3
		if i := r.IntN(len(y.v6.starts)); r.IntN(2) == 0 {
			key = y.v6.starts[i] + uint64(r.IntN(3)) - min(1, y.v6.starts[i]) // around the edges
		}
		value, _, _ := y.v6.run(key)
		if got, want := said(value), want(iploc6(key), key, bogons6()); got != want {
			t.Fatalf("key %x: %q, want %q", key, got, want)
		}
	}
}

// Each country that the embedded data names has a place on earth.
func TestEveryCountryHasAPlace(t *testing.T) {
	codes := map[string]bool{}
	collect := func(_, _ uint64, code string) { codes[code] = true }
	scan(grain4, iploc4, collect)
	scan(grain6, iploc6, collect)
	if len(codes) < 240 {
		t.Errorf("only %d countries were found", len(codes))
	}
	for code := range codes {
		if code != "ZZ" && !sane(centroid(code)) {
			t.Errorf("%s has no place", code)
		}
	}
	for code := range centroids {
		if isoCode(code) == "" || !sane(centroid(code)) {
			t.Errorf("%s: a code or place that cannot be", code)
		}
	}
}

// Typing errors in the table show as a country far from where people know it is.
func TestCountriesAreWhereTheyAre(t *testing.T) {
	capitals := map[string]fleet.Place{
		"US": {Lat: 38.9, Lon: -77.0}, "CA": {Lat: 45.4, Lon: -75.7}, "BR": {Lat: -15.8, Lon: -47.9}, "RU": {Lat: 55.8, Lon: 37.6},
		"AU": {Lat: -35.3, Lon: 149.1}, "CN": {Lat: 39.9, Lon: 116.4}, "IN": {Lat: 28.6, Lon: 77.2}, "JP": {Lat: 35.7, Lon: 139.7},
		"ZA": {Lat: -25.7, Lon: 28.2}, "GB": {Lat: 51.5, Lon: -0.1}, "DE": berlin, "ID": {Lat: -6.2, Lon: 106.8}, "NG": {Lat: 9.1, Lon: 7.4},
		"MX": {Lat: 19.4, Lon: -99.1}, "AR": {Lat: -34.6, Lon: -58.4}, "EG": {Lat: 30.0, Lon: 31.2}, "TR": {Lat: 39.9, Lon: 32.9},
	}
	for code, capital := range capitals {
		if km := centroid(code).DistanceKm(capital); km > 1300 {
			t.Errorf("%s is %.0f km from its capital", code, km)
		}
	}
}

func TestEmbeddedAnswers(t *testing.T) {
	l, _ := New(Config{})
	l.set(inEmbedded, embeddedLayer())
	for s, want := range map[string]string{
		"8.8.8.8": "US", "153.3.131.201": "CN", "2001:dc7:1000::1": "CN", "2620:0:2d0:200::7": "US",
		"64:ff9b::8.8.8.8": "US", "::ffff:8.8.8.8": "US", "2002:0808:0808::": "US",
	} {
		got := l.Locate(addr(s))
		if got.Country != want || got.Layer != LayerEmbedded || got.Place != centroid(want) {
			t.Errorf("%s: %+v, want %s", s, got, want)
		}
	}
	if EmbeddedVersion != iploc.Version || EmbeddedVersion == "" {
		t.Errorf("version %q", EmbeddedVersion)
	}
}
