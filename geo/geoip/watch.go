package geoip

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// file is a database that an operator mounts and replaces.
type file struct {
	in   int // its layer
	path string

	// Used by Run only.
	seen  os.FileInfo // at the last look; nil: it was not there
	tried os.FileInfo // at the last attempt to load it
	again bool        // try again even so: there was no attempt, or it could not read the file

	// Guarded by Locator.mu.
	db    *database // in use; nil while none has been loaded
	fault string    // of the last attempt
}

// look looks at the file's directory entry. It reports whether the file moved
// since the last look, and whether it should be loaded.
func (f *file) look() (moved, due bool) {
	now, err := os.Stat(f.path)
	if err != nil {
		now = nil
	}
	moved = !sameFile(f.seen, now)
	f.seen = now
	return moved, !sameFile(f.tried, now) || f.again && now != nil
}

// Run loads the data and then follows the files until ctx ends, when it returns
// nil. It is called once.
//
// First it makes the embedded country table, which takes about half a second of
// one core; until that is done and the files are loaded, Locate goes on with
// what there is, and then Ready is closed. A file that is replaced by renaming,
// or written in place, is loaded once it has not changed for Config.Quiet. A
// file that cannot be loaded is logged and counted, and changes nothing.
func (l *Locator) Run(ctx context.Context) error {
	y := embeddedLayer()
	l.mu.Lock()
	l.set(inEmbedded, y)
	l.mu.Unlock()

	var events <-chan fsnotify.Event // nil, and so silent, without a watcher
	var troubles <-chan error
	watch := func() {}
	if w, err := fsnotify.NewWatcher(); err != nil {
		l.log.Warn("geo databases are not watched, only looked at from time to time; raise fs.inotify.max_user_instances to load new ones at once",
			"error", err, "every", l.cfg.Recheck)
	} else {
		defer func() { _ = w.Close() }()
		events, troubles = w.Events, w.Errors
		watch = func() {
			for _, f := range l.files {
				_ = w.Add(filepath.Dir(f.path)) // one that is not there yet is tried again at the next recheck
			}
		}
	}
	watch() // before the first load, so that no change falls between the two
	l.first()
	l.follow(ctx, events, troubles, watch)
	return nil
}

// first is the load at the start, after which Locate says what it can.
func (l *Locator) first() {
	for _, f := range l.files {
		f.look()
		l.load(f)
	}
	if t := l.table.Load(); t[inCity] == nil && t[inCountry] == nil {
		l.log.Info("using embedded country data, country level; mount a City mmdb for sub-country steering", "version", EmbeddedVersion)
	}
	close(l.ready)
}

// follow loads files as they change. Its cases: the end; a change in a
// directory, which begins the quiet time anew when it was to a file of ours; the
// end of the quiet time; trouble of the watcher, such as lost events; and a look
// from time to time, since watches lose events and do not see through links.
func (l *Locator) follow(ctx context.Context, events <-chan fsnotify.Event, troubles <-chan error, watch func()) {
	quiet := time.NewTimer(l.cfg.Quiet)
	defer quiet.Stop()
	recheck := time.NewTicker(l.cfg.Recheck)
	defer recheck.Stop()
	// settled loads what is due unless something moves; then that must come to rest first.
	settled := func(load bool) {
		for _, f := range l.files {
			switch moved, due := f.look(); {
			case moved && due:
				quiet.Reset(l.cfg.Quiet)
			case due && load:
				l.load(f)
			}
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			settled(false)
		case err, ok := <-troubles:
			if !ok {
				troubles = nil
				continue
			}
			l.log.Warn("events about geo databases were lost; looking at the files instead", "error", err)
			settled(false)
		case <-quiet.C:
			settled(true)
		case <-recheck.C:
			watch()
			quiet.Reset(l.cfg.Quiet)
		}
	}
}

// load loads a file and swaps its layer in. On any fault what is in use stays in use.
func (l *Locator) load(f *file) {
	f.tried, f.again = f.seen, false
	name := layerNames()[f.in]
	data, err := readFile(f.path, l.cfg.MaxSize)
	var db *database
	if err != nil {
		f.again = true
	} else {
		db, err = parse(data, f.in)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.metrics.loads.WithLabelValues(name, "failed").Inc()
		if fault := f.sentence(err); fault != f.fault {
			f.fault = fault
			l.log.Error(fault)
		}
		return
	}
	f.db, f.fault = db, ""
	l.set(f.in, db.layer)
	l.metrics.loads.WithLabelValues(name, "ok").Inc()
	l.metrics.built.WithLabelValues(name).Set(float64(db.built.Unix()))
	l.log.Info("loaded geo database", "layer", name, "path", f.path, "type", db.kind, "built", db.built, "networks", db.networks)
}

// sentence says what is wrong with the file, what is used instead, and what to do.
func (f *file) sentence(err error) string {
	use := "the layers below it are used"
	if f.db != nil {
		use = "the data built " + f.db.built.Format(time.DateOnly) + " stays in use"
	}
	return fmt.Sprintf("%s database %s was not loaded because %v; %s until a complete %s database in MaxMind format is renamed into its place",
		layerNames()[f.in], f.path, err, use, typeNames(f.in))
}
