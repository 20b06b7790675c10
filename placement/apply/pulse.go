package apply

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// pulse feels whether a member answers, whether it is still the same cluster, and
// whether its history goes on. One small consistent read says all of it: the list of
// the one namespace kube-system.
type pulse struct {
	timeout time.Duration

	mu       sync.Mutex
	uid      types.UID // of kube-system, when it first answered; outlives connections
	revision uint64    // of its storage
	answers  bool
	since    time.Time // since when it does not answer; of one that never did, since it is known
	why      string    // it does not
}

// silence is since when a member does not answer, and why; zero: it does.
func (p *pulse) silence() (time.Time, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers {
		return time.Time{}, ""
	}
	return p.since, p.why
}

// beat is what one feeling of the pulse changed.
type beat struct {
	back    bool // it answers again
	lost    bool // it does not answer any more
	rewound bool // its history is another one, so that lists are due
}

// miss notes that nobody answers. A single miss of one that answered counts only
// after it has lasted for as long as a question may take.
func (p *pulse) miss(why string, began time.Time) beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.since = began
	}
	lost := p.answers && time.Since(p.since) >= p.timeout
	if lost {
		p.answers = false
	}
	p.why = why
	return beat{lost: lost}
}

// feel asks once.
func (p *pulse) feel(ctx context.Context, client dynamic.Interface) beat {
	began := time.Now()
	asking, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	list, err := client.Resource(namespaces).List(asking, metav1.ListOptions{FieldSelector: "metadata.name=" + metav1.NamespaceSystem})
	switch {
	case ctx.Err() != nil:
		return beat{} // nobody waits for it any more; it says nothing
	case apierrors.IsForbidden(err):
		return p.miss("it does not let us list namespaces named kube-system, by which it is told from other clusters; grant our account that, as \"meridian join\" does", began)
	case err != nil:
		return p.miss(reason(err), began)
	case len(list.Items) == 0:
		return p.miss("it has no namespace kube-system, as if it had just been set up", began)
	}
	revision, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	if err != nil {
		return p.miss(fmt.Sprintf("its storage says revision %.40q, which is no number", list.GetResourceVersion()), began)
	}
	return p.hit(list.Items[0].GetUID(), revision, time.Now())
}

// forget has the next answer waited for before anything is written: other
// credentials may lead elsewhere.
func (p *pulse) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answers {
		p.answers, p.since, p.why = false, time.Now(), "it is being connected to anew"
	}
}

// hit notes an answer. Another cluster under the same name is as good as none.
func (p *pulse) hit(uid types.UID, revision uint64, at time.Time) beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.uid == "" {
		p.uid = uid
	}
	if p.uid != uid {
		b := beat{lost: p.answers}
		p.answers = false
		if p.since.IsZero() {
			p.since = at
		}
		p.why = fmt.Sprintf("another cluster answers under this name (kube-system has the UID %.40s and had %.40s), so nothing is written there; mend the credentials, or delete the Cluster and join again", uid, p.uid)
		return b
	}
	b := beat{back: !p.answers, rewound: revision < p.revision}
	p.revision, p.answers, p.since, p.why = revision, true, time.Time{}, ""
	return b
}

// closeIdle ends connections that nobody uses any more.
func closeIdle(c *http.Client) {
	if c != nil {
		c.CloseIdleConnections()
	}
}
