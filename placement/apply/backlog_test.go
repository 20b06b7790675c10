package apply

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestBacklog(t *testing.T) {
	var b backlog
	take := func(n int) (out []types.UID) {
		for range n {
			uid, ok := b.next()
			if !ok {
				return append(out, "none")
			}
			out = append(out, uid)
		}
		return out
	}
	want := func(got []types.UID, want ...types.UID) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if want(take(1), "none"); !b.empty() {
		t.Error("it is not empty at first")
	}
	b.add(false, []types.UID{"d", "a", "b", "c"})
	want(take(1), "a")
	b.add(true, []types.UID{"c", "x"}) // news of one that waits, and of another
	b.add(true, []types.UID{"x"})
	b.add(false, []types.UID{"x", "a"}) // and again of what waits and of what had its turn
	want(take(5), "c", "x", "b", "d", "a")
	if want(take(1), "none"); !b.empty() {
		t.Error("it is not empty in the end")
	}
	b.add(true, []types.UID{"a"})
	b.add(false, []types.UID{"b"})
	b.clear()
	want(take(1), "none")
}
