package file

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/fleet"
)

// strays are the files and directories of one place that are not read although
// they look as if somebody meant them to be.
type strays struct {
	cluster  string // whose place it is
	problems []fleet.Problem
	more     int // problems beyond maxFaults
}

func (s *strays) fail(kind, name, format string, args ...any) {
	if len(s.problems) == maxFaults {
		s.more++
		return
	}
	name = printable(name)
	s.problems = append(s.problems, fleet.Problem{
		About:  fleet.Origin{Cluster: s.cluster, Kind: kind, Name: name, File: name},
		Reason: "Misplaced", Message: fmt.Sprintf(format, args...),
	})
}

// file notes a file that stands beside the directories of clusters.
func (s *strays) file(name string) {
	s.fail("File", name, "objects stand in directories, one for each cluster, so this file is not read; move it into the directory of its cluster, or into %s if it belongs to none", HostDir)
}

// directory notes a directory that is no cluster's, if any file in it looks as
// if it were to be read; dir is where it stands.
func (s *strays) directory(dir, name string, why string, args ...any) {
	budget := maxLooked
	if found := manifestIn(dir, &budget); found != "" {
		s.fail("Directory", name, "holds %s, but %s", printable(found), fmt.Sprintf(why, args...))
	}
}

// unnamed notes a directory beside those of clusters that has no cluster's name.
func (s *strays) unnamed(dir, name string) {
	if name == v1alpha1.HostCluster {
		s.directory(dir, name, "nothing is read from a directory of that name; move its files into the directory of their cluster, or rename it to %s if they belong to the installation as a whole", HostDir)
		return
	}
	s.directory(dir, name, "no cluster can have this name (a to z, 0 to 9 and dashes), so nothing in it is read; rename it, or move its files into the directory of their cluster")
}

// nested notes a directory inside a cluster's.
func (s *strays) nested(dir, name string) {
	s.directory(dir, name, "directories inside a cluster's are not read; move its files into the one that is, %s", path.Dir(name))
}

// list is what was found.
func (s *strays) list() []fleet.Problem {
	if s.more == 0 {
		return s.problems
	}
	last := s.problems[len(s.problems)-1].About
	return append(slices.Clone(s.problems), fleet.Problem{About: last, Reason: "TooMany",
		Message: fmt.Sprintf("and %d more are not read for the same reason; move these first and look again", s.more)})
}

// maxLooked is how many entries of a stray directory are looked at: it is
// somebody's mistake and deserves no more.
const maxLooked = 1000

// manifestIn finds a file of objects in a directory or below it; empty: none.
// What cannot be read is passed over, since nobody can tell what it is.
func manifestIn(dir string, budget *int) string {
	f, err := os.Open(dir)
	if err != nil {
		return ""
	}
	entries, _ := f.ReadDir(max(*budget, 1)) // as many as could be read are looked at
	_ = f.Close()
	*budget -= len(entries) + 1
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if isManifest(e.Name()) && !e.IsDir() {
			return e.Name()
		}
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || *budget <= 0 {
			continue
		}
		if found := manifestIn(filepath.Join(dir, e.Name()), budget); found != "" {
			return e.Name() + "/" + found
		}
	}
	return ""
}
