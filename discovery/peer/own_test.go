package peer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
	"github.com/meridian-lb/meridian/trust"
)

// all are the lines so far, which it takes away.
func (l *spoken) all() []string {
	var list []string
	for {
		select {
		case line := <-l.lines:
			list = append(list, line)
		default:
			return list
		}
	}
}

func aLog() *spoken { return &spoken{lines: make(chan string, 1000)} }

// The chart lists all replicas, so every daemon's own address is among its peers.
// It is left alone but for a look a minute, since it may lead to another some day.
func TestOurOwnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t)
		ours := m.papers(t, trust.Control, "us-1", m)
		w, e, clientSaid, serverSaid := &wire{}, newEars(), aLog(), aLog()
		server := NewServer(ServerConfig{Instance: "us-1", Listener: w.mend(), Creds: serves(ours), Log: serverSaid.logger()})
		server.Tell(nowhere)(t.Context(), fleet.Update{Source: "us-1/file", Whole: true, Put: []fleet.Fact{zoneFact("a.", "1.")}})
		stop := run(t, server.Run)
		run(t, NewClient(ClientConfig{Instance: "us-1", Peers: []Peer{{Address: "passthrough:///us"}}, Tell: e.Tell, Creds: calls(ours), Dial: w.dial, Log: clientSaid.logger()}).Run)

		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		if got := len(w.attempts()); got != 10 {
			t.Errorf("%d looks in ten minutes", got)
		}
		if said := clientSaid.all(); len(said) != 1 || !strings.Contains(said[0], "level=INFO") || !strings.Contains(said[0], "it is this daemon itself, us-1") {
			t.Errorf("it was said:\n%s", strings.Join(said, ""))
		}
		if said := serverSaid.all(); len(said) != 0 {
			t.Errorf("to itself it said:\n%s", strings.Join(said, ""))
		}
		if got := e.said(); len(got) != 0 {
			t.Errorf("it told itself %v", got)
		}

		stop()
		w.cut()
		another := NewServer(ServerConfig{Instance: "us-2", Listener: w.mend(), Creds: serves(m.papers(t, trust.Control, "us-2", m))})
		another.Tell(nowhere)(t.Context(), fleet.Update{Source: "us-2/file", Whole: true, Put: []fleet.Fact{zoneFact("b.", "1.")}})
		run(t, another.Run)
		time.Sleep(ownWait + time.Second)
		synctest.Wait()
		e.want(t, "when the address leads to another", "us-2/file", "", map[string]string{"b.": "1."})
	})
}

// In plaintext nobody can tell ourselves from an impostor: nothing is ever taken,
// and it is said once.
func TestOurOwnNameInPlaintext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e, told := &wire{}, newEars(), aLog()
		serveScript(t, w, &scripted{says: []*factv1.Update{{Instance: "us-1"}, said("us-1/file", zoneFact("stolen.", "1."))}})
		run(t, NewClient(ClientConfig{Instance: "us-1", Peers: []Peer{{Address: "passthrough:///us"}}, Tell: e.Tell, Dial: w.dial, Log: told.logger()}).Run)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := len(w.attempts()); got < 100 {
			t.Errorf("%d attempts in ten minutes", got)
		}
		if said := told.all(); len(said) != 1 || !strings.Contains(said[0], "level=INFO") || !strings.Contains(said[0], "which is our own name") {
			t.Errorf("it was said:\n%s", strings.Join(said, ""))
		}
		if got := e.said(); len(got) != 0 {
			t.Errorf("it was let to tell %v", got)
		}
	})
}
