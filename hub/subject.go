package hub

import (
	"slices"
	"strings"
)

// subject is what a source speaks about: its name without the instance. Two
// instances that watch the same cluster speak about one subject.
func subject(source string) string {
	_, about, _ := strings.Cut(source, "/")
	return about
}

func (b *book) join(source string) {
	about := subject(source)
	i, _ := slices.BinarySearch(b.about[about], source)
	b.about[about] = slices.Insert(b.about[about], i, source)
}

// superseded reports whether a source has lost touch while another one that
// speaks of the same subject, and has told all of it, has not.
func (b *book) superseded(source string) bool {
	if b.sources[source].stale == "" {
		return false
	}
	return slices.ContainsFunc(b.about[subject(source)], func(other string) bool {
		return b.sources[other].synced && b.sources[other].stale == ""
	})
}

// markSubject marks every fact of all sources that speak of the same subject:
// when one of them becomes stale or fresh, others may begin or cease to count.
func (b *book) markSubject(source string, d *dirt) {
	for _, other := range b.about[subject(source)] {
		for n, v := range b.sources[other].facts {
			d.mark(n, v)
			b.contend(n, d)
		}
	}
}
