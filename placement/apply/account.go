package apply

import (
	"context"
	"net/http"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// account is the ServiceAccount on behalf of which a workload is carried out. The zero
// account is nobody: then our own rights count.
type account struct{ namespace, name string }

// nobody is the zero account.
func (a account) nobody() bool { return a.name == "" }

// user is what API servers call it.
func (a account) user() string {
	return "system:serviceaccount:" + a.namespace + ":" + a.name
}

// groups are those that API servers put it into.
func (a account) groups() []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + a.namespace, "system:authenticated"}
}

// account is that of a workload, or else the installation's own choice.
func (w *workload) account(standard string) account {
	switch {
	case w.template.Account != "":
		return account{w.object.Namespace, w.template.Account}
	case standard != "":
		return account{w.object.Namespace, standard}
	}
	return account{}
}

type accountKey struct{}

// in has the requests of a context made in the account's name.
func (a account) in(ctx context.Context) context.Context {
	if a.nobody() {
		return ctx
	}
	return context.WithValue(ctx, accountKey{}, a)
}

// behalf makes requests in the name of the account that their contexts carry. All
// accounts share the connections below it. Groups are left to the API server, which knows
// those of an account: who names them needs rights on groups too.
type behalf struct{ next http.RoundTripper }

// RoundTrip adds whose name the request is made in.
func (b behalf) RoundTrip(req *http.Request) (*http.Response, error) {
	if a, ok := req.Context().Value(accountKey{}).(account); ok {
		req = req.Clone(req.Context())
		req.Header.Set(authenticationv1.ImpersonateUserHeader, a.user())
	}
	return b.next.RoundTrip(req)
}

// WrappedRoundTripper is what carries the requests.
func (b behalf) WrappedRoundTripper() http.RoundTripper { return b.next }

// onBehalf is a client like another, by which requests can be made in the name of
// accounts.
func onBehalf(cfg *rest.Config, client *http.Client) (*http.Client, error) {
	if client == nil {
		var err error
		if client, err = rest.HTTPClientFor(cfg); err != nil {
			return nil, err
		}
	}
	out := *client
	if out.Transport == nil {
		out.Transport = http.DefaultTransport
	}
	out.Transport = behalf{out.Transport}
	return &out, nil
}

// allowed reports whether the host lets an account write what a workload is, and what
// goes along. Until it is known to, members keep what they have, and write nothing.
func (d *desk) allowed(w *workload, as account, along []*unstructured.Unstructured) bool {
	if as.nobody() {
		d.a.rights.forget(w.object.UID)
		return true
	}
	claims := map[claim]string{}
	for _, o := range append(slices.Clone(along), w.template.Object) {
		gvk := o.GroupVersionKind()
		claims[claim{as, gvk.GroupKind()}] = gvk.Version
	}
	v := d.a.rights.judge(w.object.UID, claims, time.Now())
	switch {
	case v.reason != "":
		for _, m := range d.members {
			m.hold(w.object.UID)
		}
		w.fault(d, v.reason, v.message)
		return false
	case v.pending:
		return false // touched when it is known
	}
	return true
}
