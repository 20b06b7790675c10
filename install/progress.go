package install

import (
	"fmt"
	"io"
	"time"
)

// Progress tells a person what is done. The zero value is silent.
type Progress struct {
	W io.Writer
}

// Say writes one line.
func (p Progress) Say(format string, args ...any) {
	if p.W != nil {
		fmt.Fprintf(p.W, format+"\n", args...)
	}
}

const (
	sayAfter = 2 * time.Second
	sayEvery = 10 * time.Second
)

// during says that something is under way once it has taken longer than two
// seconds, and again from time to time, until the returned function is called.
func (p Progress) during(format string, args ...any) (stop func()) {
	if p.W == nil {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(gone)
		next := time.NewTimer(sayAfter)
		defer next.Stop()
		for {
			select {
			case <-done:
				return
			case <-next.C:
				p.Say("  … "+format+" (%s)", append(args, time.Since(begin).Round(time.Second))...)
				next.Reset(sayEvery)
			}
		}
	}()
	return func() { close(done); <-gone }
}
