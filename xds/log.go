package xds

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// minLog is how many changes of a type are remembered at least.
const minLog = 1024

// change says that a name was set at a moment.
type change struct {
	seq    uint64
	name   string
	before *revision // nil: it did not exist
}

// changeLog remembers which names changed, newest last. It is cut at its old
// end; a reader that was further behind compares everything.
type changeLog struct {
	changes []change
	floor   uint64 // seq of the newest change that was cut off
	last    uint64 // seq of the newest change
}

// append adds a change and keeps at most limit of them, and at least half as many.
func (l *changeLog) append(c change, limit int) {
	if len(l.changes) >= limit {
		cut := len(l.changes) - limit/2
		l.floor = l.changes[cut-1].seq
		l.changes = slices.Clone(l.changes[cut:])
	}
	l.changes = append(l.changes, c)
	l.last = c.seq
}

// since lists the changes after a cursor; ok is false when some of them are no
// longer known.
func (l *changeLog) since(cursor uint64) (changes []change, ok bool) {
	if cursor < l.floor {
		return nil, false
	}
	if cursor >= l.last {
		return nil, true
	}
	// Nearly always the reader lacks only the last few.
	if n := len(l.changes); n < 2 || l.changes[n-2].seq <= cursor {
		return l.changes[n-1:], true
	}
	i, _ := slices.BinarySearchFunc(l.changes, cursor+1, func(c change, seq uint64) int { return cmp.Compare(c.seq, seq) })
	return l.changes[i:], true
}

// sumOf is the sum of a resource. A set's sum is the XOR of its members', so it
// follows a change without looking at the others.
func sumOf(name, version string) uint64 {
	sum := sha256.Sum256([]byte(name + "\x00" + version))
	return binary.BigEndian.Uint64(sum[:8])
}

func hexSum(sum uint64) string { return fmt.Sprintf("%016x", sum) }
