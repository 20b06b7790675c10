package install

import (
	"cmp"
	"slices"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Fine  Severity = "ok"
	Note  Severity = "note"  // will become a fault, or may be meant
	Fault Severity = "fault" // does not work
)

// Finding is one thing that was looked at.
type Finding struct {
	Severity Severity `json:"severity"`
	About    string   `json:"about"`
	Message  string   `json:"message"`
	Remedy   string   `json:"remedy,omitempty"`
}

// Report is everything that was looked at, faults first.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Faults counts what does not work.
func (r *Report) Faults() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Fault {
			n++
		}
	}
	return n
}

func (r *Report) add(s Severity, about, message, remedy string) {
	r.Findings = append(r.Findings, Finding{Severity: s, About: about, Message: message, Remedy: remedy})
}

func (r *Report) sort() {
	rank := map[Severity]int{Fault: 0, Note: 1, Fine: 2}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.About, b.About), cmp.Compare(a.Message, b.Message))
	})
}
