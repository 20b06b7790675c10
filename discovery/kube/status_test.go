package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whoever ends lets go of the lease, so that the next one need not wait until it runs out.
func TestTheNextOneWritesAtOnce(t *testing.T) {
	host := sites(t, "host")["host"]
	host.install(t)
	holder := func() string {
		l, err := host.admin.CoordinationV1().Leases("meridian-system").Get(t.Context(), leaseName, metav1.GetOptions{})
		if err != nil || l.Spec.HolderIdentity == nil {
			return ""
		}
		return *l.Spec.HolderIdentity
	}
	stop := started(t, Config{Host: host.REST(), Tell: newKeeper().tell})
	eventually(t, func() error {
		if h := holder(); h != "i" {
			return fmt.Errorf("held by %q", h)
		}
		return nil
	})
	stop()
	if h := holder(); h != "" {
		t.Errorf("it has ended and %q holds the lease", h)
	}
}

// An elector may win again while the turn that it lost still ends.
func TestOneTurnEndsBeforeTheNextBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		s := newScribe(&Installation{log: slog.New(slog.NewTextHandler(&said, nil)), cfg: Config{Pace: Pace{}.filled()}})
		begun := func() int { synctest.Wait(); return strings.Count(said.String(), "this replica writes status") }
		first, lose := context.WithCancel(t.Context())
		go s.turn(first)
		if n := begun(); n != 1 {
			t.Fatalf("%d turns have begun, want the first", n)
		}
		second, end := context.WithCancel(t.Context())
		go s.turn(second)
		if n := begun(); n != 1 {
			t.Errorf("%d turns have begun while the first one lasts", n)
		}
		lose()
		if n := begun(); n != 2 {
			t.Errorf("%d turns have begun when the first one is over, want 2", n)
		}
		end()
	})
}
