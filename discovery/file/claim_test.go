package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meridian-lb/meridian/fleet"
)

func (h *house) remove(name string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.root, name)); err != nil {
		h.t.Fatal(err)
	}
}

// holds wants the shop to be the one of a file, and the file's rival to have
// the problem; "" wants no problem.
func holds(t *testing.T, u fleet.Update, file, rival string) {
	t.Helper()
	be, ok := fact[*fleet.Backend](u, "eu-1/default/shop")
	if !ok || be.Origin.File != file {
		t.Errorf("the shop is that of %+v, want %s", be, file)
	}
	said := problems(u)
	if rival == "" && said != "" || rival != "" && (!strings.Contains(said, "Service default/shop ("+rival+":1): DuplicateName") || strings.Contains(said, "("+file+":1): DuplicateName")) {
		t.Errorf("want the problem to be that of %q, but: %s", rival, said)
	}
}

func TestNewcomerTakesNoNameAway(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", at("10.0.0.1"))
	first := h.look()
	h.write("eu-1/dup.yaml", at("10.0.0.2"))
	second := h.look()
	holds(t, second, "eu-1/shop.yaml", "eu-1/dup.yaml")
	was, _ := fact[*fleet.Backend](first, "eu-1/default/shop")
	if is, _ := fact[*fleet.Backend](second, "eu-1/default/shop"); was != is {
		t.Error("the shop that is in force was told anew")
	}
	h.write("eu-1/all.yaml", at("10.0.0.3")) // first by name, last to come
	holds(t, h.look(), "eu-1/shop.yaml", "eu-1/all.yaml")
	h.write("eu-1/shop.yaml", at("10.0.0.4")) // an edit is no reason to lose a name
	holds(t, h.look(), "eu-1/shop.yaml", "eu-1/all.yaml")
	h.remove("eu-1/shop.yaml")
	holds(t, h.look(), "eu-1/dup.yaml", "eu-1/all.yaml")
	h.write("eu-1/shop.yaml", at("10.0.0.1")) // who comes back comes last
	h.remove("eu-1/all.yaml")
	holds(t, h.look(), "eu-1/dup.yaml", "eu-1/shop.yaml")
}

func TestNewcomerTakesNoNameAwayWhileNobodyLooked(t *testing.T) {
	before := newHouse(t)
	before.write("eu-1/shop.yaml", shop)
	h := newHouse(t, before.look())
	h.write("eu-1/dup.yaml", at("10.0.0.2"))
	h.write("eu-1/shop.yaml", at("10.0.0.3"))
	holds(t, h.look(), "eu-1/shop.yaml", "eu-1/dup.yaml")
	h = newHouse(t, before.look())
	h.write("eu-1/dup.yaml", shop)
	holds(t, h.look(), "eu-1/dup.yaml", "")
}

// A rival that was refused does not get the name by a slip in the other's file.
func TestSlipLosesNoName(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	h.look()
	h.write("eu-1/dup.yaml", at("10.0.0.2"))
	h.look()
	h.write("eu-1/shop.yaml", "kind: [")
	holds(t, h.look(), "eu-1/shop.yaml", "eu-1/dup.yaml")
}

// Who moves an object out of a file and breaks that file at once has moved it.
func TestObjectMovedOutOfABrokenFile(t *testing.T) {
	h := newHouse(t)
	h.write("eu-1/shop.yaml", shop)
	h.look()
	h.write("eu-1/shop.yaml", "kind: [")
	h.write("eu-1/zoo.yaml", at("10.0.0.2"))
	u := h.look()
	if be, _ := fact[*fleet.Backend](u, "eu-1/default/shop"); be == nil || be.Origin.File != "eu-1/zoo.yaml" || strings.Contains(problems(u), "DuplicateName") {
		t.Errorf("%+v %s", be, problems(u))
	}
	h.write("eu-1/shop.yaml", shop)
	holds(t, h.look(), "eu-1/zoo.yaml", "eu-1/shop.yaml")
}

func aZone(name, server string) string {
	return "apiVersion: meridian.dev/v1alpha1\nkind: Zone\nmetadata: {name: " + name + "}\n" +
		"spec: {domain: example.com, nameservers: [{name: " + server + ".example.com, addresses: [192.0.2.53]}]}\n"
}

// Zones of different names may want the same domain.
func TestNewcomerTakesNoDomainAway(t *testing.T) {
	old := newHouse(t)
	old.write("_host/zone.yaml", aZone("zone", "ns1"))
	remembered := old.look()
	for name, h := range map[string]*house{"in one process": old, "after a restart": newHouse(t, remembered)} {
		h.write("_host/zone.yaml", aZone("zone", "ns1"))
		h.write("_host/a.yaml", aZone("other", "ns2"))
		u := h.look()
		if z, ok := fact[*fleet.Zone](u, "example.com."); !ok || z.Nameservers[0].Name != "ns1.example.com." {
			t.Errorf("%s: %+v", name, z)
		}
		if said := problems(u); !strings.Contains(said, "Zone other (_host/a.yaml:4): DuplicateName") && !strings.Contains(said, "Zone other (_host/a.yaml:1): DuplicateName") {
			t.Errorf("%s: %s", name, said)
		}
	}
}
