package v1alpha1

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/meridian-lb/meridian/api/field"
)

// length reads a duration between least and most; an empty one is the default.
func (d Duration) length(f *field.Faults, path string, def, least, most time.Duration) time.Duration {
	if d == "" {
		return def
	}
	v, err := time.ParseDuration(string(d))
	switch {
	case err != nil:
		f.Add(path, "%s is not a duration; write a number with its unit, like \"%s\"", field.Quote(string(d)), short(def))
	case v < least || v > most:
		f.Add(path, "%s lies outside %s to %s; write a duration in between", v, short(least), short(most))
	default:
		return v
	}
	return def
}

// ttl is length for what DNS counts in whole seconds.
func (d Duration) ttl(f *field.Faults, path string, def, most time.Duration) time.Duration {
	v := d.length(f, path, def, time.Second, most)
	if v%time.Second != 0 {
		f.Add(path, "%s is not a whole number of seconds, and DNS counts in seconds; write %s", v, short(v.Truncate(time.Second)))
		return def
	}
	return v
}

// short is a duration without the zero units that String appends ("1h0m0s").
func short(d time.Duration) string {
	s := d.String()
	for _, tail := range []string{"m0s", "h0m"} {
		if len(s) > len(tail) && s[len(s)-len(tail):] == tail {
			s = s[:len(s)-2]
		}
	}
	return s
}

// degrees reads a coordinate.
func (d Decimal) degrees(f *field.Faults, path string, most float64) float64 {
	if d == "" {
		f.Add(path, "is missing; write degrees between -%g and %g, like \"50.45\"", most, most)
		return 0
	}
	v, err := strconv.ParseFloat(string(d), 64)
	if err != nil || !(v >= -most && v <= most) { // NaN lies nowhere
		f.Add(path, "%s is no number between -%g and %g; write degrees, like \"50.45\"", field.Quote(string(d)), most, most)
		return 0
	}
	return v
}

// port reads a port number; nil is the default.
func port(f *field.Faults, path string, n *int32, def uint16) uint16 {
	if n == nil {
		return def
	}
	p, err := field.Port(*n)
	if err != nil {
		f.Add(path, "%v", err)
		return def
	}
	return p
}

// count reads a number between least and most; nil is the default.
func count(f *field.Faults, path string, n *int32, def, least, most int) int {
	if n == nil {
		return def
	}
	if v := int(*n); v >= least && v <= most {
		return v
	}
	f.Add(path, "%d lies outside %d to %d; write a number in between", *n, least, most)
	return def
}

// bounded cuts a list that is longer than most, and says so.
func bounded[T any](f *field.Faults, path string, list []T, most int) []T {
	if len(list) <= most {
		return list
	}
	f.Add(path, "has %d entries and at most %d are taken; remove the rest, which is not used", len(list), most)
	return list[:most]
}

// choice reads one word of several; empty is the first.
func choice[T ~string](f *field.Faults, path string, s T, words ...T) T {
	switch {
	case s == "":
		return words[0]
	case slices.Contains(words, s):
		return s
	}
	f.Add(path, "%s is unknown; choose one of %s", field.Quote(string(s)), fmt.Sprint(words))
	return words[0]
}
