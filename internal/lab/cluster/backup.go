package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
)

const dataDir = "etcd" // below Config.Dir

// Backup is the state of a cluster at one moment.
type Backup struct{ dir string }

// Backup copies everything that etcd keeps. The cluster does not stop for it:
// etcd stands still while it is copied and finds itself, in a copy, as after a crash.
func (c *Cluster) Backup() (*Backup, error) {
	dir, err := os.MkdirTemp(c.cfg.Dir, "backup-")
	if err != nil {
		return nil, fmt.Errorf("backing up %s: %w", c.cfg.Name, err)
	}
	if c.etcd != nil {
		if err := c.etcd.Pause(); err != nil {
			return nil, fmt.Errorf("backing up %s: %w", c.cfg.Name, err)
		}
	}
	err = os.CopyFS(dir, os.DirFS(c.file(dataDir)))
	if c.etcd != nil {
		err = errors.Join(err, c.etcd.Resume())
	}
	if err != nil {
		return nil, fmt.Errorf("backing up %s: %w", c.cfg.Name, err)
	}
	return &Backup{dir: dir}, nil
}

// Restore puts the cluster back to where it was at the backup: everything that
// happened since is undone and resourceVersions go back, which clients find out
// for themselves. It stops and starts all that runs of the cluster. A backup can
// be restored more than once.
func (c *Cluster) Restore(ctx context.Context, b *Backup) error {
	if err := c.Stop(); err != nil {
		return fmt.Errorf("restoring %s: %w", c.cfg.Name, err)
	}
	data := c.file(dataDir)
	if err := os.RemoveAll(data); err != nil {
		return fmt.Errorf("restoring %s: %w", c.cfg.Name, err)
	}
	if err := os.CopyFS(data, os.DirFS(b.dir)); err != nil {
		return fmt.Errorf("restoring %s: %w", c.cfg.Name, err)
	}
	if err := os.Chmod(data, 0o700); err != nil { // etcd insists
		return fmt.Errorf("restoring %s: %w", c.cfg.Name, err)
	}
	if err := c.start(ctx); err != nil {
		return fmt.Errorf("restoring %s: %w", c.cfg.Name, err)
	}
	return nil
}
