package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridian-lb/meridian/fleet"
)

// updates reads everything and returns what came of it by source.
func (h *house) updates() map[string]fleet.Update {
	h.told = nil
	h.s.Read(h.t.Context())
	by := map[string]fleet.Update{}
	for _, u := range h.told {
		by[u.Source] = u
	}
	return by
}

func TestWhatStandsInTheWrongPlaceIsNamed(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	h.write("root.yaml", shop)
	h.write("BAD_NAME/shop.yaml", shop)
	h.write("eu-1/nested/shop.yaml", shop)
	h.write("eu-1/deep/in/it.json", "{}")
	told := h.updates()
	for source, want := range map[string][]string{
		"i/file":      {"File root.yaml: Misplaced", "Directory BAD_NAME: Misplaced", "into the directory of"},
		"i/file/eu-1": {"Directory eu-1/nested: Misplaced", "Directory eu-1/deep: Misplaced: holds in/it.json", "move its files into the one that is, eu-1"},
	} {
		for _, w := range want {
			if got := problems(told[source]); !strings.Contains(got, w) {
				t.Errorf("%s does not say %q: %s", source, w, got)
			}
		}
	}
	if told := h.updates(); len(told) != 0 {
		t.Errorf("nothing changed, yet it told %+v", told)
	}
	for _, name := range []string{"root.yaml", "BAD_NAME", "eu-1/nested", "eu-1/deep"} {
		if err := os.RemoveAll(filepath.Join(h.root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for source, u := range h.updates() {
		if !u.Whole || problems(u) != "" {
			t.Errorf("mended, yet %s says %s", source, problems(u))
		}
	}
}

// What an earlier process complained of is taken back by this one.
func TestMendedWhileNobodyLooked(t *testing.T) {
	before := newHouse(t)
	before.write("root.yaml", shop)
	h := newHouse(t, before.updates()["i/file"])
	if u, ok := h.updates()["i/file"]; !ok || !u.Whole || len(u.Put) != 0 {
		t.Errorf("%v %+v", ok, u)
	}
}

func TestWhatIsNobodysFaultIsSilent(t *testing.T) {
	h := newHouse(t)
	h.write(".root.yaml.swp", shop)
	h.write(".hidden/shop.yaml", shop)
	h.write("root.yaml~", shop)
	h.write("README.md", "hello")
	h.write("Docs/README.md", "hello")
	h.write("lost+found/1/2/3", "")
	h.write("eu-1/shop.yaml", shop)
	h.write("eu-1/..v1/other.yaml", shop)
	h.write("eu-1/.git/x.yaml", shop)
	h.write("eu-1/docs/notes.txt", "hello")
	if err := os.Symlink("..v1", filepath.Join(h.root, "eu-1/..data")); err != nil {
		t.Fatal(err)
	}
	for source, u := range h.updates() {
		if source != "i/file/eu-1" || problems(u) != "" {
			t.Errorf("%s: %s", source, problems(u))
		}
	}
}

func TestStraysAreBounded(t *testing.T) {
	h := newHouse(t)
	for i := range 2 * maxFaults {
		h.write(fmt.Sprintf("%04d.yaml", i), "")
		h.write(fmt.Sprintf("eu-1/d%04d/x.yaml", i), "")
	}
	for source, u := range h.updates() {
		n, said := 0, problems(u)
		for _, f := range u.Put {
			n += len(f.Value.(fleet.Problems))
		}
		if n != maxFaults+1 || !strings.Contains(said, fmt.Sprintf("and %d more", maxFaults)) {
			t.Errorf("%s: %d problems: %s", source, n, said)
		}
	}
}

// A root that cannot be read takes no complaint back either.
func TestStraysOfALostRootAreStale(t *testing.T) {
	h := newHouse(t)
	h.write("root.yaml", shop)
	h.updates()
	if err := os.Rename(h.root, h.root+".away"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Rename(h.root+".away", h.root) }()
	if u := h.updates()["i/file"]; u.Stale == "" || u.Whole {
		t.Errorf("%+v", u)
	}
}
