// Package trust says who is who: Meridian's own authority, the identities it certifies, and certificates that renew themselves.
package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/meridian-lb/meridian/fleet"
)

// Role is what the bearer of an identity is, and so what it may do.
type Role string

// The roles.
const (
	Control  Role = "control"  // a meridiand
	Gateway  Role = "gateway"  // an Envoy
	Operator Role = "operator" // a person or program that may give orders
	Viewer   Role = "viewer"   // a person or program that may look
)

// Roles lists the roles, sorted.
func Roles() []Role { return []Role{Control, Gateway, Operator, Viewer} }

// Identity is who somebody is. It is written as a SPIFFE ID
// (https://spiffe.io/docs/latest/spiffe-about/spiffe-concepts/):
// spiffe://domain/role/region/name. It is comparable.
type Identity struct {
	Domain string       // of the installation, like a DNS name in small letters
	Role   Role         // one of Roles
	Region fleet.Region // where it stands; people stand in "global"
	Name   string       // unique in the domain: a daemon's instance, an Envoy's node id, a person
}

const scheme = "spiffe://"

// The longest words, in bytes.
const (
	maxDomain = 253
	maxRegion = 128
	maxName   = 253
)

// String is the identity as a SPIFFE ID.
func (i Identity) String() string { return Prefix(i.Domain, i.Role, i.Region) + i.Name }

// Prefix begins the SPIFFE ID of every bearer of a role in a region, and of
// nobody else; an empty region means all regions.
func Prefix(domain string, role Role, region fleet.Region) string {
	p := scheme + domain + "/" + string(role) + "/"
	if region != "" {
		p += string(region) + "/"
	}
	return p
}

// Check says what is wrong with an identity that was put together by hand.
func (i Identity) Check() error {
	switch {
	case CheckDomain(i.Domain) != nil:
		return CheckDomain(i.Domain)
	case !slices.Contains(Roles(), i.Role):
		return fmt.Errorf("%.40q is no role; write control, gateway, operator or viewer", string(i.Role))
	case !word(string(i.Region), maxRegion):
		return fmt.Errorf("region %.40q is not a name of letters, digits, '-', '_' and '.' (at most %d)", string(i.Region), maxRegion)
	case !word(i.Name, maxName):
		return fmt.Errorf("name %.40q is not a name of letters, digits, '-', '_' and '.' (at most %d)", i.Name, maxName)
	}
	return nil
}

// CheckDomain says what is wrong with the name of a trust domain.
func CheckDomain(s string) error {
	if !word(s, maxDomain) || strings.ToLower(s) != s || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..") {
		return fmt.Errorf("trust domain %.60q is not like a DNS name in small letters; write one like mesh.example.com", s)
	}
	return nil
}

// word reports whether s is one segment of a SPIFFE ID.
func word(s string, most int) bool {
	if s == "" || len(s) > most || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// Parse reads a SPIFFE ID. It takes nothing that String would write differently.
func Parse(id string) (Identity, error) {
	rest, ok := strings.CutPrefix(id, scheme)
	parts := strings.Split(rest[:min(len(rest), maxDomain+maxRegion+maxName+64)], "/")
	if !ok || len(parts) != 4 {
		return Identity{}, fmt.Errorf("%.80q is not spiffe://domain/role/region/name", id)
	}
	i := Identity{Domain: parts[0], Role: Role(parts[1]), Region: fleet.Region(parts[2]), Name: parts[3]}
	if err := i.Check(); err != nil {
		return Identity{}, fmt.Errorf("%.80q is no identity of Meridian: %w", id, err)
	}
	if i.String() != id {
		return Identity{}, fmt.Errorf("%.80q is not spiffe://domain/role/region/name", id)
	}
	return i, nil
}

// IdentityOf reads the one identity that a certificate is about. It does not
// say whether the certificate is to be believed.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("the certificate carries %d URIs, and exactly one must say who it is for; issue it with \"meridian certs issue\"", len(cert.URIs))
	}
	if cert.IsCA {
		return Identity{}, errors.New("the certificate is an authority's, which is nobody's identity; issue one with \"meridian certs issue\"")
	}
	return Parse(cert.URIs[0].String())
}

func (i Identity) url() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.Domain, Path: "/" + string(i.Role) + "/" + string(i.Region) + "/" + i.Name}
}
