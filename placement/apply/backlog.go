package apply

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// backlog holds the workloads that are to be dealt with, each once: those of which
// there is news first, then the others, in the order in which they came. The zero
// backlog is empty.
type backlog struct {
	urgent, rest []types.UID
	waiting      map[types.UID]bool // true: it is urgent
}

// add has workloads dealt with, in the order of their UIDs. It changes the list.
func (b *backlog) add(urgent bool, uids []types.UID) {
	if b.waiting == nil {
		b.waiting = map[types.UID]bool{}
	}
	slices.Sort(uids)
	for _, uid := range uids {
		was, waits := b.waiting[uid]
		if waits && (was || !urgent) {
			continue
		}
		b.waiting[uid] = urgent
		if urgent {
			b.urgent = append(b.urgent, uid)
		} else {
			b.rest = append(b.rest, uid)
		}
	}
}

// next takes the next one; false: there is none.
func (b *backlog) next() (types.UID, bool) {
	for _, line := range []*[]types.UID{&b.urgent, &b.rest} {
		for len(*line) > 0 {
			uid := (*line)[0]
			*line = (*line)[1:]
			if _, waits := b.waiting[uid]; waits { // else it had become urgent, and had its turn
				delete(b.waiting, uid)
				return uid, true
			}
		}
	}
	return "", false
}

// clear forgets all.
func (b *backlog) clear() { *b = backlog{} }

func (b *backlog) empty() bool { return len(b.waiting) == 0 }
