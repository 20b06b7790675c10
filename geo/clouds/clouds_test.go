package clouds

import (
	"slices"
	"strings"
	"testing"

	"github.com/meridian-lb/meridian/fleet"
)

// Each row says something, names are DNS labels and unique over all clouds, and
// the tables are sorted, so that a second row for a region is seen in review.
func TestTablesAreSane(t *testing.T) {
	for cloud, list := range map[Cloud][]Region{AWS: aws, Azure: azure, Google: google} {
		if !slices.IsSortedFunc(list, func(a, b Region) int { return strings.Compare(string(a.Name), string(b.Name)) }) {
			t.Errorf("the table of %s is not sorted", cloud)
		}
		for _, r := range list {
			if r.Cloud != cloud {
				t.Errorf("%s stands in the table of %s", r.Name, cloud)
			}
		}
	}
	all := Regions()
	if len(all) < 120 {
		t.Errorf("only %d regions", len(all))
	}
	for i, r := range all {
		if i > 0 && all[i-1].Name >= r.Name {
			t.Errorf("%s comes twice or out of order", r.Name)
		}
		if !r.Place.Known() || r.Metro == "" || r.Place.Lat < -56 || r.Place.Lat > 70 || r.Place.Lon < -180 || r.Place.Lon > 180 {
			t.Errorf("%+v is no place where people build data centres", r)
		}
		if strings.Trim(string(r.Name), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%q is no DNS label", r.Name)
		}
	}
}

// One metropolis has one place, whichever cloud is there.
func TestOneMetroOnePlace(t *testing.T) {
	places := map[string]Region{}
	for _, r := range Regions() {
		if first, ok := places[r.Metro]; ok && first.Place != r.Place {
			t.Errorf("%s is at %v for %s and at %v for %s", r.Metro, first.Place, first.Name, r.Place, r.Name)
		}
		places[r.Metro] = r
	}
}

// Distances that everybody knows, and signs: a region on the wrong side of Greenwich
// or of the equator is thousands of kilometres off.
func TestDistances(t *testing.T) {
	for _, c := range []struct {
		a, b     fleet.Region
		from, to float64 // km
	}{
		{"europe-west1", "us-east1", 6500, 7100},
		{"eu-west-1", "eu-central-1", 1000, 1200},
		{"westeurope", "europe-west4", 100, 250},
		{"ap-southeast-2", "australiaeast", 0, 1},
		{"sa-east-1", "af-south-1", 6000, 6600},
		{"ap-northeast-1", "us-west-2", 7500, 8200},
		{"mexicocentral", "southcentralus", 900, 1100},
		{"southamerica-west1", "australia-southeast1", 11000, 11700},
	} {
		a, okA := Find(c.a)
		b, okB := Find(c.b)
		if d := a.Place.DistanceKm(b.Place); !okA || !okB || d < c.from || d > c.to {
			t.Errorf("%s to %s: %.0f km, want %.0f to %.0f", c.a, c.b, d, c.from, c.to)
		}
	}
}

// Continents in names are continents on earth.
func TestNamesAgreeWithPlaces(t *testing.T) {
	for _, r := range Regions() {
		n, p := string(r.Name), r.Place
		south := p.Lat < 0
		switch {
		case strings.HasPrefix(n, "europe-"), strings.HasPrefix(n, "eu-"):
			if p.Lat < 36 || p.Lon < -10 || p.Lon > 30 {
				t.Errorf("%s is not in Europe: %v", n, p)
			}
		case strings.HasPrefix(n, "us-"), strings.HasPrefix(n, "ca-"), strings.HasPrefix(n, "northamerica-"), strings.HasSuffix(n, "us"):
			if p.Lat < 19 || p.Lon > -66 {
				t.Errorf("%s is not in North America: %v", n, p)
			}
		case strings.HasPrefix(n, "australia"), strings.HasPrefix(n, "southafrica"), strings.HasPrefix(n, "sa-"), strings.HasPrefix(n, "southamerica"), strings.HasPrefix(n, "brazil"):
			if !south {
				t.Errorf("%s is not in the south: %v", n, p)
			}
		case strings.HasPrefix(n, "asia-"), strings.HasPrefix(n, "ap-"), strings.HasPrefix(n, "china"), strings.HasPrefix(n, "japan"):
			if p.Lon < 70 {
				t.Errorf("%s is not in Asia: %v", n, p)
			}
		}
	}
}

func TestFindAndOfZone(t *testing.T) {
	if r, ok := Find("northeurope"); !ok || r.Metro != "Dublin" {
		t.Errorf("northeurope: %+v %v", r, ok)
	}
	if r, ok := Find("mars-north1"); ok {
		t.Errorf("mars-north1 is %+v", r)
	}
	for zone, want := range map[string]fleet.Region{
		"eu-west-1a":               "eu-west-1",
		"us-east-1-bos-1a":         "us-east-1",
		"us-east-1-wl1-bos-wlz-1":  "us-east-1",
		"us-gov-west-1b":           "us-gov-west-1",
		"europe-west1-b":           "europe-west1",
		"europe-west10-a":          "europe-west10",
		"westeurope-2":             "westeurope",
		"eastus2-1":                "eastus2",
		"australiacentral2-1":      "australiacentral2",
		"europe-west1":             "", // a region is no zone
		"westeurope":               "",
		"europe-west1-":            "",
		"europe-west1-bb":          "",
		"westeurope-0":             "", // what Azure calls a node outside its zones
		"us-east-12":               "",
		"eu-west-1-1":              "",
		"":                         "",
		"rack-7":                   "",
		"europe-west12-a.evil.org": "",
	} {
		r, ok := OfZone(zone)
		if r.Name != want || ok != (want != "") {
			t.Errorf("%q lies in %q (%v), want %q", zone, r.Name, ok, want)
		}
	}
	// However a cloud names its zones, no other region claims them.
	for _, r := range Regions() {
		zone := string(r.Name) + map[Cloud]string{AWS: "a", Azure: "-1", Google: "-a"}[r.Cloud]
		if got, ok := OfZone(zone); !ok || got.Name != r.Name {
			t.Errorf("%s lies in %q (%v), want %s", zone, got.Name, ok, r.Name)
		}
	}
}
