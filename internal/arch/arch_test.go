package arch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// TestHouse holds the real tree to the rules.
func TestHouse(t *testing.T) {
	root := filepath.Join("..", "..")
	found, err := Check(os.DirFS(root), Floors())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// TestPlanted plants one fault in a small house and wants exactly that one found.
func TestPlanted(t *testing.T) {
	house := []Floor{
		{Path: "fleet", Level: 1, Pure: true},
		{Path: "geo/steer", Level: 2, Pure: true, MayImport: []string{"fleet"}},
		{Path: "hub", Level: 3, PureFiles: []string{"build.go"}, MayImport: []string{"fleet", "geo/steer"}},
		{Path: "geo/dns", Level: 3, MayImport: []string{"fleet", "geo/steer"}},
		{Path: "xds/render", Level: 3, Pure: true, MayImport: []string{"fleet"}},
		{Path: "xds", Level: 3, MayImport: []string{"fleet", "xds/render"}},
		{Path: "internal/lab/...", Level: 4, Support: true, MayImport: []string{"..."}},
		{Path: "cmd/...", Level: 5, MayImport: []string{"..."}},
	}
	tests := []struct {
		name  string
		files string // besides go.mod
		want  []string
	}{
		{
			name: "a house in order",
			files: `
-- fleet/fleet.go --
package fleet
import ("net/netip"; "net/url"; "time")
var _ netip.Addr; var _ url.URL; var _ time.Duration = time.Second
-- hub/hub.go --
package hub
import ("sync"; "time"; "example.org/house/fleet"; "example.org/house/geo/steer")
var _ = time.Now
-- hub/build.go --
package hub
import "time"
func add(t time.Time) time.Time { return t.Add(time.Second) }
-- xds/xds.go --
package xds
import "example.org/house/xds/render"
-- internal/lab/deep/lab.go --
package deep
import "example.org/house/hub"
-- cmd/one/main.go --
package main
import ("example.org/house/hub"; "example.org/house/internal/lab/deep")
-- geo/dns/dns_test.go --
package dns_test
import ("os"; "time"; "example.org/house/geo/dns"; "example.org/house/internal/lab/deep")
var _ = time.Now
`,
		},
		{
			name: "an arrow up",
			files: `
-- fleet/fleet.go --
package fleet

import "example.org/house/geo/steer"
`,
			want: []string{"fleet/fleet.go:3: fleet (floor 1) imports geo/steer (floor 2): imports go down only"},
		},
		{
			name: "an arrow up behind a build tag",
			files: `
-- fleet/fleet_plan9.go --
//go:build plan9 && never

package fleet

import _ "example.org/house/hub"
`,
			want: []string{"fleet/fleet_plan9.go:5: fleet (floor 1) imports hub (floor 3): imports go down only"},
		},
		{
			name: "an edge that knows its neighbour",
			files: `
-- geo/dns/dns.go --
package dns
import (
	"example.org/house/fleet"
	"example.org/house/xds"
)
`,
			want: []string{"geo/dns/dns.go:4: geo/dns imports xds on its own floor 3: neighbours do not know each other"},
		},
		{
			name: "an edge that knows the hub",
			files: `
-- xds/xds.go --
package xds
import "example.org/house/hub"
`,
			want: []string{"xds/xds.go:2: xds imports hub on its own floor 3: neighbours do not know each other"},
		},
		{
			name: "a part of an edge that knows the whole",
			files: `
-- xds/render/render.go --
package render
import "example.org/house/xds"
`,
			want: []string{"xds/render/render.go:2: xds/render imports xds on its own floor 3: neighbours do not know each other"},
		},
		{
			name: "an arrow down that nobody listed",
			files: `
-- xds/xds.go --
package xds
import "example.org/house/geo/steer"
`,
			want: []string{"xds/xds.go:2: xds imports geo/steer: internal/arch/floors.go lists no such arrow"},
		},
		{
			name: "test support in the product",
			files: `
-- xds/xds.go --
package xds
import "example.org/house/internal/lab"
`,
			want: []string{"xds/xds.go:2: xds (floor 3) imports internal/lab (floor 4): imports go down only"},
		},
		{
			name: "a test that knows a neighbour",
			files: `
-- geo/dns/dns_test.go --
package dns
import "example.org/house/xds"
`,
			want: []string{"geo/dns/dns_test.go:2: geo/dns imports xds on its own floor 3: neighbours do not know each other"},
		},
		{
			name: "a package without a floor, said once",
			files: `
-- util/a.go --
package util
import "example.org/house/hub"
-- util/b.go --
package util
`,
			want: []string{"util: has no floor; give it one in internal/arch/floors.go"},
		},
		{
			name: "a package beneath one that covers only itself",
			files: `
-- fleet/deeper/a.go --
package deeper
`,
			want: []string{"fleet/deeper: has no floor; give it one in internal/arch/floors.go"},
		},
		{
			name: "the clock in a pure package",
			files: `
-- geo/steer/decide.go --
package steer
import "time"
var start = time.Now()
func wait() { <-time.After(time.Since(start)) }
-- geo/steer/renamed.go --
package steer
import clock "time"
var now = clock.Now
-- geo/steer/dotted.go --
package steer
import . "time"
var now = Now()
-- geo/steer/decide_test.go --
package steer
import "time"
var now = time.Now()
`,
			want: []string{
				"geo/steer/decide.go:3: a pure file uses time.Now: pass in the time",
				"geo/steer/decide.go:4: a pure file uses time.After: pass in the time",
				"geo/steer/decide.go:4: a pure file uses time.Since: pass in the time",
				"geo/steer/dotted.go:2: a pure file dot-imports time, which hides the clock: import it by name",
				"geo/steer/renamed.go:3: a pure file uses time.Now: pass in the time",
			},
		},
		{
			name: "I/O, locks, chance and goroutines in pure places",
			files: `
-- xds/render/render.go --
package render
import (
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync/atomic"
)
func f() { go f() }
-- hub/build.go --
package hub
import "sync"
-- hub/hub.go --
package hub
import "sync"
`,
			want: []string{
				"hub/build.go:2: a pure file imports sync (locks): pass in what it needs",
				"xds/render/render.go:3: a pure file imports math/rand/v2 (chance): pass in what it needs",
				"xds/render/render.go:4: a pure file imports net (I/O): pass in what it needs",
				"xds/render/render.go:5: a pure file imports net/http (I/O): pass in what it needs",
				"xds/render/render.go:6: a pure file imports os (I/O): pass in what it needs",
				"xds/render/render.go:7: a pure file imports sync/atomic (locks): pass in what it needs",
				"xds/render/render.go:9: a pure file starts a goroutine",
			},
		},
		{
			name: "folders that are not packages of this module",
			files: `
-- fleet/testdata/bad.go --
package bad
import "example.org/house/hub"
-- .tools/x.go --
package x
-- lab2/go.mod --
module example.org/other
-- lab2/main.go --
package main
import "example.org/house/hub"
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := check(t, "-- go.mod --\nmodule example.org/house\n"+tt.files, house)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTable refuses a table that would let the fault in by the front door.
func TestTable(t *testing.T) {
	tests := []struct {
		name  string
		table []Floor
		want  string
	}{
		{"up", []Floor{{Path: "fleet", Level: 1, MayImport: []string{"hub"}}, {Path: "hub", Level: 3}}, "lets fleet import hub, which stands above it"},
		{"sideways", []Floor{{Path: "xds", Level: 3, MayImport: []string{"hub"}}, {Path: "hub", Level: 3}}, "lets xds import hub, which stands on the same floor"},
		{
			"sideways within a family",
			[]Floor{{Path: "discovery/file", Level: 3, MayImport: []string{"discovery/peer"}}, {Path: "discovery/peer", Level: 3}},
			"lets discovery/file import discovery/peer, which stands on the same floor",
		},
		{"nowhere", []Floor{{Path: "xds", Level: 3, MayImport: []string{"hub"}}}, "lets xds import hub, which has no floor"},
		{"twice", []Floor{{Path: "xds", Level: 3}, {Path: "xds", Level: 1}}, "lists xds twice"},
		{"within one edge", []Floor{{Path: "xds", Level: 3, MayImport: []string{"xds/render"}}, {Path: "xds/render", Level: 3}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := check(t, "-- go.mod --\nmodule example.org/house\n", tt.table)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	for name, files := range map[string]string{
		"no go.mod":      "-- fleet/fleet.go --\npackage fleet\n",
		"no module line": "-- go.mod --\ngo 1.26\n",
		"no Go":          "-- go.mod --\nmodule example.org/house\n-- fleet/fleet.go --\npack age\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := check(t, files, []Floor{{Path: "fleet", Level: 1}}); err == nil {
				t.Errorf("no error, but %q", got)
			}
		})
	}
}

func check(t *testing.T, archive string, floors []Floor) ([]string, error) {
	t.Helper()
	fsys, err := txtar.FS(txtar.Parse([]byte(archive)))
	if err != nil {
		t.Fatal(err)
	}
	found, err := Check(fsys, floors)
	var said []string
	for _, v := range found {
		said = append(said, v.String())
	}
	return said, err
}
