// Package bearer asks a Kubernetes cluster whose a bearer token is and what Meridian's own objects its bearer may see and change.
package bearer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
)

// Who bears a token.
type Who struct {
	Name  string // as the cluster calls it: system:serviceaccount:default:kim
	Read  bool   // may list clusters.meridian.dev
	Write bool   // may patch or update them, which drains
}

// ErrUnknown is the error for a token that the cluster says is nobody's, or not
// meant for us.
var ErrUnknown = errors.New("the cluster knows nobody who bears this token")

const (
	within   = 8 * time.Second // for all questions about one token
	maxName  = 256             // bytes
	resource = "clusters"      // whose rights are asked for
)

// Desk answers questions about tokens. It remembers nothing.
type Desk struct {
	kube      kubernetes.Interface
	audiences []string
}

// New makes a Desk that asks a cluster. A token must be meant for one of the
// audiences; none means the API server's own.
func New(host *rest.Config, audiences []string) (*Desk, error) {
	kube, err := kubernetes.NewForConfig(credentials.Own(host))
	if err != nil {
		return nil, err
	}
	return &Desk{kube: kube, audiences: slices.Clone(audiences)}, nil
}

// Ask says who bears a token. An error that is not ErrUnknown means that it is not
// known at present.
func (d *Desk) Ask(ctx context.Context, token string) (Who, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	user, err := d.review(ctx, token)
	if err != nil {
		return Who{}, err
	}
	who := Who{Name: user.Username}
	for _, verb := range []string{"patch", "update"} {
		if who.Write {
			break
		}
		if who.Write, err = d.may(ctx, user, verb); err != nil {
			return Who{}, err
		}
	}
	who.Read = who.Write
	if !who.Read {
		if who.Read, err = d.may(ctx, user, "list"); err != nil {
			return Who{}, err
		}
	}
	return who, nil
}

// review asks whose the token is.
func (d *Desk) review(ctx context.Context, token string) (authenticationv1.UserInfo, error) {
	var nobody authenticationv1.UserInfo
	answer, err := d.kube.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: d.audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		return nobody, explain("tokenreviews.authentication.k8s.io", err)
	}
	s := answer.Status
	switch {
	case !s.Authenticated:
		return nobody, ErrUnknown
	// Whoever checks no audiences says none, and would let in tokens for others.
	case len(d.audiences) > 0 && !slices.ContainsFunc(s.Audiences, func(a string) bool { return slices.Contains(d.audiences, a) }):
		return nobody, ErrUnknown
	case s.User.Username == "" || len(s.User.Username) > maxName || strings.ContainsFunc(s.User.Username, unicode.IsControl):
		return nobody, fmt.Errorf("the cluster calls the bearer of a token %.80q, which cannot stand in a record of orders", s.User.Username)
	}
	return s.User, nil
}

// may asks what somebody may do with our Clusters.
func (d *Desk) may(ctx context.Context, user authenticationv1.UserInfo, verb string) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	answer, err := d.kube.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, Groups: user.Groups, UID: user.UID, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: v1alpha1.Group, Version: v1alpha1.SchemeGroupVersion.Version, Resource: resource, Verb: verb},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, explain("subjectaccessreviews.authorization.k8s.io", err)
	}
	// An authorizer that failed has said nothing, and what is not allowed is refused.
	return answer.Status.Allowed && !answer.Status.Denied, nil
}

func explain(what string, err error) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("asking the cluster about a token: %w; grant meridiand's ServiceAccount create on %s", err, what)
	}
	return fmt.Errorf("asking the cluster about a token: %w", err)
}
