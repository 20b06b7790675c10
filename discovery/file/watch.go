package file

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
	v := &watches{w: w, cfg: s.cfg, added: map[string]os.FileInfo{}, failed: map[string]bool{}}
	v.cover()
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
	recheck := time.NewTicker(s.cfg.Recheck)
	defer recheck.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.Events:
			if v.matters(e.Name) {
				soon()
			}
		case err := <-w.Errors:
			s.cfg.Log.Warn("watching files failed, they are read again", "dir", s.cfg.Dir, "err", err)
			soon()
		case <-quiet.C:
			since = time.Time{}
			v.cover() // directories that came meanwhile, before they are read
			s.look(ctx, false)
		case <-recheck.C:
			v.cover()
			s.look(ctx, true)
		}
	}
}

// patience is how many quiet times an event waits at most.
const patience = 10

// watches are the directories that are watched, by the paths that links lead to.
// They belong to Run.
type watches struct {
	w      *fsnotify.Watcher
	cfg    Config
	whole  map[string]bool        // directories of which every entry matters
	names  map[string]bool        // single entries that matter: links, and directories that may be swapped
	added  map[string]os.FileInfo // what was watched when it was added
	failed map[string]bool        // cannot be watched, as logged
}

// matters reports whether what happened to a path is a reason to read again. It
// is not for what else happens beside the root or a link.
func (v *watches) matters(path string) bool {
	return v.whole[path] || v.whole[filepath.Dir(path)] || v.names[path] ||
		v.added[path] != nil // moved or removed itself, so that it shows nothing any more
}

// cover watches the root and every directory in it, where links lead and where
// they may be repointed. One that cannot be watched is still read at every recheck.
func (v *watches) cover() {
	for range maxLinks { // as often as something came while the watches were set
		v.survey()
		if !v.renew() {
			return
		}
	}
}

// survey finds what must be watched.
func (v *watches) survey() {
	v.whole, v.names = map[string]bool{}, map[string]bool{}
	root, err := filepath.Abs(v.cfg.Dir)
	if err != nil {
		root = filepath.Clean(v.cfg.Dir)
	}
	root, there := v.follow(root)
	if !there {
		return
	}
	entries, _ := os.ReadDir(root) // an unreadable root has been said to be so by look
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			v.whole[path] = true
		case e.Type()&fs.ModeSymlink != 0:
			v.follow(path)
		}
	}
}

// follow notes what a path leads over and, when it is a directory, where to.
func (v *watches) follow(path string) (string, bool) {
	end, names, there := trail(path)
	for _, n := range names {
		v.names[n] = true
	}
	info, err := os.Stat(end)
	if !there || err != nil || !info.IsDir() {
		return end, false
	}
	v.whole[end] = true
	return end, true
}

// renew watches what survey found and nothing else. It reports whether anything
// was not watched before: it may have changed between the two.
func (v *watches) renew() (news bool) {
	wanted := map[string]bool{}
	for dir := range v.whole {
		wanted[dir] = true
	}
	for name := range v.names {
		wanted[filepath.Dir(name)] = true
	}
	watched := map[string]bool{}
	for _, dir := range v.w.WatchList() {
		if watched[dir] = true; !wanted[dir] {
			v.drop(dir)
		}
	}
	for dir := range wanted {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if old := v.added[dir]; old != nil && watched[dir] {
			if os.SameFile(old, info) {
				continue
			}
			v.drop(dir) // the one that was watched has been moved away
		}
		if err := v.w.Add(dir); err != nil {
			if !v.failed[dir] {
				v.failed[dir] = true
				v.cfg.Log.Warn("a directory cannot be watched; its edits take effect later", "dir", dir, "within", v.cfg.Recheck, "err", err)
			}
			continue
		}
		delete(v.failed, dir)
		v.added[dir], news = info, true
	}
	return news
}

func (v *watches) drop(dir string) {
	_ = v.w.Remove(dir) // one that is not watched any more is what we want
	delete(v.added, dir)
}
