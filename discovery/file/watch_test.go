package file

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// follow runs the house's source with no recheck to help it, and returns what
// waits for a telling.
func (h *house) follow() func(what string, ok func(fleet.Update) bool) {
	h.t.Helper()
	told := make(chan fleet.Update, 100)
	h.s.cfg.Tell = func(_ context.Context, u fleet.Update) { told <- u }
	h.s.cfg.Recheck = time.Hour
	ctx, stop := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	h.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	})
	return func(what string, ok func(fleet.Update) bool) {
		h.t.Helper()
		for deadline := time.After(5 * time.Second); ; {
			select {
			case u := <-told:
				if ok(u) {
					return
				}
			case <-deadline:
				h.t.Fatalf("%s was not told", what)
			}
		}
	}
}

// at is the shop with its endpoint at an address.
func at(addr string) string { return strings.ReplaceAll(shop, "10.0.0.1", addr) }

func serves(addr string) func(fleet.Update) bool {
	return func(u fleet.Update) bool {
		be, ok := fact[*fleet.Backend](u, "eu-1/default/shop")
		return ok && len(be.Ports[0].Endpoints) == 1 && be.Ports[0].Endpoints[0].Addr.Addr().String() == addr
	}
}

func stale(u fleet.Update) bool { return u.Stale != "" }

// point makes a link, or moves it in one step as tools do.
func point(t *testing.T, link, to string) {
	t.Helper()
	if err := os.Symlink(to, link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryBehindALinkIsFollowed(t *testing.T) {
	h := newHouse(t)
	away := &house{t: t, root: t.TempDir()}
	away.write("a/shop.yaml", at("10.0.0.1"))
	away.write("b/shop.yaml", at("10.0.0.3"))
	link := filepath.Join(h.root, "eu-1")
	point(t, link, filepath.Join(away.root, "a"))
	await := h.follow()
	await("the first look", serves("10.0.0.1"))
	away.write("a/shop.yaml", at("10.0.0.2"))
	await("an edit behind the link", serves("10.0.0.2"))
	point(t, link, filepath.Join(away.root, "b"))
	await("the link repointed", serves("10.0.0.3"))
	away.write("b/shop.yaml", at("10.0.0.4"))
	await("an edit behind the repointed link", serves("10.0.0.4"))
	move(t, filepath.Join(away.root, "b"), filepath.Join(away.root, "b.away"))
	await("a link that leads nowhere", stale)
	away.write("b.new/shop.yaml", at("10.0.0.5"))
	move(t, filepath.Join(away.root, "b.new"), filepath.Join(away.root, "b"))
	await("the directory made anew", serves("10.0.0.5"))
	away.write("b/shop.yaml", at("10.0.0.6"))
	await("an edit in the new directory", serves("10.0.0.6"))
}

// As git-sync does it: the link leads over another one, which is swapped.
func TestLinkOverALinkIsFollowed(t *testing.T) {
	h := newHouse(t)
	git := &house{t: t, root: t.TempDir()}
	git.write("v1/clusters/eu-1/shop.yaml", at("10.0.0.1"))
	git.write("v2/clusters/eu-1/shop.yaml", at("10.0.0.2"))
	current := filepath.Join(git.root, "current")
	point(t, current, "v1")
	point(t, filepath.Join(h.root, "eu-1"), filepath.Join(current, "clusters/eu-1"))
	await := h.follow()
	await("the first look", serves("10.0.0.1"))
	point(t, current, "v2")
	await("the swap", serves("10.0.0.2"))
	git.write("v2/clusters/eu-1/shop.yaml", at("10.0.0.3"))
	await("an edit after the swap", serves("10.0.0.3"))
}

func TestRootBehindALinkIsFollowed(t *testing.T) {
	h := newHouse(t)
	h.write("v1/clusters/eu-1/shop.yaml", at("10.0.0.1"))
	h.write("v2/clusters/eu-1/shop.yaml", at("10.0.0.2"))
	current := filepath.Join(h.root, "current")
	point(t, current, "v1")
	h.s.cfg.Dir = filepath.Join(current, "clusters")
	await := h.follow()
	await("the first look", serves("10.0.0.1"))
	point(t, current, "v2")
	await("the swap", serves("10.0.0.2"))
	h.write("v2/clusters/eu-1/shop.yaml", at("10.0.0.3"))
	await("an edit after the swap", serves("10.0.0.3"))
}

// A root of which not even the parents are there is found when it comes.
func TestRootIsFollowedWhenItAppears(t *testing.T) {
	h := newHouse(t, fleet.Update{Source: "i/file/eu-1"})
	h.s.cfg.Dir = filepath.Join(h.root, "not/there/yet")
	await := h.follow()
	await("the missing root", stale)
	h.write("not/there/yet/eu-1/shop.yaml", at("10.0.0.1"))
	await("the root", serves("10.0.0.1"))
	h.write("not/there/yet/eu-1/shop.yaml", at("10.0.0.2"))
	await("an edit in it", serves("10.0.0.2"))
	move(t, filepath.Join(h.root, "not/there"), filepath.Join(h.root, "not/here"))
	h.write("not/there/yet/eu-1/shop.yaml", at("10.0.0.3"))
	await("another root in its place", serves("10.0.0.3"))
}

func TestTrail(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, root: dir}
	h.write("a/b/c/x", "")
	for link, to := range map[string]string{"over": "a/up", "a/up": "../a/b", "abs": filepath.Join(dir, "a/b"), "loop": "loop", "gone": "a/no/where"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]struct {
		end   string
		names []string
		there bool
	}{
		"a/b/c":     {"a/b/c", []string{"a/b/c"}, true},
		"over/c":    {"a/b/c", []string{"over", "a/up", "a/b/c"}, true},
		"abs":       {"a/b", []string{"abs", "a/b"}, true},
		"loop/c":    {"loop", []string{"loop"}, false},
		"gone/c":    {"a/no", []string{"gone", "a/no"}, false},
		"a/b/c/x/y": {"a/b/c/x/y", []string{"a/b/c/x/y"}, false},
	} {
		for i := range want.names {
			want.names[i] = filepath.Join(dir, want.names[i])
		}
		end, names, there := trail(filepath.Join(dir, path))
		if end != filepath.Join(dir, want.end) || !slices.Equal(slices.Compact(names), want.names) || there != want.there {
			t.Errorf("%s leads to %s by %v: %v", path, end, names, there)
		}
	}
}
