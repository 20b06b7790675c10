package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Run reads everything, then follows edits until ctx ends. Its select waits for:
//   - an event on any directory: a quiet time begins anew, but not without end,
//     so that one busy directory does not keep the others waiting;
//   - the end of the quiet time: what looks changed is read;
//   - the recheck: everything is read, since watches lose events.
func (s *Source) Run(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s; the limits fs.inotify.max_user_instances and max_user_watches may be too low: %w", s.cfg.Dir, err)
	}
	defer func() { _ = w.Close() }()
	s.watch(w)
	s.look(ctx, true)
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	var since time.Time // of the first event that has not been answered
	soon := func() {
		now := time.Now()
		if since.IsZero() {
			since = now
		}
		if now.Sub(since) < patience*s.cfg.Quiet {
			quiet.Reset(s.cfg.Quiet)
		}
	}
	root := filepath.Clean(s.cfg.Dir)
	recheck := time.NewTicker(s.cfg.Recheck)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if filepath.Dir(e.Name) != filepath.Dir(root) || e.Name == root {
				soon() // and not for what else happens beside the root
			}
		case err := <-w.Errors:
			s.cfg.Log.Warn("watching files failed, they are read again", "dir", s.cfg.Dir, "err", err)
			soon()
		case <-quiet.C:
			since = time.Time{}
			s.watch(w) // directories that came meanwhile, before they are read
			s.look(ctx, false)
		case <-recheck.C:
			s.watch(w)
			s.look(ctx, true)
		}
	}
}

// patience is how many quiet times an event waits at most.
const patience = 10

// watch watches the root, every directory in it, and the root's parent, which
// tells when the root is moved away and back. One that cannot be watched is
// still read at every recheck.
func (s *Source) watch(w *fsnotify.Watcher) {
	root := filepath.Clean(s.cfg.Dir)
	dirs := []string{filepath.Dir(root), root}
	if entries, err := os.ReadDir(root); err == nil {
		for _, e := range entries {
			dirs = append(dirs, filepath.Join(root, e.Name()))
		}
	} else {
		_ = w.Remove(root) // the one that was watched has been moved away
	}
	watched := map[string]bool{}
	for _, d := range w.WatchList() {
		watched[d] = true
	}
	for _, d := range dirs {
		info, err := os.Stat(d)
		if err != nil || !info.IsDir() || watched[d] {
			continue
		}
		if err := w.Add(d); err != nil {
			s.cfg.Log.Warn("a directory cannot be watched; its edits take effect later", "dir", d, "within", s.cfg.Recheck, "err", err)
		}
	}
}
