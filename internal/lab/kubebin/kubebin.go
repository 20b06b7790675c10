// Package kubebin finds the programs of a real Kubernetes control plane for tests and demos, and builds them where there are none.
//
// It looks, in this order, at
//
//  1. the folder that $KUBEBUILDER_ASSETS names, as other projects use it,
//  2. the one it built before (.tools/kube/<version> in a checkout, else in the user's cache folder).
//
// Where neither suits it builds internal/lab/kube, which is all of them in one
// binary. Only Go and its module proxy are needed for that, and some minutes.
package kubebin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/meridian-lb/meridian/internal/lab/toolbox"
)

const (
	// Version is the Kubernetes that Ensure builds; internal/lab/kube/go.mod pins the same.
	Version = "v1.37.2"
	// Env names the variable that points at a folder of the user's own choice.
	Env = "KUBEBUILDER_ASSETS"
)

// ErrNotFound says that the programs are not here and were not asked to be built.
var ErrNotFound = errors.New("no Kubernetes found")

// Programs are the paths of the parts of a control plane.
type Programs struct {
	APIServer         string
	ControllerManager string // empty when a folder of the user's own choice has none
	Etcd              string
	Kubectl           string
}

// Path returns the programs that are here already. It never builds anything;
// with none here its error is ErrNotFound and says how to get them.
func Path() (Programs, error) {
	f, err := defaultFinder(io.Discard)
	if err != nil {
		return Programs{}, err
	}
	return f.Find()
}

// Ensure returns the programs that are here, or builds them. What it is about
// and how long it takes is told to progress, line by line.
func Ensure(ctx context.Context, progress io.Writer) (Programs, error) {
	f, err := defaultFinder(progress)
	if err != nil {
		return Programs{}, err
	}
	return f.Ensure(ctx)
}

func defaultFinder(progress io.Writer) (*Finder, error) {
	dir, err := toolbox.Dir()
	if err != nil {
		return nil, fmt.Errorf("%w; set $%s to a folder of your own", err, Env)
	}
	return &Finder{Dir: filepath.Join(dir, "kube"), Chosen: os.Getenv(Env), Progress: progress}, nil
}

// Finder finds or builds the programs. Path and Ensure fill it for everyday use.
type Finder struct {
	Dir      string    // holds one folder per version; required
	Chosen   string    // a folder that must be used; empty means none
	Progress io.Writer // nil means silent
	Build    Build     // nil means the go command on internal/lab/kube
}

// Find returns the programs that are here already, else ErrNotFound.
func (f *Finder) Find() (Programs, error) {
	if f.Chosen != "" {
		p, err := in(f.Chosen)
		if err != nil {
			return Programs{}, fmt.Errorf("using the folder that $%s names: %w; choose another one or unset it", Env, err)
		}
		return p, nil
	}
	p, err := in(f.target())
	if errors.Is(err, os.ErrNotExist) || err == nil && p.ControllerManager == "" {
		return Programs{}, fmt.Errorf("%w in %s: run \"make kube\" in a checkout, or set $%s", ErrNotFound, f.target(), Env)
	}
	return p, err
}

// Ensure returns the programs that are here, or builds them into Dir. Several
// processes may call it at once: one builds, the others wait for it.
func (f *Finder) Ensure(ctx context.Context) (Programs, error) {
	if found, err := f.Find(); !errors.Is(err, ErrNotFound) {
		return found, err
	}
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return Programs{}, fmt.Errorf("making a place for Kubernetes: %w", err)
	}
	unlock, err := toolbox.Lock(ctx, filepath.Join(f.Dir, ".lock"), func() {
		f.say("waiting for another build of Kubernetes %s into %s", Version, f.Dir)
	})
	if err != nil {
		return Programs{}, fmt.Errorf("waiting for another build of Kubernetes: %w", err)
	}
	defer unlock()
	if found, err := f.Find(); !errors.Is(err, ErrNotFound) {
		return found, err // somebody else has built it meanwhile
	}
	if err := f.install(ctx); err != nil {
		return Programs{}, fmt.Errorf("building Kubernetes %s: %w", Version, err)
	}
	return f.Find()
}

func (f *Finder) target() string { return filepath.Join(f.Dir, Version) }

func (f *Finder) say(format string, args ...any) {
	if f.Progress != nil {
		_, _ = fmt.Fprintf(f.Progress, format+"\n", args...) // nobody may be listening any more
	}
}

const controllerManager = "kube-controller-manager"

// names are what the one binary is called by.
var names = []string{"etcd", "kube-apiserver", controllerManager, "kubectl"}

// in returns the programs of a folder; only the controller manager may be missing.
func in(dir string) (Programs, error) {
	at := map[string]string{}
	for _, name := range names {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		switch {
		case errors.Is(err, os.ErrNotExist) && name == controllerManager:
			continue
		case err != nil:
			return Programs{}, fmt.Errorf("looking for %s: %w", name, err)
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			return Programs{}, fmt.Errorf("%s is no program", file)
		}
		at[name] = file
	}
	return Programs{APIServer: at["kube-apiserver"], ControllerManager: at[controllerManager], Etcd: at["etcd"], Kubectl: at["kubectl"]}, nil
}
