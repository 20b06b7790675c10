//go:build e2e

package walkthrough

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// tap listens to every packet of this network that goes to or comes from a relay.
type tap struct {
	mu     sync.Mutex
	sealed int    // packets that begin with a record of application data (RFC 8446 §5.1)
	clear  string // the first that was readable
}

// tap taps the wire until ctx ends. All that the world says passes one interface.
func (w *world) tap(ctx context.Context) *tap {
	w.T().Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
	if err != nil {
		w.T().Fatalf("tapping the wire: %v", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		w.T().Fatal(err)
	}
	t := &tap{}
	w.Background(func(context.Context) error {
		defer unix.Close(fd)
		packet := make([]byte, 64<<10)
		for ctx.Err() == nil {
			n, _, err := unix.Recvfrom(fd, packet, 0)
			switch {
			case err == nil:
				t.hear(packet[:n])
			case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
				return fmt.Errorf("tapping the wire: %w", err)
			}
		}
		return nil
	})
	return t
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// hear looks at one Ethernet frame.
func (t *tap) hear(frame []byte) {
	const ethernet, tcp = 14, 6
	if len(frame) < ethernet+20 || frame[ethernet]>>4 != 4 || frame[ethernet+9] != tcp {
		return
	}
	ip := frame[ethernet:]
	head := int(ip[0]&15) * 4
	total := min(int(binary.BigEndian.Uint16(ip[2:])), len(ip))
	if len(ip) < head+20 || total < head+20 {
		return
	}
	seg := ip[head:total]
	from, to := binary.BigEndian.Uint16(seg), binary.BigEndian.Uint16(seg[2:])
	data := int(seg[12]>>4) * 4
	if from != relayPort && to != relayPort || data > len(seg) {
		return
	}
	payload := seg[data:]
	t.mu.Lock()
	defer t.mu.Unlock()
	if bytes.HasPrefix(payload, []byte{0x17, 0x03, 0x03}) {
		t.sealed++
	}
	for _, word := range []string{"HTTP/1.", "PRI * HTTP/2", "whereami", "x-meridian-", host} {
		if t.clear == "" && bytes.Contains(payload, []byte(word)) {
			t.clear = fmt.Sprintf("%q", payload[:min(len(payload), 200)])
		}
	}
}

// secret wants that many requests crossed relays, and that nobody could read any.
func (t *tap) secret(w *world) {
	w.T().Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	w.T().Logf("%d packets of encrypted data passed the relays", t.sealed)
	if t.sealed < 50 {
		w.T().Errorf("only %d packets of encrypted data passed the relays", t.sealed)
	}
	if t.clear != "" {
		w.T().Errorf("a relay was spoken to in the clear: %s", t.clear)
	}
}
