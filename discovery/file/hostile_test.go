package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

const foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: shop}\n---\n"

func capacity(c string) string {
	return strings.Replace(member, "spec: {", "spec: {capacity: "+c+", ", 1)
}

// Each of these files once took, or could take, more than a file may.
func TestHostileFilesAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ text, problem string }{
		"a key again and again":   {strings.Repeat("a: 1\n", 5000), "twice"},
		"very many keys":          {manyKeys(300_000), "keys"},
		"a tiny quantity":         {capacity(`"1e-999999999"`), "spec.capacity"},
		"a huge quantity":         {capacity("1e999999999"), "eu-1/x.yaml"},
		"very many documents":     {strings.Repeat("--- a\n", 4<<20/6), "and"},
		"nothing but comments":    {strings.Repeat("#\n", 2<<20-1), ""},
		"a list in itself":        {"apiVersion: v1\nkind: List\nitems: &a [*a]", "eu-1/x.yaml"},
		"aliases of a large text": {"a: &x \"" + strings.Repeat("x", 2<<20) + "\"\nb: [" + strings.Repeat("*x,", 300_000) + "]", "eu-1/x.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan content, 1)
			go func() { done <- decode("eu-1", "eu-1/x.yaml", []byte(c.text)) }()
			select {
			case got := <-done:
				if n := len(got.problems); n > maxFaults+1 {
					t.Errorf("%d problems", n)
				}
				var all strings.Builder
				for _, p := range got.problems {
					fmt.Fprintf(&all, "%v: %s\n", p.About, p.Message)
				}
				if !strings.Contains(all.String(), c.problem) {
					t.Errorf("problems do not say %q: %.300s", c.problem, all.String())
				}
			case <-time.After(30 * time.Second):
				t.Fatal("still busy after 30 s")
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	return b.String()
}

func TestInvalidUTF8NamesItsLine(t *testing.T) {
	c := decode("eu-1", "eu-1/x.yaml", []byte("x: 1\ny: \"\xff\"\n"))
	if len(c.problems) != 1 || c.problems[0].About.Line != 2 {
		t.Errorf("%+v", c.problems)
	}
}

// What is not read stands in the way of nobody: objects beside it can be removed.
func TestForeignKindDoesNotBlockDeletion(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/all.yaml", foreign+shop)
	if _, ok := fact[*fleet.Backend](h.look(), "eu-1/default/shop"); !ok {
		t.Fatal("the Service beside a Deployment is not told")
	}
	h.write("eu-1/all.yaml", strings.TrimSuffix(foreign, "---\n"))
	if _, ok := fact[*fleet.Backend](h.look(), "eu-1/default/shop"); ok {
		t.Error("the removed Service is still told")
	}
}

// A fault in one object keeps that object, and no other.
func TestFaultyObjectKeepsOnlyItself(t *testing.T) {
	cart := strings.Split(strings.ReplaceAll(shop, "shop", "cart"), "---\n")[0]
	h := newHouse(t)
	h.write("eu-1/all.yaml", shop+"---\n"+cart)
	h.look()
	h.write("eu-1/all.yaml", strings.Replace(shop, "port: 80}", "prot: 80}", 1))
	u := h.look()
	if _, ok := fact[*fleet.Backend](u, "eu-1/default/shop"); !ok {
		t.Error("the faulty Service lost its last good version")
	}
	if _, ok := fact[*fleet.Backend](u, "eu-1/default/cart"); ok {
		t.Error("the Service that was removed beside it is still told")
	}
}

// A Service that points outside its cluster is no slip after which the last good
// version would stay.
func TestExternalNameGivesItsEndpointsUp(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/all.yaml", shop)
	h.look()
	h.write("eu-1/all.yaml", strings.Replace(shop, "spec: {", "spec: {type: ExternalName, externalName: example.com, ", 1))
	u := h.look()
	if b, ok := fact[*fleet.Backend](u, "eu-1/default/shop"); ok {
		t.Errorf("it still is told: %+v", b)
	}
	if said := problems(u); !strings.Contains(said, "ExternalName points outside") {
		t.Errorf("nobody hears why: %s", said)
	}
}

// What is remembered over a restart gives way to what people do now.
func TestRecallYieldsToLiveEdits(t *testing.T) {
	three := strings.Replace(shop, "[{addresses: [10.0.0.1]}]", "[{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]", 1)
	cart := strings.Split(strings.ReplaceAll(shop, "shop", "cart"), "---\n")[0]
	before := newHouse(t)
	before.write("eu-1/good.yaml", three)
	before.write("eu-1/cart.yaml", cart)
	remembered := before.look()

	h := newHouse(t, remembered)
	h.write("eu-1/good.yaml", three)
	h.write("eu-1/cart.yaml", cart)
	h.write("eu-1/bad.yaml", "kind: [")
	h.look()
	h.write("eu-1/good.yaml", shop)
	if err := os.Remove(filepath.Join(h.root, "eu-1/cart.yaml")); err != nil {
		t.Fatal(err)
	}
	u := h.look()
	if be, _ := fact[*fleet.Backend](u, "eu-1/default/shop"); be.Size() != 1 {
		t.Errorf("scaled down to 1, still told with %d", be.Size())
	}
	if _, ok := fact[*fleet.Backend](u, "eu-1/default/cart"); ok {
		t.Error("a deleted file is still told")
	}

	// Scaled down or deleted while nobody watched, with all that is left in good order.
	h = newHouse(t, remembered)
	h.write("eu-1/good.yaml", shop)
	h.write("eu-1/foreign.yaml", foreign)
	u = h.look()
	if be, _ := fact[*fleet.Backend](u, "eu-1/default/shop"); be.Size() != 1 {
		t.Errorf("a kind that is not read keeps %d endpoints alive", be.Size())
	}
	if _, ok := fact[*fleet.Backend](u, "eu-1/default/cart"); ok {
		t.Error("a kind that is not read keeps a deleted file alive")
	}
}

// watching runs the source of a house with no recheck to help it.
func watching(t *testing.T, h *house) (await func(what string, ok func(fleet.Update) bool)) {
	t.Helper()
	told := make(chan fleet.Update, 100)
	h.s.cfg.Tell = func(_ context.Context, u fleet.Update) { told <- u }
	h.s.cfg.Recheck = time.Hour
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(what string, ok func(fleet.Update) bool) {
		t.Helper()
		for deadline := time.After(15 * time.Second); ; {
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
}

func TestRootThatIsMovedAwayAndBackIsSeen(t *testing.T) {
	h := newHouse(t)
	inner := filepath.Join(h.root, "clusters")
	h.write("clusters/eu-1/shop.yaml", shop)
	h.s.cfg.Dir = inner
	await := watching(t, h)
	await("the first look", func(u fleet.Update) bool { return u.Whole && len(u.Put) > 0 })
	if err := os.Rename(inner, inner+".away"); err != nil {
		t.Fatal(err)
	}
	await("its loss", func(u fleet.Update) bool { return u.Stale != "" })
	if err := os.Rename(inner+".away", inner); err != nil {
		t.Fatal(err)
	}
	await("its return", func(u fleet.Update) bool { return u.Stale == "" })
	h.write("clusters/eu-1/shop.yaml", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.2"))
	await("an edit after that", func(u fleet.Update) bool { return u.Whole && len(u.Put) > 0 })
}

func TestBusyDirectoryKeepsNobodyWaiting(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	h.write("us-1/log.txt", "")
	await := watching(t, h)
	await("the first look", func(u fleet.Update) bool { return u.Source == "i/file/eu-1" })
	stop := make(chan struct{})
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				_ = os.WriteFile(filepath.Join(h.root, "us-1/log.txt"), fmt.Append(nil, i), 0o644)
			}
		}
	}()
	defer func() { close(stop); <-busy }()
	h.write("eu-1/shop.yaml", strings.ReplaceAll(shop, "10.0.0.1", "10.0.0.2"))
	await("an edit beside a busy directory", func(u fleet.Update) bool { return u.Source == "i/file/eu-1" })
}
