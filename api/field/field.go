// Package field collects the faults of one outside object by field path.
//
// Every form that somebody else writes (our own kinds, Kubernetes' kinds) is
// parsed with it, so that all faults read alike: the path of the field, what is
// wrong with it, and what to write instead.
package field

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/meridian-lb/meridian/fleet"
)

// MaxFaults bounds what is said about one object. Whoever made this many
// mistakes is served by the first ones.
const MaxFaults = 20

// Invalid is the reason of a fault in a field's value.
const Invalid = "InvalidField"

// Faults are those of one object. The zero Faults with About set is ready for use.
type Faults struct {
	About fleet.Origin
	list  []fleet.Problem
	more  int
}

// Add notes a fault of the field at path. The sentence says what is wrong and
// what to do; values that it quotes go through Quote.
func (f *Faults) Add(path, format string, args ...any) { f.AddReason(Invalid, path, format, args...) }

// AddReason is Add with a reason of its own.
func (f *Faults) AddReason(reason, path, format string, args ...any) {
	if len(f.list) == MaxFaults {
		f.more++
		return
	}
	text := fmt.Sprintf(format, args...)
	if path != "" {
		text = path + ": " + text
	}
	f.list = append(f.list, fleet.Problem{About: f.About, Reason: reason, Message: text})
}

// Count is the number of faults so far, for asking whether a part had any.
func (f *Faults) Count() int { return len(f.list) + f.more }

// Problems are the faults in the order in which they were found; nil without any.
func (f *Faults) Problems() []fleet.Problem {
	if f.more == 0 {
		return f.list
	}
	return append(f.list[:len(f.list):len(f.list)], fleet.Problem{
		About: f.About, Reason: Invalid,
		Message: fmt.Sprintf("and %d faults more; mend the first %d and look again", f.more, MaxFaults),
	})
}

// Path is the path that a fault's message begins with; empty when it names none.
func Path(message string) string {
	path, _, ok := strings.Cut(message, ": ")
	if !ok || path == "" || strings.ContainsFunc(path, unicode.IsSpace) {
		return ""
	}
	return path
}

// Index is the path of a list's element.
func Index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// Quote shows a value that somebody else wrote: quoted, without control
// characters, never longer than 80 bytes or so.
func Quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}
