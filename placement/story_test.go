package placement

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write what came out into the stories of testdata; read the diff before you commit it")

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
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(data), out.String()); diff != "" {
		t.Errorf("%s ends otherwise (-want +got); if that is right, run with -rewrite:\n%s", file, diff)
	}
}
