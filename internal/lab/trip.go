package lab

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	readSize      = 64 << 10 // bytes asked for at a time
	chunkOverhead = 128      // bytes a chunk costs beside its data, about
)

// trip is one relayed connection: two lines, one per direction.
type trip struct {
	client, target *net.TCPConn
	there, back    *line
	oneWay         time.Duration
	established    time.Time                       // nothing of the client's is under way before
	pass           func(stop <-chan struct{}) bool // waits while the cable is cut; false once stop is closed

	once sync.Once
}

func newTrip(client, target *net.TCPConn, window int) *trip {
	return &trip{client: client, target: target, there: newLine(window), back: newLine(window)}
}

// run relays until both directions have ended or one has failed.
func (t *trip) run() {
	var all sync.WaitGroup
	all.Go(func() { t.there.fill(t.client, t.established, t.oneWay) })
	all.Go(func() { t.back.fill(t.target, time.Time{}, t.oneWay) })
	all.Go(func() { t.deliver(t.there, t.target) })
	all.Go(func() { t.deliver(t.back, t.client) })
	all.Wait()
}

// deliver hands over what comes out of a line. A failure at its end travels back
// to the other side like everything else, and then ends both directions.
func (t *trip) deliver(l *line, dst *net.TCPConn) {
	err := l.drain(dst, t.pass)
	switch {
	case err == nil:
		if err := dst.CloseWrite(); err == nil {
			return
		}
	case errors.Is(err, errReset):
		// It has travelled with the data already.
	default:
		timer := time.NewTimer(t.oneWay)
		defer timer.Stop()
		select {
		case <-timer.C:
			t.pass(l.broken)
		case <-l.broken:
		}
	}
	t.abort()
}

// abort resets both sides and wakes whoever waits.
func (t *trip) abort() {
	t.once.Do(func() {
		reset(t.client)
		reset(t.target)
		t.there.breakOff()
		t.back.breakOff()
	})
}

var (
	errReset  = errors.New("reset by the other side")
	errBroken = errors.New("the line is broken off")
)

// chunk is what was read at one time, and when it arrives.
type chunk struct {
	due  time.Time
	data []byte
	end  error // io.EOF: the last of a stream that ended well; errReset: it did not
}

// line is one direction of a connection: a queue of bytes under way, in order and
// bounded. One goroutine fills it, another drains it.
type line struct {
	window int
	broken chan struct{} // closed by breakOff

	mu     sync.Mutex
	wake   sync.Cond // the queue or off has changed
	queue  []chunk
	inside int // bytes in the queue, overhead included
	off    bool
}

func newLine(window int) *line {
	l := &line{window: window, broken: make(chan struct{})}
	l.wake.L = &l.mu
	return l
}

// fill reads src to its end. A byte that is read now, or before notBefore, is
// due one delay later.
func (l *line) fill(src io.Reader, notBefore time.Time, delay time.Duration) {
	buf := make([]byte, readSize)
	for {
		n, err := src.Read(buf)
		at := time.Now()
		if at.Before(notBefore) {
			at = notBefore
		}
		c := chunk{due: at.Add(delay)}
		if n > 0 {
			c.data = append([]byte(nil), buf[:n]...)
		}
		switch {
		case errors.Is(err, io.EOF):
			c.end = io.EOF
		case err != nil:
			c.end = errReset
		}
		if !l.put(c) || c.end != nil {
			return
		}
	}
}

// put waits for room; false means that the line is broken off. An empty line
// takes a chunk of any size.
func (l *line) put(c chunk) bool {
	size := len(c.data) + chunkOverhead
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.off && l.inside > 0 && l.inside+size > l.window {
		l.wake.Wait()
	}
	if l.off {
		return false
	}
	l.queue = append(l.queue, c)
	l.inside += size
	l.wake.Broadcast()
	return true
}

// take waits for the next chunk; false means that the line is broken off.
func (l *line) take() (chunk, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.off && len(l.queue) == 0 {
		l.wake.Wait()
	}
	if l.off {
		return chunk{}, false
	}
	c := l.queue[0]
	l.queue[0] = chunk{} // let go of its bytes
	l.queue = l.queue[1:]
	l.inside -= len(c.data) + chunkOverhead
	l.wake.Broadcast()
	return c, true
}

// drain writes each chunk to dst when it is due and the cable is whole. It
// returns nil at the end of a stream that ended well, errReset at the end of one
// that did not, errBroken when broken off, and else why dst takes no more.
func (l *line) drain(dst io.Writer, pass func(stop <-chan struct{}) bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c, ok := l.take()
		if !ok {
			return errBroken
		}
		if wait := time.Until(c.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-l.broken:
				return errBroken
			}
		}
		if !pass(l.broken) {
			return errBroken
		}
		if len(c.data) > 0 {
			if _, err := dst.Write(c.data); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(c.end, io.EOF):
			return nil
		case c.end != nil:
			return c.end
		}
	}
}

// breakOff forgets what is under way and ends fill and drain.
func (l *line) breakOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off {
		return
	}
	l.off = true
	l.queue, l.inside = nil, 0
	close(l.broken)
	l.wake.Broadcast()
}
