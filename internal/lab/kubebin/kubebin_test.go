package kubebin

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fake is a program that says it is an API server of this version.
func fake(version string) string { return "#!/bin/sh\necho Kubernetes " + version + "\n" }

func place(t *testing.T, dir string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fake(Version)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// built is a Build that writes this content and counts its calls.
func built(content string, calls *atomic.Int32) Build {
	return func(_ context.Context, file string) error {
		calls.Add(1)
		return os.WriteFile(file, []byte(content), 0o755)
	}
}

func TestPin(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "kube", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "\tk8s.io/kubernetes " + Version + "\n"; !strings.Contains(string(mod), want) {
		t.Errorf("internal/lab/kube/go.mod does not pin%s: Version and the module must name the same release", want)
	}
}

func TestFind(t *testing.T) {
	without := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == controllerManager })
	tests := []struct {
		name       string
		chosen     []string // programs of the chosen folder; nil: unset
		installed  []string
		want       string // folder
		controller bool
		err        string
	}{
		{name: "nothing here", err: `run "make kube"`},
		{name: "the built ones", installed: names, want: "installed", controller: true},
		{name: "built ones that lack something", installed: without, err: "no Kubernetes found"},
		{name: "the chosen ones go first", chosen: names, installed: names, want: "chosen", controller: true},
		{name: "chosen ones without controllers", chosen: without, installed: names, want: "chosen"},
		{name: "a chosen folder that lacks etcd is not passed over in silence", chosen: names[1:], installed: names, err: "looking for etcd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			f := Finder{Dir: filepath.Join(root, "installed")}
			if tt.installed != nil {
				place(t, f.target(), tt.installed...)
			}
			want := map[string]string{"installed": f.target(), "chosen": filepath.Join(root, "chosen")}[tt.want]
			if tt.chosen != nil {
				f.Chosen = filepath.Join(root, "chosen")
				place(t, f.Chosen, tt.chosen...)
			}
			got, err := f.Find()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %+v and error %v, want an error that says %q", got, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.APIServer != filepath.Join(want, "kube-apiserver") || got.Etcd != filepath.Join(want, "etcd") ||
				got.Kubectl != filepath.Join(want, "kubectl") || (got.ControllerManager != "") != tt.controller {
				t.Errorf("found %+v, want those in %s", got, want)
			}
		})
	}
}

func TestChosenIsNoProgram(t *testing.T) {
	dir := t.TempDir()
	place(t, dir, names...)
	if err := os.Chmod(filepath.Join(dir, "etcd"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := Finder{Dir: t.TempDir(), Chosen: dir}
	if _, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd is no program; choose another one") {
		t.Errorf("got error %v", err)
	}
}

func TestEnsureBuildsOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "er")
	place(t, filepath.Join(dir, Version), "etcd") // an unfinished one is replaced
	var calls atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f := Finder{Dir: dir, Build: built(fake(Version), &calls)}
			got, err := f.Ensure(t.Context())
			if err != nil || got.Kubectl != filepath.Join(dir, Version, "kubectl") || got.ControllerManager == "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
	wantNoLitter(t, dir, Version, ".lock")
	wantNoLitter(t, filepath.Join(dir, Version), append([]string{binary}, names...)...)
}

func TestEnsureTellsProgress(t *testing.T) {
	var calls atomic.Int32
	var progress bytes.Buffer
	f := Finder{Dir: t.TempDir(), Progress: &progress, Build: built(fake(Version), &calls)}
	if _, err := f.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"building Kubernetes " + Version, "built " + f.target()} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("progress does not say %q:\n%s", want, &progress)
		}
	}
}

func TestEnsureRefuses(t *testing.T) {
	var calls atomic.Int32
	tests := []struct {
		name  string
		build Build
		want  string
	}{
		{"a build that fails", func(context.Context, string) error { return errors.New("the disk is full") }, "building Kubernetes " + Version + ": the disk is full"},
		{"a build of another version", built(fake("v1.2.3"), &calls), `"Kubernetes v1.2.3"`},
		{"a build that does not run", built("#!/bin/sh\necho Illegal instruction >&2\nexit 132\n", &calls), "Illegal instruction"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := Finder{Dir: t.TempDir(), Build: tt.build}
			if got, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v and error %v, want an error that says %q", got, err, tt.want)
			}
			wantNoLitter(t, f.Dir, ".lock")
		})
	}
}

// TestGo runs the real command line against a go command that we wrote.
func TestGo(t *testing.T) {
	tests := []struct {
		name string
		does string // with $file and $src
		want string // in the error; empty: built
	}{
		{"builds", `[ -f "$src/go.mod" ] && [ "$CGO_ENABLED$GOWORK" = 0off ] && printf '#!/bin/sh\necho Kubernetes ` + Version + `\n' >"$file" && chmod +x "$file"`, ""},
		{"has no proxy", `echo "dial tcp: lookup proxy.golang.org: no such host" >&2; exit 1`, "no such host; reach a module proxy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bin := t.TempDir()
			script := `#!/bin/sh
[ "$1 $2" = "build -C" ] || exit 9
src=$3
while [ $# -gt 1 ]; do [ "$1" = -o ] && file=$2; shift; done
` + tt.does + "\n"
			if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":/usr/bin:/bin")
			f := Finder{Dir: t.TempDir()}
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

func TestGoMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	f := Finder{Dir: t.TempDir()}
	if _, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "put the go command on $PATH") {
		t.Errorf("got error %v, want one with the remedy", err)
	}
	t.Chdir(t.TempDir())
	if _, err := f.Ensure(t.Context()); err == nil || !strings.Contains(err.Error(), "no checkout") {
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
		if !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}
