// Package fleet holds the nouns of Meridian: what stands where, what was told about it, and the Snapshot made of it.
//
// The package is pure: no I/O, no clock, no lock. Values that have been handed
// over are never changed again; a new truth is a new value.
package fleet

import (
	"cmp"
	"math"
	"net/netip"
	"time"
)

// Region is where a group of clusters stands, in the words of its cloud or
// operator ("europe-west1"). The empty Region means "nowhere in particular":
// a client on the internet.
type Region string

// Network names a set of addresses that reach each other directly. Endpoints of
// another network are reached through their cluster's gateways. The empty
// Network is shared with nobody.
type Network string

// Place is a point on earth, in degrees. The zero Place is unknown, which a real
// installation never needs for itself (it lies in the Atlantic).
type Place struct {
	Lat float64 // -90 to 90, north positive
	Lon float64 // -180 to 180, east positive
}

// Known reports whether the place says anything.
func (p Place) Known() bool { return p != Place{} }

const earthRadiusKm = 6371.0

// DistanceKm is the great-circle distance (haversine formula on a sphere of
// 6371 km), in kilometres.
func (p Place) DistanceKm(q Place) float64 {
	const rad = math.Pi / 180
	dLat, dLon := (q.Lat-p.Lat)*rad, (q.Lon-p.Lon)*rad
	h := math.Pow(math.Sin(dLat/2), 2) +
		math.Cos(p.Lat*rad)*math.Cos(q.Lat*rad)*math.Pow(math.Sin(dLon/2), 2)
	return 2 * earthRadiusKm * math.Asin(math.Min(1, math.Sqrt(h)))
}

// FibreRTT is the time light in fibre needs there and back along the great
// circle: 100 km of distance cost one millisecond of round trip. Real paths take
// about twice as long (median over 60,000 city pairs, WonderNetwork 2020).
func FibreRTT(km float64) time.Duration {
	return time.Duration(km / 100 * float64(time.Millisecond))
}

// Vantage is where somebody stands who asks, answers or measures.
type Vantage struct {
	Region  Region  // empty for a client on the internet
	Zone    string  // empty when unknown
	Place   Place   // zero when unknown
	Network Network // empty when shared with nobody
}

// Location is what is known of a client's address.
type Location struct {
	Place   Place        // zero when unknown
	Prefix  netip.Prefix // widest prefix around the address in which every client has this same Location
	Country string       // ISO 3166-1 alpha-2, empty when unknown
	City    string       // English name, empty when unknown
	Layer   string       // who knew: "network", "city", "country", "embedded", or "default" when nobody did
}

// PairOfRegions is one direction between two regions.
type PairOfRegions struct{ From, To Region }

// Compare orders pairs by From, then To.
func (p PairOfRegions) Compare(q PairOfRegions) int {
	return cmp.Or(cmp.Compare(p.From, q.From), cmp.Compare(p.To, q.To))
}

// RTT is a measured round-trip time with the number of samples behind it.
type RTT struct {
	Time    time.Duration // smoothed by the prober that measured it
	Samples int           // at least 1
}

// Latency is the measured map between regions. A pair that is absent has not
// been measured.
type Latency map[PairOfRegions]RTT
