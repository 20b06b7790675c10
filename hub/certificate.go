package hub

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/meridian-lb/meridian/fleet"
)

// buildCertificates gathers what is known by name. What is equal to what was
// known before keeps its pointer.
func buildCertificates(k *book, last map[fleet.CertificateName]*fleet.Certificate) map[fleet.CertificateName]*fleet.Certificate {
	all := map[fleet.CertificateName]*fleet.Certificate{}
	for _, c := range ofKind[*fleet.Certificate](k, fleet.KindCertificate) {
		if old, ok := last[c.Name]; ok && reflect.DeepEqual(old, c) {
			c = old
		}
		all[c.Name] = c
	}
	return all
}

// secure gives a host the certificate that the eldest of its routes' objects asks
// for, of those that are known. One that is for other names is given all the same,
// with a problem: a client that minds sees why, and the others go on.
func secure(h *fleet.Host, certificates map[fleet.CertificateName]*fleet.Certificate) (problems []fleet.Problem) {
	byAge := slices.SortedStableFunc(slices.Values(h.Routes), func(a, b fleet.Route) int { return a.Origin.Compare(b.Origin) })
	said := map[fleet.CertificateName]bool{"": true}
	for _, r := range byAge {
		if said[r.Certificate] {
			continue
		}
		said[r.Certificate] = true
		c, known := certificates[r.Certificate]
		switch {
		case !known:
			problems = append(problems, fleet.Problem{
				About: r.Origin, Reason: "CertificateNotFound",
				Message: fmt.Sprintf("no usable Secret %s of type kubernetes.io/tls is known, so it does not serve %s over TLS; create it or correct it", r.Certificate, hostText(h.Name)),
			})
		case h.Certificate != "":
			problems = append(problems, fleet.Problem{
				About: r.Origin, Reason: "CertificateConflict",
				Message: fmt.Sprintf("%s is already served with %s, which an older object asks for; name the same Secret in both", hostText(h.Name), h.Certificate),
			})
		default:
			h.Certificate = r.Certificate
			if !c.Covers(h.Name) {
				problems = append(problems, fleet.Problem{
					About: r.Origin, Reason: "CertificateMismatch",
					Message: fmt.Sprintf("the certificate in Secret %s is for %v and not for %s, so clients will refuse it; have it issued anew", c.Name, c.Hosts, hostText(h.Name)),
				})
			}
		}
	}
	return problems
}
