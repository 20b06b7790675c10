// Package clouds knows where on earth the regions of AWS, Azure and Google Cloud are.
//
// The places are those of the metropolis that a cloud names for a region, to a
// tenth of a degree (11 km, a ninth of a millisecond there and back): enough for a
// first estimate of distance, which measurements replace.
package clouds

import (
	"slices"
	"strings"

	"github.com/meridian-lb/meridian/fleet"
)

// Cloud is a provider.
type Cloud string

// The clouds.
const (
	AWS    Cloud = "aws"
	Azure  Cloud = "azure"
	Google Cloud = "google"
)

// Region is one region of a cloud.
type Region struct {
	Cloud Cloud
	Name  fleet.Region // as nodes are labelled: "eu-west-1", "westeurope", "europe-west1"; unique over all clouds
	Metro string       // the place in words
	Place fleet.Place
}

// Regions lists every region, sorted by name.
func Regions() []Region {
	all := slices.Concat(aws, azure, google)
	slices.SortFunc(all, func(a, b Region) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return all
}

// Find looks a region up by its name; false when no cloud has one of that name.
func Find(name fleet.Region) (Region, bool) {
	for _, list := range [][]Region{aws, azure, google} {
		for _, r := range list {
			if r.Name == name {
				return r, true
			}
		}
	}
	return Region{}, false
}

// OfZone finds the region of a zone as nodes are labelled with it: "eu-west-1a" and
// the local zone "us-east-1-bos-1a" of AWS, "westeurope-2" of Azure,
// "europe-west1-b" of Google Cloud. False when no cloud has such a zone.
func OfZone(zone string) (Region, bool) {
	for _, list := range [][]Region{aws, azure, google} {
		for _, r := range list {
			if rest, ok := strings.CutPrefix(zone, string(r.Name)); ok && r.Cloud.names(rest) {
				return r, true
			}
		}
	}
	return Region{}, false
}

// names reports whether a cloud makes a zone's name by adding rest to its region's.
func (c Cloud) names(rest string) bool {
	switch c {
	case AWS:
		if inner, ok := strings.CutPrefix(rest, "-"); ok { // a local zone: -bos-1a, or -wl1-bos-wlz-1
			return len(inner) > 2 && inner[0] >= 'a' && inner[0] <= 'z'
		}
		return len(rest) == 1 && rest[0] >= 'a' && rest[0] <= 'z'
	case Azure:
		return len(rest) == 2 && rest[0] == '-' && rest[1] >= '1' && rest[1] <= '9'
	case Google:
		return len(rest) == 2 && rest[0] == '-' && rest[1] >= 'a' && rest[1] <= 'z'
	}
	return false
}
