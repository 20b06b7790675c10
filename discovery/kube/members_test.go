package kube

import (
	"testing"

	"github.com/meridian-lb/meridian/fleet"
)

// What a member said before a restart is forgotten when it leaves: one of its name
// that comes later begins with nothing.
func TestAMemberThatLeftIsForgotten(t *testing.T) {
	known := []fleet.Update{{Source: "i/kube/a"}, {Source: "i/kube/b"}, {Source: "i/file/a"}}
	ms := &members{cfg: Config{Instance: "i", Known: known}}
	ms.forget("a")
	if len(ms.cfg.Known) != 2 || ms.cfg.Known[0].Source != "i/kube/b" || ms.cfg.Known[1].Source != "i/file/a" {
		t.Errorf("remembered: %+v", ms.cfg.Known)
	}
	if len(known) != 3 || known[0].Source != "i/kube/a" {
		t.Errorf("somebody else's list was changed: %+v", known)
	}
}
