package placement

import (
	"fmt"
	"strings"
	"testing"
)

func TestFollow(t *testing.T) {
	stories(t, "follow", func(t *testing.T, files map[string][]byte) string {
		var b strings.Builder
		for _, r := range Follow(object(t, files["object.yaml"])) {
			fmt.Fprintf(&b, "%s %s/%s", r.Kind, r.Namespace, r.Name)
			if r.Optional {
				b.WriteString(" (optional)")
			}
			b.WriteByte('\n')
		}
		return b.String()
	})
}
