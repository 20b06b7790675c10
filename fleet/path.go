package fleet

import (
	"slices"
	"strconv"
	"strings"
)

// PathFate is what a gateway does with a request's path before it looks at routes.
type PathFate uint8

// The fates of a path.
const (
	PathTaken      PathFate = iota // routes are asked for the normal path
	PathRedirected                 // answered 307 to the normal path: a slash was written in disguise
	PathRefused                    // answered 400: it has no normal form
)

// NormalPath is a request's path (without query) in the one form in which
// gateways compare it with routes and hand it on. It is Envoy's (1.40, with the
// settings of xds/render), down to its oddities; xds/e2e_test holds the two
// against each other. Two paths with one normal form are the same to every route.
//
//   - %2F and %5C, slashes in disguise, are uncovered, and the client is sent there.
//   - Parameters of dot segments ("..;x") fall away, with whatever they hold.
//   - A backslash is a slash; "." and ".." segments are resolved (RFC 3986 §5.2.4).
//   - Unreserved characters lose their percent-encoding (RFC 3986 §6.2.2.2); what
//     may not stand in a path is given one. Other encodings stay as they are.
//   - Slashes in a row are one, except in a path of nothing else.
//   - A "%" without two hexadecimal digits is refused at the end, so one in a
//     segment that falls away, or before a redirect, is not; %00 always is.
func NormalPath(raw string) (path string, fate PathFate) {
	if !plausible(raw) {
		return "", PathRefused
	}
	uncovered := slashes.Replace(raw)
	if uncovered != raw {
		fate = PathRedirected
	}
	resolved, ok := resolveDots(withoutDotParameters(uncovered))
	if !ok {
		return "", PathRefused
	}
	path = mergeSlashes(resolved)
	if fate == PathTaken && !escapesWell(path) {
		return "", PathRefused
	}
	return path, fate
}

// Normal reports whether the path of a match is in the form that gateways
// compare, without which it would take nothing.
func (m Match) Normal() bool {
	path, fate := NormalPath(m.Path)
	return fate == PathTaken && path == m.Path
}

// plausible: an absolute path of visible ASCII characters. A fragment is refused
// (RFC 9110 §7.1 has none).
func plausible(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

var slashes = strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`)

// withoutDotParameters cuts parameters off the segments "." and "..". Here, and
// only here, a backslash ends no segment and an encoded dot is none.
func withoutDotParameters(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if name, _, cut := strings.Cut(s, ";"); cut && (name == "." || name == "..") {
			segments[i] = name
		}
	}
	return strings.Join(segments, "/")
}

// resolveDots removes dot segments and mends the encoding of the others. It
// reports false for an encoded NUL.
func resolveDots(path string) (string, bool) {
	var kept []string
	parts := strings.Split(strings.ReplaceAll(path[1:], `\`, "/"), "/")
	for i, part := range parts {
		s, ok := encoded(part)
		if !ok {
			return "", false
		}
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 0 {
				kept = kept[:len(kept)-1]
			}
			if i == len(parts)-1 {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/"), true
}

// encoded is a segment in which just what has to be is percent-encoded. It
// reports false for an encoded NUL.
func encoded(s string) (string, bool) {
	const digits = "0123456789ABCDEF"
	var out []byte
	lone := -1 // where in out a "%" stands that encodes nothing
	for i := 0; i < len(s); i++ {
		c := s[i]
		d, ok := escaped(s[i:])
		switch {
		case c == '%' && !ok:
			lone = len(out)
			out = append(out, c)
		case ok && d == 0:
			return "", false
		case ok && unreserved(d):
			i += 2
			out = append(out, d)
			if lone >= max(0, len(out)-3) {
				out, lone = unnested(out, lone, s[i+1:])
			}
		case ok:
			out = append(out, s[i:i+3]...)
			i += 2
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			out = append(out, '%', digits[c>>4], digits[c&15])
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

// unnested keeps what was just decoded from completing an escape with a lone "%"
// before it, by encoding that one.
func unnested(out []byte, lone int, rest string) ([]byte, int) {
	tail := string(out[lone:])
	if len(tail) == 2 && rest != "" {
		tail += rest[:1]
	}
	if _, nested := escaped(tail); nested {
		return slices.Insert(out, lone+1, '2', '5'), -1
	}
	return out, lone
}

// escaped is the byte that the escape at the beginning of s stands for.
func escaped(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(n), err == nil
}

func escapesWell(path string) bool {
	for i := range len(path) {
		if _, ok := escaped(path[i:]); path[i] == '%' && !ok {
			return false
		}
	}
	return true
}

// unreserved characters are the same with and without encoding (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func mergeSlashes(path string) string {
	if !strings.Contains(path, "//") {
		return path
	}
	merged := "/" + strings.Join(strings.FieldsFunc(path, func(r rune) bool { return r == '/' }), "/")
	if strings.HasSuffix(path, "/") {
		merged += "/"
	}
	return merged
}
