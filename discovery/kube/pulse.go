package kube

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

// identity is who an API server has been so far. It outlives connections, so
// that rotated credentials that lead to another cluster are noticed.
type identity struct {
	mu  sync.Mutex
	uid types.UID // of the namespace kube-system; empty before the first answer
	met func()    // hears of the first answer; may be nil
}

// check remembers the first UID and compares every later one with it.
func (i *identity) check(uid types.UID) error {
	i.mu.Lock()
	was := i.uid
	if was == "" {
		i.uid = uid
	}
	i.mu.Unlock()
	switch {
	case was == "" && i.met != nil:
		i.met()
	case was != "" && was != uid:
		return &strangerError{was: was, is: uid}
	}
	return nil
}

// strangerError says that another cluster answers.
type strangerError struct{ was, is types.UID }

func (e *strangerError) Error() string {
	return fmt.Sprintf("another cluster answers under this name (kube-system has the UID %s and had %s), so what the first one said stays in force; mend the credentials, or delete the Cluster and join again", e.is, e.was)
}

// beat is an answer of the API server: it was there, and this far.
type beat struct {
	revision uint64 // of its storage
	losses   uint64 // see pulse
}

// pulse feels whether an API server answers, who it is, and whether its history
// goes on. One small consistent read says all of it: the list of the one
// namespace kube-system.
type pulse struct {
	namespaces metadata.Getter
	identity   *identity
	timeout    time.Duration
	changed    func() // hears of every change of trouble

	mu     sync.Mutex // held while asking: those who come meanwhile share the answer
	asked  time.Time  // when the last answer or failure came
	last   beat
	err    error // of the last asking
	state  sync.Mutex
	good   time.Time // of the last answer
	since  time.Time // of the first failure after the last answer; zero: none
	reason error     // of the last failure
	denied error     // why it would not say who it is, though it answers
}

// fresh is how long an answer is good for those who begin a list or a watch.
const fresh = 300 * time.Millisecond

// feel asks, unless somebody just did. Losses grow whenever something may have
// happened that no watch will tell: no answer, or a history that went back. A
// list made before the last loss has to be made again.
func (p *pulse) feel(ctx context.Context, force bool) (beat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !force && !p.asked.IsZero() && time.Since(p.asked) < fresh {
		return p.last, p.err
	}
	revision, err := p.ask(ctx)
	if ctx.Err() != nil {
		return p.last, ctx.Err() // nobody waits for it any more; it says nothing
	}
	p.asked, p.err = time.Now(), err
	switch {
	case err != nil:
		p.last.losses++
	case revision < p.last.revision:
		p.last = beat{revision: revision, losses: p.last.losses + 1}
	default:
		p.last.revision = revision
	}
	p.note(err)
	return p.last, err
}

func (p *pulse) ask(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	list, err := p.namespaces.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + metav1.NamespaceSystem})
	denied := err
	if !apierrors.IsForbidden(err) {
		denied = nil
	}
	p.state.Lock()
	p.denied = denied
	p.state.Unlock()
	switch {
	case denied != nil: // an answer all the same
		return p.last.revision, nil
	case err != nil:
		return 0, err
	}
	revision, err := strconv.ParseUint(list.ResourceVersion, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("its storage says revision %q, which is no number", list.ResourceVersion)
	}
	if len(list.Items) == 0 {
		return 0, fmt.Errorf("it has no namespace %s, as if it had just been set up", metav1.NamespaceSystem)
	}
	return revision, p.identity.check(list.Items[0].UID)
}

// note keeps what people are told.
func (p *pulse) note(err error) {
	p.state.Lock()
	before := p.reason
	p.reason = err
	if err == nil {
		p.good, p.since = time.Now(), time.Time{}
	} else if p.since.IsZero() {
		p.since = time.Now()
	}
	p.state.Unlock()
	if (before == nil) != (err == nil) || err != nil {
		p.changed()
	}
}

// trouble is the last failure and when failures began; nil: it answers.
func (p *pulse) trouble() (since time.Time, reason error) {
	p.state.Lock()
	defer p.state.Unlock()
	return p.since, p.reason
}

// heard is when it last answered; zero: never.
func (p *pulse) heard() time.Time {
	p.state.Lock()
	defer p.state.Unlock()
	return p.good
}

// refusal says why the API server would not say who it is; nil: it did.
func (p *pulse) refusal() error {
	p.state.Lock()
	defer p.state.Unlock()
	return p.denied
}

// namespaces is what a pulse asks for.
var namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")
