package placement

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what came out into the stories; read the diff before you commit it")

// stories tells each story in testdata/dir: a txtar file, its comment first, whose
// last file, "out", is what tell makes of the others.
func stories(t *testing.T, dir string, tell func(t *testing.T, files map[string][]byte) string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no stories in testdata/%s (%v)", dir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(archive.Comment))) == 0 {
				t.Error("a story begins with what it is about")
			}
			files, want := map[string][]byte{}, ""
			kept := archive.Files[:0]
			for _, f := range archive.Files {
				if f.Name == "out" {
					want = string(f.Data)
					continue
				}
				files[f.Name] = f.Data
				kept = append(kept, f)
			}
			got := tell(t, files)
			if *update {
				kept = append(kept, txtar.File{Name: "out", Data: []byte(got)})
				archive.Files = kept
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the story ends otherwise (-want +got); if that is right, run with -update:\n%s", diff)
			}
		})
	}
}

// object reads YAML as a decoder of API servers would: whole numbers are int64.
func object(t testing.TB, text []byte) *unstructured.Unstructured {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(asJSON); err != nil {
		// Objects without a kind are read too: Check is to speak of them.
		u.Object = map[string]any{}
		wrapped := append(append([]byte(`{"kind":"x","apiVersion":"v1","in":`), asJSON...), '}')
		w := &unstructured.Unstructured{}
		if err := w.UnmarshalJSON(wrapped); err != nil {
			t.Fatal(err)
		}
		u.Object = mapAt(w.Object, "in")
	}
	return u
}

func asYAML(t testing.TB, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unfailing lets helpers of tests be used inside a property.
type unfailing struct{ testing.TB }

func (unfailing) Helper()           {}
func (unfailing) Fatal(args ...any) { panic(args) }
