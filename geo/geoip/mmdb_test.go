package geoip

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/meridian-lb/meridian/fleet"
)

// entry is a network of a database made for a test.
type entry struct {
	prefix  string
	country string
	city    string
	place   fleet.Place // zero: the record has no coordinates
}

// fataler is what both testing.TB and rapid.T can do.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

var testBuilt = time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)

// mmdb makes a database. Later entries replace what earlier ones said.
func mmdb(t fataler, kind string, entries ...entry) []byte {
	t.Helper()
	return mmdbWith(t, mmdbwriter.Options{DatabaseType: kind}, entries...)
}

func mmdbWith(t fataler, o mmdbwriter.Options, entries ...entry) []byte {
	t.Helper()
	if o.BuildEpoch == 0 {
		o.BuildEpoch = testBuilt.Unix()
	}
	o.Description = map[string]string{"en": "made by a test"}
	o.IncludeReservedNetworks = true
	w, err := mmdbwriter.New(o)
	if err != nil {
		t.Fatalf("making a database: %v", err)
	}
	for _, e := range entries {
		p := netip.MustParsePrefix(e.prefix)
		n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := w.Insert(n, e.record()); err != nil {
			t.Fatalf("inserting %s: %v", p, err)
		}
	}
	var out bytes.Buffer
	if _, err := w.WriteTo(&out); err != nil {
		t.Fatalf("writing a database: %v", err)
	}
	return out.Bytes()
}

func (e entry) record() mmdbtype.Map {
	m := mmdbtype.Map{}
	if e.country != "" {
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(e.country)}
	}
	if e.city != "" {
		m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(e.city), "de": mmdbtype.String("?")}}
	}
	if e.place.Known() {
		m["location"] = mmdbtype.Map{"latitude": mmdbtype.Float64(e.place.Lat), "longitude": mmdbtype.Float64(e.place.Lon)}
	}
	return m
}

var (
	berlin   = fleet.Place{Lat: 52.5, Lon: 13.4}
	chicago  = fleet.Place{Lat: 41.9, Lon: -87.6}
	saoPaulo = fleet.Place{Lat: -23.5, Lon: -46.6}
	tokyo    = fleet.Place{Lat: 35.7, Lon: 139.7}
)

// write puts a file where others may find it, whole and at once.
func write(t testing.TB, path string, data []byte) {
	t.Helper()
	tmp := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// layered is a Locator with the given layers and nothing else.
func layered(t fataler, city, country []byte, networks ...Network) *Locator {
	t.Helper()
	l, err := New(Config{})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	for in, data := range map[int][]byte{inCity: city, inCountry: country} {
		if data == nil {
			continue
		}
		db, err := parse(data, in)
		if err != nil {
			t.Fatalf("parse: %v", err)
		}
		l.set(in, db.layer)
	}
	if err := l.SetNetworks(networks); err != nil {
		t.Fatalf("SetNetworks: %v", err)
	}
	return l
}

func addr(s string) netip.Addr  { return netip.MustParseAddr(s) }
func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
