package apply

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A diary of one pulse.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pulse{timeout: time.Second, since: time.Now(), why: "not yet"}
		silent := func(says string) {
			t.Helper()
			if since, why := p.silence(); (says == "") != since.IsZero() || !strings.Contains(why, says) {
				t.Errorf("silent since %s because %q, want %q", since, why, says)
			}
		}
		silent("not yet")
		if b := p.hit("u1", 10, time.Now()); !b.back || b.rewound {
			t.Errorf("the first answer is %+v", b)
		}
		silent("")
		if b := p.miss("refused", time.Now()); b.lost {
			t.Error("one miss is a loss")
		}
		silent("")
		time.Sleep(1100 * time.Millisecond)
		if b := p.miss("refused", time.Now()); !b.lost {
			t.Error("lasting misses are no loss")
		}
		silent("refused")
		if b := p.hit("u1", 9, time.Now()); !b.back || !b.rewound {
			t.Errorf("back with an older history: %+v", b)
		}
		if b := p.hit("u2", 11, time.Now()); !b.lost {
			t.Errorf("another cluster is %+v", b)
		}
		silent("another cluster answers")
		if b := p.hit("u1", 12, time.Now()); !b.back {
			t.Errorf("the first one again is %+v", b)
		}
		p.forget()
		silent("anew")
	})
}
