package deploy

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// Clouds are not here to run the walkthrough in; that bash can read it is.
func TestWalkthroughIsBash(t *testing.T) {
	scripts, err := filepath.Glob("walkthrough/*.sh")
	if err != nil || len(scripts) != 9 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	for _, s := range scripts {
		if out, err := exec.CommandContext(t.Context(), "bash", "-n", s).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}
