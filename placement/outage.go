package placement

import (
	"cmp"
	"slices"
	"time"
)

// mourn says of which silent clusters the replicas are placed elsewhere: of those that
// are to be left, or have left the fleet, at once; of others when their grace is over.
// What is once replaced stays so until its cluster answers.
//
// While more clusters than answer fell silent within one grace, and it is more than
// one, their replicas wait beyond it: likelier than the death of most is a fault of the
// network that we look through, and all their load would fall on the few that are left.
// Those that fell silent longer before, and were replaced, say nothing of that; those that
// answer since a moment only count as silent still. The elder go first, since what becomes
// of them counts for the younger.
func mourn(posts []*post, grace time.Duration, now time.Time) {
	answering, back := 0, 0
	var silent []*post
	for _, p := range posts {
		switch {
		case p.believed:
			answering++
		case !p.silent():
			back++ // a moment ago; the others may follow
		case !p.known:
			p.Replaced = true
		default:
			silent = append(silent, p)
		}
	}
	slices.SortFunc(silent, func(a, b *post) int {
		return cmp.Or(a.Recollection.Silent.Compare(b.Recollection.Silent), cmp.Compare(a.Choice.Cluster, b.Choice.Cluster))
	})
	long, waiting := 0, 0 // of silent: those that are silent for a grace longer; those of them that are waited for
	for i, p := range silent {
		for ; long < i && silent[long].Recollection.Silent.Before(p.Recollection.Silent.Add(-grace)); long++ {
			if silent[long].have > 0 && !silent[long].Replaced {
				waiting++
			}
		}
		if n := len(silent) - long + waiting + back; n > 1 && n > answering {
			p.missing, p.asked = n, n+answering
		}
		p.Replaced = p.Replaced || p.leaves() || p.missing == 0 && now.Sub(p.Recollection.Silent) >= grace
	}
}
