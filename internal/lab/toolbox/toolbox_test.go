package toolbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLockWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), file, func() { t.Error("waited for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	waiting, second := make(chan struct{}), make(chan error)
	go func() {
		unlock, err := Lock(t.Context(), file, func() { close(waiting) })
		if err == nil {
			unlock()
		}
		second <- err
	}()
	<-waiting
	select {
	case err := <-second:
		t.Fatalf("the second did not wait: %v", err)
	default:
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Lock(ctx, file, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting, but got %v", err)
	}
	unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

func TestDir(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	cache := filepath.Join(root, "cache")
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	if got, err := Dir(); err != nil || !strings.HasPrefix(got, cache) || filepath.Base(got) != "meridian" {
		t.Errorf("outside a checkout: %q, %v; want a folder in the user's cache", got, err)
	}
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module "+module+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd() // t.TempDir may lie behind a symbolic link
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Dir(); err != nil || got != filepath.Join(wd, "..", "..", ".tools") {
		t.Errorf("inside a checkout: %q, %v; want its .tools", got, err)
	}
}

func TestQuote(t *testing.T) {
	if got := Quote([]byte(" \n")); got != "" {
		t.Errorf("nothing printed gives %q", got)
	}
	if got := Quote([]byte("one\n  two\n")); got != ": one two" {
		t.Errorf("two lines give %q", got)
	}
	if got := Quote([]byte(strings.Repeat("x", 5000) + "end")); len(got) > 700 || !strings.HasSuffix(got, "end") {
		t.Errorf("much gives %d bytes", len(got))
	}
}
