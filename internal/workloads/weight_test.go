//go:build e2e

package workloads

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// weigh says what memory the world takes, by program: what each process has to itself,
// and its part of what it shares.
func (w *world) weigh() {
	w.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/smaps_rollup")
	if err != nil {
		w.t.Fatal(err)
	}
	sizes, counts, all := map[string]int{}, map[string]int{}, 0
	for _, file := range files {
		dir := filepath.Dir(file)
		if !w.owns(dir) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			var kb int
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kb); n == 1 {
				program := strings.TrimSpace(string(name))
				sizes[program] += kb
				counts[program]++
				all += kb
			}
		}
	}
	for program, kb := range sizes {
		w.t.Logf("%4d of %-15s %6d MB", counts[program], program, kb/1024)
	}
	w.t.Logf("%d MB in all", all/1024)
}

// owns reports whether a process descends from this one.
func (w *world) owns(dir string) bool {
	self := strconv.Itoa(os.Getpid())
	for {
		if filepath.Base(dir) == self {
			return true
		}
		text, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			return false
		}
		parent := ""
		for line := range strings.Lines(string(text)) {
			if p, ok := strings.CutPrefix(line, "PPid:"); ok {
				parent = strings.TrimSpace(p)
			}
		}
		if parent == "" || parent == "0" {
			return false
		}
		dir = filepath.Join("/proc", parent)
	}
}
