package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

const shop = `apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.0.0.1]}]
`

const member = `apiVersion: meridian.dev/v1alpha1
kind: Cluster
metadata: {name: eu-1}
spec: {region: europe-west1, place: {lat: "50.45", lon: "3.82"}}
`

// house is a root directory with a source that has not been run, and what it told.
type house struct {
	t    *testing.T
	root string
	s    *Source
	told []fleet.Update
}

func newHouse(t *testing.T, known ...fleet.Update) *house {
	t.Helper()
	h := &house{t: t, root: t.TempDir()}
	var err error
	h.s, err = New(Config{Dir: h.root, Instance: "i", Known: known, Tell: func(_ context.Context, u fleet.Update) { h.told = append(h.told, u) }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// look reads everything and returns the one update that came of it, if any.
func (h *house) look() fleet.Update {
	h.t.Helper()
	h.told = nil
	h.s.Read(h.t.Context())
	if len(h.told) > 1 {
		h.t.Fatalf("told %d updates, want one at most", len(h.told))
	}
	if len(h.told) == 0 {
		return fleet.Update{}
	}
	return h.told[0]
}

func fact[V fleet.Value](u fleet.Update, name string) (v V, ok bool) {
	for _, f := range u.Put {
		if f.Name == name && f.Kind == v.Kind() {
			v, ok = f.Value.(V)
			return v, ok
		}
	}
	return v, false
}

func problems(u fleet.Update) string {
	var all []string
	for _, f := range u.Put {
		if list, ok := f.Value.(fleet.Problems); ok {
			for _, p := range list {
				all = append(all, p.About.String()+": "+p.Reason+": "+p.Message)
			}
		}
	}
	return strings.Join(all, "\n")
}

func TestEverythingIsToldWholeThenOnlyWhatChanged(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/cluster.yaml", member)
	h.write("eu-1/shop.yaml", shop)
	h.write("eu-1/.hidden.yaml", "no: yaml: at: all")
	h.write("eu-1/notes.txt", "nothing for us")
	u := h.look()
	if !u.Whole || u.Source != "i/file/eu-1" || problems(u) != "" {
		t.Fatalf("%+v", u)
	}
	be, ok := fact[*fleet.Backend](u, "eu-1/default/shop")
	if !ok || be.ReadyCount() != 1 || be.Origin.File != "eu-1/shop.yaml" || be.Origin.Line != 1 {
		t.Fatalf("%+v", be)
	}
	if c, ok := fact[*fleet.Cluster](u, "eu-1"); !ok || c.At.Region != "europe-west1" || c.At.Network != "eu-1" {
		t.Errorf("%+v", c)
	}
	if u := h.look(); u.Source != "" {
		t.Errorf("nothing changed, yet it told %+v", u)
	}
	h.write("eu-1/cluster.yaml", strings.Replace(member, "50.45", "51.5", 1))
	if again, _ := fact[*fleet.Backend](h.look(), "eu-1/default/shop"); again != be {
		t.Error("an unchanged backend lost its pointer")
	}
}

func TestBrokenFileKeepsWhatItSaid(t *testing.T) {
	for name, c := range map[string]struct{ text, problem string }{
		"no YAML":        {"apiVersion: v1\nkind: [Service\n", "InvalidYAML"},
		"unknown field":  {strings.Replace(shop, "port: 80}", "prot: 80}", 1), "eu-1/shop.yaml:4"},
		"a workload":     {strings.Replace(shop, "apiVersion: v1\nkind: Service\n", "apiVersion: meridian.dev/v1alpha1\nkind: FederatedObject\n", 1), "a FederatedObject is carried out by daemons that watch a host cluster"},
		"unknown kind":   {strings.Replace(shop, "kind: Service\n", "kind: Servise\n", 1), "UnsupportedKind"},
		"truncated":      {"", "EmptyFile"},
		"twice the same": {shop + "---\n" + shop, "DuplicateName"},
		"too large":      {"# " + strings.Repeat("x", maxFile), "TooLarge"},
		"alias bomb":     {"a: &a [x,x,x,x,x,x,x,x,x,x]\n" + bomb(), "eu-1/shop.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.write("eu-1/shop.yaml", shop)
			h.look()
			h.write("eu-1/shop.yaml", c.text)
			u := h.look()
			if be, ok := fact[*fleet.Backend](u, "eu-1/default/shop"); !ok || be.ReadyCount() != 1 {
				t.Errorf("the last good version is not in force: %+v", u)
			}
			if p := problems(u); !strings.Contains(p, c.problem) {
				t.Errorf("problems %q do not name %q", p, c.problem)
			}
			h.write("eu-1/shop.yaml", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.2"))
			u = h.look()
			if be, _ := fact[*fleet.Backend](u, "eu-1/default/shop"); problems(u) != "" || be.Ports[0].Endpoints[0].Addr.String() != "10.0.0.2:8080" {
				t.Errorf("the mended file does not take effect: %s %+v", problems(u), be)
			}
		})
	}
}

// bomb stands for gigabytes when its aliases are written out.
func bomb() string {
	var b strings.Builder
	for c := 'b'; c < 'l'; c++ {
		ref := "*" + string(c-1)
		b.WriteString(string(c) + ": &" + string(c) + " [" + strings.Repeat(ref+",", 9) + ref + "]\n")
	}
	return b.String()
}

func TestDeletionsAreConfirmed(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/cluster.yaml", member)
	h.write("eu-1/shop.yaml", shop)
	h.look()
	if err := os.Remove(filepath.Join(h.root, "eu-1/shop.yaml")); err != nil {
		t.Fatal(err)
	}
	u := h.look()
	if _, ok := fact[*fleet.Backend](u, "eu-1/default/shop"); ok || !u.Whole || len(u.Put) != 1 {
		t.Errorf("a removed file: %+v", u)
	}
	if err := os.RemoveAll(filepath.Join(h.root, "eu-1")); err != nil {
		t.Fatal(err)
	}
	if u := h.look(); !u.Whole || len(u.Put) != 0 || u.Stale != "" || u.Source != "i/file/eu-1" {
		t.Errorf("a removed directory: %+v", u)
	}
	if u := h.look(); u.Source != "" {
		t.Errorf("told again: %+v", u)
	}
}

func TestUnreadableIsStaleAndNotGone(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	h.look()
	dir := filepath.Join(h.root, "eu-1")
	away := filepath.Join(h.root, ".away")
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	h.write("eu-1", "a file where a directory was") // reading it as a directory fails for root too
	if u := h.look(); u.Stale == "" || u.Whole || len(u.Gone) > 0 {
		t.Fatalf("an unreadable directory: %+v", u)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if u := h.look(); u.Stale != "" || !u.Whole || len(u.Put) != 1 {
		t.Errorf("readable again: %+v", u)
	}
	if err := os.Rename(h.root, h.root+".away"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Rename(h.root+".away", h.root) }()
	if u := h.look(); u.Stale == "" || u.Source != "i/file/eu-1" {
		t.Errorf("without a root: %+v", u)
	}
}

// A link that leads nowhere for a moment, as in the middle of a swap, is no deletion.
func TestDanglingDirectoryLinkIsStale(t *testing.T) {
	h := newHouse(t)
	h.write(".real/shop.yaml", shop)
	if err := os.Symlink(".real", filepath.Join(h.root, "eu-1")); err != nil {
		t.Fatal(err)
	}
	if u := h.look(); len(u.Put) != 1 {
		t.Fatalf("through a link: %+v", u)
	}
	if err := os.Rename(filepath.Join(h.root, ".real"), filepath.Join(h.root, ".away")); err != nil {
		t.Fatal(err)
	}
	if u := h.look(); u.Stale == "" || u.Whole {
		t.Errorf("a dangling link: %+v", u)
	}
}

func TestKnownClusterThatIsNotFoundIsGone(t *testing.T) {
	h := newHouse(t, fleet.Update{Source: "i/file/eu-9"})
	if u := h.look(); u.Source != "i/file/eu-9" || !u.Whole || len(u.Put) != 0 {
		t.Errorf("%+v", u)
	}
}

// A restart while a file is broken is no reason to forget what it said.
func TestBrokenAtTheStartKeepsWhatWasRemembered(t *testing.T) {
	before := newHouse(t)
	before.write("eu-1/cluster.yaml", member)
	service, slice, _ := strings.Cut(shop, "---\n")
	before.write("eu-1/service.yaml", service)
	before.write("eu-1/slice.yaml", slice)
	remembered := before.look()
	for name, breaks := range map[string]string{"the service": "eu-1/service.yaml", "its endpoints": "eu-1/slice.yaml"} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, remembered)
			h.write("eu-1/cluster.yaml", member)
			h.write("eu-1/service.yaml", service)
			h.write("eu-1/slice.yaml", slice)
			h.write(breaks, "kind: [")
			u := h.look()
			if be, ok := fact[*fleet.Backend](u, "eu-1/default/shop"); !ok || be.ReadyCount() != 1 || !strings.Contains(problems(u), "InvalidYAML") {
				t.Fatalf("what was remembered is lost: %+v", u)
			}
			// Understood again, it says what holds, deletions included.
			h.write(breaks, "# nothing any more\n")
			if be, ok := fact[*fleet.Backend](h.look(), "eu-1/default/shop"); ok && be.ReadyCount() != 0 {
				t.Errorf("a mended file cannot take back what it said: %+v", be)
			}
		})
	}
}

func TestFirstFileByNameKeepsAName(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/a.yaml", shop)
	h.write("eu-1/b.yaml", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.9"))
	u := h.look()
	if be, _ := fact[*fleet.Backend](u, "eu-1/default/shop"); be.Origin.File != "eu-1/a.yaml" {
		t.Errorf("%+v", be)
	}
	if p := problems(u); !strings.Contains(p, "eu-1/b.yaml:1") || !strings.Contains(p, "DuplicateName") {
		t.Errorf("problems: %s", p)
	}
}

// A root that is not there yet is no reason to serve nothing of what is remembered.
func TestMissingRootIsAwaitedWhereFactsAreRemembered(t *testing.T) {
	before := newHouse(t)
	before.write("eu-1/shop.yaml", shop)
	remembered := before.look()
	h := &house{t: t, root: filepath.Join(t.TempDir(), "clusters")}
	var err error
	h.s, err = New(Config{Dir: h.root, Instance: "i", Known: []fleet.Update{remembered}, Tell: func(_ context.Context, u fleet.Update) { h.told = append(h.told, u) }})
	if err != nil {
		t.Fatal(err)
	}
	if u := h.look(); !strings.Contains(u.Stale, "no such file or directory") || u.Whole || u.Source != "i/file/eu-1" {
		t.Fatalf("without a root: %+v", u)
	}
	if err := os.Mkdir(h.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if u := h.look(); !strings.Contains(u.Stale, "about to be filled") || u.Whole {
		t.Fatalf("a root that is about to be filled: %+v", u)
	}
	h.write("eu-1/shop.yaml", shop)
	if u := h.look(); u.Stale != "" || !u.Whole || len(u.Put) != 1 {
		t.Errorf("with its root: %+v", u)
	}
}

// What only others have told is no reason to begin without a root.
func TestMissingRootNamesTheRemedy(t *testing.T) {
	_, err := New(Config{Dir: filepath.Join(t.TempDir(), "nowhere"), Instance: "i", Known: []fleet.Update{{Source: "j/file/eu-1"}, {Source: "i/operator"}}})
	if err == nil || !strings.Contains(err.Error(), "make it") {
		t.Errorf("%v", err)
	}
}

// Real edits, as people and mounts make them, reach whoever is told.
func TestEditsAreFollowed(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	told := make(chan fleet.Update, 100)
	h.s.cfg.Tell = func(_ context.Context, u fleet.Update) { told <- u }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	await := func(what string, ok func(fleet.Update) bool) {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			select {
			case u := <-told:
				if ok(u) {
					return
				}
			case <-deadline:
				t.Fatalf("%s was not told", what)
			}
		}
	}
	endpoint := func(addr string) func(fleet.Update) bool {
		return func(u fleet.Update) bool {
			be, ok := fact[*fleet.Backend](u, "eu-1/default/shop")
			return ok && len(be.Ports[0].Endpoints) == 1 && be.Ports[0].Endpoints[0].Addr.Addr().String() == addr
		}
	}
	await("the first look", endpoint("10.0.0.1"))

	h.write("eu-1/shop.yaml", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.2"))
	await("a write in place", endpoint("10.0.0.2"))

	h.write("eu-1/.shop.swp", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.3"))
	if err := os.Rename(filepath.Join(h.root, "eu-1/.shop.swp"), filepath.Join(h.root, "eu-1/shop.yaml")); err != nil {
		t.Fatal(err)
	}
	await("a rename over the file", endpoint("10.0.0.3"))

	// A mounted ConfigMap: names are links through ..data, which is swapped.
	for i, addr := range []string{"10.0.0.4", "10.0.0.5"} {
		h.write("eu-1/..v"+addr+"/shop.yaml", strings.ReplaceAll(shop, "10.0.0.1", addr))
		next := filepath.Join(h.root, "eu-1/..data_tmp")
		if err := os.Symlink("..v"+addr, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(h.root, "eu-1/..data")); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			link := filepath.Join(h.root, "eu-1/.link")
			if err := os.Symlink("..data/shop.yaml", link); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(link, filepath.Join(h.root, "eu-1/shop.yaml")); err != nil {
				t.Fatal(err)
			}
		}
		await("the swap of a mount", endpoint(addr))
	}

	h.write("us-1/shop.yaml", shop)
	await("a new directory", func(u fleet.Update) bool { return u.Source == "i/file/us-1" && len(u.Put) > 0 })
	if err := os.RemoveAll(filepath.Join(h.root, "us-1")); err != nil {
		t.Fatal(err)
	}
	await("a removed directory", func(u fleet.Update) bool { return u.Source == "i/file/us-1" && u.Whole && len(u.Put) == 0 })
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{shop, member, shop + "---\n" + member, "kind: List\nitems: [" + `{"kind":"Service"}` + "]", "a: &a [*a]", "- 1", "\x00", bomb()} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := decode("eu-1", "eu-1/x.yaml", data)
		for _, o := range c.objects {
			if o.id.name == "" || o.origin.File != "eu-1/x.yaml" || o.origin.Line < 1 {
				t.Errorf("an object without a name or place: %+v", o)
			}
		}
		for _, p := range c.problems {
			if p.Reason == "" || p.Message == "" || strings.ContainsAny(p.Message, "\n\r") {
				t.Errorf("a problem that cannot be shown: %+v", p)
			}
		}
		facts("eu-1", claim([]*contents{{content: c}}, nil), nil)
	})
}
