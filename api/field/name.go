package field

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

const (
	maxLabel = 63
	maxName  = 253
)

// Label checks a DNS label (RFC 1123): what Kubernetes asks of namespaces, and
// we of clusters, regions and networks, since they become parts of names elsewhere.
func Label(s string) error {
	switch {
	case s == "":
		return errors.New("is empty; give it a name of lower-case letters, digits and '-'")
	case len(s) > maxLabel:
		return fmt.Errorf("%s has %d characters, at most %d are allowed", Quote(s), len(s), maxLabel)
	}
	for i := range len(s) {
		c := s[i]
		inner := i > 0 && i < len(s)-1
		if !lowerOrDigit(c) && !(c == '-' && inner) {
			return fmt.Errorf("%s is not a DNS label; use lower-case letters, digits and, inside, '-'", Quote(s))
		}
	}
	return nil
}

// Subdomain checks a DNS subdomain (RFC 1123): labels joined by dots, 253
// characters at most, as Kubernetes asks of most objects' names.
func Subdomain(s string) error {
	switch {
	case s == "":
		return errors.New("is empty; give it a name of lower-case letters, digits, '-' and '.'")
	case len(s) > maxName:
		return fmt.Errorf("%s has %d characters, at most %d are allowed", Quote(s), len(s), maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		if Label(label) != nil {
			return fmt.Errorf("%s is not a DNS name; use labels of lower-case letters, digits and '-', joined by dots", Quote(s))
		}
	}
	return nil
}

// ZoneName checks the name of an availability zone: a Kubernetes label value,
// since that is where clouds write it.
func ZoneName(s string) error {
	if len(s) > maxLabel {
		return fmt.Errorf("%s has %d characters, at most %d are allowed", Quote(s), len(s), maxLabel)
	}
	for i := range len(s) {
		c := s[i]
		inner := i > 0 && i < len(s)-1
		if !lowerOrDigit(c) && !(c >= 'A' && c <= 'Z') && !(inner && strings.IndexByte("-_.", c) >= 0) {
			return fmt.Errorf("%s is not a zone name; use letters, digits and, inside, '-', '_' or '.'", Quote(s))
		}
	}
	return nil
}

// Hostname checks a lower-case host name, which may have "*" as its first label
// when wildcard is set, and is never an IP address.
func Hostname(s string, wildcard bool) error {
	rest := s
	if after, ok := strings.CutPrefix(s, "*."); ok {
		if !wildcard {
			return fmt.Errorf("%s is a wildcard, and one host is asked for; write it out", Quote(s))
		}
		rest = after
	}
	if strings.Contains(rest, "*") {
		return fmt.Errorf("%s has a '*' that is not its whole first label; write *.example.com", Quote(s))
	}
	if _, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		return fmt.Errorf("%s is an address; write a host name, or leave it out for every host", Quote(s))
	}
	if err := Subdomain(rest); err != nil {
		return fmt.Errorf("%s is not a host name; use labels of letters, digits and '-', joined by dots, without port", Quote(s))
	}
	return nil
}

func lowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
