package placement

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what came out into the stories of testdata; read the diff before you commit it")

// ends compares how a story ended with how it was told, or writes down how it ended.
func ends(t *testing.T, file, told, came string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(came), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(told, came); diff != "" {
		t.Errorf("%s ends otherwise (-want +got); if that is right, run with -update:\n%s", file, diff)
	}
}

// stories tells each story in testdata/dir: a txtar file, its comment first, whose
// last file, "out", is what play makes of the others.
func stories(t *testing.T, dir string, play func(t *testing.T, files map[string][]byte) string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no stories in testdata/%s (%v)", dir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(text)
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("a story begins with what it is about")
			}
			files, kept := map[string][]byte{}, archive.Files[:0]
			for _, f := range archive.Files {
				if f.Name != "out" {
					files[f.Name] = f.Data
					kept = append(kept, f)
				}
			}
			kept = append(kept, txtar.File{Name: "out", Data: []byte(play(t, files))})
			archive.Files = kept
			ends(t, name, string(text), string(txtar.Format(archive)))
		})
	}
}

// order is one paragraph's command in a story.
type order struct {
	verb string
	args []string          // of the first line
	rows [][]string        // the further lines, in words
	set  map[string]string // the args of the form key=value
}

func (o order) has(arg string) bool {
	for _, a := range o.args {
		if a == arg {
			return true
		}
	}
	return false
}

// pairs reads words of the form key=value.
func pairs(words []string) map[string]string {
	m := map[string]string{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			m[k] = v
		}
	}
	return m
}

// tell plays a story: paragraphs of comments (#), a command and a line of dashes,
// beneath which stands what comes of it, up to an empty line.
func tell(t *testing.T, file string, do func(order) string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(data), "#") {
		t.Fatalf("%s: a story begins with a comment that tells it", file)
	}
	var out strings.Builder
	told := 0
	for i, paragraph := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		head, _, ok := strings.Cut(paragraph, "\n----")
		out.WriteString(head + "\n")
		if !ok {
			continue
		}
		var o order
		for _, line := range strings.Split(head, "\n") {
			words := strings.Fields(line)
			switch {
			case strings.HasPrefix(line, "#"):
			case o.verb == "":
				o.verb, o.args, o.set = words[0], words[1:], pairs(words[1:])
			default:
				o.rows = append(o.rows, words)
			}
		}
		told++
		fmt.Fprintf(&out, "----\n%s\n", strings.TrimRight(do(o), "\n"))
	}
	if told == 0 {
		t.Fatalf("%s tells nothing", file)
	}
	ends(t, file, string(data), out.String())
}
