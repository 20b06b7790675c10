package file

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/meridian-lb/meridian/fleet"
)

// The bounds of one directory.
const (
	maxFiles = 10_000
	maxTotal = 256 << 20 // bytes of all its files
)

// settled is how old a file's time of change must be before it can be trusted to
// move at the next change: clocks of file systems are coarse.
const settled = 2 * time.Second

// site is one directory: what was last read of its files and last told of it. It
// belongs to Run.
type site struct {
	cluster string // or v1alpha1.HostCluster
	source  string // of facts
	files   map[string]*contents
	nested  []fleet.Problem // of directories inside it
	names   queues
	made    backends

	told  bool   // something whole was told
	stale string // as told
	facts map[fleet.FactName]fleet.Value

	// remembered is what an earlier process told, until the first look; from then
	// on held is the part of it that stands in for files that have been broken
	// ever since.
	remembered map[fleet.FactName]fleet.Value
	held       map[fleet.FactName]holding
}

// contents is what is in force of one file.
type contents struct {
	content
	never bool        // broken in part, and never seen in good order by this process
	info  os.FileInfo // when last read; nil when it could not be
	read  time.Time
	sum   [sha256.Size]byte
}

func newSite(cluster, source string) *site {
	return &site{cluster: cluster, source: source, files: map[string]*contents{}}
}

// look reads the directory again and returns what there is to tell, if anything.
// Files that look unchanged are skipped unless all is set. dir is empty for a
// directory that need not exist and does not. extra are problems found beside it.
func (s *site) look(dir string, all bool, extra []fleet.Problem) (fleet.Update, bool) {
	if err := s.readAll(dir, all); err != nil {
		return s.lost(err)
	}
	var files []*contents
	problems := slices.Concat(extra, s.nested)
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		files = append(files, s.files[name])
		problems = append(problems, s.files[name].problems...)
	}
	names := claim(files, s.names)
	after, found, made := facts(s.cluster, names, s.made)
	s.names, s.made = names.queues, made
	s.recall(after)
	byFile(after, append(problems, found...))
	changed := renew(s.facts, after)
	if !changed && s.told && s.stale == "" {
		return fleet.Update{}, false
	}
	s.facts, s.told, s.stale = after, true, ""
	return fleet.Update{Source: s.source, Whole: true, Put: listed(after)}, true
}

// lost says that the directory cannot be read. That is never a deletion: what
// was told stays in force and becomes stale.
func (s *site) lost(err error) (fleet.Update, bool) {
	why := fmt.Sprintf("%v; mend that, until then what was said before holds", err)
	if s.stale == why {
		return fleet.Update{}, false
	}
	s.stale = why
	return fleet.Update{Source: s.source, Stale: why}, true
}

// readAll reads the files of the directory. Its error is the directory's; what is
// wrong with a file is a problem of that file.
func (s *site) readAll(dir string, all bool) error {
	var names []string
	inside := strays{cluster: s.cluster}
	if dir != "" {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("reading the directory of %s: %w", s.cluster, err)
		}
		for _, e := range entries {
			if isManifest(e.Name()) && !e.IsDir() {
				names = append(names, e.Name())
			}
			if !strings.HasPrefix(e.Name(), ".") && isDir(dir, e) {
				inside.nested(filepath.Join(dir, e.Name()), s.path(e.Name()))
			}
		}
	}
	s.nested = inside.list()
	for name := range s.files {
		if _, there := slices.BinarySearch(names, name); !there {
			delete(s.files, name)
		}
	}
	var total int64
	for i, name := range names {
		var err error
		if i >= maxFiles {
			err = &fault{0, "TooMany", fmt.Sprintf("the directory has more than %d files and this one is beyond; join files", maxFiles)}
		} else {
			err = s.readFile(dir, name, all, &total)
		}
		switch f := (*fault)(nil); {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist): // removed since the directory was listed
			delete(s.files, name)
		case errors.As(err, &f):
			s.unread(name, f)
		default:
			s.unread(name, &fault{0, "Unreadable", fmt.Sprintf("the file cannot be read: %v; make it readable, until then what it said before holds", bare(err))})
		}
	}
	return nil
}

// isManifest reports whether a directory's entry is a file of objects. Names that
// begin with a dot are editors' and mounts' own.
func isManifest(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml" || ext == ".json")
}

// isDir reports whether an entry of dir is a directory or a link to one.
func isDir(dir string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && info.IsDir()
}

// bare is an error without the path, which the problem names already.
func bare(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// unread keeps what the file said before and notes why it cannot be read now.
func (s *site) unread(name string, f *fault) {
	c := &contents{never: true}
	if old := s.files[name]; old != nil {
		c.objects, c.never = kept(old.objects, nil, func(string) bool { return true }), old.never
	}
	d := decoder{cluster: s.cluster, file: s.path(name)}
	d.fail(fleet.Problem{About: d.here(f.line), Reason: f.reason, Message: f.message})
	c.problems, c.broken = d.problems, true
	s.files[name] = c
}

// path is how a file is named to people and in facts: the same on every machine
// that has a copy of the tree.
func (s *site) path(name string) string { return directoryOf(s.cluster) + "/" + name }

// readFile reads one file, unless it looks as it did.
func (s *site) readFile(dir, name string, all bool, total *int64) error {
	path := filepath.Join(dir, name)
	old := s.files[name]
	info, err := os.Stat(path)
	if err != nil {
		if link, lerr := os.Lstat(path); lerr == nil && link.Mode()&fs.ModeSymlink != 0 && errors.Is(err, fs.ErrNotExist) {
			return &fault{0, "Unreadable", "the file is a link that leads nowhere; mend the link, until then what it said before holds"}
		}
		return err
	}
	*total += info.Size()
	switch {
	case !info.Mode().IsRegular():
		return &fault{0, "Unreadable", "is no regular file; remove it or move it elsewhere"}
	case info.Size() > maxFile:
		return &fault{0, "TooLarge", fmt.Sprintf("the file has %d bytes, at most %d are read; divide it, until then what it said before holds", info.Size(), maxFile)}
	case *total > maxTotal:
		return &fault{0, "TooLarge", fmt.Sprintf("the directory's files have more than %d MiB together and this one is beyond; make them smaller", maxTotal>>20)}
	case !all && old != nil && old.looksLike(info):
		return nil
	}
	now := time.Now()
	data, err := readBounded(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if old != nil && old.info != nil && old.sum == sum {
		old.info, old.read = info, now
		return nil
	}
	if len(data) == 0 && old != nil && len(old.objects) > 0 {
		return &fault{0, "EmptyFile", "the file is empty, as if somebody were about to write it, so what it said before holds; write it or remove it"}
	}
	c := &contents{content: decode(s.cluster, s.path(name), data), info: info, read: now, sum: sum}
	for id := range c.foreign {
		if old == nil || !old.foreign[id] {
			c.suspects[id.name] = true
		}
	}
	c.never = (c.broken || len(c.suspects) > 0) && (old == nil || old.never)
	if old != nil {
		c.objects = append(c.objects, kept(old.objects, c.objects, c.mayHold)...)
	}
	s.files[name] = c
	return nil
}

// looksLike reports whether a file is surely the one that was read.
func (c *contents) looksLike(info os.FileInfo) bool {
	return c.info != nil && os.SameFile(c.info, info) && c.info.Size() == info.Size() &&
		c.info.ModTime().Equal(info.ModTime()) && c.read.Sub(info.ModTime()) > settled
}

// readBounded reads a regular file that may be swapped for something else, or
// grow, while it is opened.
func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fault{0, "TooLarge", fmt.Sprintf("the file has more than %d bytes; divide it, until then what it said before holds", maxFile)}
	}
	return data, err
}

// kept are the objects of old that are not among those that stand anew, and that
// may be behind a fault.
func kept(old, anew []object, mayBe func(name string) bool) []object {
	ids := make(map[identity]bool, len(anew))
	for _, o := range anew {
		ids[o.id] = true
	}
	var list []object
	for _, o := range old {
		if !ids[o.id] && mayBe(o.id.name) {
			o.kept = true
			list = append(list, o)
		}
	}
	return list
}
