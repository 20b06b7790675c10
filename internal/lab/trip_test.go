package lab

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func open(<-chan struct{}) bool { return true }

// arrivals notes what arrives and when.
type arrivals struct {
	start time.Time
	data  []byte
	at    []time.Duration
}

func (a *arrivals) Write(b []byte) (int, error) {
	a.data = append(a.data, b...)
	for range b {
		a.at = append(a.at, time.Since(a.start))
	}
	return len(b), nil
}

// TestLineDelays: whatever is written, in whatever rhythm, every byte arrives in
// order and exactly one delay after it was sent.
func TestLineDelays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		delay := time.Duration(rapid.IntRange(0, 300).Draw(rt, "delay")) * time.Millisecond
		gaps := rapid.SliceOfN(rapid.IntRange(0, 500), 1, 20).Draw(rt, "gaps in ms")
		synctest.Test(t, func(*testing.T) {
			in, out := io.Pipe()
			l := newLine(defaultWindow)
			start := time.Now()
			got := &arrivals{start: start}
			done := make(chan error)
			go l.fill(in, time.Time{}, delay)
			go func() { done <- l.drain(got, open) }()
			var sent []byte
			var want []time.Duration
			for i, gap := range gaps {
				time.Sleep(time.Duration(gap) * time.Millisecond)
				b := bytes.Repeat([]byte{byte(i)}, i+1)
				if _, err := out.Write(b); err != nil {
					rt.Fatal(err)
				}
				sent = append(sent, b...)
				for range b {
					want = append(want, time.Since(start)+delay)
				}
			}
			if err := out.Close(); err != nil {
				rt.Fatal(err)
			}
			if err := <-done; err != nil {
				rt.Fatalf("the stream ended well, but drain says %v", err)
			}
			if !bytes.Equal(got.data, sent) {
				rt.Fatalf("sent %v, got %v", sent, got.data)
			}
			if !slices.Equal(got.at, want) {
				rt.Fatalf("wanted the bytes at %v, got them at %v", want, got.at)
			}
			if ended := time.Since(start); ended != want[len(want)-1] {
				rt.Fatalf("the end came after %v, the last byte after %v", ended, want[len(want)-1])
			}
		})
	})
}

func TestLineChargesTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		l := newLine(defaultWindow)
		got := &arrivals{start: time.Now()}
		done := make(chan error)
		go l.fill(in, time.Now().Add(100*time.Millisecond), 50*time.Millisecond)
		go func() { done <- l.drain(got, open) }()
		writeAll(t, out, "a")
		time.Sleep(time.Second)
		writeAll(t, out, "b")
		if err := errors.Join(out.Close(), <-done); err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{150 * time.Millisecond, 1050 * time.Millisecond}; !slices.Equal(got.at, want) {
			t.Errorf("bytes arrived at %v, want %v", got.at, want)
		}
	})
}

// TestLineIsBounded: a sender that outruns the way waits when the window is full,
// and not a byte earlier.
func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1000
		in, out := io.Pipe()
		l := newLine(3 * (size + chunkOverhead))
		got := &arrivals{start: time.Now()}
		done := make(chan error)
		go l.fill(in, time.Time{}, time.Second)
		go func() { done <- l.drain(got, open) }()
		var accepted []time.Duration
		for range 6 {
			writeAll(t, out, string(make([]byte, size)))
			synctest.Wait()
			accepted = append(accepted, time.Since(got.start))
		}
		// One chunk is in the hands of drain, three in the queue and one in
		// those of fill; the sixth has to wait for the first to arrive.
		want := []time.Duration{0, 0, 0, 0, 0, time.Second}
		if !slices.Equal(accepted, want) {
			t.Errorf("chunks were accepted at %v, want %v", accepted, want)
		}
		if err := errors.Join(out.Close(), <-done); err != nil {
			t.Fatal(err)
		}
		if len(got.data) != 6*size {
			t.Errorf("%d bytes arrived, want %d", len(got.data), 6*size)
		}
	})
}

func TestLineEnds(t *testing.T) {
	t.Run("a reset travels behind the data", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			in, out := io.Pipe()
			l := newLine(defaultWindow)
			got := &arrivals{start: time.Now()}
			done := make(chan error)
			go l.fill(in, time.Time{}, time.Second)
			go func() { done <- l.drain(got, open) }()
			writeAll(t, out, "last words")
			if err := out.CloseWithError(errors.New("connection reset by peer")); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, errReset) {
				t.Errorf("drain says %v, want %v", err, errReset)
			}
			if string(got.data) != "last words" || time.Since(got.start) != time.Second {
				t.Errorf("after %v there was %q", time.Since(got.start), got.data)
			}
		})
	})
	t.Run("breaking off wakes all who wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			in, out := io.Pipe()
			l := newLine(1) // one chunk at a time
			filled, drained := make(chan struct{}), make(chan error)
			go func() { l.fill(in, time.Time{}, time.Hour); close(filled) }()
			go func() { drained <- l.drain(io.Discard, open) }()
			for range 3 { // the third is stuck in fill
				writeAll(t, out, "x")
			}
			synctest.Wait()
			start := time.Now()
			l.breakOff()
			l.breakOff()
			<-filled
			if err := <-drained; !errors.Is(err, errBroken) {
				t.Errorf("drain says %v, want %v", err, errBroken)
			}
			if waited := time.Since(start); waited != 0 {
				t.Errorf("it took %v", waited)
			}
		})
	})
	t.Run("a receiver that takes no more", func(t *testing.T) {
		l := newLine(defaultWindow)
		full := errors.New("broken pipe")
		r, w := io.Pipe()
		if err := r.CloseWithError(full); err != nil {
			t.Fatal(err)
		}
		if !l.put(chunk{data: []byte("x")}) {
			t.Fatal("the line is broken off")
		}
		if err := l.drain(w, open); !errors.Is(err, full) {
			t.Errorf("drain says %v, want %v", err, full)
		}
	})
}

func TestGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gates{cut: map[link]bool{}, changed: make(chan struct{})}
		passes := func(l link) bool {
			stop := make(chan struct{})
			result := make(chan bool)
			go func() { result <- g.wait(stop, l) }()
			synctest.Wait()
			close(stop)
			return <-result
		}
		ours, theirs := link{"eu", "gw-us"}, link{"asia", "gw-us"}
		for _, cut := range []link{ours, {"eu", ""}, {"", "gw-us"}, {}} {
			if !passes(ours) {
				t.Fatalf("nothing is cut, but %v is", ours)
			}
			g.set(cut, true)
			if passes(ours) {
				t.Errorf("%v is cut, but %v passes", cut, ours)
			}
			if wide := cut.site == ""; passes(theirs) == wide {
				t.Errorf("%v is cut; %v passes: %v", cut, theirs, !wide)
			}
			released := make(chan bool)
			go func() { released <- g.wait(nil, ours) }()
			synctest.Wait()
			g.set(cut, false)
			if !<-released {
				t.Errorf("%v is restored, but who waited was turned away", cut)
			}
		}
	})
}

func writeAll(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Error(err)
	}
}
