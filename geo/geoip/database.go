package geoip

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/meridian-lb/meridian/fleet"
)

// What one file may hold. The largest databases sold have about a third of
// maxNetworks. A tree of n nodes has n+1 networks; one whose branches share nodes has
// more, up to 2^128 in some kilobytes, and some sharing is let pass.
const (
	maxNetworks = 32 << 20
	maxSharing  = 16
)

// maxName bounds a city's name, in bytes.
const maxName = 128

// database is a file that has been read, checked and turned into a layer. The
// file's bytes are not kept: no lookup ever touches them.
type database struct {
	layer    *layer
	kind     string    // as the file says: "GeoLite2-City"
	built    time.Time // by its maker
	networks int       // runs of addresses of which it knows a place
}

// record is what is read of a City or Country record.
type record struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Registered struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"registered_country"`
	City struct {
		Names struct {
			English string `maxminddb:"en"`
		} `maxminddb:"names"`
	} `maxminddb:"city"`
	Location struct {
		Latitude  *float64 `maxminddb:"latitude"`
		Longitude *float64 `maxminddb:"longitude"`
	} `maxminddb:"location"`
}

// location is what a record says of its clients, at country level for a Country
// database and wherever coordinates are missing. An unknown Place says nothing.
func (r *record) location(in int) fleet.Location {
	loc := fleet.Location{Layer: layerNames()[in], Country: isoCode(r.Country.Code)}
	if loc.Country == "" { // satellite and anycast networks have only the country they are registered in
		loc.Country = isoCode(r.Registered.Code)
	}
	if in == inCity && r.Location.Latitude != nil && r.Location.Longitude != nil {
		loc.Place = fleet.Place{Lat: *r.Location.Latitude, Lon: *r.Location.Longitude}
		loc.City = printable(r.City.Names.English)
	}
	if !sane(loc.Place) {
		loc.Place, loc.City = centroid(loc.Country), ""
	}
	return loc
}

func isoCode(s string) string {
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return ""
	}
	return s
}

func printable(name string) string {
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return ""
	}
	return name
}

// readFile reads a whole file of at most limit bytes that nobody writes to
// meanwhile. It is never mapped: a mapped file that is cut short kills the process.
func readFile(path string, limit int64) ([]byte, error) {
	before, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, err
	case !before.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case before.Size() == 0:
		return nil, errors.New("it is empty")
	case before.Size() > limit:
		return nil, fmt.Errorf("its %d bytes are more than the %d allowed", before.Size(), limit)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readWhole(f, before)
}

// readWhole reads an open file that is, before and after, what its directory entry said.
func readWhole(f interface {
	io.Reader
	Stat() (os.FileInfo, error)
}, before os.FileInfo) ([]byte, error) {
	data := make([]byte, before.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("reading it: %w", err)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !sameFile(before, after) {
		return nil, errors.New("it changed while it was being read")
	}
	return data, nil
}

// sameFile reports whether a file is still the one it was, as far as its
// directory entry tells; nil stands for one that is not there.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// parse checks the bytes of a database and makes the layer of them. It returns
// an error for every input that is not a sound database of the wanted kind.
//
// The reader library promises errors, not panics, on broken files, but has
// broken that promise before (maxminddb-golang issue 20), and nothing that it
// could break outlives this call; so a panic of it is taken as one more fault of
// the file.
func parse(data []byte, in int) (db *database, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("it is damaged: reading it panicked: %v", r)
		}
	}()
	reader, err := maxminddb.OpenBytes(data, maxminddb.DisableStringCache())
	if err != nil {
		return nil, fmt.Errorf("it is damaged or no MaxMind database: %w", err)
	}
	kind := reader.Metadata.DatabaseType
	if !isKind(kind, in) {
		return nil, fmt.Errorf("it is a %.64q database, not one of type %s", kind, typeNames(in))
	}
	if err := reader.Verify(); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	y, err := flatten(reader, in)
	if err != nil {
		return nil, err
	}
	db = &database{layer: y, kind: kind, built: reader.Metadata.BuildTime().UTC(), networks: y.runs()}
	if db.networks == 0 {
		return nil, errors.New("it knows no place of any public address")
	}
	return db, nil
}

// isKind reports whether a database type carries the records of a layer. Makers
// other than MaxMind name theirs alike: "DBIP-City-Lite", "IP2LITE-Country".
func isKind(kind string, in int) bool {
	if in == inCountry {
		return strings.Contains(kind, "Country")
	}
	return strings.Contains(kind, "City") || strings.Contains(kind, "Enterprise")
}

func typeNames(in int) string {
	if in == inCountry {
		return "Country"
	}
	return "City or Enterprise"
}

// flatten walks all networks of a verified database, in order of address, and
// decodes each record once.
func flatten(reader *maxminddb.Reader, in int) (*layer, error) {
	b := newLayerBuilder(true)
	values := map[uintptr]uint32{} // by place of the record in the file
	var probes []probe
	n, most := uint(0), min(maxNetworks, maxSharing*(reader.Metadata.NodeCount+1))
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return nil, fmt.Errorf("it is damaged: %w", err)
		}
		if n++; n > most {
			return nil, fmt.Errorf("its tree claims more than %d networks", most)
		}
		value, ok := values[result.Offset()]
		if !ok {
			var r record
			if err := result.Decode(&r); err != nil {
				return nil, fmt.Errorf("its record of %s is unreadable: %w", result.Prefix(), err)
			}
			value = b.place(r.location(in))
			values[result.Offset()] = value
		}
		p := result.Prefix()
		if p.Bits() <= 96 && p.Contains(netip.IPv6Unspecified()) {
			b.add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), value) // all of IPv4 lies in ::/96 of the tree
		}
		b.add(p, value)
		if n%probeEvery == 1 && len(probes) < maxProbes {
			probes = append(probes, probe{p.Addr(), result.Offset()})
		}
	}
	y := b.finish()
	return y, check(y, reader, probes, values)
}

// probe is an address with the record that the walk found for it.
type probe struct {
	addr   netip.Addr
	record uintptr
}

const (
	probeEvery = 1021
	maxProbes  = 4096
)

// check looks addresses from all over the file up: the reader must find the
// record that the walk found, and the layer the place which that says.
func check(y *layer, reader *maxminddb.Reader, probes []probe, values map[uintptr]uint32) error {
	for _, p := range probes {
		v, ok := see(p.addr)
		if !ok || v.lead != 0 || v.prefix(v.width).Addr() != p.addr {
			continue // is never looked up in this form
		}
		if got := reader.Lookup(p.addr).Offset(); got != p.record {
			return fmt.Errorf("it is damaged: two ways to look %s up find different records", p.addr)
		}
		if value, _, _ := y.run(v); value != values[p.record] && !bogon(v) {
			return fmt.Errorf("it is damaged: the table made from it is wrong about %s", p.addr)
		}
	}
	return nil
}

// bogon reports whether an address is nobody's on the internet.
func bogon(v view) bool {
	all := bogons6()
	if v.width == grain4 {
		all = bogons4()
	}
	return slices.ContainsFunc(all, func(s span) bool { return s.lo <= v.key && v.key < s.hi })
}
