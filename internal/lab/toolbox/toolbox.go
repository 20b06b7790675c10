// Package toolbox is the folder that the lab keeps installed programs in, and the manners of installing into it.
package toolbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	module    = "github.com/meridian-lb/meridian"
	tellEvery = 5 * time.Second
)

// ErrNoCheckout says that the working directory lies in no checkout of this module.
var ErrNoCheckout = errors.New("the working directory lies in no checkout of " + module)

// Dir is where programs are installed: .tools of the checkout that the working
// directory lies in, else "meridian" in the user's cache folder.
func Dir() (string, error) {
	root, err := Checkout()
	switch {
	case err == nil:
		return filepath.Join(root, ".tools"), nil
	case !errors.Is(err, ErrNoCheckout):
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for a place to keep programs: %w", err)
	}
	return filepath.Join(cache, "meridian"), nil
}

// Checkout is the root of the checkout that the working directory lies in, else
// ErrNoCheckout. A nested module of ours is still inside.
func Checkout() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("looking for the checkout: %w", err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if isCheckout(dir) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", ErrNoCheckout
		}
	}
}

// isCheckout reports whether dir holds this module's go.mod.
func isCheckout(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "go.mod"))
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name) == module
		}
	}
	return false
}

// KeepTelling calls say every few seconds with the time that has gone by, until
// the returned function is called.
func KeepTelling(say func(elapsed time.Duration)) (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		start := time.Now()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				say(time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() { close(done); <-gone }
}

// Quote makes the end of what a program printed fit for the end of an error.
func Quote(out []byte) string {
	const most = 600
	s := strings.TrimSpace(string(out))
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	if s == "" {
		return ""
	}
	return ": " + strings.Join(strings.Fields(s), " ")
}
