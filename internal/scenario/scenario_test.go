package scenario

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what came out into the stories; read the diff before you commit it")

func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) < 12 {
		t.Fatalf("%d stories: %v", len(stories), err)
	}
	for _, file := range stories {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(strings.TrimSpace(string(a.Comment))) == 0 {
				t.Error("a story begins with a comment that tells it")
			}
			got, err := Play(a, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for i := range a.Files {
				if a.Files[i].Name != "story" {
					continue
				}
				if *update {
					a.Files[i].Data = []byte(got)
				} else if diff := cmp.Diff(strings.TrimSpace(string(a.Files[i].Data)), strings.TrimSpace(got)); diff != "" {
					t.Errorf("the story ends otherwise (-want +got); if that is right, run with -update:\n%s", diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
