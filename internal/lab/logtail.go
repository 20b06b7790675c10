package lab

import (
	"bytes"
	"os"
	"strings"
	"sync"
)

const maxTail = 64 << 10 // bytes

// logTail keeps the last of what a process printed, and all of it in a file if
// there is one. A file that cannot be written never stops the process.
type logTail struct {
	mu      sync.Mutex
	file    *os.File // nil: keep only the tail
	fileErr error    // the first fault of the file
	tail    []byte   // at most 2 × maxTail
}

func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.fileErr == nil {
		_, l.fileErr = l.file.Write(b)
	}
	if len(b) > maxTail {
		l.tail = append(l.tail[:0], b[len(b)-maxTail:]...)
		return len(b), nil
	}
	l.tail = append(l.tail, b...)
	if len(l.tail) > 2*maxTail {
		l.tail = l.tail[:copy(l.tail, l.tail[len(l.tail)-maxTail:])]
	}
	return len(b), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.tail[max(0, len(l.tail)-maxTail):])
}

// quote returns the last lines, fit for the end of an error.
func (l *logTail) quote() string {
	lines := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return "; it printed nothing"
	}
	var b bytes.Buffer
	b.WriteString("; its last lines:")
	for _, line := range lines[max(0, len(lines)-tailLines):] {
		b.WriteString("\n  | " + line)
	}
	return b.String()
}

// close closes the file and returns its first fault.
func (l *logTail) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	if l.fileErr != nil {
		return l.fileErr
	}
	return err
}
