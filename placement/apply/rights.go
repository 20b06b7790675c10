package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/meridian-lb/meridian/placement"
)

const (
	// maxClaims bounds how many answers are kept.
	maxClaims = 4000
	// perClaim is the least time between two questions, of which each claim is up to
	// three, so that many claims are asked for again less often and not all at once.
	perClaim = 20 * time.Millisecond
	// answersHold is for how many rounds an answer holds that cannot be had again.
	answersHold = 4
	// anyResource is asked for where nobody knows the resource of a kind: who may write
	// everything of its group may write it.
	anyResource = "*"
)

// writing is what carrying a workload out does in a cluster.
var writing = []string{"create", "patch", "delete"}

// claim is that an account may write objects of a kind in its namespace of the host.
type claim struct {
	account
	schema.GroupKind
}

// answer is what the host said of a claim.
type answer struct {
	version string             // in which the kind was named
	asking  map[types.UID]bool // workloads that make the claim

	at    time.Time // of the last answer; zero: there was none
	tried time.Time // of the last question
	why   string    // it may not, in a sentence; empty: it may
	fault string    // why there was no answer to the last question; empty: there was
}

// rights are the answers of the host to whether accounts may write. One goroutine asks,
// and asks again, so that a right that is withdrawn is noticed. An answer that cannot be
// had is no permission, and nothing is ever taken away for it.
type rights struct {
	review    func(context.Context, *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error)
	served    func(groupVersion string) (*metav1.APIResourceList, error)
	resources map[schema.GroupKind]string
	every     time.Duration
	timeout   time.Duration
	touch     func(workload types.UID) // hears that an answer became another one; must not block
	term      func() context.Context   // of our writing; nil while another replica writes
	meter     *metrics

	mu    sync.Mutex
	known map[claim]*answer
	of    map[types.UID][]claim
	wake  chan struct{}
}

func newRights(a *Applier, client kubernetes.Interface) *rights {
	return &rights{
		review: func(ctx context.Context, r *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
			return client.AuthorizationV1().SubjectAccessReviews().Create(ctx, r, metav1.CreateOptions{})
		},
		served: a.conn.discovery.ServerResourcesForGroupVersion, resources: a.cfg.Resources, every: a.cfg.Pace.Rights, timeout: a.cfg.Pace.Timeout,
		touch: a.desk.touch, term: a.term.writing, meter: a.meter,
		known: map[claim]*answer{}, of: map[types.UID][]claim{}, wake: make(chan struct{}, 1),
	}
}

// verdict is what is known of all claims of a workload.
type verdict struct {
	reason  string // in one word, of why it may not be written; empty: it may, or nobody knows yet
	message string
	pending bool // nobody knows yet; the workload is touched when somebody does
}

// judge says whether a workload may be written that makes these claims, and has just these
// asked for from now on.
func (r *rights) judge(uid types.UID, claims map[claim]string, now time.Time) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	sorted := slices.SortedFunc(maps.Keys(claims), func(a, b claim) int { return strings.Compare(a.GroupKind.String(), b.GroupKind.String()) })
	for _, c := range r.of[uid] {
		if _, stays := claims[c]; !stays {
			r.drop(uid, c)
		}
	}
	r.of[uid] = sorted
	var out verdict
	for _, c := range sorted {
		a := r.known[c]
		if a == nil {
			if len(r.known) >= maxClaims {
				return verdict{reason: reasonUnasked, message: fmt.Sprintf("whether %s may write %s is beyond the %d questions that the host cluster is asked; let workloads be carried out for fewer ServiceAccounts", c.user(), c.Kind, maxClaims)}
			}
			a = &answer{version: claims[c], asking: map[types.UID]bool{}}
			r.known[c] = a
			r.poke()
		}
		a.asking[uid] = true
		switch {
		case !a.at.IsZero() && now.Sub(a.at) < answersHold*r.round() && a.why != "":
			return verdict{reason: reasonForbidden, message: a.why}
		case !a.at.IsZero() && now.Sub(a.at) < answersHold*r.round():
		case a.fault != "":
			out = verdict{reason: reasonUnasked, message: fmt.Sprintf("the host cluster could not be asked whether %s may write %s, so what is placed stays and nothing new is written: %s", c.user(), c.Kind, a.fault)}
		case out.reason == "":
			out.pending = true
		}
	}
	return out
}

// forget drops a workload, which makes no claims any more.
func (r *rights) forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.of[uid] {
		r.drop(uid, c)
	}
	delete(r.of, uid)
}

// drop takes a claim from a workload; it is called with mu held.
func (r *rights) drop(uid types.UID, c claim) {
	if a := r.known[c]; a != nil {
		delete(a.asking, uid)
		if len(a.asking) == 0 {
			delete(r.known, c)
		}
	}
}

// resign forgets everything: another replica asks now.
func (r *rights) resign() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.of = map[claim]*answer{}, map[types.UID][]claim{}
}

// round is the time between two questions about one claim; it is called with mu held.
func (r *rights) round() time.Duration {
	return max(r.every, time.Duration(len(r.known))*perClaim)
}

func (r *rights) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run asks until ctx ends.
func (r *rights) run(ctx context.Context) error {
	for {
		c, version, wait := r.due(time.Now())
		if wait == 0 && r.term() != nil {
			r.ask(ctx, c, version)
			continue
		}
		timer := time.NewTimer(max(wait, r.timeout/10))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due is the claim that has waited longest, or how long until one is due.
func (r *rights) due(now time.Time) (first claim, version string, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait = r.every
	round := r.round()
	var oldest time.Time
	for c, a := range r.known {
		pause := round
		if a.fault != "" {
			pause = min(round, r.timeout)
		}
		left := max(0, a.tried.Add(pause).Sub(now))
		if left == 0 && (wait > 0 || a.tried.Before(oldest)) || left < wait {
			first, version, wait, oldest = c, a.version, left, a.tried
		}
	}
	return first, version, wait
}

// ask asks for one claim, and tells whoever makes it what is new.
func (r *rights) ask(ctx context.Context, c claim, version string) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	why, err := r.answer(ctx, c, version)
	now := time.Now()
	r.mu.Lock()
	a := r.known[c]
	if a == nil {
		r.mu.Unlock()
		return
	}
	before := *a
	a.tried = now
	if err != nil {
		a.fault = reason(err)
	} else {
		a.at, a.why, a.fault = now, why, ""
	}
	// What failed is looked at each time: the answer of before may not hold any more.
	news := before.at.IsZero() || before.why != a.why || before.fault != "" || a.fault != ""
	var uids []types.UID
	if news {
		uids = slices.Collect(maps.Keys(a.asking))
	}
	r.mu.Unlock()
	for _, uid := range uids {
		r.touch(uid)
	}
}

// answer asks the host for everything that a claim is about. Why says what the account
// may not, and how it may; empty: it may.
func (r *rights) answer(ctx context.Context, c claim, version string) (why string, err error) {
	resource, err := r.resource(c.GroupKind, version)
	if err != nil {
		return "", err
	}
	for _, verb := range writing {
		review, err := r.review(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: c.user(), Groups: c.groups(),
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: c.namespace, Verb: verb, Group: c.Group, Version: version, Resource: resource},
		}})
		r.meter.question(err)
		if err != nil {
			return "", err
		}
		if !review.Status.Allowed {
			return c.refusal(verb, resource), nil
		}
	}
	return "", nil
}

// refusal says what an account may not in the host, and how it may.
func (c claim) refusal(verb, resource string) string {
	named := schema.GroupResource{Group: c.Group, Resource: resource}.String()
	text := fmt.Sprintf("%s may not %s %s in the namespace %s of the host cluster, so what is placed stays and nothing new is written", c.user(), verb, named, c.namespace)
	if resource == anyResource {
		return fmt.Sprintf("%s; nobody knows which resource %s is: say it with meridian init --set workloads.resources, or grant it on all of its group", text, c.GroupKind)
	}
	return fmt.Sprintf("%s; let it: kubectl -n %s create role %s-%s --verb=create,patch,delete --resource=%s && kubectl -n %s create rolebinding %s-%s --role=%s-%s --serviceaccount=%s:%s",
		text, c.namespace, c.name, resource, named, c.namespace, c.name, resource, c.name, resource, c.namespace, c.name)
}

// resource is what a kind is called where rights are given: as everybody knows it, as the
// operator says, or as the host serves it.
func (r *rights) resource(kind schema.GroupKind, version string) (string, error) {
	if resource, known := placement.ResourceOf(kind); known {
		return resource, nil
	}
	if resource := r.resources[kind]; resource != "" {
		return resource, nil
	}
	list, err := r.served(schema.GroupVersion{Group: kind.Group, Version: version}.String())
	switch {
	case apierrors.IsNotFound(err):
		return anyResource, nil
	case err != nil:
		return "", err
	}
	for _, one := range list.APIResources {
		if one.Kind == kind.Kind && !isSub(one.Name) {
			return one.Name, nil
		}
	}
	return anyResource, nil
}
