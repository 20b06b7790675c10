// Package renew keeps the tokens by which members are watched from expiring.
//
// A member's ServiceAccount may ask for a new token of its own and nothing else, so
// whoever holds the old token can get the next one, and nobody else is needed.
// Several daemons may do this at once: the first one to write wins.
package renew

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
)

// MemberLabel names the member that a Secret's credentials are for. Only Secrets
// with it are renewed.
const MemberLabel = "meridian.dev/member"

// Config is what a Renewer needs.
type Config struct {
	Host      kubernetes.Interface // the installation's own API server
	Namespace string               // where the Secrets lie
	// Clusters are the members as objects of that server, which name their Secrets.
	Clusters dynamic.Interface
	Options  credentials.Options
	// Every is how often tokens are looked at; 0 means 5 minutes.
	Every time.Duration
	// Left is the share of its life at which a token is renewed: 0 means 0.5, so
	// that a member may be out of reach for half of that life.
	Left       float64
	Log        *slog.Logger          // nil: slog.Default
	Registerer prometheus.Registerer // nil: no metrics
}

const (
	within  = 20 * time.Second // for one member
	atOnce  = 16               // members
	longest = 30 * 24 * time.Hour
)

// Renewer renews tokens.
type Renewer struct {
	c       Config
	metrics *metrics
	said    map[string]string // by member: the trouble that was logged last
}

// New makes a Renewer.
func New(c Config) *Renewer {
	if c.Every <= 0 {
		c.Every = 5 * time.Minute
	}
	if c.Left <= 0 {
		c.Left = 0.5
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Renewer{c: c, metrics: newMetrics(c.Registerer), said: map[string]string{}}
}

// Run looks at once and then from time to time, until ctx ends, when it returns nil.
func (r *Renewer) Run(ctx context.Context) error {
	tick := time.NewTicker(r.c.Every)
	defer tick.Stop()
	for {
		r.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// result is what became of one member's token.
type result struct {
	member  string
	expires time.Time // zero: not known
	renewed bool
	err     error
}

// round looks at every member once. A member that does not answer holds up nobody.
func (r *Renewer) round(ctx context.Context) {
	listing, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	names, err := r.names(listing)
	if err != nil {
		r.say(ctx, "", err)
		return
	}
	r.say(ctx, "", nil)
	results := make([]result, len(names))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, name := range names {
		g.Go(func() error {
			one, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			results[i] = r.read(one, name)
			return nil
		})
	}
	_ = g.Wait() // they return no errors
	known := map[string]bool{"": true}
	for _, res := range results {
		if res.member == "" {
			continue // not ours to renew
		}
		known[res.member] = true
		r.metrics.note(res)
		r.say(ctx, res.member, res.err)
		if res.renewed {
			r.c.Log.Info("the token of a member was renewed", "member", res.member, "until", res.expires.UTC())
		}
	}
	for member := range r.said {
		if !known[member] {
			delete(r.said, member)
		}
	}
	r.metrics.keep(known)
}

// say logs trouble when it begins, changes and ends.
func (r *Renewer) say(ctx context.Context, member string, err error) {
	text := ""
	if err != nil {
		if ctx.Err() != nil {
			return // our own end
		}
		text = err.Error()
	}
	if r.said[member] == text {
		return
	}
	if r.said[member] = text; text == "" {
		r.c.Log.Info("tokens are renewed again", "member", member)
		return
	}
	r.c.Log.Warn("the token of a member cannot be renewed", "member", member, "error", text)
}

// names lists the Secrets that Clusters name. They are read one by one: the right to
// list all would be the right to read others that lie there.
func (r *Renewer) names(ctx context.Context) ([]named, error) {
	list, err := r.c.Clusters.Resource(v1alpha1.SchemeGroupVersion.WithResource("clusters")).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing Clusters, which name the Secrets of members: %w; grant meridiand's ServiceAccount list on them", err)
	}
	var names []named
	for _, c := range list.Items {
		if secret, _, _ := unstructured.NestedString(c.Object, "spec", "credentialsRef", "name"); field.Subdomain(secret) == nil {
			names = append(names, named{member: c.GetName(), secret: secret})
		}
	}
	return names, nil
}

// named is a Secret that a Cluster names.
type named struct{ member, secret string }

// read looks at one Secret. One that is not there, or not of "meridian join", is
// nobody's business here.
func (r *Renewer) read(ctx context.Context, n named) result {
	s, err := r.c.Host.CoreV1().Secrets(r.c.Namespace).Get(ctx, n.secret, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return result{}
	case err != nil:
		return result{member: n.member, err: fmt.Errorf("reading the Secret %s/%s: %w; run \"meridian join %s\" again, which grants that", r.c.Namespace, n.secret, err, n.member)}
	case s.Labels[MemberLabel] != n.member:
		return result{}
	}
	return r.look(ctx, s)
}

// look renews the token of one Secret if it is time.
func (r *Renewer) look(ctx context.Context, s *corev1.Secret) result {
	res := result{member: s.Labels[MemberLabel]}
	raw := s.Data[credentials.SecretKey]
	cfg, err := credentials.Parse(raw, r.c.Options)
	if err != nil {
		res.err = fmt.Errorf("the Secret %s/%s: %w", s.Namespace, s.Name, err)
		return res
	}
	if cfg.BearerToken == "" {
		return res // a client certificate, which its owner renews
	}
	t, err := readToken(cfg.BearerToken)
	if err != nil {
		res.err = fmt.Errorf("the Secret %s/%s: %w; write it with \"meridian join\"", s.Namespace, s.Name, err)
		return res
	}
	res.expires = t.expires
	switch now := time.Now(); {
	case !now.Before(t.expires):
		res.err = fmt.Errorf("the token expired %s, and only a good one gets a new one; run \"meridian join %s\" again", t.expires.UTC().Format(time.RFC3339), res.member)
		return res
	case float64(t.expires.Sub(now)) > r.c.Left*float64(t.life()):
		return res
	}
	fresh, err := request(ctx, cfg, t)
	if err != nil {
		res.err = fmt.Errorf("asking %s for a new token: %w; the old one is good until %s", cfg.Host, err, t.expires.UTC().Format(time.RFC3339))
		return res
	}
	next, err := replaceToken(raw, fresh)
	if err != nil {
		res.err = err
		return res
	}
	update := s.DeepCopy() // with its version: who was faster is not written over
	update.Data[credentials.SecretKey] = next
	_, err = r.c.Host.CoreV1().Secrets(s.Namespace).Update(ctx, update, metav1.UpdateOptions{FieldManager: "meridiand"})
	switch {
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return res // another daemon has renewed it, or the member has left
	case err != nil:
		res.err = fmt.Errorf("writing the new token into the Secret %s/%s: %w; grant meridiand's ServiceAccount update on it", s.Namespace, s.Name, err)
		return res
	}
	if t, err := readToken(fresh); err == nil {
		res.expires = t.expires
	}
	res.renewed = true
	return res
}

// request asks a member for a token of the account that we come as.
func request(ctx context.Context, cfg *rest.Config, t token) (string, error) {
	httpClient, err := credentials.Client(cfg)
	if err != nil {
		return "", err
	}
	defer httpClient.CloseIdleConnections()
	member, err := kubernetes.NewForConfigAndClient(cfg, httpClient)
	if err != nil {
		return "", err
	}
	seconds := int64(min(t.life(), longest) / time.Second)
	answer, err := member.CoreV1().ServiceAccounts(t.namespace).CreateToken(ctx, t.account,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, Audiences: t.audiences}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	fresh, err := readToken(answer.Status.Token)
	switch {
	case err != nil:
		return "", fmt.Errorf("the answer: %w", err)
	case fresh.namespace != t.namespace || fresh.account != t.account:
		return "", errors.New("the answer is a token of somebody else")
	case !fresh.expires.After(t.expires):
		return "", fmt.Errorf("the answer is good until %s only; the API server may limit tokens (--service-account-max-token-expiration)", fresh.expires.UTC().Format(time.RFC3339))
	}
	return answer.Status.Token, nil
}

// replaceToken writes a kubeconfig, which Parse has taken, with another token.
func replaceToken(kubeconfig []byte, with string) ([]byte, error) {
	all, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig again: %w", err)
	}
	all.AuthInfos[all.Contexts[all.CurrentContext].AuthInfo].Token = with
	out, err := clientcmd.Write(*all)
	if err != nil {
		return nil, fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return out, nil
}

// accountOf reads the namespace and name out of "system:serviceaccount:namespace:name".
func accountOf(subject string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(subject, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}
