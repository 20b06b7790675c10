//go:build unix

package trust

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// inherit gives what is in a room to whoever owns the directory around it, so that a
// key which root renews can still be read by the program that it is for.
func inherit(dir, room string, names []string) error {
	if os.Geteuid() != 0 {
		return nil // nobody else can give anything away
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	for _, name := range names {
		if err := os.Chown(filepath.Join(room, name), int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("giving %s to the owner of %s: %w", name, dir, err)
		}
	}
	return nil
}
