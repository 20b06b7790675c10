package health

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/meridian-lb/meridian/fleet"
)

// Bounds of what strangers' errors may add to a sentence.
const (
	maxErrors      = 3   // different ones
	maxErrorLength = 100 // bytes of each
)

// detail says the verdict in one sentence. It names no age, so that it does not
// change while nothing happens.
func (f finding) detail(v fleet.Verdict, m mass, r Rules) string {
	if f.fresh == 0 {
		switch len(f.votes) {
		case 0:
			return "no vantage point has looked at it yet"
		case 1:
			return "its only vantage point has not looked at it lately"
		}
		return fmt.Sprintf("none of its %d vantage points has looked at it lately", len(f.votes))
	}
	s := fmt.Sprintf("%d of %d vantage points see it up", f.up, f.fresh)
	if f.fresh == 1 {
		s = fmt.Sprintf("%d of 1 vantage point sees it up", f.up)
	}
	if len(f.why) > 0 {
		s += ": " + tally(f.why)
	}
	if v.Frozen {
		s = fmt.Sprintf("held as it was, since %d of %d regions going down within %v makes the probes suspect; %s",
			m.fallen, m.of, r.MassWindow, s)
	}
	return s
}

// tally counts equal errors, the most frequent first: "connection refused (2), timeout (1)".
func tally(errors []string) string {
	counts := map[string]int{}
	for _, e := range errors {
		counts[tidy(e)]++
	}
	type row struct {
		text string
		n    int
	}
	rows := make([]row, 0, len(counts))
	for text, n := range counts {
		rows = append(rows, row{text, n})
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(-cmp.Compare(a.n, b.n), cmp.Compare(a.text, b.text))
	})
	var words []string
	rest := 0
	for i, w := range rows {
		if i < maxErrors {
			words = append(words, fmt.Sprintf("%s (%d)", w.text, w.n))
		} else {
			rest += w.n
		}
	}
	if rest > 0 {
		words = append(words, fmt.Sprintf("otherwise (%d)", rest))
	}
	return strings.Join(words, ", ")
}

// tidy makes a stranger's error fit for a sentence: printable, short, not empty.
func tidy(s string) string {
	if len(s) > maxErrorLength {
		s = s[:maxErrorLength]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s))
	if s == "" {
		return "no reason given"
	}
	return s
}

// compareVerdict orders verdicts from the worst to the best.
func compareVerdict(v, w fleet.Verdict) int {
	return cmp.Or(cmp.Compare(rank(v.State), rank(w.State)), compareBool(w.Frozen, v.Frozen),
		cmp.Compare(v.Up, w.Up), cmp.Compare(v.Fresh, w.Fresh), cmp.Compare(v.Detail, w.Detail))
}

func rank(s fleet.State) int {
	switch s {
	case fleet.Healthy:
		return 2
	case fleet.Unknown:
		return 1
	}
	return 0
}
