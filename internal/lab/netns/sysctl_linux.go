package netns

import (
	"os"
	"path/filepath"
	"strings"
)

// readSysctl returns a setting of the kernel; empty when it has none of that name.
func readSysctl(name string) string {
	b, err := os.ReadFile(filepath.Join("/proc/sys", filepath.FromSlash(strings.ReplaceAll(name, ".", "/"))))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
