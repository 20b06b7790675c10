package xds

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridian-lb/meridian/xds/resource"
)

// Whatever is put and removed, holdings are a map.
func TestHoldingsAreAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h holdings
		want := map[string]*revision{}
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint("name-", rapid.IntRange(0, 40).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				rev := &revision{Resource: resource.Resource{Name: name.Draw(t, "put")}}
				if before := h.put(rev); before != want[rev.Name] {
					t.Fatalf("%s replaced %v instead of %v", rev.Name, before, want[rev.Name])
				}
				want[rev.Name] = rev
			},
			"remove": func(t *rapid.T) {
				name := name.Draw(t, "remove")
				if before := h.remove(name); before != want[name] {
					t.Fatalf("%s was %v instead of %v", name, before, want[name])
				}
				delete(want, name)
			},
			"": func(t *rapid.T) {
				got := map[string]*revision{}
				for rev := range h.all() {
					got[rev.Name] = rev
				}
				if !maps.Equal(got, want) || h.n != len(want) {
					t.Fatalf("%d: %v instead of %v", h.n, got, want)
				}
				for i := range 41 {
					if name := fmt.Sprint("name-", i); h.get(name) != want[name] {
						t.Fatalf("%s is %v instead of %v", name, h.get(name), want[name])
					}
				}
			},
		})
	})
}
