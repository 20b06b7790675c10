package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// dataLink is the link that leads to the files in force, in the way in which
// Kubernetes mounts a Secret: renaming a new link over it changes all files at once.
const dataLink = "..data"

// WritePEM puts an identity's files into a directory, which it makes if need be.
// Whoever reads meanwhile sees all old files or all new ones, and an Envoy that
// watches the directory takes notice.
func WritePEM(dir string, p PEM) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the identity's directory: %w", err)
	}
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return fmt.Errorf("making room in the identity's directory: %w", err)
	}
	if err := fill(dir, fresh, p); err != nil {
		return errors.Join(fmt.Errorf("writing an identity into %s: %w", dir, err), os.RemoveAll(fresh))
	}
	return sweep(dir, fresh)
}

func fill(dir, fresh string, p PEM) error {
	if err := os.Chmod(fresh, 0o755); err != nil { // the key guards itself by its own mode
		return err
	}
	names := []string{CertificateFile, KeyFile, BundleFile}
	for i, b := range [][]byte{p.Certificate, p.Key, p.Bundle} {
		mode := fs.FileMode(0o644)
		if names[i] == KeyFile {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(fresh, names[i]), b, mode); err != nil {
			return err
		}
	}
	if err := inherit(dir, fresh, names); err != nil {
		return err
	}
	if err := relink(filepath.Base(fresh), filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	for _, name := range names {
		if err := relink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// relink makes a link, in place of whatever has its name, without a moment at
// which nothing has it.
func relink(target, link string) error {
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	beside := link + ".new"
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, beside); err != nil {
		return err
	}
	return os.Rename(beside, link)
}

// sweep removes the rooms of earlier writings.
func sweep(dir, fresh string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing the identity's directory of what was replaced: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), "..") || e.Name() == filepath.Base(fresh) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clearing the identity's directory of what was replaced: %w", err)
		}
	}
	return nil
}
