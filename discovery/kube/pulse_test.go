package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

// fakeNamespaces answers like an API server whose storage is at a revision.
type fakeNamespaces struct {
	metadata.Getter
	uid      types.UID
	revision int
	err      error
	delay    time.Duration
	asked    int
}

func (f *fakeNamespaces) List(ctx context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	f.asked++
	if o.FieldSelector != "metadata.name=kube-system" || o.ResourceVersion != "" {
		return nil, fmt.Errorf("odd question %+v", o)
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(f.delay):
	}
	if f.err != nil {
		return nil, f.err
	}
	list := &metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(f.revision)}}
	if f.uid != "" {
		list.Items = []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{UID: f.uid}}}
	}
	return list, nil
}

// A diary of a pulse, in virtual time.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeNamespaces{uid: "a", revision: 100}
		told := 0
		p := &pulse{namespaces: f, identity: &identity{}, timeout: time.Second, changed: func() { told++ }}
		feel := func(wantLosses uint64, says string) {
			t.Helper()
			b, err := p.feel(t.Context(), true)
			if b.losses != wantLosses || (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
				t.Errorf("%+v, %v; want %d losses and %q", b, err, wantLosses, says)
			}
		}
		feel(0, "")
		f.revision = 101
		feel(0, "")
		if _, err := p.feel(t.Context(), false); err != nil || f.asked != 2 {
			t.Errorf("%v, asked %d times: an answer is shared for a while", err, f.asked)
		}
		time.Sleep(fresh)
		if _, err := p.feel(t.Context(), false); err != nil || f.asked != 3 {
			t.Errorf("%v, asked %d times: but not for long", err, f.asked)
		}

		f.revision = 50 // the storage was restored
		feel(1, "")
		f.delay = time.Minute // a black hole
		began := time.Now()
		feel(2, "deadline")
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %s", took)
		}
		since, _ := p.trouble()
		time.Sleep(time.Minute)
		feel(3, "deadline")
		if again, err := p.trouble(); err == nil || !again.Equal(since) {
			t.Errorf("trouble since %s and %s, %v", since, again, err)
		}
		f.delay = 0
		feel(3, "")
		if _, err := p.trouble(); err != nil {
			t.Error(err)
		}
		f.uid = "b"
		feel(4, "another cluster answers under this name")
		if _, err := p.trouble(); !isStranger(err) {
			t.Errorf("%v is a stranger", err)
		}
		f.uid = ""
		feel(5, "no namespace kube-system")
		f.uid = "a"
		feel(5, "")
		f.err = apierrors.NewForbidden(namespaces.GroupResource(), "", errors.New("no"))
		feel(5, "") // an answer all the same
		if p.refusal() == nil {
			t.Error("what it refuses is not kept")
		}
		f.err = apierrors.NewUnauthorized("no")
		feel(6, "no")
		if told == 0 {
			t.Error("nobody was told")
		}
	})
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"no answer in time": fmt.Errorf("x: %w", context.DeadlineExceeded),
		"renew them":        apierrors.NewUnauthorized("Unauthorized"),
		"a b c":             errors.New("a\nb\x00c"),
		"...":               errors.New(strings.Repeat("é", 1000)),
	} {
		if got := reason(err); !strings.Contains(got, want) || len(got) > 310 || strings.ContainsAny(got, "\n\x00") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for err, want := range map[error]bool{
		errors.New("dial"): true, apierrors.NewInternalError(errors.New("x")): true, apierrors.NewTooManyRequests("x", 1): true,
		apierrors.NewUnauthorized("x"): false, apierrors.NewForbidden(namespaces.GroupResource(), "", nil): false, &strangerError{}: false,
	} {
		if temporary(err) != want {
			t.Errorf("temporary(%v) is not %v", err, want)
		}
	}
}
