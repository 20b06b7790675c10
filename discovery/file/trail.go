package file

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many links a path may lead over; kernels allow as many.
const maxLinks = 40

// trail follows an absolute path as the kernel does. It says where the path ends,
// and which names decide that: every link on the way, and the end itself. A path
// that leads nowhere ends at the first name that is missing, and is not there.
func trail(path string) (end string, names []string, there bool) {
	at, rest := string(filepath.Separator), steps(path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, name) // ".." too: at holds no links
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return next, append(names, next), false
		case info.Mode()&fs.ModeSymlink == 0:
			at = next
			continue
		case len(names) == maxLinks: // they lead in a circle
			return next, names, false
		}
		names = append(names, next)
		to, err := os.Readlink(next)
		if err != nil {
			return next, names, false
		}
		if filepath.IsAbs(to) {
			at = string(filepath.Separator)
		}
		rest = append(steps(to), rest...)
	}
	return at, append(names, at), true
}

// steps are the names of a path.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
