// Package netns runs a program in a network of its own, in which any address may be local: Kubernetes takes no loopback addresses for pods.
package netns

import (
	"net/netip"
	"os"
	"testing"
)

// Main is for a TestMain: it runs the tests in a network of their own and ends
// the process. All addresses of the prefixes are local there: whoever listens on
// one is reached at it, from inside only. Loopback works as usual; nothing else
// is reachable.
//
// It starts the same test binary again inside, with the same arguments, so a
// TestMain does nothing of consequence before it. Fuzzing does not work through it.
func Main(m *testing.M, local ...netip.Prefix) {
	code, inside, err := Enter(local...)
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n") // nobody else to tell
		os.Exit(1)
	}
	if inside {
		code = m.Run()
	}
	os.Exit(code)
}
