// Package arch keeps the house in order: it reads the imports of every package and names each arrow that runs the wrong way.
//
// The rules it holds, see Floors:
//
//   - every package has a floor;
//   - imports go down, never up, and only along the arrows that the table lists,
//     so the edges (floor 3) know neither each other nor the hub;
//   - a pure package decides without I/O, clock, lock, chance or goroutine;
//   - a test may lean on test support (internal/lab, internal/scenario) beside
//     what its package may import, and on nothing else.
package arch

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Floor says where a package stands and what it may know.
type Floor struct {
	Path      string   // below the module root; "api/..." means api and everything beneath it
	Level     int      // 1 is the lowest
	Pure      bool     // no file may do I/O, read a clock, take a lock, draw lots or start a goroutine
	PureFiles []string // the same for single files of a package that is not pure as a whole
	Support   bool     // test support: any _test.go file may import it
	MayImport []string // our own packages, as patterns like Path; "..." is every package on no higher floor
}

// Violation is one broken rule.
type Violation struct {
	Pos  string // file:line, or the package's path when no line is to blame
	Rule string // one sentence that says what is wrong
}

func (v Violation) String() string { return v.Pos + ": " + v.Rule }

// Check reads every Go file below fsys, whatever its build tags, and returns what
// breaks the rules of floors, sorted by position. Folders that the go command
// skips (testdata, vendor, those beginning with "." or "_", nested modules) are
// skipped here too. The error is for a tree that cannot be read or parsed, and
// for a table of floors that contradicts itself.
func Check(fsys fs.FS, floors []Floor) ([]Violation, error) {
	module, err := modulePath(fsys)
	if err != nil {
		return nil, err
	}
	if err := checkTable(floors); err != nil {
		return nil, err
	}
	c := checker{fset: token.NewFileSet(), module: module, floors: floors, homeless: map[string]bool{}}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipDir(fsys, name)
		case path.Ext(name) != ".go" || strings.HasPrefix(path.Base(name), ".") || strings.HasPrefix(path.Base(name), "_"):
			return nil
		}
		return c.file(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the module's packages: %w", err)
	}
	slices.SortFunc(c.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Pos, b.Pos), cmp.Compare(a.Rule, b.Rule))
	})
	return c.found, nil
}

func skipDir(fsys fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir // another module
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// modulePath reads the module's name from go.mod.
func modulePath(fsys fs.FS) (string, error) {
	f, err := fsys.Open("go.mod")
	if err != nil {
		return "", fmt.Errorf("looking for the module's name: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("looking for the module's name: %w", err)
	}
	return "", errors.New("looking for the module's name: go.mod has no module line")
}

// checkTable makes sure that the table itself draws no arrow up, nor sideways
// between edges: it could otherwise be bent one line at a time.
func checkTable(floors []Floor) error {
	for i, f := range floors {
		for _, other := range floors[:i] {
			if other.Path == f.Path {
				return fmt.Errorf("the table of floors lists %s twice", f.Path)
			}
		}
		for _, pattern := range f.MayImport {
			if pattern == "..." {
				continue
			}
			to, ok := floorOf(floors, strings.TrimSuffix(pattern, "/..."))
			switch {
			case !ok:
				return fmt.Errorf("the table of floors lets %s import %s, which has no floor", f.Path, pattern)
			case to.Level > f.Level:
				return fmt.Errorf("the table of floors lets %s import %s, which stands above it", f.Path, pattern)
			case to.Level == f.Level && edge(to.Path) != edge(f.Path):
				return fmt.Errorf("the table of floors lets %s import %s, which stands on the same floor", f.Path, pattern)
			}
		}
	}
	return nil
}

// families are folders whose packages are one edge each; elsewhere an edge is
// the first part of the path together with everything beneath it.
var families = []string{"discovery/", "geo/", "health/", "internal/"}

// edge names the edge that a package belongs to: "xds" for xds/render,
// "discovery/kube" for everything below it.
func edge(pkg string) string {
	pkg = strings.TrimSuffix(pkg, "/...")
	for _, family := range families {
		if rest, ok := strings.CutPrefix(pkg, family); ok {
			name, _, _ := strings.Cut(rest, "/")
			return family + name
		}
	}
	name, _, _ := strings.Cut(pkg, "/")
	return name
}

// matches reports whether pkg is the pattern, or lies beneath a pattern that
// ends in "/...". The pattern "..." matches everything.
func matches(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	root, beneath := strings.CutSuffix(pattern, "/...")
	return pkg == root || beneath && strings.HasPrefix(pkg, root+"/")
}

// floorOf finds the row of a package; the most specific one wins.
func floorOf(floors []Floor, pkg string) (Floor, bool) {
	var best Floor
	found := false
	for _, f := range floors {
		if matches(f.Path, pkg) && (!found || len(f.Path) > len(best.Path)) {
			best, found = f, true
		}
	}
	return best, found
}

type checker struct {
	fset     *token.FileSet
	module   string
	floors   []Floor
	homeless map[string]bool // packages already reported to have no floor
	found    []Violation
}

func (c *checker) say(pos token.Pos, format string, args ...any) {
	p := c.fset.Position(pos)
	c.found = append(c.found, Violation{Pos: fmt.Sprintf("%s:%d", p.Filename, p.Line), Rule: fmt.Sprintf(format, args...)})
}

func (c *checker) file(fsys fs.FS, name string) error {
	pkg, base := path.Dir(name), path.Base(name)
	from, ok := floorOf(c.floors, pkg)
	if !ok {
		if !c.homeless[pkg] {
			c.homeless[pkg] = true
			c.found = append(c.found, Violation{Pos: pkg, Rule: "has no floor; give it one in internal/arch/floors.go"})
		}
		return nil
	}
	isTest := strings.HasSuffix(base, "_test.go")
	pure := !isTest && (from.Pure || slices.Contains(from.PureFiles, base))
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	mode := parser.ImportsOnly
	if pure {
		mode = parser.SkipObjectResolution
	}
	file, err := parser.ParseFile(c.fset, name, src, mode)
	if err != nil {
		return err
	}
	for _, imp := range file.Imports {
		target, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return err
		}
		if target == c.module {
			target = c.module + "/."
		}
		if ours, ok := strings.CutPrefix(target, c.module+"/"); ok && ours != pkg {
			c.arrow(imp.Pos(), from, pkg, ours, isTest)
		}
	}
	if pure {
		c.purity(file)
	}
	return nil
}

// arrow judges one import of one of our own packages.
func (c *checker) arrow(pos token.Pos, from Floor, pkg, target string, isTest bool) {
	to, ok := floorOf(c.floors, target)
	if !ok {
		return // reported once, at the package itself; the compiler names one that is not there
	}
	if isTest && to.Support {
		return
	}
	listed := slices.ContainsFunc(from.MayImport, func(pattern string) bool { return matches(pattern, target) })
	switch {
	case to.Level > from.Level:
		c.say(pos, "%s (floor %d) imports %s (floor %d): imports go down only", pkg, from.Level, target, to.Level)
	case listed:
	case to.Level == from.Level:
		c.say(pos, "%s imports %s on its own floor %d: neighbours do not know each other", pkg, target, to.Level)
	default:
		c.say(pos, "%s imports %s: internal/arch/floors.go lists no such arrow", pkg, target)
	}
}

// impureImports are packages that a decision has no use for; a key that ends in
// "/" bars all packages beneath it.
var impureImports = map[string]string{
	"crypto/rand": "chance", "math/rand": "chance", "math/rand/": "chance",
	"sync": "locks", "sync/": "locks",
	"io/ioutil": "I/O", "log": "I/O", "log/": "I/O", "net": "I/O", "net/": "I/O", "os": "I/O", "os/": "I/O", "syscall": "I/O",
	"golang.org/x/sync/": "goroutines",
	"unsafe":             "memory tricks",
}

// pureAnyway are packages beneath a barred folder that only parse.
var pureAnyway = []string{"net/netip", "net/url"}

// clocks are the functions of package time that read or wait for the clock.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// purity judges one file that must decide from its arguments alone.
func (c *checker) purity(file *ast.File) {
	timeName := ""
	for _, imp := range file.Imports {
		target, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue // the parser has accepted the file, so this cannot be
		}
		if why, barred := impure(target); barred {
			c.say(imp.Pos(), "a pure file imports %s (%s): pass in what it needs", target, why)
		}
		if target == "time" {
			timeName = "time"
			if imp.Name != nil {
				timeName = imp.Name.Name
			}
			if timeName == "." {
				c.say(imp.Pos(), "a pure file dot-imports time, which hides the clock: import it by name")
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.say(n.Pos(), "a pure file starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && timeName != "" && x.Name == timeName && slices.Contains(clocks, n.Sel.Name) {
				c.say(n.Pos(), "a pure file uses time.%s: pass in the time", n.Sel.Name)
			}
		}
		return true
	})
}

func impure(target string) (why string, barred bool) {
	if slices.Contains(pureAnyway, target) {
		return "", false
	}
	if why, ok := impureImports[target]; ok {
		return why, true
	}
	for i, r := range target {
		if r == '/' {
			if why, ok := impureImports[target[:i+1]]; ok {
				return why, true
			}
		}
	}
	return "", false
}
