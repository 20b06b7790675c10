package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// judge answers like an API server's authorizer.
type judge struct {
	mu      sync.Mutex
	allowed map[string]bool // "create deployments.apps"
	broken  bool
	asked   []string
	touched int
}

func (j *judge) review(_ context.Context, r *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	a := r.Spec.ResourceAttributes
	what := a.Verb + " " + schema.GroupResource{Group: a.Group, Resource: a.Resource}.String()
	j.asked = append(j.asked, r.Spec.User+" "+what+" in "+a.Namespace)
	if j.broken {
		return nil, errors.New("the webhook is away")
	}
	r.Status.Allowed = j.allowed[what]
	return r, nil
}

func (j *judge) set(broken bool, allowed ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken, j.allowed = broken, map[string]bool{}
	for _, a := range allowed {
		j.allowed[a] = true
	}
}

func (j *judge) questions() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.asked)
}

// underway are rights that are asked for of a judge, until the test ends.
func underway(t *testing.T, j *judge) *rights {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &rights{
		review: j.review, every: 30 * time.Second, timeout: 3 * time.Second, resources: map[schema.GroupKind]string{{Group: "example.com", Kind: "Widget"}: "widgets"},
		served: func(gv string) (*metav1.APIResourceList, error) {
			if gv == "shop.example.com/v1" {
				return &metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "carts/status", Kind: "Cart"}, {Name: "trolleys", Kind: "Cart"}}}, nil
			}
			return nil, apierrors.NewNotFound(schema.GroupResource{}, gv)
		},
		touch: func(types.UID) { j.mu.Lock(); defer j.mu.Unlock(); j.touched++ },
		term:  func() context.Context { return ctx }, meter: newMetrics(prometheus.NewRegistry()),
		known: map[claim]*answer{}, of: map[types.UID][]claim{}, wake: make(chan struct{}, 1),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = r.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

var deployer = account{"shop", "deployer"}

func of(kinds ...string) map[claim]string {
	out := map[claim]string{}
	for _, k := range kinds {
		out[claim{deployer, schema.ParseGroupKind(k)}] = "v1"
	}
	return out
}

const mayDeploy = "create deployments.apps, patch deployments.apps, delete deployments.apps"

// The diary of one right: asked for, given, withdrawn, not to be had.
func TestRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		j.set(false, strings.Split(mayDeploy, ", ")...)
		r := underway(t, j)
		look := func() verdict { synctest.Wait(); return r.judge("a", of("Deployment.apps"), time.Now()) }

		if v := r.judge("a", of("Deployment.apps"), time.Now()); !v.pending || v.reason != "" {
			t.Errorf("before anybody was asked: %+v", v)
		}
		if v := look(); v != (verdict{}) || j.touched != 1 {
			t.Errorf("it may: %+v, touched %d times", v, j.touched)
		}
		want := []string{"create", "patch", "delete"}
		for i, verb := range want {
			if got := j.asked[i]; got != "system:serviceaccount:shop:deployer "+verb+" deployments.apps in shop" {
				t.Errorf("asked %q", got)
			}
		}
		time.Sleep(29 * time.Second)
		if look(); j.questions() != 3 {
			t.Errorf("asked again at once: %d", j.questions())
		}

		// Withdrawn: noticed within a round, and said with what helps.
		j.set(false, "create deployments.apps", "patch deployments.apps")
		time.Sleep(3 * time.Second)
		v := look()
		if v.reason != reasonForbidden || j.touched != 2 {
			t.Errorf("withdrawn: %+v, touched %d times", v, j.touched)
		}
		for _, says := range []string{"system:serviceaccount:shop:deployer may not delete deployments.apps in the namespace shop of the host cluster", "what is placed stays",
			"kubectl -n shop create role deployer-deployments --verb=create,patch,delete --resource=deployments.apps", "--serviceaccount=shop:deployer"} {
			if !strings.Contains(v.message, says) {
				t.Errorf("%q does not say %q", v.message, says)
			}
		}

		// Nobody answers: what was said holds for a while, and then for nothing.
		j.set(false, strings.Split(mayDeploy, ", ")...)
		time.Sleep(31 * time.Second)
		if v := look(); v != (verdict{}) {
			t.Errorf("given again: %+v", v)
		}
		j.set(true)
		time.Sleep(60 * time.Second)
		if v := look(); v != (verdict{}) {
			t.Errorf("an answer of a moment ago does not hold: %+v", v)
		}
		time.Sleep(90 * time.Second)
		if v := look(); v.reason != reasonUnasked || !strings.Contains(v.message, "could not be asked whether system:serviceaccount:shop:deployer may write Deployment") || !strings.Contains(v.message, "the webhook is away") {
			t.Errorf("nobody answers: %+v", v)
		}
		j.set(false, strings.Split(mayDeploy, ", ")...)
		time.Sleep(4 * time.Second)
		if v := look(); v != (verdict{}) {
			t.Errorf("answered again: %+v", v)
		}

		// Nobody asks for what nobody wants to know.
		r.forget("a")
		n := j.questions()
		time.Sleep(5 * time.Minute)
		if synctest.Wait(); j.questions() != n || len(r.known) != 0 || len(r.of) != 0 {
			t.Errorf("asked on: %d after %d", j.questions(), n)
		}
	})
}

// A kind is asked for by its resource; where nobody knows that, for all of its group.
func TestRightsOfOtherKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		r := underway(t, j)
		for kind, says := range map[string]string{
			"Widget.example.com":    "create widgets.example.com in",
			"Cart.shop.example.com": "create trolleys.shop.example.com in",
			"Tree.shop.example.com": "create *.shop.example.com in",
			"Gizmo.example.com":     "nobody knows which resource Gizmo.example.com is: say it with meridian init --set workloads.resources",
			"Secret":                "create secrets in the namespace shop",
		} {
			r.judge("a", of(kind), time.Now())
			synctest.Wait()
			if v := r.judge("a", of(kind), time.Now()); v.reason != reasonForbidden || !strings.Contains(v.message, says) {
				t.Errorf("%s: %+v, want %q", kind, v, says)
			}
			if len(r.known) != 1 {
				t.Errorf("%d answers are kept for one claim", len(r.known))
			}
		}
	})
}

// However many claims there are, so many answers are kept and no more, and each round of
// questions takes its time.
func TestRightsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		j.set(false, strings.Split(mayDeploy, ", ")...)
		r := underway(t, j)
		uid := func(i int) types.UID { return types.UID(fmt.Sprint("w", i)) }
		claims := func(i int) map[claim]string {
			return map[claim]string{{account{fmt.Sprint("ns", i), "deployer"}, schema.GroupKind{Group: "apps", Kind: "Deployment"}}: "v1"}
		}
		for i := range maxClaims {
			r.judge(uid(i), claims(i), time.Now())
		}
		if v := r.judge("more", claims(maxClaims), time.Now()); v.reason != reasonUnasked || !strings.Contains(v.message, "for fewer ServiceAccounts") {
			t.Errorf("one more: %+v", v)
		}
		if v := r.judge("shares", claims(7), time.Now()); v.reason != "" {
			t.Errorf("one that is known: %+v", v)
		}
		synctest.Wait()
		if j.questions() != 3*maxClaims {
			t.Errorf("%d questions", j.questions())
		}
		time.Sleep(maxClaims*perClaim - time.Second)
		if synctest.Wait(); j.questions() != 3*maxClaims {
			t.Errorf("%d questions before the round is over", j.questions())
		}
		r.forget(uid(0))
		if v := r.judge("more", claims(maxClaims), time.Now()); !v.pending {
			t.Errorf("there is room again: %+v", v)
		}
		if r.resign(); len(r.known)+len(r.of) != 0 {
			t.Error("another replica asks, and this one too")
		}
	})
}

// Requests are made in the name that their contexts carry, over one connection, and the
// request of somebody else is never changed.
func TestOnBehalf(t *testing.T) {
	var got []string
	next := roundTrip(func(r *http.Request) (*http.Response, error) {
		got = append(got, fmt.Sprint(r.Header["Impersonate-User"], r.Header["Impersonate-Group"]))
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	})
	client, err := onBehalf(nil, &http.Client{Transport: next})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []account{{}, {"shop", "deployer"}, {}} {
		req, err := http.NewRequestWithContext(a.in(t.Context()), http.MethodGet, "https://member.example", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if len(req.Header["Impersonate-User"]) > 0 {
			t.Error("the request was changed")
		}
	}
	if want := []string{"[] []", "[system:serviceaccount:shop:deployer] []", "[] []"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
