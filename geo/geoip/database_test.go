package geoip

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/oschwald/maxminddb-golang/v2"
	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/fleet"
)

var cityEntries = []entry{
	{prefix: "8.0.0.0/9", country: "DE", city: "Berlin", place: berlin},
	{prefix: "8.128.0.0/9", country: "US", city: "Chicago", place: chicago},
	{prefix: "2a00::/16", country: "JP", city: "Tokyo", place: tokyo},
}

// Every form of file that the format knows is read alike.
func TestParseForms(t *testing.T) {
	for _, o := range []mmdbwriter.Options{
		{DatabaseType: "GeoLite2-City", RecordSize: 24},
		{DatabaseType: "GeoIP2-City", RecordSize: 28},
		{DatabaseType: "GeoIP2-Enterprise", RecordSize: 32},
		{DatabaseType: "DBIP-City-Lite", DisableIPv4Aliasing: true},
		{DatabaseType: "IP2LITE-City", DisableMetadataPointers: true},
		{DatabaseType: "GeoLite2-City", IPVersion: 4},
	} {
		entries := cityEntries
		if o.IPVersion == 4 {
			entries = entries[:2]
		}
		db, err := parse(mmdbWith(t, o, entries...), inCity)
		if err != nil {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		if db.kind != o.DatabaseType || !db.built.Equal(testBuilt) || db.networks != len(entries) {
			t.Errorf("%+v: %s of %s with %d networks", o, db.kind, db.built, db.networks)
		}
		l, _ := New(Config{})
		l.set(inCity, db.layer)
		if got := l.Locate(addr("8.200.1.1")); got.City != "Chicago" || got.Prefix != pfx("8.128.0.0/9") {
			t.Errorf("%+v: %+v", o, got)
		}
	}
}

// One record for all of IPv4, which then has no tree of its own, is still found.
func TestParseRecordAboveIPv4(t *testing.T) {
	l := layered(t, mmdbWith(t, mmdbwriter.Options{DatabaseType: "GeoLite2-City", DisableIPv4Aliasing: true},
		entry{prefix: "::/64", country: "DE", place: berlin}), nil)
	for _, s := range []string{"1.1.1.1", "8.8.8.8", "223.255.255.1"} {
		if got := l.Locate(addr(s)); got.Place != berlin {
			t.Errorf("%s: %+v", s, got)
		}
	}
}

// broken are files that must not be used, with the word that says why.
func broken(t testing.TB) map[string]struct {
	data []byte
	want string
} {
	good := mmdb(t, "GeoLite2-City", cityEntries...)
	type b = struct {
		data []byte
		want string
	}
	out := map[string]b{
		"garbage":          {[]byte(strings.Repeat("not a database ", 100)), "damaged"},
		"truncated":        {good[:len(good)/2], "damaged"},
		"cut at the front": {good[200:], "damaged"},
		"wrong type":       {mmdb(t, "GeoLite2-ASN", cityEntries...), `it is a "GeoLite2-ASN" database, not one of type City`},
		"country as city":  {mmdb(t, "GeoLite2-Country", cityEntries...), "not one of type City"},
		"no networks":      {mmdb(t, "GeoLite2-City"), "no place"},
		"no places":        {mmdb(t, "GeoLite2-City", entry{prefix: "8.0.0.0/8", city: "X"}), "no place"},
		"only private":     {mmdb(t, "GeoLite2-City", entry{prefix: "10.0.0.0/8", country: "DE"}), "no place"},
		"bomb":             {bomb(t), "more than 528 networks"},
	}
	tree := bytes.Clone(good)
	for i := range 60 { // the first nodes of the tree
		tree[i] = 0x55
	}
	out["overwritten tree"] = b{tree, "damaged"}
	data := bytes.Clone(good)
	at := bytes.Index(data, []byte("Berlin"))
	for i := at - 60; i < at+40; i++ {
		data[i] = 0xff
	}
	out["overwritten data"] = b{data, "damaged"}
	return out
}

// bomb is a sound tree of 32 levels, each of whose nodes names the next node
// twice: 2^32 networks in 200 bytes. It is made from a true file of one network.
func bomb(t testing.TB) []byte {
	t.Helper()
	data := mmdbWith(t, mmdbwriter.Options{DatabaseType: "GeoLite2-City", RecordSize: 32, IPVersion: 4},
		entry{prefix: "8.8.8.8/32", country: "DE", place: berlin})
	for node := range 32 {
		left, right := data[node*8:node*8+4], data[node*8+4:node*8+8]
		if l, r := binary.BigEndian.Uint32(left), binary.BigEndian.Uint32(right); l == 32 {
			copy(left, right)
		} else if r == 32 {
			copy(right, left)
		} else {
			t.Fatalf("node %d is %d, %d", node, l, r)
		}
	}
	return data
}

func TestParseRefuses(t *testing.T) {
	for name, c := range broken(t) {
		db, err := parse(c.data, inCity)
		if err == nil || db != nil {
			t.Errorf("%s: was taken", name)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want one line with %q", name, err, c.want)
		}
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	empty, big := filepath.Join(dir, "empty"), filepath.Join(dir, "big")
	for path, data := range map[string]string{empty: "", big: "12345"} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		empty: "it is empty", big: "more than the 4 allowed", dir: "not a regular file",
		filepath.Join(dir, "none"): "no such file", filepath.Join(big, "x"): "not a directory",
	} {
		if _, err := readFile(path, 4); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	if data, err := readFile(big, 5); err != nil || string(data) != "12345" {
		t.Errorf("a file as large as allowed: %q, %v", data, err)
	}
}

// meddled is a file that somebody writes to while it is read.
type meddled struct {
	*os.File
	meddle func()
}

func (m meddled) Read(p []byte) (int, error) {
	m.meddle()
	return m.File.Read(p)
}

func TestReadWholeNoticesWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for name, meddle := range map[string]func() error{
		"longer":  func() error { return os.Truncate(path, 9) },
		"shorter": func() error { return os.Truncate(path, 3) },
		"touched": func() error { return os.Chtimes(path, testBuilt, testBuilt) },
	} {
		if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		before, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readWhole(f, before); err != nil {
			t.Errorf("at rest: %v", err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		data, err := readWhole(meddled{f, func() {
			if err := meddle(); err != nil {
				t.Error(err)
			}
		}}, before)
		if err == nil {
			t.Errorf("%s while it was read: took %q", name, data)
		}
		f.Close()
	}
}

// What a hostile record says is either sane or not there.
func TestRecordLocation(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	var r record
	r.Location.Latitude, r.Location.Longitude = f(1e300), f(0)
	r.Country.Code, r.City.Names.English = "de", "Bad\nName"
	r.Registered.Code = "JP"
	if got := r.location(inCity); got != (fleet.Location{Place: centroid("JP"), Country: "JP", Layer: LayerCity}) {
		t.Errorf("got %+v, want Japan's place", got)
	}
	r.Location.Latitude = f(12)
	if got := r.location(inCity); got.Place != (fleet.Place{Lat: 12}) || got.City != "" {
		t.Errorf("got %+v, want the place without the name", got)
	}
	r.Country.Code, r.Registered.Code = "A1", ""
	if got := r.location(inCountry); got.Place.Known() || got.Country != "" {
		t.Errorf("got %+v, want nothing", got)
	}
}

// The layer says what the library says of the first address of the grain.
func TestFlattenAgainstLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawEntries(t, "entries")
		data := mmdb(t, "GeoLite2-City", entries...)
		db, err := parse(data, inCity)
		if err != nil {
			t.SkipNow()
		}
		l, _ := New(Config{})
		l.set(inCity, db.layer)
		reader, err := maxminddb.OpenBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			a := drawAddr(t, "address")
			if p := pfx(rapid.SampledFrom(entries).Draw(t, "entry").prefix); p.Addr().Is4() == a.Is4() {
				a = graft(p, a)
			}
			if got, want := without(l.Locate(a)), byLibrary(t, reader, a); got != want {
				t.Fatalf("%s: %+v, want %+v", a, got, want)
			}
		}
	})
}

func byLibrary(t fataler, reader *maxminddb.Reader, a netip.Addr) fleet.Location {
	a = Truncate(inner(a)).Addr()
	if v, _ := see(a); bogon(v) {
		return fleet.Location{Layer: LayerDefault}
	}
	var r record
	if err := reader.Lookup(a).Decode(&r); err != nil {
		t.Fatalf("the library: %v", err)
	}
	if loc := r.location(inCity); loc.Place.Known() {
		return loc
	}
	return fleet.Location{Layer: LayerDefault}
}

// No bytes make parse panic, and what it takes can be asked everything.
func FuzzParse(f *testing.F) {
	for _, c := range broken(f) {
		f.Add(c.data)
	}
	good := mmdb(f, "GeoLite2-City", cityEntries...)
	f.Add(good)
	f.Add(mmdbWith(f, mmdbwriter.Options{DatabaseType: "GeoLite2-City", IPVersion: 4, RecordSize: 24}, cityEntries[:2]...))
	for i := 7; i < len(good); i += 97 {
		flipped := bytes.Clone(good)
		flipped[i] ^= 0x10
		f.Add(flipped)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		db, err := parse(data, inCity)
		if (db == nil) == (err == nil) {
			t.Fatalf("database %v and error %v", db, err)
		}
		if err != nil {
			return
		}
		l, _ := New(Config{})
		l.set(inCity, db.layer)
		for _, s := range []string{"8.8.8.8", "8.200.0.1", "1.1.1.1", "223.255.255.255", "2a00::1", "2001:db8::1", "::1", "64:ff9b::8.8.8.8"} {
			loc := l.Locate(addr(s))
			if !loc.Prefix.Contains(addr(s)) || loc.Place.Known() && !sane(loc.Place) {
				t.Fatalf("%s: %+v", s, loc)
			}
			if again := l.Locate(loc.Prefix.Addr()); again != loc {
				t.Fatalf("%s: %+v, but %s: %+v", s, loc, loc.Prefix.Addr(), again)
			}
		}
	})
}
