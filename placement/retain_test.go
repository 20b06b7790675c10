package placement

import (
	"strings"
	"testing"
)

func TestRetain(t *testing.T) {
	stories(t, "retain", func(t *testing.T, files map[string][]byte) string {
		desired := object(t, files["desired.yaml"])
		if strings.TrimSpace(string(files["live.yaml"])) == "null" {
			return asYAML(t, Retain(desired, nil).Object)
		}
		live := object(t, files["live.yaml"])
		kept := Retain(desired, live)
		if asYAML(t, Retain(kept, live).Object) != asYAML(t, kept.Object) {
			t.Error("retained twice, it is another object")
		}
		return asYAML(t, kept.Object)
	})
}
